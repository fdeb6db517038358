"""The way out of TensorFlow 1: a checkpoint of the tutorial's network as a SavedModel and as a Keras file.

Only a folder that an earlier export has made is replaced. It is known by a file in it, assets.extra/bn_graph.json.
"""

import json
import os
from pathlib import Path

from bn_graph.config import NUM_CLASSES, NUM_FEATURES, TutorialConfig
from bn_graph.errors import InputError
from bn_graph.files import check_utf8, make_folder, sync, sync_tree, temporary_beside
from bn_graph.graph import create_variables, model
from bn_graph.record import versions
from bn_graph.saving.restore import read_checkpoint, restore
from bn_graph.tf1 import tf

KERAS_FILE = "model.keras"
_MARK = Path("assets.extra", "bn_graph.json")  # TensorFlow leaves this folder of a SavedModel to its writer
_VARIABLES = ("variables/variables.index", "variables/variables.data-00000-of-00001")
_FILES = {KERAS_FILE, str(_MARK), "saved_model.pb", "fingerprint.pb", *_VARIABLES}  # all that an export may consist of


_FOLDERS = {"assets", "assets.extra", "variables"}


def export_model(checkpoint: str | os.PathLike, folder: str | os.PathLike, force: bool = False) -> None:
    """Writes what `tf.train.Saver` saved of the tutorial's network for TensorFlow 2 and Keras 3 to use.

    `folder` becomes a SavedModel with the signature serving_default, for `tf.saved_model.load`, TensorFlow Serving and
    `saved_model_cli`. In it is model.keras, the same network of built-in Keras layers. Both take pixels 0 to 255,
    float32 [rows, 784]. Both return the logits after the last ReLU, float32 [rows, 10], as the graph has them. Moving
    averages are used as they were saved.

    A checkpoint does not say whether batch_norm was called with center and scale. It need not: a beta that was never
    used is still 0, and a gamma still 1.

    A folder that holds an earlier export and nothing else is replaced. With `force`, the files are put into one that
    holds other things, and replace those of their names; nothing else in it is touched.

    Raises `InputError` where the checkpoint is not one of the tutorial's, or `folder` holds what we did not write;
    nothing is written then.
    """
    _check_export_folder(folder, force)
    weights = read_checkpoint(checkpoint).get("hidden_layer/weights")
    if weights is None or weights.ndim != 2:
        raise InputError(f"{checkpoint}: has no hidden_layer/weights [{NUM_FEATURES}, units]")
    target = Path(os.path.realpath(folder))  # where it is a link, what it leads to
    try:
        make_folder(target.parent)
        with temporary_beside(target) as temporary:
            whole, earlier = temporary / "model", temporary / "earlier"
            variables = _save_saved_model(checkpoint, weights.shape[1], whole)
            _save_keras(variables, whole / KERAS_FILE)
            (whole / _MARK).parent.mkdir()
            (whole / _MARK).write_text(json.dumps({"checkpoint": str(checkpoint), "versions": versions()}, indent=1))
            sync_tree(whole)
            if _written_by_us(target):
                target.rename(earlier)
                if not _written_by_us(earlier):
                    earlier.rename(target)
                    raise InputError(f"{folder}: somebody has put something into it in the meantime")
            if target.exists():
                _move_files(whole, Path(folder))
            else:
                whole.rename(target)
            sync(target.parent)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None


def _check_export_folder(folder, force):
    """Raises `InputError` where `folder` is there and is no folder, or is neither empty nor an earlier export."""
    folder = Path(folder)
    check_utf8(folder)
    try:
        os.stat(folder)
        if not folder.is_dir():
            raise InputError(
                f"{folder}: expected a folder, found a {'file' if folder.is_file() else 'pipe or a device'}"
            )
        if not force and any(folder.iterdir()) and not _written_by_us(folder):
            raise InputError(f"{folder}: has things in it that bn_graph did not write; name another folder, or --force")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None


def _written_by_us(folder):
    """Whether the folder holds an earlier export and nothing else."""
    if not (folder / _MARK).is_file():
        return False
    parts = list(folder.rglob("*"))
    names = {str(part.relative_to(folder)): part for part in parts}
    folders = {name for name, part in names.items() if part.is_dir()}
    # We make no links: one is somebody else's, whatever it is called.
    return not any(part.is_symlink() for part in parts) and folders <= _FOLDERS and names.keys() - folders <= _FILES


def _move_files(whole, folder):
    """Moves the files of the folder `whole` to their places in `folder`, the mark last."""
    files = sorted((file.relative_to(whole) for file in whole.rglob("*") if file.is_file()), key=lambda f: f == _MARK)
    for file in files:
        for parent in (folder / part for part in file.parents[:-1]):
            if os.path.lexists(parent) and (parent.is_symlink() or not parent.is_dir()):  # a link would lead out of it
                raise InputError(f"{parent}: expected a folder; the export puts {file.name} there")
        if (folder / file).is_dir():
            raise InputError(f"{folder / file}: expected a file, found a folder")
    for file in files:
        make_folder((folder / file).parent)
        (whole / file).replace(folder / file)
        sync((folder / file).parent)


def _save_saved_model(checkpoint, hidden_size, folder):
    """Writes the SavedModel to `folder` and returns the variables' values by name."""
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
    """Writes the network of Keras layers to `path`, with the values `variables` by name."""
    import keras  # here: importing it takes seconds, which a checkpoint that is refused can spare

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
