"""What the numbers depend on: versions, processor and cores."""

import contextlib
import importlib.metadata
import os
import platform
from pathlib import Path

from bn_graph.record import versions


def machine():
    """The versions of all that is measured, as far as it is installed, and the computer."""
    installed = {distribution.metadata["Name"] for distribution in importlib.metadata.distributions()}
    others = [name for name in ("keras", "torch", "jax", "optax") if name in installed]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"versions": versions(*others), "processor": processor(), "cores": cores}


def processor():
    """The name of the processor. `platform` does not know it on Linux."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(": ")[1]
    return platform.processor() or platform.machine()
