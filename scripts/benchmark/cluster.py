"""Clusters on the loopback beside one process: their speed, and the bytes that a step sends."""

import itertools
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmark.processes import TIMEOUT, Failed, in_turn, progress
from benchmark.reporting import median, median_ratio, spread, table
from bn_graph.cli import set_parent_death_signal

SCRIPTS = Path(__file__).resolve().parents[1]
STEPS = 200  # between two looks at the counters
FORMS = {  # the command of each form of cluster
    "one process": ["run_tutorial.py"],
    "1 replica": ["run_cluster.py", "--workers", "1"],
    "2 replicas, asynchronous": ["run_cluster.py", "--workers", "2"],
    "2 replicas, synchronous": ["run_cluster.py", "--workers", "2", "--sync"],
}
HEADER = ["", "steps a second", "of one process", "in place / beside", "sent in a step", "of the parameters"]


class Case(NamedTuple):
    """A cluster that is measured."""

    hidden_size: int
    form: str  # of FORMS
    updates: str  # control_dependencies or in_place

    def __str__(self):
        return f"hidden size {self.hidden_size}, {self.form}, {self.updates}"


def cases():
    """Every cluster that is measured, by its name."""
    combinations = itertools.product((64, 1024), FORMS, ("control_dependencies", "in_place"))
    return {str(case): case for case in itertools.starmap(Case, combinations)}


def measure(options):
    """Measures every cluster once a round."""
    clusters = cases()
    with progress(options.rounds * len(clusters)) as bar:
        turns = in_turn(clusters, options.rounds, lambda name: measure_cluster(clusters[name]), bar)
    return {"rounds": options.rounds, "results": turns.results, "failed": turns.failed}


def measure_cluster(case):
    """One run: the steps of the cluster a second, and the bytes sent over the loopback between two printed lines."""
    script, *options = FORMS[case.form]
    options += ["--edition=page", f"--updates={case.updates}", f"--hidden-size={case.hidden_size}"]
    options += [f"--eval-every={STEPS}", f"--print-every={STEPS}", f"--steps={STEPS + 1}"]
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(
            [sys.executable, SCRIPTS / script, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            preexec_fn=set_parent_death_signal,
        ) as process,
    ):
        looks = look_at_each_line(process)
        if process.wait() or len(looks) != 2:
            stderr.seek(0)
            raise Failed(f"ended with {process.returncode}: {stderr.read().decode(errors='replace')[-500:]}")
    (begin, before), (end, after) = looks
    speed = STEPS / (end - begin)
    return {"steps_per_second": speed, "speeds": [speed], "bytes_of_a_step": (after - before) / STEPS}


def look_at_each_line(process):
    """The seconds, and the bytes sent over the loopback so far, at each line of a step that the process prints."""
    timer = threading.Timer(TIMEOUT, process.terminate)
    timer.start()
    looks = []
    try:
        for line in process.stdout:
            if line.startswith("Epoch: "):
                looks.append((time.perf_counter(), psutil.net_io_counters(pernic=True)["lo"].bytes_sent))
    except BaseException:
        process.terminate()
        raise
    finally:
        timer.cancel()
        timer.join()
    return looks


def lines(measured):
    """The lines that are printed."""
    results = measured["results"]
    return table(HEADER, [_row(case, results) for name, case in cases().items() if name in results])


def _row(case, results):
    runs = results[str(case)]
    alone = results.get(str(case._replace(form="one process")))
    beside = results.get(str(case._replace(updates="control_dependencies")))
    middle, least, most = spread(runs, "steps_per_second")
    parameters = 785 * case.hidden_size + 11 * case.hidden_size + 20  # weights, biases, beta
    sent = median(runs, "bytes_of_a_step")
    is_sent = sent > 4 * parameters  # one process sends nothing; what is counted then is others'
    return [
        str(case),
        f"{middle:.0f} ({least:.0f} to {most:.0f})",
        f"{median_ratio(runs, alone):.2f}" if alone else "",
        f"{median_ratio(runs, beside):.2f}" if beside and case.updates == "in_place" else "",
        f"{sent / 1e6:.3f} MB" if is_sent else "",
        f"{sent / (4 * parameters):.2f}" if is_sent else "",
    ]
