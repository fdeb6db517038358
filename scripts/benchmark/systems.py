"""The systems that are compared: which of them, and how one is measured in a process of its own."""

import json
import statistics
import sys
from pathlib import Path

from benchmark.peers import SYSTEMS
from benchmark.processes import measure
from bn_graph.errors import InputError

HERE = Path(__file__).resolve().parent


def choose(asked, possible, default):
    """The names in `asked`, which --systems gave: A,B or None. Raises `InputError` for one that is not possible."""
    names = list(default) if asked is None else asked.split(",")
    for name in names:
        if name not in possible:
            raise InputError(f"--systems: found {name!r}; expected some of {', '.join(possible)}")
    return list(dict.fromkeys(names))


def measure_system(name, *options, original=None):
    """Lets a system train in a process of its own. Returns what it measured, as a dict.

    `steps_per_second` is the median over blocks of training between two validations, without those of the warm-up;
    `seconds` the loop, with validations; `process_seconds` and `peak_bytes` the whole process.

    options: of `benchmark.peers`.
    original: a Python 2.7 with TensorFlow 0.12.1, for a system that no Python of today can run.
    """
    command = [sys.executable, HERE / "peers", name, *options]
    if SYSTEMS[name].train is None:
        command = [original, HERE / "time_original.py", *options]
    stdout, seconds, peak = measure(command)
    measured = json.loads(stdout.splitlines()[-1])
    if "missing" in measured:
        return measured
    speeds = [steps / took for _, steps, took in warm_blocks(measured["blocks"])]
    measures = {"steps_per_second": statistics.median(speeds), "process_seconds": seconds, "peak_bytes": peak}
    return {"system": name, **measures, **measured}


def warm_blocks(blocks):
    """The blocks (steps before it, steps in it, seconds) without the first whole one, in which much is compiled.

    Before the first whole block, most systems have one of step 0 alone, because the tutorial validates after it.
    """
    return blocks[2:] if blocks[0][1] == 1 else blocks[1:]
