"""The libraries of 2016 for a program of then: a small `tensorflow` 0.12 with `contrib`, and scikit-learn 0.18.

They are put into `sys.modules` of the process that calls `install`. That process is for one such program alone.
"""

import math
import sys
import types

import numpy as np
import tensorflow
from sklearn import datasets, model_selection
from sklearn.utils import Bunch

from bn_graph.layers import batch_norm
from bn_graph.mnist import load_mnist
from bn_graph.scikit_learn_0_18 import draw_rows
from bn_graph.tf1 import tf, tf_slim


class Module(types.ModuleType):
    """A module that has `names`, and all others from the module `otherwise`."""

    def __init__(self, name, otherwise, **names):
        super().__init__(name)
        self.__path__ = getattr(otherwise, "__path__", [])  # so that modules inside of it can be imported
        self._otherwise = otherwise
        vars(self).update(names)

    def __getattr__(self, name):
        try:
            return getattr(self._otherwise, name)
        except AttributeError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


def install(on_batch_norm) -> None:
    """Puts the libraries in place.

    on_batch_norm: called with the keyword arguments of each call of `tf.contrib.layers.batch_norm`.
    """
    tf.disable_v2_behavior()
    for module in tensorflow_modules(on_batch_norm):
        sys.modules[module.__name__] = module
    datasets.fetch_mldata = fetch_mldata
    today = model_selection.train_test_split

    def split(*arrays, **options):
        return train_test_split(today, *arrays, **options)

    model_selection.train_test_split = split
    sys.modules["sklearn.cross_validation"] = Module("sklearn.cross_validation", model_selection)


def tensorflow_modules(on_batch_norm) -> list:
    """`tensorflow` and its modules, as a program of 2016 imports them."""

    def watched(*arguments, **options):
        on_batch_norm(options)
        return batch_norm(*arguments, **options)

    layers = Module("tensorflow.contrib.layers", tf_slim, batch_norm=watched)
    others = [Module(f"tensorflow.contrib.{name}", tf_slim, batch_norm=watched) for name in ("slim", "framework")]
    contrib = types.ModuleType("tensorflow.contrib")
    contrib.__path__ = []
    for module in (layers, *others):
        setattr(contrib, module.__name__.rpartition(".")[2], module)
    renamed = {name: getattr(tf, today) for name, today in RENAMED.items()}
    top = Module("tensorflow", tf, contrib=contrib, nn=_nn(), train=_train(), **renamed, **_summaries())
    top.__path__ = tensorflow.__path__
    return [top, contrib, layers, *others]


RENAMED = {  # in 1.0
    "mul": "multiply",
    "sub": "subtract",
    "neg": "negative",
    "pack": "stack",
    "unpack": "unstack",
    "select": "where",
    "batch_matmul": "matmul",
}


def _nn():
    """`tf.nn`, whose losses took the logits first, and by position."""

    def softmax(logits, labels, dim=-1, name=None):
        return tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits, dim=dim, name=name)

    def sparse_softmax(logits, labels, name=None):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits, name=name)

    def sigmoid(logits, targets, name=None):
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits, name=name)

    return Module(
        "tensorflow.nn",
        tf.nn,
        softmax_cross_entropy_with_logits=softmax,
        sparse_softmax_cross_entropy_with_logits=sparse_softmax,
        sigmoid_cross_entropy_with_logits=sigmoid,
    )


def _train():
    return Module("tensorflow.train", tf.train, SummaryWriter=tf.summary.FileWriter)


def _summaries():
    """The summaries of TensorFlow 0.11, which tbexample.py of the same author has."""

    def scalar(tags, values, collections=None, name=None):
        return tf.summary.scalar(tags, values, collections=collections)

    def histogram(tag, values, collections=None, name=None):
        return tf.summary.histogram(tag, values, collections=collections)

    return {
        "scalar_summary": scalar,
        "histogram_summary": histogram,
        "merge_summary": tf.summary.merge,
        "merge_all_summaries": tf.summary.merge_all,
    }


def fetch_mldata(dataname, target_name="label", data_name="data", transpose_data=True, data_home=None):
    """The digits that come with bn_graph, in the place of mldata.org, which is gone."""
    if dataname.lower().replace("-", " ") != "mnist original":
        raise ValueError(f"mldata.org is gone; of its data sets bn_graph has 'MNIST original', not {dataname!r}")
    mnist = load_mnist()
    return Bunch(data=np.asarray(mnist.data), target=mnist.target, DESCR="mldata.org dataset: mnist-original")


def train_test_split(today, *arrays, stratify=None, test_size=0.25, random_state=None, **options):
    """What scikit-learn 0.18.1 drew where it stratified, and what today's draws where it did not: the same as then.

    today: `train_test_split` of the scikit-learn that is installed.
    """
    if stratify is None or options:
        return today(*arrays, stratify=stratify, test_size=test_size, random_state=random_state, **options)
    if isinstance(test_size, float):
        test_size = math.ceil(test_size * len(arrays[0]))
    rest, taken = draw_rows(np.asarray(stratify), test_size, random_state)
    return [np.asarray(array)[rows] for array in arrays for rows in (rest, taken)]
