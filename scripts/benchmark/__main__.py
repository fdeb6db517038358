#!/usr/bin/env python3
"""Measures on this machine what the documentation says of speed and accuracy.

python scripts/benchmark                    # training: the port's engines beside other libraries
python scripts/benchmark scale              # small and large networks, batches and data
python scripts/benchmark audit              # the time of an audit against the size of the graph
python scripts/benchmark monitor            # what it costs to watch the moving statistics
python scripts/benchmark comparison         # ten seeds of compare_with_notebook.py
python scripts/benchmark cluster            # clusters on the loopback beside one process: steps, and bytes of a step
python scripts/benchmark recalibration      # the page as printed, its moving statistics estimated from 1 to 500 batches
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

if not __package__:  # as Python runs a folder: sys.path has scripts/benchmark first, and not what has the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmark import audit, cluster, comparison, monitor, recalibration, scale, training
from benchmark.machine import machine
from benchmark.peers import SYSTEMS
from bn_graph.cli import FORCE, Parser, check_output, run, writing
from bn_graph.config import NOTEBOOK
from bn_graph.errors import InputError
from bn_graph.files import write_whole
from bn_graph.pictures import STYLE, picture_written_by_us, png


class Benchmark(NamedTuple):
    """Something that can be measured."""

    about: str  # for --help
    rounds: int | None  # by default; None: it has none
    measure: Callable  # of the options; what was measured, a dict with `results` and `failed`
    lines: Callable  # of what was measured; the lines that are printed
    draw: Callable | None  # of what was measured; a matplotlib figure


BENCHMARKS = {
    "training": Benchmark("the port beside other libraries", 3, training.measure, training.lines, training.draw),
    "scale": Benchmark("small and large", 1, scale.measure, scale.lines, scale.draw),
    "audit": Benchmark("an audit against the size of its graph", None, audit.measure, audit.lines, audit.draw),
    "monitor": Benchmark("watching the moving statistics", 40, monitor.measure, monitor.lines, None),
    "comparison": Benchmark("ten seeds of compare_with_notebook.py", 1, comparison.measure, comparison.lines, None),
    "cluster": Benchmark("clusters on the loopback", 3, cluster.measure, cluster.lines, None),
    "recalibration": Benchmark(
        "moving statistics estimated anew", 3, recalibration.measure, recalibration.lines, recalibration.draw
    ),
}
WHATS = "; ".join(f"{name}: {benchmark.about}" for name, benchmark in BENCHMARKS.items())
ROUNDS = ", ".join(f"{name} {benchmark.rounds}" for name, benchmark in BENCHMARKS.items() if benchmark.rounds)

# fmt: off
# ruff: noqa: E501
parser = Parser(__doc__, prog="benchmark")
option = parser.add_argument
option("what", nargs="?", default="training", choices=BENCHMARKS, help=f"{WHATS} (default: training)")
option("--rounds", type=int, default=None, metavar="N", help=f"how often every system is measured (default: {ROUNDS})")
option("--steps", type=int, default=NOTEBOOK.steps, metavar="N", help=f"training and recalibration: steps; for training a multiple of {training.BLOCK}, {2 * training.BLOCK} or more (default: {NOTEBOOK.steps})")
option("--systems", default=None, metavar="A,B", help=f"training and scale: only these of {', '.join(SYSTEMS)}")
option("--original", default=None, metavar="PYTHON", help="training: a Python 2.7 with TensorFlow 0.12.1, for the system `original`")
option("--json", default=None, metavar="FILE.json", help="write all that was measured")
option("--plot", default=None, metavar="FILE.png", help="training, scale, audit and recalibration: write a picture of it")
option("--force", **FORCE)
# fmt: on


def command(arguments):
    benchmark = BENCHMARKS[arguments.what]
    check(arguments, benchmark)
    about = machine()
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    print(f"{about['processor']}, {about['cores']} cores", flush=True)
    options = argparse.Namespace(**{**vars(arguments), "rounds": arguments.rounds or benchmark.rounds})
    measured = {"benchmark": arguments.what, **about, **benchmark.measure(options)}
    for line in benchmark.lines(measured):
        print(line)
    for name, error in measured["failed"].items():
        print(f"{parser.prog}: {name}: {error}", file=sys.stderr)
    write(measured, benchmark.draw, arguments)
    return 1 if measured["failed"] else 0


def check(arguments, benchmark):
    """Raises `InputError` for what would go wrong later. That a benchmark's own options are right, it checks itself."""
    if arguments.rounds is not None and arguments.rounds < 1:
        raise InputError(f"--rounds must be a whole number, 1 or more, found {arguments.rounds}")
    if arguments.json:
        check_output(arguments.json, ".json", json_written_by_us, arguments.force)
    if arguments.plot:
        if benchmark.draw is None:
            raise InputError(f"--plot: there is no picture of {arguments.what}")
        check_output(arguments.plot, ".png", picture_written_by_us, arguments.force)


def json_written_by_us(path):
    """Whether the file `path` was written by --json."""
    try:
        return "benchmark" in json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def write(measured, draw, arguments):
    """Writes the files that --json and --plot ask for."""
    with writing():
        if arguments.json:
            write_whole(arguments.json, (json.dumps(measured, indent=1, default=str) + "\n").encode())
        if arguments.plot and measured["results"]:
            from matplotlib import rc_context  # here, so that a user's mistake need not wait for it

            with rc_context(STYLE):
                write_whole(arguments.plot, png(draw(measured)))


if __name__ == "__main__":
    run(parser, command)
