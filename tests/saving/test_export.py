"""Out of TensorFlow 1: a checkpoint becomes a SavedModel and a Keras file."""

import sys
from pathlib import Path

import numpy as np
import pytest

from bn_graph import build_graph, export_model
from bn_graph.tf1 import tf
from tests.formats.checkpoint_files import CHECKPOINT
from tests.helpers import recorded_config, run, run_python
from tests.paths import ROOT


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
