"""Fixtures: the digits, the recorded runs repeated, and a comparison. Each is made once in a session."""

import functools
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.comparison.texts import TEXT, as_notebook
from tests.helpers import RECORDED, compare_with_notebook, run_tutorial
from tests.paths import REFERENCE, ROOT

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def mnist():
    from bn_graph import load_mnist

    return load_mnist()


@pytest.fixture(scope="session")
def lecun():
    """LeCun's four arrays, in his order."""
    with np.load(ROOT / "bn_graph" / "data" / "mnist.npz") as archive:
        return {name: archive[name] for name in ("x_train", "y_train", "x_test", "y_test")}


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
    """A comparison by the command, with two seeds and a program of 2016: the finished process, the folder, the JSON.

    The gate names a folder where it is kept, for the tests in a browser that come after it.
    """
    folder = Path(os.environ.get("KEEP_COMPARISON") or tmp_path_factory.mktemp("comparison")) / "new" / "folder"
    text = tmp_path_factory.mktemp("original") / "text.ipynb"
    text.write_text(as_notebook(TEXT))
    process = compare_with_notebook("--seeds", "2", "--original", text, "--out", folder)
    assert process.returncode == 0, process.stderr
    return process, folder, json.loads((folder / "comparison.json").read_text())


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """The folder of the recorded graphs, and what should be found in each."""
    folder = tmp_path_factory.mktemp("audit")
    with tarfile.open(REFERENCE / "audit.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder, json.loads((folder / "expected.json").read_text())
