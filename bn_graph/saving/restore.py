"""Gives the variables of a graph the values that a checkpoint of TensorFlow has, by name."""

import os

import numpy as np

from bn_graph.errors import InputError
from bn_graph.formats.tf_checkpoint import Checkpoint
from bn_graph.graph import TutorialGraph
from bn_graph.tf1 import tf


def read_checkpoint(path) -> dict:
    """Name to array of every variable of numbers in the checkpoint `path`, as `Checkpoint` takes it.

    Raises `InputError` where there is none or it cannot be read.
    """
    return Checkpoint(path).read_all()


def restore_original_checkpoint(tutorial: TutorialGraph, session: tf.Session, path: str | os.PathLike) -> list:
    """Gives the variables of a `TutorialGraph` the values that `tf.train.Saver` of TF 0.12 saved, by name.

    The checkpoint may come from any edition. Weights, biases, beta, gamma and moving statistics are required; the
    global step and Adam's variables are optional, and what is not there stays as it was initialised.

    Args:
        tutorial: `TutorialGraph`.
        session: a `tf.Session` of its graph, with the variables initialised.
        path: a V1 file, or the prefix of V2 files (the part before .index).

    Returns: the names of the variables that are not in the checkpoint.

    Raises `InputError` where the checkpoint cannot be read, or a variable is missing or has another shape or type, with
    the names; and where it has batch norm and the graph has none. Nothing is restored then.
    """
    if not tutorial.config.batch_norm and "hidden_layer/moving_mean" in Checkpoint(path).variables:
        raise InputError(f"{path}: has hidden_layer/moving_mean, so it needs batch norm; batch_norm is False")
    return restore(session, path, tutorial.variables, tutorial.model_variables)


def unused_parameters(tutorial, session) -> list:
    """Which of `beta` and `gamma` some training has moved from its start, 0 and 1, and the graph does not use."""
    config = tutorial.config
    unused = [name for name, used in (("beta", config.center), ("gamma", config.scale)) if not used]
    starts = {"beta": 0, "gamma": 1}
    values = session.run({key: tutorial.variables[key] for key in tutorial.model_variables})
    return [
        name
        for name in unused
        if any((value != starts[name]).any() for key, value in values.items() if key.endswith(f"/{name}"))
    ]


def restore(session, path, variables: dict, required) -> list:
    """Gives `variables`, name to variable, the values of the checkpoint `path`, and returns the names of the others.

    required: the names that must be there; `InputError` where one is not.
    """
    checkpoint = Checkpoint(path)
    missing = [name for name in variables if name not in checkpoint.variables]
    if any(name in required for name in missing):
        raise InputError(f"{path}: has no {', '.join(name for name in missing if name in required)}")
    values = {}
    for name, variable in variables.items():
        if name in missing:
            continue
        shape, dtype = tuple(variable.shape), np.dtype(variable.dtype.base_dtype.as_numpy_dtype)
        saved_shape, saved_dtype = checkpoint.variables[name]
        if saved_shape != shape or str(saved_dtype) != str(dtype):
            raise InputError(f"{path}: {name}: expected {dtype} {list(shape)}, found {saved_dtype} {list(saved_shape)}")
        values[name] = checkpoint.read(name)
    for name, value in values.items():
        # Through the op that initialises it, so that restoring adds nothing to the graph.
        session.run(variables[name].initializer, {variables[name].initializer.inputs[1]: value})
    return missing
