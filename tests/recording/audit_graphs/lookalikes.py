"""What is no batch norm: other normalisations, and other averages and statistics."""

import numpy as np
import tensorflow as tf

from tests.recording.audit_graphs.cases import built, case
from tests.recording.audit_graphs.networks import (
    conv,
    cross_entropy,
    dense,
    image_input,
    one_tower,
    sgd,
    variable,
    vector_input,
)


def in_a_network(norm, image=False):
    return one_tower(norm, "not run", image=image)._replace(statistics=None)


def handmade_layer_norm(h, name):
    with tf.variable_scope(name):
        gamma = tf.get_variable("gamma", h.get_shape()[-1:], initializer=tf.constant_initializer(1.0))
        beta = tf.get_variable("beta", h.get_shape()[-1:], initializer=tf.constant_initializer(0.0))
        mean, variance = tf.nn.moments(h, [len(h.get_shape()) - 1], keep_dims=True)
        return (h - mean) * tf.rsqrt(variance + 1e-6) * gamma + beta


def handmade_instance_norm(h, name):
    with tf.variable_scope(name):
        gamma = tf.get_variable("gamma", h.get_shape()[-1:], initializer=tf.constant_initializer(1.0))
        beta = tf.get_variable("beta", h.get_shape()[-1:], initializer=tf.constant_initializer(0.0))
        mean, variance = tf.nn.moments(h, [1, 2], keep_dims=True)
        return tf.nn.batch_normalization(h, mean, variance, beta, gamma, 1e-5)


def handmade_group_norm(h, name):
    with tf.variable_scope(name):
        gamma = tf.get_variable("gamma", [1, 1, 1, 4], initializer=tf.constant_initializer(1.0))
        beta = tf.get_variable("beta", [1, 1, 1, 4], initializer=tf.constant_initializer(0.0))
        g = tf.reshape(h, [-1, 4, 4, 2, 2])
        mean, variance = tf.nn.moments(g, [1, 2, 4], keep_dims=True)
        return tf.reshape((g - mean) / tf.sqrt(variance + 1e-5), [-1, 4, 4, 4]) * gamma + beta


@case(layers=[])
def layer_norm():
    """Layer norm: every example has its own mean."""
    return in_a_network(handmade_layer_norm)


@case(layers=[])
def layer_norm_contrib():
    """tf.contrib.layers.layer_norm."""
    return in_a_network(lambda h, name: tf.contrib.layers.layer_norm(h, scope=name), image=True)


@case(layers=[])
def instance_norm():
    """Instance norm through tf.nn.batch_normalization."""
    return in_a_network(handmade_instance_norm, image=True)


@case(layers=[], since=(1, 4))
def instance_norm_contrib():
    """tf.contrib.layers.instance_norm."""
    return in_a_network(lambda h, name: tf.contrib.layers.instance_norm(h, scope=name), image=True)


@case(layers=[])
def group_norm():
    """Group norm, with reshapes."""
    return in_a_network(handmade_group_norm, image=True)


@case(layers=[])
def other_normalizers():
    """l2_normalize, weight norm, constants for the input, an RMSProp written by hand."""
    x, y = vector_input()
    x = (x - tf.constant([0.1, 0.2, 0.3, 0.4, 0.5])) / tf.constant([1.0, 2.0, 3.0, 4.0, 5.0])
    with tf.variable_scope("net"):
        v = tf.get_variable("v", [5, 4], initializer=tf.random_normal_initializer())
        g = tf.get_variable("g", [4], initializer=tf.constant_initializer(1.0))
        h = tf.matmul(x, v * (g * tf.rsqrt(tf.reduce_sum(tf.square(v), 0))))
        h = tf.nn.l2_normalize(h, 1)
        logits = dense(h, 3, "logits")
    loss = cross_entropy(logits, y)
    steps = []
    for v in tf.trainable_variables():
        gradient = tf.gradients(loss, v)[0]
        square = tf.Variable(tf.ones_like(v.initialized_value()), trainable=False)
        mean = tf.Variable(tf.zeros_like(v.initialized_value()), trainable=False)
        square = tf.assign(square, 0.9 * square + 0.1 * tf.square(gradient))
        mean = tf.assign(mean, 0.9 * mean + 0.1 * gradient)
        steps.append(tf.assign_sub(v, 0.01 * mean / tf.sqrt(square + 1e-8)))
    return built(tf.group(*steps, name="train"), statistics=None)


