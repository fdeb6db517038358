"""The engine in_graph: the session loop's numbers, bit for bit, from many steps to one session.run."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from bn_graph import NOTEBOOK, PAGE, SCRIPT, InputError, TrainingRecord, build_graph, train
from bn_graph.config import IS_TRAINING, UPDATES
from bn_graph.tf1 import tf
from tests.helpers import in_process, run_python, run_tutorial
from tests.paths import ROOT

pytestmark = pytest.mark.release

MEASURES = ("train_loss", "train_accuracy", "valid_step", "valid_accuracy", "learning_rate", "test_accuracy")
QUICK = {"seed": 7, "hidden_size": 32, "steps": 60, "eval_every": 7, "print_every": 14}


def trained(engine, config, splits, **arguments):
    """The record of a run, and the values of its variables afterwards."""
    tutorial = build_graph(config, splits)
    with tf.Session(graph=tutorial.graph) as session:
        record = train(tutorial, splits, session, engine=engine, **arguments)
        assert record.engine == engine
        return record, session.run(tutorial.variables)


def assert_the_same(config, splits):
    """That both engines leave the same record and the same variables, bit for bit."""
    (one, values), (other, others) = (trained(engine, config, splits) for engine in ("session", "in_graph"))
    for name in MEASURES:
        assert getattr(one, name) == getattr(other, name), name
    assert values.keys() == others.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(others[name], value, err_msg=name)
    return other


@pytest.mark.parametrize("is_training", IS_TRAINING)
@pytest.mark.parametrize(("edition", "updates"), list(itertools.product((PAGE, SCRIPT, NOTEBOOK), UPDATES)))
def test_both_engines_give_the_same_numbers_bit_for_bit(splits, edition, updates, is_training):
    assert_the_same(dataclasses.replace(edition, updates=updates, is_training=is_training, **QUICK), splits)


@pytest.mark.parametrize(
    "changes",
    [
        {"eval_every": 1, "print_every": 1},
        {"eval_every": 1000, "print_every": 1000, "steps": 120},
        {"steps": 0},
        {"steps": 1},
        {"keep_prob": 1.0},
        {"batch_size": 1000},  # the offset starts again at the end of the set
        {"center": False},
    ],
)
def test_whatever_the_settings(splits, changes):
    assert_the_same(dataclasses.replace(NOTEBOOK, **QUICK | changes), splits)


def test_a_limit_of_steps_or_bytes_to_one_run_changes_nothing(monkeypatch, splits):
    config = dataclasses.replace(NOTEBOOK, **QUICK)
    whole = trained("in_graph", config, splits)[0].train_loss
    monkeypatch.setattr("bn_graph.engines.in_graph.MOST_STEPS", 4)
    assert trained("in_graph", config, splits)[0].train_loss == whole


def test_a_training_set_that_memory_does_not_hold_again_is_fed_batch_by_batch(monkeypatch, splits):
    config = dataclasses.replace(NOTEBOOK, **QUICK)
    monkeypatch.setattr("bn_graph.memory.free_memory", lambda: 1_000_000)
    monkeypatch.setattr("bn_graph.engines.graph_loop.MOST_BYTES", 3 * 64 * 784)
    fed = []
    pixels = type(splits.train_X).pixels
    monkeypatch.setattr(
        type(splits.train_X), "pixels", lambda self, index=slice(None): fed.append(index) or pixels(self, index)
    )
    assert_the_same(config, splits)
    most = max(len(index) for index in fed if isinstance(index, np.ndarray))
    assert most == 3 * 64


def test_images_that_are_no_bytes_are_trained_on_as_they_are(splits):
    scaled = splits._replace(
        **{
            f"{part}_X": np.asarray(getattr(splits, f"{part}_X")) / np.float32(255)
            for part in ("train", "valid", "test")
        }
    )
    assert_the_same(dataclasses.replace(NOTEBOOK, **QUICK), scaled)


def test_it_starts_from_what_the_variables_hold(splits):
    """As `--restore` needs it, which changes them when they are initialised."""
    config = dataclasses.replace(NOTEBOOK, **QUICK)

    def losses(engine):
        tutorial = build_graph(config, splits)
        with tutorial.graph.as_default():
            other_weights = tutorial.variables["hidden_layer/weights"].assign_add(tf.fill([784, 32], 0.001))
        return train(tutorial, splits, engine=engine, start=lambda session: session.run(other_weights)).train_loss

    assert losses("in_graph") == losses("session") != trained("session", config, splits)[0].train_loss


def test_it_prints_at_the_same_steps_and_says_how_far_it_is(splits):
    config = dataclasses.replace(NOTEBOOK, **QUICK)
    lines, seen = {}, {}
    for engine in ("session", "in_graph"):
        lines[engine], seen[engine] = [], []

        def progress(steps, seen=seen[engine]):
            for step in steps:
                yield step
                seen.append(step)

        trained(engine, config, splits, log=lines[engine].append, progress=progress)
    assert lines["in_graph"] == lines["session"] and len(lines["session"]) == 3 + len(range(0, 60, 14))
    assert seen["in_graph"] == seen["session"] == list(range(60))


def test_the_event_files_of_both_engines_hold_the_same(capfd, tmp_path):
    options = ["--steps", "101", "--hidden-size", "16", "--seed", "3", "--edition", "notebook"]
    values = {}
    for engine in ("session", "in_graph"):
        process = in_process(capfd, "run_tutorial.py", *options, "--engine", engine, "--logdir", tmp_path / engine)
        assert process.returncode == 0, process.stderr
        (path,) = (tmp_path / engine).iterdir()
        values[engine] = {
            (event.step, value.tag): value.SerializeToString(deterministic=True)
            for event in tf.train.summary_iterator(str(path))
            for value in event.summary.value
        }
    assert len(values["session"]) == 3 * 18
    assert values["session"] == values["in_graph"]


def test_steps_per_second_are_of_the_steps_after_the_warm_up(splits):
    """Though the steps before the first validation after it could be trained with the warm-up, in one run."""
    record, _ = trained("in_graph", dataclasses.replace(NOTEBOOK, **QUICK | {"steps": 350, "eval_every": 350,
                                                                             "print_every": 350}), splits)  # fmt: skip
    assert 300 / record.seconds < record.steps_per_second < 3000 / record.seconds


def test_another_engine_is_refused(splits):
    with pytest.raises(InputError, match="^engine must be session or in_graph or compiled, found 'eager'$"):
        train(build_graph(dataclasses.replace(PAGE, **QUICK), splits), splits, engine="eager")
    process = run_tutorial("--engine", "eager")
    assert process.returncode == 2 and process.stderr.count("\n") == 1 and "in_graph" in process.stderr


def test_a_record_of_before_there_were_two_engines_is_one_of_the_session(splits):
    record, _ = trained("session", dataclasses.replace(PAGE, **QUICK), splits)
    older = json.loads(record.to_json())
    del older["engine"]
    assert TrainingRecord.from_json(json.dumps(older)) == record


def test_a_whole_run_stays_below_a_gigabyte_and_a_quarter(tmp_path):
    """The import of TensorFlow alone takes about half of it."""
    peak = run_python(f"""
import resource, subprocess, sys
subprocess.run([sys.executable, {str(ROOT / "scripts" / "run_tutorial.py")!r}, "--engine", "in_graph", "--quiet",
                "--steps", "60"], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
""")
    assert int(peak) < 1.25e6  # KiB
