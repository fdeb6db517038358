"""The engine compiled: the masks and batches of 2016, in a loop that XLA compiles. Its last digits are its own."""

import dataclasses

import numpy as np
import pytest

from bn_graph import NOTEBOOK, PAGE, SCRIPT, InputError, build_graph, train
from bn_graph.comparison.one_step import one_step
from bn_graph.config import UPDATES
from bn_graph.engines import compiled
from bn_graph.saving.checkpoints import CheckpointFolder
from bn_graph.tf1 import tf
from tests.helpers import (
    RECORDED,
    assert_inside_envelopes,
    assert_recorded_accuracies,
    in_process,
    recorded_config,
)

QUICK = {"seed": 7, "hidden_size": 32, "steps": 60, "eval_every": 7, "print_every": 14}
CONFIG = dataclasses.replace(NOTEBOOK, **QUICK)


def trained(config, splits, engine="compiled", **arguments):
    """The record of a run, and the values of its variables afterwards."""
    tutorial = build_graph(config, splits)
    with tf.Session(graph=tutorial.graph) as session:
        record = train(tutorial, splits, session, engine=engine, **arguments)
        return record, session.run(tutorial.variables)


def assert_the_same_bits(one, other):
    assert one[0].train_loss == other[0].train_loss
    assert one[0].valid_accuracy == other[0].valid_accuracy
    for name, value in one[1].items():
        assert value.tobytes() == other[1][name].tobytes(), name


@pytest.fixture(scope="module")
def whole(splits):
    """A run of `CONFIG` that nobody stops."""
    return trained(CONFIG, splits)


# beside the recordings


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.release if name == "notebook" else ()) for name in RECORDED]
)
def test_a_thousand_steps_stay_inside_three_one_ulp_envelopes_of_the_recording(original, name):
    record, _ = trained(recorded_config(name), original)
    assert_inside_envelopes(name, record.train_loss)
    assert_recorded_accuracies(name, record.valid_step, record.valid_accuracy, record.test_accuracy)


@pytest.mark.parametrize(("name", "step"), [("page_control_dependencies", 50), ("notebook", 999)])
def test_one_step_from_a_recorded_state_is_the_recorded_step_within_rounding(original, name, step):
    tutorial = build_graph(recorded_config(name, hidden_size=16), original)
    ratios = one_step(tutorial, name, step, original, loop=compiled.Loop)
    assert {what: ratio for what, ratio in ratios.items() if not ratio <= 1} == {}


# beside the session loop


@pytest.mark.parametrize(("edition", "updates"), [*zip((PAGE, SCRIPT, NOTEBOOK), UPDATES, strict=True)])
def test_with_a_placeholder_too_it_trains_as_the_session_does_but_for_rounding(splits, edition, updates):
    changes = QUICK | {"steps": 8, "eval_every": 4, "print_every": 4}
    config = dataclasses.replace(edition, updates=updates, is_training="placeholder", **changes)
    (one, _), (other, _) = trained(config, splits, "session"), trained(config, splits)
    assert other.engine == "compiled" and other.valid_step == one.valid_step
    np.testing.assert_allclose(other.train_loss, one.train_loss, rtol=1e-4)


def test_the_masks_and_batches_are_those_of_the_session(splits):
    """Without training, the loss of each step depends on its mask and its batch alone."""
    config = dataclasses.replace(CONFIG, learning_rate=1e-30, keep_prob=0.3)
    (one, _), (other, _) = trained(config, splits, "session"), trained(config, splits)
    np.testing.assert_allclose(other.train_loss, one.train_loss, rtol=1e-5)
    assert np.ptp(one.train_loss) > 0.1  # so that another mask would be seen


# the same bits


@pytest.mark.parametrize("most_steps", [1, 3])
def test_how_many_steps_are_compiled_together_changes_no_bit(monkeypatch, whole, splits, most_steps):
    monkeypatch.setattr("bn_graph.engines.compiled.MOST_STEPS", most_steps)
    assert_the_same_bits(trained(CONFIG, splits), whole)


def test_a_training_set_that_memory_does_not_hold_again_is_fed_in_parts(monkeypatch, whole, splits):
    monkeypatch.setattr("bn_graph.memory.free_memory", lambda: 1_000_000)
    monkeypatch.setattr("bn_graph.engines.graph_loop.MOST_BYTES", 3 * 64 * 784)
    assert_the_same_bits(trained(CONFIG, splits), whole)


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(whole, splits, tmp_path):
    asked = []
    for stop in (lambda: asked.append(True) or len(asked) == 5, None):
        with CheckpointFolder(tmp_path / "run", 10) as checkpoints:
            found = trained(CONFIG, splits, checkpoints=checkpoints, stop=stop)
        if stop:
            assert 0 < found[0].num_steps < CONFIG.steps
    assert_the_same_bits(found, whole)


def test_another_engine_does_not_go_on_with_its_run(splits, tmp_path):
    with CheckpointFolder(tmp_path / "run", 10) as checkpoints:
        trained(CONFIG, splits, checkpoints=checkpoints)
    with CheckpointFolder(tmp_path / "run", 10) as checkpoints:
        with pytest.raises(InputError, match="engine is compiled there and session here"):
            trained(CONFIG, splits, "session", checkpoints=checkpoints)


# the command


def test_the_event_files_hold_what_those_of_the_session_hold(capfd, tmp_path):
    options = ["--steps", "51", "--hidden-size", "16", "--seed", "3", "--edition", "notebook", "--keep-prob", "1"]
    tags, losses = {}, {}
    for engine in ("session", "compiled"):
        process = in_process(capfd, "run_tutorial.py", *options, "--engine", engine, "--logdir", tmp_path / engine)
        assert process.returncode == 0, process.stderr
        (path,) = (tmp_path / engine).iterdir()
        events = list(tf.train.summary_iterator(str(path)))
        values = [(event.step, value) for event in events for value in event.summary.value]
        tags[engine] = {(step, value.tag) for step, value in values}
        losses[engine] = [value.simple_value for _, value in values if "loss" in value.tag]
    assert tags["compiled"] == tags["session"] and len(losses["session"]) == 2
    np.testing.assert_allclose(losses["compiled"], losses["session"], rtol=1e-3)


def test_where_xla_refuses_one_line_says_so(monkeypatch, capfd):
    def refuse(function):
        def call(*arguments):
            with tf.control_dependencies([tf.debugging.Assert(False, ["no such device"])]):
                return function(*arguments)

        return call

    monkeypatch.setattr("bn_graph.engines.compiled.compiled", refuse)
    process = in_process(capfd, "run_tutorial.py", "--engine", "compiled", "--steps", "2", "--hidden-size", "8")
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith("run_tutorial.py: engine compiled: XLA does not compile the training step here: ")