@case(layers=[])
def running_observation_filter():
    """Reinforcement learning's filter of observations: running sums that the program feeds, no batch norm; nothing here
    is wrong.
    """
    x, y = vector_input()
    with tf.variable_scope("filter"):
        total = tf.get_variable("runningsum", [5], initializer=tf.constant_initializer(0.0), trainable=False)
        squares = tf.get_variable("runningsumsq", [5], initializer=tf.constant_initializer(1e-2), trainable=False)
        count = tf.get_variable("count", [], initializer=tf.constant_initializer(1e-2), trainable=False)
        mean = total / count
        std = tf.sqrt(tf.maximum(squares / count - tf.square(mean), 1e-2))
        new = tf.placeholder(tf.float32, [5], name="new")
        tf.group(tf.assign_add(total, new), tf.assign_add(squares, new * new), tf.assign_add(count, 1.0), name="update")
    x = tf.clip_by_value((x - mean) / std, -5.0, 5.0)
    with tf.variable_scope("net"):
        logits = dense(x, 3, "logits")
    return built(sgd().minimize(cross_entropy(logits, y)), logits, statistics=None)


@case(layers=[])
def adam_only():
    """No normalisation at all, and Adam's moments."""
    x, y = vector_input()
    return built(tf.train.AdamOptimizer().minimize(cross_entropy(dense(x, 3, "logits"), y)), statistics=None)


@case(layers=[])
def other_batch_statistics():
    """Statistics of a batch that are no batch norm: advantages, targets, one per image."""
    x, y = image_input()
    size = 4.0 * 4.0 * 2.0
    mean, variance = tf.nn.moments(x, [1, 2, 3], keep_dims=True)
    x = (x - mean) / tf.maximum(tf.sqrt(variance), 1.0 / np.sqrt(size).astype(np.float32))
    advantage = tf.placeholder(tf.float32, [None], name="advantage")
    mean, variance = tf.nn.moments(advantage, [0])
    advantage = (advantage - mean) / (tf.sqrt(variance) + 1e-8)
    with tf.variable_scope("net"):
        logits = dense(tf.reduce_mean(conv(x, 4, "hidden"), [1, 2]), 3, "logits")
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    return built(sgd().minimize(tf.reduce_mean(advantage * loss)), statistics=None)


@case(layers=[])
def other_moving_averages():
    """Averages that are no statistics of a batch norm: of the loss, of class centers, and a spectral norm's vector."""
    x, y = vector_input()
    with tf.variable_scope("net"):
        w = tf.get_variable("w", [5, 4], initializer=tf.random_normal_initializer())
        u = tf.get_variable("u", [1, 4], initializer=tf.random_normal_initializer(), trainable=False)
        v = tf.nn.l2_normalize(tf.matmul(u, tf.transpose(w)), 1)
        new_u = tf.nn.l2_normalize(tf.matmul(v, w), 1)
        sigma = tf.matmul(tf.matmul(v, w), tf.transpose(new_u))
        with tf.control_dependencies([u.assign(new_u)]):
            h = tf.matmul(x, w / sigma)
        logits = dense(tf.nn.relu(h), 3, "logits")
        centers = variable("centers", 0.0, [3, 3], trainable=False)
    mine = tf.gather(centers, y)
    loss = cross_entropy(logits, y) + 0.1 * tf.reduce_mean(tf.square(logits - mine))
    ema = tf.train.ExponentialMovingAverage(0.9)
    with tf.control_dependencies([sgd().minimize(loss), tf.scatter_sub(centers, y, 0.5 * (mine - logits))]):
        return built(ema.apply([loss]), statistics=None)
