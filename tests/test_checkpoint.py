"""What TF 0.12 saved is restored, and goes out again as a SavedModel and a Keras file."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import PACKAGED, REFERENCE, ROOT, in_process, recorded_config, run, run_python, run_tutorial

from bn_graph import InputError, build_graph, export_model, recording, restore_original_checkpoint
from bn_graph.tf1 import tf

CHECKPOINT = REFERENCE / "checkpoint" / "notebook.ckpt"  # the notebook's 1000 steps, without Adam's variables
EDITIONS = ["page", "page_control_dependencies", "script", "notebook"]


@pytest.fixture(scope="module")
def outputs():
    return np.load(REFERENCE / "checkpoint" / "notebook_outputs.npz")


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
def test_it_is_restored_by_name_into_a_graph_of_any_edition(few, outputs, name):
    session, _ = restored(build_graph(recorded_config(name), few), CHECKPOINT)
    with session:
        values = session.run({v.op.name: v for v in session.graph.get_collection("variables")})
    np.testing.assert_array_equal(values["hidden_layer/moving_mean"], outputs["hidden_layer.moving_mean"])


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_both_formats_of_tf_0_12_are_restored_with_adam(few, version):
    tutorial = build_graph(recorded_config("notebook", hidden_size=16), few)
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
    (said,) = process.stderr.splitlines()
    assert said == f"{CHECKPOINT}: beta1_power and 17 others start afresh: not in the checkpoint"
    assert json.loads((tmp_path / "record.json").read_text())["restored"] == str(CHECKPOINT)


def test_training_goes_on_from_a_checkpoint(capfd):
    options = ["--edition", "notebook", "--split", "original", "--steps", "51"]
    process = in_process(capfd, "run_tutorial.py", *options, "--restore", CHECKPOINT)
    lines = [line for line in process.stdout.splitlines() if "Epoch" in line]
    loss = float(lines[0].split("Loss: ")[1].split()[0])
    assert loss < 0.6  # 2.5 where nothing was restored
    assert lines[0].endswith("Learning rate: 0.000903")  # step 1001's: the global step was restored too


def test_a_missing_or_misshapen_variable_is_refused_by_name_and_nothing_is_restored(few, tmp_path):
    small = build_graph(recorded_config("notebook", hidden_size=16), few)
    large = build_graph(recorded_config("notebook", hidden_size=8), few)
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


def test_what_is_no_checkpoint_gets_one_line(capfd, tmp_path):
    shutil.copy(f"{CHECKPOINT}.index", tmp_path / "alone.ckpt.index")
    shutil.copy(f"{CHECKPOINT}.index", tmp_path / "cut.ckpt.index")
    data = Path(f"{CHECKPOINT}.data-00000-of-00001").read_bytes()
    (tmp_path / "cut.ckpt.data-00000-of-00001").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    (tmp_path / "empty.ckpt").write_bytes(b"")
    for name in ("nowhere.ckpt", "alone.ckpt", "cut.ckpt", "text.ckpt", "empty.ckpt", "."):
        options = ["--is-training", "placeholder", "--steps", "0", "--restore", tmp_path / name]
        # One of them by a process of its own.
        process = run_tutorial(*options) if name == "cut.ckpt" else in_process(capfd, "run_tutorial.py", *options)
        assert process.returncode == 2, name
        assert process.stderr.count("\n") == 1 and "not a checkpoint that can be read" in process.stderr, name


# Out of TensorFlow 1.


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    process = run(sys.executable, ROOT / "scripts" / "export_model.py", CHECKPOINT, folder)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == f"SavedModel: {folder}\nKeras file: {folder}/model.keras\n"
    return folder


def test_the_saved_model_and_the_keras_file_give_the_recorded_logits(original, outputs, exported, tmp_path):
    """In a process that never imports bn_graph, as whoever receives the model has none."""
    np.save(tmp_path / "X.npy", np.concatenate([original.valid_X[:100], original.test_X[:100]]))
    run_python(f"""
import sys, numpy as np, tensorflow as tf, keras
X = np.load({str(tmp_path / "X.npy")!r})
serve = tf.saved_model.load({str(exported)!r}).signatures['serving_default']
network = keras.models.load_model({str(exported / "model.keras")!r})
assert {{type(layer).__module__.split('.')[0] for layer in network.layers}} == {{'keras'}}
for rows in (0, 1, 7, 200):
    by_tf, by_keras = serve(tf.constant(X[:rows]))['logits'].numpy(), network(X[:rows]).numpy()
    assert by_tf.shape == by_keras.shape == (rows, 10) and by_tf.dtype == np.float32
    np.testing.assert_allclose(by_tf, by_keras, rtol=0, atol=1e-4)
