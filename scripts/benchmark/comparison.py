"""The time and memory of compare_with_notebook.py with ten seeds, beside the import of TensorFlow alone."""

import sys
import tempfile
from pathlib import Path

from benchmark import processes
from benchmark.processes import in_turn, progress
from benchmark.reporting import median, spread

SCRIPT = Path(__file__).resolve().parents[1] / "compare_with_notebook.py"
TITLES = {"import": "import tensorflow", "comparison": "comparison, ten seeds"}


def measure(options):
    """Runs both once a round."""
    with progress(len(TITLES) * options.rounds) as bar:
        turns = in_turn(TITLES, options.rounds, measure_one, bar)
    results = {name: turns.results.get(name, []) for name in TITLES}
    return {"rounds": options.rounds, "results": results, "failed": turns.failed}


def measure_one(name):
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "import": ["-c", "import tensorflow"],
            "comparison": [SCRIPT, "--seeds", 10, "--out", folder],
        }
        process = processes.measure([sys.executable, *commands[name]])
    return {"process_seconds": process.seconds, "peak_bytes": process.peak_bytes}


def lines(measured):
    """The lines that are printed."""
    for name, runs in measured["results"].items():
        if not runs:
            continue
        middle, least, most = spread(runs, "process_seconds")
        memory = median(runs, "peak_bytes", 1e6)
        yield f"{TITLES[name]:22} {middle:6.1f} s ({least:.1f} to {most:.1f}) {memory:6.0f} MB"
