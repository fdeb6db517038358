"""The same network without batch norm: its arithmetic, its engines, what it saves, and what it refuses."""

import dataclasses
import json

import numpy as np
import pytest

from bn_graph import (
    NOTEBOOK,
    PAGE,
    SCRIPT,
    InputError,
    TrainingRecord,
    build_graph,
    export_model,
    initialize,
    restore_original_checkpoint,
    train,
)
from bn_graph.config import IS_TRAINING
from bn_graph.tf1 import tf
from tests.formats.checkpoint_files import CHECKPOINT
from tests.helpers import in_process, run

SMALL = {"seed": 7, "hidden_size": 32, "steps": 30, "eval_every": 10, "print_every": 10}


def plain(edition=PAGE, **changes):
    return dataclasses.replace(edition, batch_norm=False, **{**SMALL, **changes})


def measured(config, splits, engine="session"):
    record = train(build_graph(config, splits), splits, engine=engine)
    return {name: getattr(record, name) for name in ("train_loss", "train_accuracy", "valid_accuracy", "test_accuracy")}


def test_a_layer_is_the_matrix_product_the_bias_and_the_relu(splits):
    tutorial = build_graph(plain(keep_prob=1.0), splits)
    X, y = splits.train_X[:64], splits.train_y[:64]
    with tf.Session(graph=tutorial.graph) as session:
        session.run(tutorial.init_op)
        values = session.run(tutorial.variables)
        logits = session.run(tutorial.train_logits, tutorial.train_feed(X, y))
    assert {name.split("/")[1] for name in tutorial.model_variables} == {"weights", "biases"}
    expected = X
    for scope in ("hidden_layer", "output_layer"):
        expected = np.maximum(expected @ values[f"{scope}/weights"] + values[f"{scope}/biases"], 0)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("edition", [PAGE, SCRIPT, NOTEBOOK])
def test_it_starts_from_the_weights_and_draws_the_masks_of_the_edition_with_batch_norm(splits, edition):
    found = []
    for config in (plain(edition), dataclasses.replace(edition, **SMALL)):
        tutorial = build_graph(config, splits)
        (draw,) = (op for op in tutorial.graph.get_operations() if op.name == "dropout/random_uniform/RandomUniform")
        with tf.Session(graph=tutorial.graph) as session:
            session.run(tutorial.init_op)
            weights = session.run(tutorial.variables["hidden_layer/weights"])
        found.append((draw.get_attr("seed"), draw.get_attr("seed2"), weights))
    np.testing.assert_array_equal(found[0][2], found[1][2])
    assert found[0][:2] == found[1][:2]


def test_all_engines_and_both_kinds_of_is_training_agree(splits):
    first = measured(plain(), splits)
    for is_training in IS_TRAINING:
        for engine in ("session", "in_graph"):
            assert measured(plain(is_training=is_training), splits, engine) == first
    # XLA sums in another order, see bn_graph.engines.compiled.
    losses = measured(plain(steps=5), splits, "compiled")["train_loss"]
    np.testing.assert_allclose(losses, first["train_loss"][:5], rtol=1e-3)


@pytest.mark.parametrize(
    ("edition", "changes", "said"),
    [
        (PAGE, {"updates": "collected"}, "updates must be control_dependencies where batch_norm is False"),
        (NOTEBOOK, {"scale": False}, "scale must be True where batch_norm is False, found False: it has no effect"),
        (PAGE, {"center": False}, "center must be True where"),
        (SCRIPT, {"decay": 0.5}, "decay must be 0.9 where"),
    ],
)
def test_a_setting_of_batch_norm_without_batch_norm_is_refused(edition, changes, said):
    with pytest.raises(InputError, match=said):
        plain(edition, **changes)


def test_a_record_says_so_and_one_of_before_the_switch_has_batch_norm(splits):
    record = train(build_graph(plain(steps=1), splits), splits)
    assert TrainingRecord.from_json(record.to_json()).config.batch_norm is False
    assert "without batch norm" in repr(record)
    older = train(build_graph(dataclasses.replace(PAGE, **SMALL | {"steps": 1}), splits), splits).to_object()
    del older["batch_norm"]
    assert TrainingRecord.from_object(older).config.batch_norm is True


def test_a_checkpoint_with_batch_norm_is_refused_without_it_and_the_other_way_round(original, tmp_path):
    without = build_graph(plain(hidden_size=1024), original)
    with tf.Session(graph=without.graph) as session, pytest.raises(InputError, match="so it needs batch norm"):
        restore_original_checkpoint(without, session, CHECKPOINT)
    with without.graph.as_default(), tf.Session() as session:
        session.run(without.init_op)
        path = tf.train.Saver().save(session, str(tmp_path / "plain.ckpt"), write_meta_graph=False)
    with_it = build_graph(dataclasses.replace(PAGE, seed=1), original)
    with tf.Session(graph=with_it.graph) as session, pytest.raises(InputError, match="has no hidden_layer/beta"):
        restore_original_checkpoint(with_it, session, path)
    with pytest.raises(InputError, match="plain.ckpt: has no hidden_layer/beta"):
        export_model(path, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_initialize_creates_nothing_for_batch_norm_where_there_is_none():
    with tf.Graph().as_default():
        initialize("layer", [3, 2], tf.zeros_initializer(), batch_norm=False)
        assert [variable.op.name for variable in tf.global_variables()] == ["layer/weights", "layer/biases"]


def test_the_command_trains_saves_logs_plots_resumes_and_restores(capfd, tmp_path):
    options = ["--no-batch-norm", "--seed", "1", "--hidden-size", "8", "--eval-every", "10", "--print-every", "10"]
    files = {name: tmp_path / name for name in ("whole.json", "resumed.json", "plot.png", "logs", "run")}

    def ends_well(*arguments):
        process = in_process(capfd, "run_tutorial.py", *options, *arguments)
        assert process.returncode == 0, process.stderr
        return process

    outputs = ["--record", files["whole.json"], "--plot", files["plot.png"], "--logdir", files["logs"]]
    ends_well("--steps", "40", *outputs)
    whole = json.loads(files["whole.json"].read_text())
    assert whole["batch_norm"] is False and files["plot.png"].exists() and list(files["logs"].iterdir())
    resumed = ["--steps", "40", "--checkpoint-dir", files["run"], "--checkpoint-every", "20"]
    ends_well(*resumed)
    (files["run"] / "step-40" / "state.json").unlink()  # now step-20 is the newest whole one
    ends_well(*resumed, "--record", files["resumed.json"])
    assert json.loads(files["resumed.json"].read_text())["train_loss"] == whole["train_loss"]
    process = ends_well("--steps", "0", "--restore", files["run"] / "step-40" / "variables")
    assert process.stdout.splitlines()[-1] == f"Test accuracy: {100 * whole['test_accuracy']:4f}%"
    process = in_process(capfd, "run_tutorial.py", *options[1:], *resumed)
    assert process.returncode == 2 and "batch_norm is False there and True here" in process.stderr


def test_a_cluster_trains_it(tmp_path):
    from tests.paths import ROOT

    command = ["python", ROOT / "scripts" / "run_cluster.py", "--no-batch-norm", "--steps", "20", "--hidden-size", "8"]
    process = run(*command, "--sync", "--record", tmp_path / "record.json")
    assert process.returncode == 0, process.stderr
    record = TrainingRecord.load(tmp_path / "record.json")
    assert record.config.batch_norm is False and record.num_steps == 20
