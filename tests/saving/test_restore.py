"""What TF 0.12 saved is restored."""

import json

import numpy as np
import pytest

from bn_graph import InputError, build_graph, recording, restore_original_checkpoint
from bn_graph.tf1 import tf
from tests.formats.checkpoint_files import CHECKPOINT
from tests.helpers import in_process, recorded_config, run_tutorial
from tests.paths import PACKAGED, REFERENCE

EDITIONS = ["page", "page_control_dependencies", "script", "notebook"]


def restored(tutorial, path):
    """A session with `path` restored, and what restoring returned."""
    session = tf.Session(graph=tutorial.graph)
    session.run(tutorial.init_op)
    return session, restore_original_checkpoint(tutorial, session, path)


def save(tutorial, path, names, version=tf.train.SaverDef.V2):
    """A checkpoint of these variables, as they are initialised."""
    with tutorial.graph.as_default(), tf.Session() as session:
        session.run(tutorial.init_op)
        variables = {name: tutorial.variables[name] for name in names}
        return tf.train.Saver(variables, write_version=version).save(session, str(path), write_meta_graph=False)


@pytest.mark.parametrize("is_training", ["bool", "placeholder"])
def test_the_recorded_checkpoint_gives_the_recorded_logits_and_test_accuracy(original, outputs, is_training):
    tutorial = build_graph(recorded_config("notebook", is_training=is_training), original)
    session, missing = restored(tutorial, CHECKPOINT)
    with session:
        valid = session.run(tutorial.valid_logits, tutorial.valid_feed)[:100]
        test, accuracy = session.run([tutorial.test_logits, tutorial.test_accuracy], tutorial.test_feed)
        values = session.run(tutorial.variables)
    np.testing.assert_allclose(valid, outputs["valid_logits_100"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(test[:100], outputs["test_logits_100"], rtol=0, atol=1e-4)
    assert accuracy == pytest.approx(recording("notebook")["test_accuracy"], abs=1e-6)
    for key in set(outputs.files) - {"valid_logits_100", "test_logits_100"}:
        np.testing.assert_array_equal(values[key.replace(".", "/")], outputs[key])
    # Adam was not saved: all of it is named and stays as it was initialised.
    assert missing == [name for name in values if "Adam" in name or name.startswith("beta")]
    assert all((values[name] == 0).all() for name in missing if "Adam" in name)
    assert values["Variable"] == 1000


@pytest.mark.parametrize("name", EDITIONS)
def test_it_is_restored_by_name_into_a_graph_of_any_edition(original, outputs, name):
    session, _ = restored(build_graph(recorded_config(name), original), CHECKPOINT)
    with session:
        values = session.run({v.op.name: v for v in session.graph.get_collection("variables")})
    np.testing.assert_array_equal(values["hidden_layer/moving_mean"], outputs["hidden_layer.moving_mean"])


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_both_formats_of_tf_0_12_are_restored_with_adam(original, version):
    tutorial = build_graph(recorded_config("notebook", hidden_size=16), original)
    session, missing = restored(tutorial, REFERENCE / "checkpoint" / f"hidden16_{version}.ckpt")
    state = np.load(PACKAGED / "state" / "notebook_hidden16_step0050_after.npz")
    with session:
        values = session.run(tutorial.variables)
    assert missing == []
    for name, value in values.items():
        np.testing.assert_array_equal(value, state[name.replace("/", ".")])


def test_the_command_tests_a_checkpoint_without_training_it(tmp_path):
    options = ["--edition", "notebook", "--split", "original", "--steps", "0"]
    process = run_tutorial(*options, "--restore", CHECKPOINT, "--record", tmp_path / "record.json")
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-3:] == ["Initialized", "Finished training", "Test accuracy: 97.16%"]
    assert process.stderr.splitlines() == [
        f"{CHECKPOINT}: beta1_power and 17 others start afresh: not in the checkpoint",
        f"{CHECKPOINT}: the split is original: with another one, rows that it was trained on are among the test rows",
    ]
    assert json.loads((tmp_path / "record.json").read_text())["restored"] == str(CHECKPOINT)


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (["--edition", "page"], ["gamma was trained and is not used here: --scale uses it"]),
        (["--edition", "page", "--scale"], []),
        (["--edition", "notebook", "--no-center"], ["beta was trained and is not used here: --center uses it"]),
    ],
)
def test_the_command_warns_of_a_trained_parameter_that_it_does_not_use(capfd, options, warned):
    process = in_process(capfd, "run_tutorial.py", *options, "--steps", "0", "--restore", CHECKPOINT)
    assert process.returncode == 0, process.stderr
    said = [line.removeprefix(f"{CHECKPOINT}: ") for line in process.stderr.splitlines()]
    assert [line for line in said if "was trained and" in line] == warned
    assert said[-1].startswith("the split is stratified: ")


def test_a_gamma_that_no_training_has_moved_is_no_warning(original, tmp_path, capfd):
    small = build_graph(recorded_config("page", hidden_size=16), original)
    path = save(small, tmp_path / "page.ckpt", list(small.model_variables))
    options = ["--hidden-size", "16", "--steps", "0", "--restore", path]
    process = in_process(capfd, "run_tutorial.py", *options)
    assert process.returncode == 0 and "was trained and" not in process.stderr


def test_training_goes_on_from_a_checkpoint(capfd):
    options = ["--edition", "notebook", "--split", "original", "--steps", "51"]
    process = in_process(capfd, "run_tutorial.py", *options, "--restore", CHECKPOINT)
    lines = [line for line in process.stdout.splitlines() if "Epoch" in line]
    loss = float(lines[0].split("Loss: ")[1].split()[0])
    assert loss < 0.6  # 2.5 where nothing was restored
    assert lines[0].endswith("Learning rate: 0.000903")  # step 1001's: the global step was restored too


def test_a_missing_or_misshapen_variable_is_refused_by_name_and_nothing_is_restored(original, tmp_path):
    small = build_graph(recorded_config("notebook", hidden_size=16), original)
    large = build_graph(recorded_config("notebook", hidden_size=8), original)
    model = list(small.model_variables)
    cases = {
        "has no output_layer/moving_mean, output_layer/moving_variance": (small, model[:-2]),
        r"hidden_layer/weights: expected float32 \[784, 16\], found float32 \[784, 8\]": (large, model),
    }
    for said, (saved, names) in cases.items():
        path = save(saved, tmp_path / "other.ckpt", names)
        with tf.Session(graph=small.graph) as session:
            session.run(small.init_op)
            before = session.run(small.variables)
            with pytest.raises(InputError, match=f"other.ckpt: {said}"):
                restore_original_checkpoint(small, session, path)
            for name, value in session.run(small.variables).items():
                np.testing.assert_array_equal(value, before[name])
