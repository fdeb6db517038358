"""The tutorial as it was published: three editions of one program.

Two repairs are made to it: `ops` is tf, and the last sess.run fetches a tensor, not a list. Four things are added:
tf.set_random_seed(seed), the first line inside the graph; the digits of this repository, in the order of mldata's
'MNIST original', for fetch_mldata; validation every 50 steps only, where script and notebook have it after every step
(it draws nothing from the training's random stream); and what records. (The loop is in runs.py.)
"""

import argparse
import collections
import gc

import numpy as np
import tensorflow as tf
from sklearn.model_selection import train_test_split

# The editions: what they give to batch_norm, who runs its updates, and what they print.
Edition = collections.namedtuple("Edition", "scale updates print_every step_line test_line")

STEP_LINE = "Epoch: %d:\tLoss: %f\t\tTrain Acc: %.2f%%\tValid Acc: %.2f%%\tLearning rate: %.6f"
PAGE_STEP_LINE = "Epoch: %d:\tLoss: %f\t\tTrain Acc: %.2f%%\tValid Acc: %2.f%%\tLearning rate: %.6f"
EDITIONS = {
    "page": Edition(False, "collected", 50, PAGE_STEP_LINE, "Test accuracy: %4f%%"),
    "page_control_dependencies": Edition(False, "control_dependencies", 50, PAGE_STEP_LINE, "Test accuracy: %4f%%"),
    "script": Edition(False, "in_place", 50, STEP_LINE, "Test accuracy: %.2f%%"),
    "notebook": Edition(True, "in_place", 100, STEP_LINE, "Test accuracy: %.2f%%"),
}

batch_size = 64
num_classes = 10
num_steps = 1000
init_lr = 0.001

Mnist = collections.namedtuple("Mnist", "data target")
Sets = collections.namedtuple("Sets", "train_X train_y valid_X valid_y test_X test_y")


class Digits(object):
    """The digits in `path`, read when they are first asked for."""

    def __init__(self, path):
        self.path = path
        self._prepared = None

    def mnist(self):
        return mnist_original(self.path)

    def prepared(self):
        """The sets, and the lines that the tutorial prints before it builds its graph."""
        if self._prepared is None:
            self._prepared = prepare(self.mnist())
        return self._prepared


def mnist_original(path):
    """What fetch_mldata('MNIST original') gave: LeCun's 60 000 sorted by digit, then his 10 000 sorted by digit."""
    digits = np.load(path)
    train = np.argsort(digits["y_train"], kind="mergesort")  # the stable one
    test = np.argsort(digits["y_test"], kind="mergesort")
    return Mnist(
        np.concatenate([digits["x_train"][train], digits["x_test"][test]]).reshape(70000, 784),
        np.concatenate([digits["y_train"][train], digits["y_test"][test]]).astype(np.float64),
    )


def prepare(mnist):
    """Splits the data; returns the sets, and the lines that the tutorial prints before it builds its graph."""
    lines = []
    # The print statement puts no blank behind a tab.
    lines.append("MNIST data, X shape\t" + str(mnist.data.shape))
    lines.append("MNIST data, y shape\t" + str(mnist.target.shape))

    lines.append(str(mnist.data.dtype))
    lines.append(str(mnist.target.dtype))

    mnist_X = mnist.data.astype(np.float32)
    mnist_y = mnist.target.astype(np.float32)
    lines.append(str(mnist_X.dtype))
    lines.append(str(mnist_y.dtype))

    # One-Hot-Encode y
    mnist_y = np.arange(num_classes) == mnist_y[:, None]
    mnist_y = mnist_y.astype(np.float32)
    lines.append(str(mnist_y.shape))

    # Split training, validation, testing data
    train_X, valid_X, train_y, valid_y = train_test_split(
        mnist_X, mnist_y, test_size=10000, random_state=102, stratify=mnist.target
    )
    train_X, test_X, train_y, test_y = train_test_split(
        train_X, train_y, test_size=10000, random_state=325, stratify=train_y
    )
    lines.append("Dataset\t\tFeatureShape\tLabelShape")
    lines.append("Training set:\t" + str(train_X.shape) + " \t" + str(train_y.shape))
    lines.append("Validation set:\t" + str(valid_X.shape) + " \t" + str(valid_y.shape))
    lines.append("Testing set:\t" + str(test_X.shape) + " \t" + str(test_y.shape))
    return Sets(train_X, train_y, valid_X, valid_y, test_X, test_y), lines


# An initialization function
def initialize(scope, shape, wt_initializer, center=True, scale=True):
    with tf.variable_scope(scope, reuse=None) as sp:
        tf.get_variable("weights", shape, initializer=wt_initializer)
        tf.get_variable("biases", shape[-1], initializer=tf.constant_initializer(1.0))
        if center:
            tf.get_variable("beta", shape[-1], initializer=tf.constant_initializer(0.0))
        if scale:
            tf.get_variable("gamma", shape[-1], initializer=tf.constant_initializer(1.0))
        tf.get_variable("moving_mean", shape[-1], initializer=tf.constant_initializer(0.0), trainable=False)
        tf.get_variable("moving_variance", shape[-1], initializer=tf.constant_initializer(1.0), trainable=False)
    sp.reuse_variables()


