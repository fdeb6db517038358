"""What is read and what is written: checkpoints of all kinds, frozen graphs, the tutorial's network, the command."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from bn_graph import InputError, recalibrate
from bn_graph.formats.tf_checkpoint import Checkpoint
from bn_graph.recalibration import writing
from bn_graph.saving.restore import read_checkpoint
from bn_graph.tf1 import tf
from tests.audit.networks import UNITS, network, new_graph
from tests.audit.pieces import collected, dense, inputs, minimize, norm
from tests.helpers import in_process, run, run_tutorial
from tests.paths import REFERENCE, ROOT
from tests.recalibration.checkpoints import (
    BATCH,
    ROWS,
    assert_only_changed,
    assert_statistics,
    batches,
    data,
    moments,
    save,
)

pytestmark = pytest.mark.release

STATISTICS = ("bn/pop_mean", "bn/pop_var")  # of `hand`
SUFFIXES = (".data-00000-of-00001", ".index", ".meta")


@pytest.fixture
def saved(tmp_path):
    return save(network("hand", batch=None).graph, tmp_path)


def expected_of(saved):
    return moments([x @ saved.values["w"] for x in batches(data())], corrected=False)


def write_rows(folder):
    path = folder / "rows.npz"
    np.savez(path, X=data())
    return path


# What is read.


@pytest.mark.parametrize("missing", ["pop_mean", "pop_"])
def test_statistics_that_a_checkpoint_lacks_are_added(missing, tmp_path):
    saved = save(network("hand").graph, tmp_path, leave_out=missing)
    report, values = saved.recalibrate(data={"X": data()}, batch_size=BATCH)
    assert_only_changed(saved.values, values, STATISTICS)
    assert_statistics(values, STATISTICS, expected_of(saved))
    assert values["bn/pop_mean"].dtype == np.float32 and values["bn/pop_mean"].shape == (UNITS,)
    assert report.layers[0].mean_change is None and "it had no moving mean" in str(report)


def test_a_v1_checkpoint_is_read_and_what_is_written_every_saver_reads(tmp_path):
    graph = network("hand").graph
    saved = save(graph, tmp_path, write_version=tf.train.SaverDef.V1)
    assert Path(saved.prefix).is_file()
    _, values = saved.recalibrate(data={"X": data()}, batch_size=BATCH)
    assert_only_changed(saved.values, values, STATISTICS)
    assert_statistics(values, STATISTICS, expected_of(saved))
    with graph.as_default(), tf.Session() as session:
        tf.train.Saver().restore(session, str(tmp_path / "new.ckpt"))
        (restored,) = session.run(tf.global_variables("bn/pop_var"))
        np.testing.assert_array_equal(restored, values["bn/pop_var"])


def test_strings_and_counters_are_copied(tmp_path):
    graph = network("hand").graph
    with graph.as_default():
        tf.get_variable("vocabulary", initializer=[b"a", b"\xff\x00b"], trainable=False)
        tf.get_variable("steps", initializer=np.int64(2**40), trainable=False)
        tf.get_variable("shape_of_zero", [0, 3], trainable=False)
    save(graph, tmp_path)
    recalibrate(tmp_path / "model.ckpt", tmp_path / "new.ckpt", data={"X": data()}, batch_size=BATCH)
    old, new = (tf.train.load_checkpoint(str(tmp_path / name)) for name in ("model.ckpt", "new.ckpt"))
    assert old.get_variable_to_shape_map() == new.get_variable_to_shape_map()
    for name in ("vocabulary", "steps", "shape_of_zero"):
        np.testing.assert_array_equal(new.get_tensor(name), old.get_tensor(name))
    assert list(new.get_tensor("vocabulary")) == [b"a", b"\xff\x00b"]


def test_a_folder_and_a_prefix_without_its_step_stand_for_the_latest_checkpoint(saved, tmp_path):
    (tmp_path / "run").mkdir()
    for suffix in SUFFIXES:
        shutil.move(f"{saved.prefix}{suffix}", tmp_path / "run" / f"model.ckpt-500{suffix}")
    for number, named in enumerate(("run", "run/model.ckpt", "run/model.ckpt-500.index")):
        output = tmp_path / f"new-{number}.ckpt"
        report = recalibrate(tmp_path / named, output, data={"X": data()}, batch_size=BATCH)
        assert report.checkpoint == str(tmp_path / "run" / "model.ckpt-500")
        assert_statistics(read_checkpoint(output), STATISTICS, expected_of(saved))


def test_the_graph_may_lie_elsewhere_and_is_copied_beside_the_new_checkpoint(saved, tmp_path):
    meta_graph = Path(f"{saved.prefix}.meta").rename(tmp_path / "graph.meta")
    with pytest.raises(InputError, match="has no .meta beside it; name the graph that trained it: --graph FILE.meta"):
        saved.recalibrate(data={"X": data()})
    _, values = saved.recalibrate(graph=meta_graph, data={"X": data()}, batch_size=BATCH)
    assert_statistics(values, STATISTICS, expected_of(saved))
    assert (tmp_path / "new.ckpt.meta").read_bytes() == meta_graph.read_bytes()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("suffix", [".pb", ".pbtxt"])
def test_a_graph_that_was_frozen_with_batch_statistics_gets_constants(suffix, fused, tmp_path):
    with new_graph() as graph:
        X, _ = inputs(None)
        tf.identity(norm(dense(X), fused=fused, scale=True), name="outputs")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            weights = session.run(tf.global_variables("dense")[0])
            frozen = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["outputs"])
    path, output = tmp_path / f"frozen{suffix}", tmp_path / f"new{suffix}"
    tf.io.write_graph(frozen, str(tmp_path), path.name, as_text=suffix == ".pbtxt")
    before = path.read_bytes()
    recalibrate(path, output, data={"X": data()}, batch_size=BATCH)
    mean, variance = moments([x @ weights for x in batches(data())], corrected=fused)
    expected = (data()[:1] @ weights - mean) / np.sqrt(variance + 1e-3)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(_read_graph(output), name="")
        for rows in (1, ROWS):  # what a row becomes no longer depends on the others
            outputs = session.run("outputs:0", {"X:0": data()[:rows]})
            np.testing.assert_allclose(outputs[:1], expected, rtol=1e-4, atol=1e-4)
    assert path.read_bytes() == before


def _read_graph(path):
    from google.protobuf import text_format

    graph_def = tf.GraphDef()
    if path.suffix == ".pbtxt":
        text_format.Parse(path.read_text(), graph_def)
    else:
        graph_def.ParseFromString(path.read_bytes())
    return graph_def


# What cannot be estimated.


def with_a_layer_of_logarithms():
    """The second of two layers normalises what is not finite."""
    with new_graph() as graph:
        X, _ = inputs(None)
        first = norm(dense(X), scope="good", fused=False)
        second = norm(tf.log(-1 - tf.square(dense(X, scope="other"))), scope="bad", fused=False)
        minimize(tf.reduce_mean(first + second), collected())
    return graph


def test_a_layer_that_cannot_be_estimated_is_named_and_left_as_it_was_and_the_exit_code_is_1(capfd, tmp_path):
    saved = save(with_a_layer_of_logarithms(), tmp_path)
    process = in_process(
        capfd, "recalibrate.py", saved.prefix, tmp_path / "new.ckpt", "--data", write_rows(tmp_path), "--batch-size=16"
    )
    assert process.returncode == 1
    assert "bad: left as it was: its values are not finite\n" in process.stdout
    assert_only_changed(
        saved.values, read_checkpoint(tmp_path / "new.ckpt"), ["good/moving_mean", "good/moving_variance"]
    )


def test_where_no_layer_can_be_estimated_nothing_is_written(tmp_path):
    saved = save(network("hand", train=False).graph, tmp_path)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError, match="no layer can be estimated: bn: no use of it normalises by its batch"):
        saved.recalibrate(data={"X": data()}, batch_size=BATCH)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_batch_of_one_row_has_no_variance(saved):
    with pytest.raises(InputError, match="bn: a batch has one value of a channel, and so no variance"):
        saved.recalibrate(data={"X": data()}, batch_size=1)


# What is written.


def test_the_command_prints_what_changed_and_with_json_the_same_as_json(saved, capfd, tmp_path):
    options = [
        "--data",
        write_rows(tmp_path),
        "--batch-size",
        "16",
        "--batches",
        "2",
        "--estimate",
        "batch",
        "--seed",
        "7",
    ]
    process = in_process(capfd, "recalibrate.py", saved.prefix, tmp_path / "one", *options)
    assert process.returncode == 0
    first, second, third = process.stdout.splitlines()
    assert first == "2 batches of 16 rows, in the order of seed 7; estimate: batch"
    assert second.startswith("bn: 5 channels, the mean moved by up to ") and "standard error: of the mean" in third
    process = in_process(capfd, "recalibrate.py", saved.prefix, tmp_path / "two", *options, "--json")
    found = json.loads(process.stdout)
    assert process.returncode == 0
    assert (found["num_batches"], found["batch_size"], found["seed"], found["estimate"]) == (2, 16, 7, "batch")
    assert found["layers"][0]["variables"] == list(STATISTICS) and found["skipped"] == {}
    for suffix in SUFFIXES:
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
def test_what_has_the_name_of_the_new_checkpoint_is_not_replaced(suffix, saved, tmp_path):
    there = tmp_path / f"new.ckpt{suffix}"
    there.write_text("mine")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError, match=f"new.ckpt{suffix}: exists; name a new checkpoint"):
        saved.recalibrate(data={"X": data()}, batch_size=BATCH)
    assert there.read_text() == "mine" and sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("moment", ["saved", "data", "meta"])
def test_an_error_in_the_middle_of_writing_leaves_nothing(moment, saved, tmp_path, monkeypatch):
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    if moment == "saved":
        monkeypatch.setattr(writing, "sync_tree", full)
    else:
        rename = Path.rename
        monkeypatch.setattr(Path, "rename", lambda file, to: full() if moment in file.name else rename(file, to))
    with pytest.raises(InputError, match="new.ckpt: cannot be written: No space left on device"):
        saved.recalibrate(data={"X": data()}, batch_size=BATCH)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_kill_in_the_middle_of_writing_leaves_no_checkpoint_and_the_next_call_removes_what_was_left(saved, tmp_path):
    def half_saved(checkpoint, prefix, values):
        Path(f"{prefix}.index").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    before = set(os.listdir(tmp_path))
    pid = os.fork()
    if pid == 0:
        try:
            writing._save = half_saved
            writing.write_checkpoint(Checkpoint(saved.prefix), tmp_path / "new.ckpt", {})
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    (left,) = set(os.listdir(tmp_path)) - before
    assert not left.startswith("new.ckpt")
    _, values = saved.recalibrate(data={"X": data()}, batch_size=BATCH)
    assert_statistics(values, STATISTICS, expected_of(saved))
    assert set(os.listdir(tmp_path)) - before == {f"new.ckpt{suffix}" for suffix in SUFFIXES}


# The tutorial's network.


def test_a_run_of_the_page_as_printed_is_rescued(tmp_path):
    process = run_tutorial(
        "--edition", "page", "--updates", "collected", "--hidden-size", "32", "--steps", "300", "--seed", "1",
        "--checkpoint-dir", tmp_path / "run", "--checkpoint-every", "300", "--quiet",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    report = recalibrate(tmp_path / "run", tmp_path / "new.ckpt", batches=10)
    before, after = report.accuracies["test"]
    assert before < 0.85 and after > 0.9 and report.complete
    old, new = read_checkpoint(report.checkpoint), read_checkpoint(tmp_path / "new.ckpt")
    layers = ("hidden_layer", "output_layer")
    assert_only_changed(old, new, [f"{layer}/moving_{part}" for layer in layers for part in ("mean", "variance")])


@pytest.mark.parametrize("name", ["hidden16_v1.ckpt", "hidden16_v2.ckpt"])
def test_checkpoints_of_tensorflow_0_12_are_recalibrated_in_both_formats(name, tmp_path):
    report = recalibrate(REFERENCE / "checkpoint" / name, tmp_path / "new.ckpt", batches=5)
    assert {change.layer for change in report.layers} == {"hidden_layer", "output_layer"}
    before, after = report.accuracies["validation"]
    assert after > before - 0.05  # it was trained well


def test_the_script_refuses_what_is_not_there_before_it_imports_tensorflow(tmp_path):
    program = f"""
import runpy, sys
sys.argv = ["recalibrate.py", *sys.argv[1:]]
try:
    runpy.run_path({str(ROOT / "scripts" / "recalibrate.py")!r}, run_name="__main__")
finally:
    assert "tensorflow" not in sys.modules
"""
    for arguments in (["no.ckpt", "new"], [ROOT / "setup.py", "new", "--data", "no.npz"]):
        process = run(sys.executable, "-c", program, *arguments, cwd=tmp_path)
        assert process.returncode == 2 and process.stderr.count("\n") == 1
        assert process.stderr.startswith("recalibrate.py: no.")
