"""The tutorial's graph: a hidden and an output layer whose variables three towers share, a loss, accuracies, Adam.

`updates` says who updates the moving averages that validation and test depend on:

    control_dependencies    batch_norm puts its update ops into UPDATE_OPS, and the train op depends on them.
    in_place                updates_collections=None: batch_norm's own result depends on them.
    collected               they are in UPDATE_OPS and nobody runs them: the page as printed.
"""

import contextlib
import dataclasses
import random
from typing import Any, NamedTuple

import numpy as np

from bn_graph import memory
from bn_graph.config import LARGEST_SEED, TutorialConfig
from bn_graph.errors import InputError, check_type
from bn_graph.layers import batch_norm, initialize
from bn_graph.mnist import Splits
from bn_graph.tf1 import tf

# In TensorFlow 1 the position of a random op in the graph was its seed. These are the ones that TF 0.12.1 gave to the
# tutorial's ops; set explicitly, they give the same draws, whatever else is in the graph.
WEIGHTS_SEED = {"hidden_layer": 10, "output_layer": 39}


def dropout_seed(config, tower):
    """The op-level seed that TF 0.12.1 gave to the dropout of `tower` (train, valid or test)."""
    in_place = config.updates == "in_place"
    return {
        "train": 101 + config.scale + 2 * in_place,
        "valid": 189 + 3 * config.scale + 4 * in_place,
        "test": 221 + 5 * config.scale + 4 * in_place,
    }[tower]


class Layer(NamedTuple):
    """What a layer of a tower computes, each float32 [rows, units]; dropout comes after."""

    pre_norm: Any  # X*wt+bi
    post_norm: Any  # after batch_norm; where there is none, pre_norm itself
    activation: Any  # after the ReLU


@dataclasses.dataclass(frozen=True, repr=False)
class TutorialGraph:
    """The end points of the tutorial's graph. Accuracies and losses are float32 scalars, accuracies as fractions.

    To train a step: session.run(train_op, train_feed(X, y)). To validate: session.run(valid_accuracy, valid_feed).
    """

    config: Any  # the TutorialConfig, its seed drawn if it had none
    graph: Any  # the tf.Graph
    batch_X: Any  # placeholder, float32 [batch_size, 784]; [None, 784] where is_training is a placeholder
    batch_y: Any  # placeholder, float32, one-hot [batch_size, 10] or [None, 10]
    keep_prob: Any  # placeholder, float32
    is_training: Any  # placeholder, bool; None where the towers have it built in
    model_variables: tuple  # names of the variables that are not the optimizer's
    train_layers: dict  # hidden_layer and output_layer to `Layer`
    train_logits: Any  # float32 [batch_size, 10], after the last ReLU
    train_loss: Any
    train_accuracy: Any
    valid_logits: Any  # float32 [validation rows, 10]
    valid_accuracy: Any
    test_logits: Any  # float32 [test rows, 10]
    test_accuracy: Any
    global_step: Any  # the variable that counts the steps, int32
    learning_rate: Any  # of the next step, float32
    train_op: Any
    init_op: Any
    valid_feed: dict  # what valid_accuracy and valid_logits need to be fed
    test_feed: dict

    def __repr__(self):
        config = self.config
        return (
            f"<TutorialGraph {config.edition}, {config.batch_norm_words()}, is_training {config.is_training}, "
            f"{config.hidden_size} hidden units, seed {config.seed}>"
        )

    @property
    def variables(self) -> dict:
        """Name to variable, in creation order. session.run(variables) gives their values, as a dict."""
        with self.graph.as_default():
            return {variable.op.name: variable for variable in tf.global_variables()}

    def train_feed(self, X, y) -> dict:
        """The feed of one training step on rows X float32 [rows, 784] and one-hot y float32 [rows, 10]."""
        feed = {self.batch_X: X, self.batch_y: y, self.keep_prob: np.float32(self.config.keep_prob)}
        if self.is_training is not None:
            feed[self.is_training] = np.True_
        return feed


