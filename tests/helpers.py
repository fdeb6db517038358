"""What many tests need: the recorded runs, and commands in a process of their own or in this one."""

import contextlib
import dataclasses
import os
import re
import runpy
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.paths import ROOT

# The four runs of TF 0.12.1 that were recorded, and how the command asks for each.
RECORDED = {
    "page": ["--edition", "page", "--updates", "collected"],
    "page_control_dependencies": ["--edition", "page"],
    "script": ["--edition", "script"],
    "notebook": ["--edition", "notebook"],
}


def recorded_config(name, **changes):
    """The settings of a recorded run, with something changed."""
    from bn_graph.comparison.recordings import RECORDED as configs

    return dataclasses.replace(configs[name], **{"seed": 1, **changes})


def run(*command, env=None, **options):
    """Runs a command and returns the finished process, its output as text."""
    env = {**os.environ, **(env or {})}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=env, timeout=600, **options)


def run_module(name, *arguments, **options):
    """Runs `python -m name`, as from the root of this clone."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return run(sys.executable, "-m", name, *arguments, env={"PYTHONPATH": path}, **options)


def run_tutorial(*arguments, **options):
    return run(sys.executable, ROOT / "scripts" / "run_tutorial.py", *arguments, **options)


def compare_with_notebook(*arguments, **options):
    return run(sys.executable, ROOT / "scripts" / "compare_with_notebook.py", *arguments, **options)


@contextlib.contextmanager
def handlers_restored():
    """Puts back the handlers of the signals that a command of ours handles."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def in_process(capfd, script, *arguments):
    """Runs a command of scripts/ in this process, which has TensorFlow already: importing it takes a new one seconds.

    Returns the finished process that it would have been; what C++ prints is in its stderr too. The import and the end
    of Python are left out, so let one call of each kind be a process of its own.
    """
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", [script, *map(str, arguments)])
        with handlers_restored():
            runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
    return subprocess.CompletedProcess(sys.argv, ended.value.code or 0, *capfd.readouterr())


def run_python(program, **options):
    """Runs a Python program of its own process. What it asserts, the test asserts."""
    process = run(sys.executable, "-c", program, **options)
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def largest_so_far(losses, reference):
    """At each step, the largest relative difference in loss so far."""
    return np.maximum.accumulate(np.abs(np.array(losses) / np.array(reference) - 1))


def assert_inside_envelopes(name, losses):
    """That a thousand losses stay inside three one-ulp envelopes of the recorded run `name`."""
    from bn_graph import recording

    recorded = recording(name)
    found = largest_so_far(losses, recorded["train_loss"])
    nudged = [largest_so_far(run["train_loss"], recorded["train_loss"]) for run in recorded["one_ulp"]]
    ratio = found / np.maximum(3 * np.max(nudged, axis=0), 1e-4)
    assert ratio.max() <= 1, (
        f"step {ratio.argmax()}: {found[ratio.argmax()]:.3g} is {ratio.max():.3g} of what is allowed"
    )


def assert_recorded_accuracies(name, valid_step, valid_accuracy, test_accuracy):
    """That the accuracies of a thousand steps are those of the recorded run `name`."""
    from bn_graph import recording

    recorded = recording(name)
    # In the page as printed the biases, which are rounding errors, reach the inference.
    tolerance = 0.05 if name == "page" else 0.003
    assert valid_step == recorded["valid_step"]
    np.testing.assert_allclose(valid_accuracy, recorded["valid_accuracy"], rtol=0, atol=tolerance)
    assert test_accuracy == pytest.approx(recorded["test_accuracy"], abs=tolerance)


def is_said(line, said):
    """Whether `line`, in which … stands for anything, is what is `said`."""
    return re.fullmatch(".*".join(map(re.escape, line.split("…"))), said)