assert 'bn_graph' not in sys.modules
np.save({str(tmp_path / "logits.npy")!r}, by_tf)
""")
    recorded = np.concatenate([outputs["valid_logits_100"], outputs["test_logits_100"]])
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), recorded, rtol=0, atol=1e-4)


def test_saved_model_cli_serves_it(original, outputs, exported, tmp_path):
    np.save(tmp_path / "X.npy", original.valid_X[:3])
    cli = Path(sys.executable).with_name("saved_model_cli")
    command = [cli, "run", "--dir", exported, "--tag_set", "serve", "--signature_def", "serving_default"]
    process = run(*command, "--inputs", f"pixels={tmp_path / 'X.npy'}", "--outdir", tmp_path)
    assert process.returncode == 0, process.stderr
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), outputs["valid_logits_100"][:3], rtol=0, atol=1e-4)


def test_a_network_of_another_size_trained_without_beta_is_exported_as_its_graph_computes(original, tmp_path):
    config = recorded_config("script", hidden_size=8, center=False)
    tutorial = build_graph(config, original)
    with tutorial.graph.as_default(), tf.Session() as session:
        session.run(tutorial.init_op)
        for step in range(20):
            session.run(tutorial.train_op, tutorial.train_feed(*(a[step * 64 :][:64] for a in original[:2])))
        expected = session.run(tutorial.valid_logits, tutorial.valid_feed)[:50]
        checkpoint = tf.train.Saver().save(session, str(tmp_path / "small.ckpt"))
    export_model(checkpoint, tmp_path / "out" / "model")
    import keras

    found = keras.models.load_model(tmp_path / "out" / "model" / "model.keras")(original.valid_X[:50])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    export_model(checkpoint, tmp_path / "out" / "model")  # ours is replaced
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model"]


def test_an_export_that_cannot_be_made_gets_one_line_and_leaves_nothing(capfd, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "other.ckpt").write_text("not a checkpoint")
    for checkpoint, folder, said in (
        (CHECKPOINT, "theirs", "theirs: exists and was not written by bn_graph"),
        (CHECKPOINT, "file", "file: exists and was not written by bn_graph"),
        (CHECKPOINT, "file/model", "file/model: cannot be written"),
        (tmp_path / "other.ckpt", "model", "other.ckpt: not a checkpoint that can be read"),
        (tmp_path / "nowhere.ckpt", "model", "nowhere.ckpt: not a checkpoint that can be read"),
    ):
        if folder == "theirs":  # one of them by a process of its own
            process = run(sys.executable, ROOT / "scripts" / "export_model.py", checkpoint, tmp_path / folder)
        else:
            process = in_process(capfd, "export_model.py", checkpoint, tmp_path / folder)
        assert process.returncode == 2 and said in process.stderr and process.stderr.count("\n") == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other.ckpt", "theirs"]
    assert (tmp_path / "theirs" / "thesis.txt").read_text() == "mine"


# TensorBoard.


def test_event_files_show_the_layers_and_change_no_number(capfd, tmp_path):
    options = ["--steps", "101", "--hidden-size", "16", "--seed", "3", "--edition", "script"]
    plain, watched = tmp_path / "plain.json", tmp_path / "watched.json"
    in_process(capfd, "run_tutorial.py", *options, "--record", plain)
    process = run_tutorial(*options, "--record", watched, "--logdir", tmp_path / "new" / "logs")
    assert (process.returncode, process.stderr) == (0, "")
    one, other = json.loads(plain.read_text()), json.loads(watched.read_text())
    assert one["train_loss"] == other["train_loss"] and one["valid_accuracy"] == other["valid_accuracy"]

    (path,) = (tmp_path / "new" / "logs").iterdir()
    values, graph = {}, None
    for event in tf.train.summary_iterator(str(path)):
        graph = graph or event.graph_def
        for value in event.summary.value:
            values[event.step, value.tag] = value
    layer = ["pre_norm", "post_norm", "activation", "mean_batch", "variance_batch", "mean_moving", "variance_moving"]
    histograms = {f"{scope}/{name}" for scope in ("hidden_layer", "output_layer") for name in layer}
    scalars = {"train/loss", "train/accuracy", "valid/accuracy", "learning_rate"}
    assert set(values) == {(step, tag) for step in (0, 50, 100) for tag in histograms | scalars}
    np.testing.assert_allclose(values[50, "train/loss"].simple_value, other["train_loss"][50], rtol=1e-6)
    # After 50 steps with a decay of 0.9 the moving mean is about the batch's, and no longer its start, 0.
    moving, batch = values[50, "hidden_layer/mean_moving"].histo, values[50, "hidden_layer/mean_batch"].histo
    assert moving.num == batch.num == 16
    np.testing.assert_allclose([moving.min, moving.max], [batch.min, batch.max], rtol=0.3)
    assert values[100, "hidden_layer/activation"].histo.min == 0
    assert values[100, "hidden_layer/activation"].histo.num == 64 * 16
    assert b"hidden_layer" in graph and len(graph) < 1_000_000  # the digits are not in it


def test_a_logdir_that_cannot_be_written_gets_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    process = run_tutorial("--logdir", tmp_path / "file" / "logs")
    assert process.returncode == 2 and "cannot be written" in process.stderr and process.stderr.count("\n") == 1