def build_graph(valid_X, valid_y, test_X, test_y, updates, scale, center=True, seed=1, hidden_layer_size=1024):
    """The tutorial's graph. Returns it with the names of its end points as attributes."""
    gc.collect()  # the last graph holds its validation and test set, and refers to itself
    num_features = valid_X.shape[1]

    graph = tf.Graph()
    with graph.as_default():
        tf.set_random_seed(seed)
        # prepare input tensor
        tf_train_X = tf.placeholder(tf.float32, shape=[batch_size, num_features])
        tf_train_y = tf.placeholder(tf.float32, shape=[batch_size, num_classes])
        tf_valid_X, tf_valid_y = tf.constant(valid_X), tf.constant(valid_y)
        tf_test_X, tf_test_y = tf.constant(test_X), tf.constant(test_y)

        # setup layers
        layers = [
            {
                "scope": "hidden_layer",
                "shape": [num_features, hidden_layer_size],
                "initializer": tf.truncated_normal_initializer(stddev=0.01),
            },
            {
                "scope": "output_layer",
                "shape": [hidden_layer_size, num_classes],
                "initializer": tf.truncated_normal_initializer(stddev=0.01),
            },
        ]
        # initialize layers
        for layer in layers:
            initialize(layer["scope"], layer["shape"], layer["initializer"])

        # build model - for each layer: -> X -> X*wt+bi -> batch_norm -> activation -> dropout (if not output layer) ->
        layer_scopes = [layer["scope"] for layer in layers]

        def model(X, layer_scopes, is_training, keep_prob, decay=0.9):
            output_X = X
            for scope in layer_scopes:
                # X*wt+bi
                with tf.variable_scope(scope, reuse=True):
                    wt = tf.get_variable("weights")
                    bi = tf.get_variable("biases")
                output_X = tf.matmul(output_X, wt) + bi
                # Insert Batch Normalization
                # set `updates_collections=None` to force updates in place however it comes with speed penalty
                output_X = tf.contrib.layers.batch_norm(
                    output_X,
                    decay=decay,
                    center=center,
                    scale=scale,
                    is_training=is_training,
                    updates_collections=None if updates == "in_place" else tf.GraphKeys.UPDATE_OPS,
                    scope=scope,
                    reuse=True,
                )
                # ReLu activation
                output_X = tf.nn.relu(output_X)
                # Dropout for all non-output layers
                if scope != layer_scopes[-1]:
                    output_X = tf.nn.dropout(output_X, keep_prob)
            return output_X

        # setup keep_prob
        keep_prob = tf.placeholder(tf.float32)

        # compute loss, make predictions
        train_logits = model(tf_train_X, layer_scopes, True, keep_prob)
        train_loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(train_logits, tf_train_y))
        train_pred = tf.nn.softmax(train_logits)
        valid_logits = model(tf_valid_X, layer_scopes, False, keep_prob)
        valid_pred = tf.nn.softmax(valid_logits)
        test_logits = model(tf_test_X, layer_scopes, False, keep_prob)
        test_pred = tf.nn.softmax(test_logits)

        # compute accuracy
        def compute_accuracy(predictions, labels):
            correct_predictions = tf.equal(tf.argmax(predictions, 1), tf.argmax(labels, 1))
            accuracy = tf.reduce_mean(tf.cast(correct_predictions, tf.float32))
            return accuracy

        train_accuracy = compute_accuracy(train_pred, tf_train_y)
        valid_accuracy = compute_accuracy(valid_pred, tf_valid_y)
        test_accuracy = compute_accuracy(test_pred, tf_test_y)

        # setup learning rate, optimizer
        global_step = tf.Variable(0)
        learning_rate = tf.train.exponential_decay(
            init_lr, global_step, decay_steps=500, decay_rate=0.95, staircase=True
        )
        own_variables = tf.global_variables()  # before Adam adds its own; what the checkpoint holds
        # the page has no control dependencies, nor has any published edition
        depend_on = tf.get_collection(tf.GraphKeys.UPDATE_OPS) if updates == "control_dependencies" else []
        with tf.control_dependencies(depend_on):
            optimizer = tf.train.AdamOptimizer(learning_rate).minimize(train_loss, global_step=global_step)

    return argparse.Namespace(**locals())


def random_ops(graph):
    return [
        {"type": op.type, "name": op.name, "seed": op.get_attr("seed"), "seed2": op.get_attr("seed2")}
        for op in graph.get_operations()
        if op.type in ("TruncatedNormal", "RandomUniform")
    ]