def build_graph(
    config: TutorialConfig, splits: Splits, device_scope=contextlib.nullcontext, wrap_optimizer=None
) -> TutorialGraph:
    """Builds the tutorial's graph in a `tf.Graph` of its own and returns it as a `TutorialGraph`.

    Args:
        config: `TutorialConfig`. Where it has no seed, one is drawn.
        splits: `Splits`. The sets for validation and test are fed, in `valid_feed` and `test_feed`. The tutorial has
            them as constants of the graph: the same numbers, and 60 MB that its optimizer takes two seconds over.
        device_scope: called in the graph; returns the context in which the ops are made, such as `tf.device("/cpu:0")`.
        wrap_optimizer: a function from the optimizer to the one that is used in its place; None: none is.

    Raises `InputError` where a batch is not smaller than the training set, or where the free memory does not hold so
    many hidden units.
    """
    check_type("build_graph", "config", config, TutorialConfig)
    check_type("build_graph", "splits", splits, Splits)
    _check_sizes(config, splits)
    num_features, num_classes = splits.train_X.shape[1], splits.train_y.shape[1]
    if config.seed is None:
        config = dataclasses.replace(config, seed=random.SystemRandom().randint(0, LARGEST_SEED))
    one_tower = config.is_training == "placeholder"

    graph = tf.Graph()
    with graph.as_default(), device_scope():
        tf.set_random_seed(config.seed)

        # prepare input tensors
        rows = None if one_tower else config.batch_size
        batch_X = tf.placeholder(tf.float32, shape=[rows, num_features])
        batch_y = tf.placeholder(tf.float32, shape=[rows, num_classes])
        keep_prob = tf.placeholder(tf.float32)
        is_training = tf.placeholder(tf.bool, shape=[]) if one_tower else None

        create_variables(num_features, config.hidden_size, num_classes, config.batch_norm)
        model_variables = tuple(variable.op.name for variable in tf.global_variables())

        # training tower; update ops, if any are collected, are its own
        train_layers = model(batch_X, config, is_training if one_tower else True, keep_prob, "train")
        train_logits = train_layers["output_layer"].activation
        train_loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=batch_y, logits=train_logits))
        train_accuracy = compute_accuracy(tf.nn.softmax(train_logits), batch_y)

        # validation and test
        if one_tower:
            valid_X = test_X = batch_X
            valid_y = test_y = batch_y
            valid_logits = test_logits = train_logits
            valid_accuracy = test_accuracy = train_accuracy
        else:
            valid_X, test_X = (tf.placeholder(tf.float32, X.shape) for X in (splits.valid_X, splits.test_X))
            valid_y, test_y = (tf.placeholder(tf.float32, y.shape) for y in (splits.valid_y, splits.test_y))
            valid_logits = model(valid_X, config, False, keep_prob, "valid")["output_layer"].activation
            valid_accuracy = compute_accuracy(tf.nn.softmax(valid_logits), valid_y)
            test_logits = model(test_X, config, False, keep_prob, "test")["output_layer"].activation
            test_accuracy = compute_accuracy(tf.nn.softmax(test_logits), test_y)
        valid_feed = {valid_X: np.asarray(splits.valid_X), valid_y: splits.valid_y, keep_prob: np.float32(1.0)}
        test_feed = {test_X: np.asarray(splits.test_X), test_y: splits.test_y, keep_prob: np.float32(1.0)}
        if one_tower:
            valid_feed[is_training] = test_feed[is_training] = np.False_

        # learning rate and optimizer
        global_step = tf.Variable(0)
        learning_rate = tf.train.exponential_decay(
            config.learning_rate, global_step, decay_steps=500, decay_rate=0.95, staircase=True
        )
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS) if config.updates == "control_dependencies" else []
        optimizer = tf.train.AdamOptimizer(learning_rate)
        if wrap_optimizer:
            optimizer = wrap_optimizer(optimizer)
        with tf.control_dependencies(updates):
            train_op = optimizer.minimize(train_loss, global_step=global_step)
        init_op = tf.global_variables_initializer()

    return TutorialGraph(
        config=config,
        graph=graph,
        batch_X=batch_X,
        batch_y=batch_y,
        keep_prob=keep_prob,
        is_training=is_training,
        model_variables=model_variables,
        train_layers=train_layers,
        train_logits=train_logits,
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        valid_logits=valid_logits,
        valid_accuracy=valid_accuracy,
        test_logits=test_logits,
        test_accuracy=test_accuracy,
        global_step=global_step,
        learning_rate=learning_rate,
        train_op=train_op,
        init_op=init_op,
        valid_feed=valid_feed,
        test_feed=test_feed,
    )


