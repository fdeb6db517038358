"""What is no batch norm: other normalisations, optimizers by hand, running statistics of the inputs."""

import numpy as np

from bn_graph.tf1 import tf, tf_slim
from tests.audit.cases.case import clean
from tests.audit.findings import SUSPECT
from tests.audit.networks import INPUTS, new_graph
from tests.audit.pieces import dense, done, inputs, minimize


def other_norms(kind):
    """Normalisations that are no batch normalisation, in training and in evaluation."""
    with new_graph() as graph:
        X, feed = inputs()
        V, evaluation_feed = inputs(name="V")
        with tf.variable_scope("other", reuse=tf.AUTO_REUSE):
            h, valid = other_norm(kind, X), other_norm(kind, V)
        return done(graph, minimize(tf.reduce_mean(h**2)), feed, valid, evaluation_feed)


def other_norm(kind, X):
    with tf.variable_scope("dense"):
        w = tf.get_variable("w", [INPUTS, 8])
    if kind == "weights":  # weight standardisation
        mean, variance = tf.nn.moments(w, [0], keepdims=True)
        gain = tf.get_variable("gain", [8], initializer=tf.ones_initializer())
        return tf.matmul(X, gain * (w - mean) * tf.rsqrt(variance + 1e-4))
    if kind == "weight norm":
        return tf.matmul(X, w * tf.rsqrt(tf.reduce_sum(w**2, [0]) + 1e-4) * tf.get_variable("g", [8]))
    if kind == "rows":  # each row of the input by itself
        mean, variance = tf.nn.moments(X, [1], keepdims=True)
        return tf.matmul((X - mean) / tf.maximum(tf.sqrt(variance), 1e-2), w)
    if kind == "constants":
        return tf.matmul((X - np.float32(0.5)) / np.float32(0.3), w)
    if kind == "constants per column":
        mean, deviation = np.arange(INPUTS, dtype=np.float32), np.ones(INPUTS, np.float32)
        return tf.matmul((X - mean) / deviation, w)
    h = tf.matmul(X, w)
    beta = tf.get_variable("beta", [8], initializer=tf.zeros_initializer())
    gamma = tf.get_variable("gamma", [8], initializer=tf.ones_initializer())
    if kind == "layer":
        mean, variance = tf.nn.moments(h, [1], keepdims=True)
        return tf.nn.batch_normalization(h, mean, variance, beta, gamma, 1e-6)
    if kind == "layer, last axis":
        mean, variance = tf.nn.moments(h, [-1], keepdims=True)
        return (h - mean) / tf.sqrt(variance + 1e-6) * gamma + beta
    if kind == "slim layer":
        return tf_slim.layer_norm(h, scope="ln")
    if kind == "instance":
        h = tf.reshape(h, [4, 2, 2, 8])
        mean, variance = tf.nn.moments(h, [1, 2], keepdims=True)
        return (h - mean) * tf.rsqrt(variance + 1e-5) * gamma
    if kind == "slim instance":
        return tf_slim.instance_norm(tf.reshape(h, [4, 2, 2, 8]), scope="in")
    if kind == "group":
        h = tf.reshape(h, [4, 4, 2, 4])
        mean, variance = tf.nn.moments(h, [1, 3], keepdims=True)
        return (h - mean) / tf.sqrt(variance + 1e-5) * tf.reshape(gamma, [2, 4])
    if kind == "slim group":
        return tf_slim.group_norm(tf.reshape(h, [4, 2, 2, 8]), groups=2, scope="gn")
    if kind == "l2":
        return tf.nn.l2_normalize(h, 1)
    assert kind == "root mean square"
    return h * tf.rsqrt(tf.reduce_mean(h**2, [-1], keepdims=True) + 1e-8) * gamma


OTHER_NORMS = (
    "weights",
    "weight norm",
    "rows",
    "constants",
    "constants per column",
    "layer",
    "layer, last axis",
    "slim layer",
    "instance",
    "slim instance",
    "group",
    "slim group",
    "l2",
    "root mean square",
)


def rmsprop_by_hand():
    """An optimizer written by hand: averages of squared gradients, roots and quotients, and no layer."""
    with new_graph() as graph:
        X, feed = inputs()
        loss = tf.reduce_mean(dense(X) ** 2)
        steps = []
        for variable in tf.trainable_variables():
            (gradient,) = tf.gradients(loss, variable)
            zeros = tf.zeros(variable.shape.as_list())
            first, second = (tf.Variable(zeros, trainable=False, name=name) for name in ("moving_mean", "moving_var"))
            m, v = tf.assign(first, 0.9 * first + 0.1 * gradient), tf.assign(second, 0.9 * second + 0.1 * gradient**2)
            steps.append(tf.assign_sub(variable, 0.01 * (gradient - m) / (tf.sqrt(v - m**2 + 1e-6) + 1e-8)))
        return done(graph, tf.group(*steps), feed)


def running_inputs():
    """Inputs normalised by running statistics, which the training itself moves on."""
    with new_graph() as graph:
        X, feed = inputs()
        mean = tf.get_variable("running/mean", [INPUTS], initializer=tf.zeros_initializer(), trainable=False)
        variance = tf.get_variable("running/var", [INPUTS], initializer=tf.ones_initializer(), trainable=False)
        batch = tf.nn.moments(X, [0])
        h = dense((X - mean) / tf.sqrt(variance + 1e-8))
        updates = [tf.assign_sub(one, 0.01 * (one - b)) for one, b in zip((mean, variance), batch, strict=True)]
        return done(graph, minimize(tf.reduce_mean(h**2), updates), feed)


def observations():
    """Inputs normalised by running statistics that another op moves: no layer that trains."""
    with new_graph() as graph:
        X, feed = inputs()
        mean = tf.get_variable("observations/mean", [INPUTS], initializer=tf.zeros_initializer(), trainable=False)
        variance = tf.get_variable("observations/var", [INPUTS], initializer=tf.ones_initializer(), trainable=False)
        new = [tf.placeholder(tf.float32, [INPUTS]) for _ in range(2)]
        tf.group(tf.assign(mean, new[0]), tf.assign(variance, new[1]), name="set_observations")
        h = (X - mean) / tf.sqrt(variance + 1e-8)
        return done(graph, minimize(tf.reduce_mean(dense(h) ** 2)), feed)


CASES = [
    # no layer
    *[clean(f"no batch norm: {kind}", lambda kind=kind: other_norms(kind)) for kind in OTHER_NORMS],
    clean("no batch norm: an optimizer by hand", rmsprop_by_hand, optional=(SUSPECT,)),
    clean("no batch norm: running inputs", running_inputs, optional=(SUSPECT,)),
    clean("observations", observations, optional=(SUSPECT,), session=False),
]  # fmt: skip
