"""Pieces of networks, and how people train them."""

import functools

import tensorflow as tf

from tests.recording.audit_graphs.cases import built

RELEASE = tf.__version__
VERSION = tuple(int(part) for part in RELEASE.split(".")[:2])

slim = tf.contrib.slim
contrib_batch_norm = tf.contrib.layers.batch_norm


def vector_input(batch=None):
    return tf.placeholder(tf.float32, [batch, 5], name="x"), tf.placeholder(tf.int32, [batch], name="y")


def image_input(batch=None):
    return tf.placeholder(tf.float32, [batch, 4, 4, 2], name="x"), tf.placeholder(tf.int32, [batch], name="y")


def phase():
    return tf.placeholder(tf.bool, [], name="is_training")


def variable(name, initial, shape, **options):
    return tf.get_variable(name, shape, initializer=tf.constant_initializer(initial), **options)


def dense(x, units, name, bias=False):
    with tf.variable_scope(name):
        w = tf.get_variable("w", [x.get_shape()[-1].value, units], initializer=tf.random_normal_initializer(stddev=0.3))
        h = tf.matmul(x, w)
        if bias:
            h = tf.nn.bias_add(h, tf.get_variable("b", [units], initializer=tf.constant_initializer(0.0)))
        return h


def conv(x, channels, name, bias=False):
    with tf.variable_scope(name):
        shape = [3, 3, x.get_shape()[-1].value, channels]
        w = tf.get_variable("w", shape, initializer=tf.random_normal_initializer(stddev=0.3))
        h = tf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME")
        if bias:
            h = tf.nn.bias_add(h, tf.get_variable("b", [channels], initializer=tf.constant_initializer(0.0)))
        return h


def network(x, norm, reuse=None, bias=False, scope="net"):
    """One hidden layer with a batch norm (named bn), dense or convolutional as the input is."""
    with tf.variable_scope(scope, reuse=reuse):
        if len(x.get_shape()) == 2:
            h = tf.nn.relu(norm(dense(x, 4, "hidden", bias=bias), "bn"))
        else:
            h = tf.nn.relu(norm(conv(x, 4, "hidden", bias=bias), "bn"))
            h = tf.reshape(h, [-1, 64])  # a mean over pixels has a larger gradient
        return dense(h, 3, "logits")


def cross_entropy(logits, y):
    # The sum, not the mean: half of its gradient's nodes.
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))


def sgd(**options):
    return tf.train.GradientDescentOptimizer(0.01, **options)


def contrib_norm(training, **options):
    """tf.contrib.layers.batch_norm, for `network`."""
    options.setdefault("decay", 0.9)
    return lambda h, name: contrib_batch_norm(h, is_training=training, scope=name, **options)


def layers_norm(training, **options):
    """tf.layers.batch_normalization, for `network`."""
    options.setdefault("momentum", 0.9)
    return lambda h, name: tf.layers.batch_normalization(h, training=training, name=name, **options)


def update_ops(scope=None):
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)


def minimize(loss, updates, optimizer=None, **options):
    """The ways in which people run the updates, or do not. Returns what they then give to sess.run."""
    optimizer = optimizer or sgd()
    if updates == "not run":
        return optimizer.minimize(loss, **options)
    if updates == "control dependencies":
        with tf.control_dependencies(update_ops()):
            return optimizer.minimize(loss, **options)
    if updates == "group":
        return tf.group(optimizer.minimize(loss, **options), *update_ops(), name="train")
    if updates == "identity":  # with_dependencies on the loss that is reported, after the step
        step = optimizer.minimize(loss, **options)
        with tf.control_dependencies([step] + update_ops()):
            return tf.identity(loss, name="train")
    if updates == "existing op":  # the dependencies are given to nothing: the op was made before
        step = optimizer.minimize(loss, **options)
        with tf.control_dependencies(update_ops()):
            pass
        return step
    if updates == "barrier":  # the pattern of contrib.layers' docstring
        barrier = tf.group(*update_ops())
        with tf.control_dependencies([barrier]):
            return optimizer.minimize(tf.identity(loss), **options)
    raise ValueError(updates)


def one_tower(norm, updates, image=False, batch=None, bias=False, **options):
    x, y = (image_input if image else vector_input)(batch)
    logits = network(x, norm, bias=bias)
    return built(minimize(cross_entropy(logits, y), updates, **options), logits)


def two_towers(train_norm, evaluation_norm, updates, image=False, **options):
    """The updates are collected before the evaluation tower is built, as in two calls of one function."""
    x, y = (image_input if image else vector_input)()
    train = minimize(cross_entropy(network(x, train_norm), y), updates, **options)
    with tf.name_scope("evaluation"):
        logits = network(x, evaluation_norm, reuse=True)
    return built(train, tf.argmax(logits, 1))


def resource_variables(build):
    """Decorates a case: all variables of its graph are resources."""

    @functools.wraps(build)
    def built_of_resources(**given):
        with tf.variable_scope(tf.get_variable_scope(), use_resource=True):
            return build(**given)

    return built_of_resources