def _check_sizes(config, splits):
    """Raises `InputError` where a batch is too large for the data, or the units for the memory."""
    num_rows, num_features = splits.train_X.shape
    if config.batch_size >= num_rows:
        raise InputError(f"batch_size must be less than the {num_rows} training rows, found {config.batch_size}")
    # The least that a unit takes: its weights, their gradients and Adam's two averages, and its activations.
    weights = num_features + splits.train_y.shape[1]
    activations = max(config.batch_size, len(splits.valid_y), len(splits.test_y))
    needed = (4 * weights + activations) * np.dtype(np.float32).itemsize * config.hidden_size
    memory.check_memory("hidden_size", needed, f"{config.hidden_size} units take at least")


def create_variables(num_features, hidden_size, num_classes, batch_norm=True):
    """Creates the variables of both layers, in the scopes `hidden_layer` and `output_layer`."""
    shapes = {"hidden_layer": [num_features, hidden_size], "output_layer": [hidden_size, num_classes]}
    for scope, shape in shapes.items():
        weights = tf.truncated_normal_initializer(stddev=0.01, seed=WEIGHTS_SEED[scope])
        initialize(scope, shape, weights, batch_norm=batch_norm)


def model(X, config, is_training, keep_prob, tower):
    """One tower: for each layer X -> X*wt+bi -> batch_norm -> ReLU -> dropout (if not the output layer).

    Where `config.batch_norm` is False, the ReLU takes X*wt+bi as it is.

    Args:
        X: float32 [rows, 784].
        is_training: bool, or a boolean placeholder.
        keep_prob: float32 scalar. The number 1.0, not a tensor, leaves dropout out: nothing is drawn.
        tower: train, valid or test; whose op-level seed the dropout takes.

    Returns: a dict of `Layer`, by scope. The logits are the activation of `output_layer`.
    """
    layers = {}
    output_X = X
    for scope in ("hidden_layer", "output_layer"):
        with tf.variable_scope(scope, reuse=True):
            wt = tf.get_variable("weights")
            bi = tf.get_variable("biases")
        pre_norm = tf.matmul(output_X, wt) + bi
        post_norm = normalize(pre_norm, config, is_training, scope) if config.batch_norm else pre_norm
        activation = tf.nn.relu(post_norm)
        layers[scope] = Layer(pre_norm, post_norm, activation)
        if scope == "hidden_layer":
            output_X = dropout(activation, keep_prob, dropout_seed(config, tower), is_training)
    return layers


def normalize(pre_norm, config, is_training, scope):
    """The tutorial's call of `batch_norm`."""
    return batch_norm(
        pre_norm,
        decay=config.decay,
        center=config.center,
        scale=config.scale,
        is_training=is_training,
        updates_collections=None if config.updates == "in_place" else tf.GraphKeys.UPDATE_OPS,
        scope=scope,
        reuse=True,
    )


def dropout(X, keep_prob, seed, is_training):
    """The tutorial's dropout; where `is_training` is a tensor, only in its True branch.

    Every draw moves the op's random stream on. Inside the branch, evaluating draws nothing and training goes on as if
    nobody had looked. (The printed three towers have three ops with a stream each, so that it is the same there.)
    """
    if isinstance(is_training, bool):
        return tf.nn.dropout(X, rate=1 - keep_prob, seed=seed)
    return tf.cond(is_training, lambda: tf.nn.dropout(X, rate=1 - keep_prob, seed=seed), lambda: tf.identity(X))


def compute_accuracy(predictions, labels):
    """The fraction of rows whose largest prediction, float32 [rows, 10], is at the one-hot label's place."""
    correct_predictions = tf.equal(tf.argmax(predictions, 1), tf.argmax(labels, 1))
    return tf.reduce_mean(tf.cast(correct_predictions, tf.float32))
