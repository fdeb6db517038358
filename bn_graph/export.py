"""The way out of TensorFlow 1: a checkpoint of the tutorial's network as a SavedModel and as a Keras file."""

import json
import shutil
import tempfile
from pathlib import Path

from bn_graph.checkpoint import read_checkpoint, restore
from bn_graph.config import InputError, TutorialConfig
from bn_graph.graph import create_variables, model
from bn_graph.mnist import NUM_CLASSES, NUM_FEATURES
from bn_graph.record import versions
from bn_graph.tf1 import tf

KERAS_FILE = "model.keras"
_MARK = Path("assets.extra", "bn_graph.json")  # TensorFlow leaves this folder of a SavedModel to its writer


def export_model(checkpoint, folder):
    """Writes what `tf.train.Saver` saved of the tutorial's network for TensorFlow 2 and Keras 3 to use.

    `folder` becomes a SavedModel with the signature serving_default, for `tf.saved_model.load`, TensorFlow Serving and
    `saved_model_cli`, and has the same network of built-in Keras layers in it, model.keras. Both take float32
    [rows, 784], pixels 0 to 255, and return the logits after the last ReLU, float32 [rows, 10], as the graph has them.
    Moving averages are used as they were saved.

    A checkpoint does not say whether batch_norm was called with center and scale. It need not: a beta that was never
    used is still 0, and a gamma still 1.

    Raises `InputError` where the checkpoint is not one of the tutorial's, or `folder` is there and is not ours; nothing
    is written then.
    """
    folder = Path(folder)
    check_folder(folder)
    weights = read_checkpoint(checkpoint).get("hidden_layer/weights")
    if weights is None or weights.ndim != 2:
        raise InputError(f"{checkpoint}: has no hidden_layer/weights [{NUM_FEATURES}, units]")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            whole = Path(temporary, "model")
            variables = _save_saved_model(checkpoint, weights.shape[1], whole)
            _save_keras(variables, whole / KERAS_FILE)
            (whole / _MARK).parent.mkdir()
            (whole / _MARK).write_text(json.dumps({"checkpoint": str(checkpoint), "versions": versions()}, indent=1))
            if folder.exists():
                shutil.rmtree(folder)
            whole.rename(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None


def check_folder(folder):
    """Raises `InputError` where `folder` is there and is neither empty nor an earlier export."""
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / _MARK).is_file() or not any(folder.iterdir()))):
        raise InputError(f"{folder}: exists and was not written by bn_graph; name another folder")


def _save_saved_model(checkpoint, hidden_size, folder):
    """Writes the SavedModel and returns the variables' values by name."""
    config = TutorialConfig(hidden_size=hidden_size, center=True, scale=True)
    with tf.Graph().as_default(), tf.Session() as session:
        pixels = tf.placeholder(tf.float32, [None, NUM_FEATURES], name="pixels")
        create_variables(NUM_FEATURES, hidden_size, NUM_CLASSES)
        variables = {variable.op.name: variable for variable in tf.global_variables()}
        logits = model(pixels, config, False, 1.0, "test")["output_layer"].activation
        restore(session, checkpoint, variables, required=variables)
        tf.saved_model.simple_save(session, str(folder), {"pixels": pixels}, {"logits": logits})
        return session.run(variables)


def _save_keras(variables, path):
    import keras

    layers = [keras.Input((NUM_FEATURES,), name="pixels")]
    for scope, units in (("hidden_layer", len(variables["hidden_layer/biases"])), ("output_layer", NUM_CLASSES)):
        layers += [
            keras.layers.Dense(units, name=scope),
            keras.layers.BatchNormalization(momentum=0.9, epsilon=0.001, name=f"{scope}_norm"),
            keras.layers.ReLU(name=f"{scope}_relu"),
        ]
    network = keras.Sequential(layers)
    for scope in ("hidden_layer", "output_layer"):
        dense, norm = ("weights", "biases"), ("gamma", "beta", "moving_mean", "moving_variance")
        network.get_layer(scope).set_weights([variables[f"{scope}/{name}"] for name in dense])
        network.get_layer(f"{scope}_norm").set_weights([variables[f"{scope}/{name}"] for name in norm])
    network.save(path)
