"""Pieces of graphs that `network` cannot say."""

import numpy as np

from bn_graph.tf1 import tf, tf_slim
from tests.audit.networks import INPUTS, UNITS, Built, new_graph


def inputs(batch=16, units=INPUTS, name="X"):
    X = tf.placeholder(tf.float32, [batch, units], name=name)
    return X, {X: np.random.RandomState(3).randn(batch or 16, units)}


def dense(x, units=UNITS, scope="dense", reuse=None):
    with tf.variable_scope(scope, reuse=reuse):
        return tf.matmul(x, tf.get_variable("w", [x.shape.as_list()[-1], units]))


def norm(x, is_training=True, scope="bn", reuse=None, collections=tf.GraphKeys.UPDATE_OPS, **options):
    options = {"decay": 0.9, **options}
    return tf_slim.batch_norm(
        x, is_training=is_training, scope=scope, reuse=reuse, updates_collections=collections, **options
    )


def collected():
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS)


def minimize(loss, updates=(), **arguments):
    with tf.control_dependencies(list(updates)):
        return tf.train.GradientDescentOptimizer(0.01).minimize(loss, **arguments)


def done(graph, train=None, feed=None, evaluate=None, evaluation_feed=None, **arguments):
    init = tf.global_variables_initializer()
    return Built(graph, arguments, train, feed or {}, evaluate, evaluation_feed or {}, init)


def convolution(batch=16, size=4, fused=None, data_format="NHWC", bias=False, is_training=True, collections=None):
    with new_graph() as graph:
        shape = [batch, size, size, 3] if data_format == "NHWC" else [batch, 3, size, size]
        X = tf.placeholder(tf.float32, shape, name="X")
        h = X
        if data_format == "NHWC":
            h = tf.nn.conv2d(X, tf.get_variable("kernel", [1, 1, 3, UNITS]), 1, "SAME")
            if bias:
                h = tf.nn.bias_add(h, tf.get_variable("bias", [UNITS]))
        h = norm(
            h, is_training, collections=collections or tf.GraphKeys.UPDATE_OPS, fused=fused, data_format=data_format
        )
        train_op = minimize(tf.reduce_mean(h**2), collected())
        return done(graph, train_op, {X: np.ones([4 if n is None else n for n in shape])})
