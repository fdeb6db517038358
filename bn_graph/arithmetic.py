"""What decides how numbers are rounded on this machine: a run that goes on elsewhere has other last bits."""

import os
import platform
from pathlib import Path

# Switches by which TensorFlow, oneDNN and XLA choose other kernels, other instructions or another order of sums.
_SWITCHES = (
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
    "TF_DETERMINISTIC_OPS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
)
# The instructions on vectors of floating-point numbers, as Linux calls them.
_VECTOR_INSTRUCTIONS = ("sse", "ssse", "avx", "fma", "f16c", "amx", "neon", "asimd", "sve", "sme", "bf16", "i8mm")


def describe() -> dict:
    """Name to text of everything that decides it, as far as it is known: for JSON, and to be compared."""
    described = {"instructions": _instructions(), "processors": str(_processors())}
    return described | {name: os.environ[name] for name in _SWITCHES if name in os.environ}


def differences(before: dict, now: dict) -> list:
    """What differs between two descriptions, in words. Nothing where one of them is empty: nobody described it then."""
    lines = []
    if not before or not now:
        return lines
    for name in sorted({*before, *now}):
        old, new = before.get(name, "not set"), now.get(name, "not set")
        if name == "instructions" and old != new:
            lost, gained = (sorted(set(a.split()) - set(b.split())) for a, b in ((old, new), (new, old)))
            parts = [f"without {' '.join(lost)}"] * bool(lost) + [f"with {' '.join(gained)}"] * bool(gained)
            lines.append(f"instructions, now {' and '.join(parts)}")
        elif old != new:
            lines.append(f"{name} was {old} and is {new}")
    return lines


def _instructions():
    """The instruction set, and what the processor has of instructions on vectors."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    flags = next(
        (line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))), []
    )
    return " ".join([platform.machine(), *sorted(flag for flag in flags if flag.startswith(_VECTOR_INSTRUCTIONS))])


def _processors():
    """How many this process may use: a product is cut into parts for the threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
