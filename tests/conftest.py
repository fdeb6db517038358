import dataclasses
import functools
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

HERE = Path(__file__).parent
ROOT = HERE.parent
REFERENCE = HERE / "reference"
PACKAGED = ROOT / "bn_graph" / "comparison" / "reference"  # the recordings that the package carries

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


def run_tutorial(*arguments, **options):
    return run(sys.executable, ROOT / "scripts" / "run_tutorial.py", *arguments, **options)


def compare_with_notebook(*arguments, **options):
    return run(sys.executable, ROOT / "scripts" / "compare_with_notebook.py", *arguments, **options)


def in_process(capfd, script, *arguments):
    """Runs a command of scripts/ in this process, which has TensorFlow already: importing it takes a new one seconds.

    Returns the finished process that it would have been; what C++ prints is in its stderr too. The import and the end
    of Python are left out, so let one call of each kind be a process of its own.
    """
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", [script, *map(str, arguments)])
        handler = signal.getsignal(signal.SIGTERM)
        try:
            runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
        finally:
            signal.signal(signal.SIGTERM, handler)
    return subprocess.CompletedProcess(sys.argv, ended.value.code or 0, *capfd.readouterr())


def run_python(program, **options):
    """Runs a Python program of its own process. What it asserts, the test asserts."""
    process = run(sys.executable, "-c", program, **options)
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def largest_so_far(losses, reference):
    """At each step, the largest relative difference in loss so far."""
    return np.maximum.accumulate(np.abs(np.array(losses) / np.array(reference) - 1))


@pytest.fixture(scope="session")
def mnist():
    from bn_graph import load_mnist

    return load_mnist()


@pytest.fixture(scope="session")
def splits(mnist):
    """A tenth of the digits, so that the evaluation sets are small."""
    from bn_graph import split

    few = mnist._replace(data=mnist.data[::10], target=mnist.target[::10])
    return split(few, valid_size=500, test_size=700)


@pytest.fixture(scope="session")
def original(mnist):
    """The sets that the recorded runs were trained on."""
    from bn_graph import split

    return split(mnist, "original")


@pytest.fixture(scope="session")
def recorded_runs(tmp_path_factory):
    """Repeats a recorded run by the command, once however often it is asked for.

    A function from its name to the finished process and the record, as JSON says it.
    """

    @functools.cache
    def repeat(name):
        path = tmp_path_factory.mktemp("run") / "record.json"
        process = run_tutorial(*RECORDED[name], "--split", "original", "--seed", "1", "--record", path)
        assert process.returncode == 0, process.stderr
        return process, json.loads(path.read_text())

    return repeat


@pytest.fixture(scope="session", params=RECORDED)
def recorded_run(request, recorded_runs):
    """A recorded run repeated by the command: its name, the finished process and its record."""
    return request.param, *recorded_runs(request.param)


@pytest.fixture(scope="session")
def comparison(tmp_path_factory):
    """A comparison by the command, with two seeds: the finished process, the folder and the JSON.

    The gate names a folder where it is kept, for the tests in a browser that come after it.
    """
    folder = Path(os.environ.get("KEEP_COMPARISON") or tmp_path_factory.mktemp("comparison")) / "new" / "folder"
    process = compare_with_notebook("--seeds", "2", "--out", folder)
    assert process.returncode == 0, process.stderr
    return process, folder, json.loads((folder / "comparison.json").read_text())
