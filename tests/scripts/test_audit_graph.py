"""What people bring to audit_graph.py: the folders and files that their programs left."""

import json
import os
import sys

import pytest

from bn_graph.tf1 import tf
from tests.audit.cases.case import BOTH
from tests.audit.networks import network
from tests.audit.sessions import initialize, run, session_of
from tests.helpers import in_process
from tests.helpers import run as run_process
from tests.paths import ROOT

NEVER_RUN, UNTOUCHED = "updates-never-run", "statistics-untouched"


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What a program left whose updates nothing runs: in saver/ and events/, and the same graph as two MetaGraphs."""
    folder = tmp_path_factory.mktemp("left")
    built = network(**BOTH, updates="collected")
    with session_of(built.graph) as session:
        initialize(session, built)
        for step in (9, 10):
            run(session, built.train, built.feed)
            tf.train.Saver(tf.global_variables()).save(session, str(folder / "saver" / "model"), global_step=step)
        with tf.summary.FileWriter(str(folder / "events"), built.graph):
            pass
        builder = tf.saved_model.Builder(str(folder / "served"))
        builder.add_meta_graph_and_variables(session, [tf.saved_model.SERVING])
        builder.add_meta_graph([tf.saved_model.TRAINING])
        builder.save()
    return folder


def found(capfd, *arguments):
    """What was reported: each path's subject, and the rules of its errors."""
    process = in_process(capfd, "audit_graph.py", *arguments, "--format", "json")
    assert (process.returncode, process.stderr) == (1, "")
    reports = json.loads(process.stdout)
    reports = reports if isinstance(reports, list) else [reports]
    return [{one["rule"] for one in report["findings"] if one["severity"] == "error"} for report in reports]


@pytest.mark.parametrize("name", ["saver", "saver/checkpoint", "saver/model", "saver/model-10", "saver/model-9.index"])
def test_a_savers_checkpoint_is_found_with_its_graph(left, capfd, name):
    assert found(capfd, left / name) == [{NEVER_RUN, UNTOUCHED}]


def test_the_latest_checkpoint_is_the_one_that_is_named(left, capfd):
    """By text, where the first words of the last line are the subject."""
    lines = in_process(capfd, "audit_graph.py", left / "saver").stdout.splitlines()
    assert lines[-1].startswith(f"{left / 'saver' / 'model-10'}: ")


def test_event_files_have_a_graph(left, capfd):
    (file,) = (left / "events").iterdir()
    assert found(capfd, left / "events", file) == [{NEVER_RUN}, {NEVER_RUN}]


def test_of_a_saved_model_all_meta_graphs_are_audited(left, capfd):
    """Each holds the same layer, which is reported once."""
    process = in_process(capfd, "audit_graph.py", left / "served", "--format", "json")
    report = json.loads(process.stdout)
    assert [one["name"] for one in report["layers"]] == ["bn"]
    assert {UNTOUCHED, NEVER_RUN} <= {one["rule"] for one in report["findings"]}


def test_our_own_checkpoints_are_found(tmp_path, capfd):
    quick = ["--edition", "page", "--updates", "collected", "--steps", "2", "--hidden-size", "4", "--quiet"]
    process = in_process(capfd, "run_tutorial.py", *quick, "--checkpoint-dir", tmp_path / "run")
    assert process.returncode == 0, process.stderr
    assert found(capfd, tmp_path / "run", tmp_path / "run" / "step-2") == 2 * [{UNTOUCHED}]


def without_tensorflow(folder, *arguments):
    """The command where TensorFlow cannot be imported."""
    (folder / "tensorflow").mkdir()
    (folder / "tensorflow" / "__init__.py").write_text("print('imported'); raise SystemExit(7)")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    script = ROOT / "scripts" / "audit_graph.py"
    return run_process(sys.executable, script, *arguments, env={**os.environ, "PYTHONPATH": path})


def test_a_path_that_is_not_there_is_refused_before_tensorflow_is_imported(left, tmp_path):
    process = without_tensorflow(tmp_path, left / "saver" / "weights")
    names = ", ".join(str(left / "saver" / name) for name in ("checkpoint", "model-10", "model-10.meta"))
    assert process.stderr.startswith(f"audit_graph.py: {left}/saver/weights: there is no such file; there is {names}, ")
    assert (process.returncode, process.stdout) == (2, "")


def test_a_prefix_without_its_step_is_not_refused(left, tmp_path):
    process = without_tensorflow(tmp_path, left / "saver" / "model")
    assert (process.returncode, process.stdout) == (7, "imported\n")
