"""The systems that are compared: which of them, and how one is measured in a process of its own."""

import json
import statistics
import sys
from pathlib import Path

from benchmark.peers import SYSTEMS
from benchmark.processes import side_by_side
from bn_graph.errors import InputError

HERE = Path(__file__).resolve().parent


def choose(asked, possible, default):
    """The names in `asked`, which --systems gave: A,B or None. Raises `InputError` for one that is not possible."""
    names = list(default) if asked is None else asked.split(",")
    for name in names:
        if name not in possible:
            raise InputError(f"--systems: found {name!r}; expected some of {', '.join(possible)}")
    return list(dict.fromkeys(names))


def measure_systems(names, rounds, options, bar, original=None, check=None):
    """Lets systems train in processes of their own, in turns of a block of steps. Returns `Turns`.

    Of each run, `speeds` are the steps a second of each block of training between two validations, without those of
    the warm-up, and `steps_per_second` is their median; `seconds` is the loop, with validations; `process_seconds`
    and `peak_bytes` are the whole process. None of them has the time in which it waited for its turn.

    options: of `benchmark.peers`.
    original: a Python 2.7 with TensorFlow 0.12.1, for a system that no Python of today can run.
    check: called with what was measured; raises `Failed` where that is not good.
    """
    today, then = [sys.executable, HERE / "peers"], [original, HERE / "time_original.py"]
    commands = {name: [*([*today, name] if SYSTEMS[name].train else then), *options, "--turns"] for name in names}

    def result_of(name, process):
        measured = json.loads(process.stdout[-1])
        if "missing" in measured:
            return measured
        if check:
            check(measured)
        speeds = [steps / took for _, steps, took in warm_blocks(measured["blocks"])]
        measures = {"speeds": speeds, "steps_per_second": statistics.median(speeds)}
        process_measures = {"process_seconds": process.seconds, "peak_bytes": process.peak_bytes}
        return {"system": name, **measures, **process_measures, **measured}

    return side_by_side(commands, rounds, result_of, bar)


def warm_blocks(blocks):
    """The blocks (steps before it, steps in it, seconds) without the first whole one, in which much is compiled.

    Before the first whole block, most systems have one of step 0 alone, because the tutorial validates after it.
    """
    return blocks[2:] if blocks[0][1] == 1 else blocks[1:]
