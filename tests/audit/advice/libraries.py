"""Batch norms of the libraries that today's TensorFlow can have, called alike.

Each is called norm(x, is_training, scope, reuse, **options). The options are in the library's own words, and go before
what the call itself says.
"""

import dataclasses
import functools
import importlib
from typing import Any

import pytest

from bn_graph.tf1 import tf, tf_slim
from tests.audit.networks import UNITS


@dataclasses.dataclass(frozen=True, eq=False)
class Library:
    """What the programs need of a library."""

    name: str
    norm: Any  # a function that makes a new `norm`; of Keras, one with layers of its own
    dense: Any  # dense(x, scope, reuse, **options): a linear layer with a bias
    updates: Any  # updates(norm, x): the ops that are to be run in training
    decay: str = "momentum"
    decomposed: dict = dataclasses.field(default_factory=dict)  # options of a layer that is not fused
    marks: tuple = ()

    def __str__(self):
        return self.name


def collected(norm=None, x=None):
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS)


def slim():
    def norm(x, is_training, /, scope="bn", reuse=None, **options):
        options = {name: value for name, value in options.items() if name not in ("training", "momentum")}
        options = {"decay": 0.9, "is_training": is_training, "scope": scope, "reuse": reuse, **options}
        return tf_slim.batch_norm(x, **options)

    return norm


def slim_dense(x, scope="dense", reuse=None, **options):
    return tf_slim.fully_connected(x, UNITS, activation_fn=None, scope=scope, reuse=reuse, **options)


def tf_layers(module):
    return importlib.import_module(f"tf_keras.src.legacy_tf_layers.{module}")


def in_words_of_keras(options):
    """Without what an instruction for an unknown library has besides."""
    return {name: value for name, value in options.items() if name not in ("is_training", "decay")}


def layers():
    def norm(x, is_training, /, scope="bn", reuse=None, **options):
        options = in_words_of_keras(options)
        options = {"momentum": 0.9, "training": is_training, "name": scope, "reuse": reuse, **options}
        return tf_layers("normalization").batch_normalization(x, **options)

    return norm


def layers_dense(x, scope="dense", reuse=None, **options):
    return tf_layers("core").dense(x, UNITS, name=scope, reuse=reuse, **options)


class Keras:
    """Layers are objects: they are made once for a scope, and called."""

    def __init__(self, module):
        self.layers, self.made = importlib.import_module(module).layers, {}

    def __call__(self, x, is_training, /, scope="bn", reuse=None, training=None, **options):
        if scope not in self.made:
            options = in_words_of_keras(options)
            self.made[scope] = self.layers.BatchNormalization(**{"momentum": 0.9, "name": scope, **options})
        return self.made[scope](x, training=is_training if training is None else training)

    def get_updates_for(self, x):
        return [update for layer in self.made.values() for update in layer.get_updates_for(x)]

    def assigned(self, x):
        """What Keras 3 assigns, which it tells nobody."""
        ops = tf.get_default_graph().get_operations()
        return [op for op in ops if op.name.startswith("bn_") and "/AssignVariableOp" in op.name]


def keras_dense(module):
    made = {}

    def dense(x, scope="dense", reuse=None, **options):
        if scope not in made or not reuse:
            made[scope] = importlib.import_module(module).layers.Dense(UNITS, name=scope, **options)
        return made[scope](x)

    return dense


LEGACY = (pytest.mark.keras, pytest.mark.skipif(not importlib.util.find_spec("tf_keras"), reason="needs tf-keras"))
SLIM = Library("tf_slim", slim, slim_dense, collected, "decay", {"fused": False})
LAYERS = Library("tf.layers", layers, layers_dense, collected, marks=LEGACY)
KERAS = Library(
    "Keras 2",
    functools.partial(Keras, "tf_keras"),
    keras_dense("tf_keras"),
    lambda norm, x: norm.get_updates_for(x),
    marks=LEGACY,
)
KERAS_3 = Library(
    "Keras 3",
    functools.partial(Keras, "keras"),
    keras_dense("keras"),
    lambda norm, x: norm.assigned(x),
    marks=(pytest.mark.keras,),
)
