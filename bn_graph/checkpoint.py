"""Checkpoints: what TF 0.12's Saver wrote, restored by name."""

import numpy as np

from bn_graph.config import InputError
from bn_graph.tf1 import tf


def read_checkpoint(path):
    """Name to array of every variable in the checkpoint `path`: a V1 file, or the prefix of V2 files.

    Raises `InputError` where there is none or it cannot be read.
    """
    try:
        reader = tf.train.NewCheckpointReader(str(path))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except Exception as error:  # TensorFlow reports broken bytes by half a dozen kinds
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a checkpoint that can be read ({said})") from None


def restore_original_checkpoint(tutorial, session, path):
    """Gives the variables of a `TutorialGraph` the values that `tf.train.Saver` of TF 0.12 saved, by name.

    The checkpoint may come from any edition. Weights, biases, beta, gamma and moving statistics are required; the
    global step and Adam's variables are optional, and what is not there stays as it was initialised.

    Args:
        tutorial: `TutorialGraph`.
        session: a `tf.Session` of its graph, with the variables initialised.
        path: a V1 file, or the prefix of V2 files (the part before .index).

    Returns: the names of the variables that are not in the checkpoint.

    Raises `InputError` where the checkpoint cannot be read, or a variable is missing or has another shape or type, with
    the names. Nothing is restored then.
    """
    return restore(session, path, tutorial.variables, tutorial.model_variables)


def restore(session, path, variables, required):
    """Gives `variables`, name to variable, the values of the checkpoint `path`; see `restore_original_checkpoint`."""
    saved = read_checkpoint(path)
    missing = [name for name in variables if name not in saved]
    required = [name for name in missing if name in required]
    if required:
        raise InputError(f"{path}: has no {', '.join(required)}")
    for name, variable in variables.items():
        if name in missing:
            continue
        shape, dtype = tuple(variable.shape), variable.dtype.base_dtype.as_numpy_dtype
        if saved[name].shape != shape or saved[name].dtype != dtype:
            raise InputError(
                f"{path}: {name}: expected {np.dtype(dtype)} {list(shape)}, "
                f"found {saved[name].dtype} {list(saved[name].shape)}"
            )
    for name, variable in variables.items():
        if name not in missing:
            # Through the op that initialises it, so that restoring adds nothing to the graph.
            session.run(variable.initializer, {variable.initializer.inputs[1]: saved[name]})
    return missing
