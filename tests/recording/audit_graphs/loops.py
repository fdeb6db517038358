"""Moving statistics inside of while loops, as a decoder has them, and inside of functions."""

import tensorflow as tf
from tensorflow.python.framework import function
from tensorflow.python.training import moving_averages

from tests.recording.audit_graphs.by_hand import POP, by_hand, r2rt_norm
from tests.recording.audit_graphs.cases import NEVER_RUN, built, case
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    cross_entropy,
    dense,
    layers_norm,
    minimize,
    network,
    resource_variables,
    sgd,
    variable,
    vector_input,
)


def unrolled(x, norm, reuse, steps=3):
    """A recurrent network whose state is normalised inside of tf.while_loop."""
    with tf.variable_scope("net", reuse=reuse):
        w = tf.get_variable("w", [5, 5], initializer=tf.random_normal_initializer(stddev=0.3))

        def body(i, h):
            return i + 1, tf.tanh(norm(tf.matmul(h, w), "bn"))

        h = tf.while_loop(lambda i, h: i < steps, body, [tf.constant(0), x])[1]
        return dense(h, 3, "logits")


def recurrent(train_norm, evaluation_norm):
    x, y = vector_input()
    train = sgd().minimize(cross_entropy(unrolled(x, train_norm, None), y))
    return built(train, unrolled(x, evaluation_norm, True), statistics=POP)


@case(since=(1, 4))
@case(since=(1, 15), name="while_v2", cond_v2=True)
@resource_variables
def while_():
    """In a loop, in place with resource variables; evaluated with the moving statistics."""
    return recurrent(r2rt_norm(True), r2rt_norm(False))


@case(NEVER_RUN, since=(1, 4))
@case(NEVER_RUN, since=(1, 15), name="while_v2_not_run", cond_v2=True)
@resource_variables
def while_not_run():
    """In a loop, where the assignments hang on nothing."""
    return recurrent(r2rt_norm(True, dependencies=False), r2rt_norm(False))


def trained_outside(norm):
    """One application trains, and three in a loop evaluate."""
    x, y = vector_input()
    with tf.variable_scope("net"):
        w = tf.get_variable("w", [5, 5], initializer=tf.random_normal_initializer(stddev=0.3))
        logits = dense(tf.tanh(norm(True)(tf.matmul(x, w), "bn")), 3, "logits")
    train = minimize(cross_entropy(logits, y), "control dependencies")
    return built(train, unrolled(x, norm(False), True))


@case(since=(1, 4))
@case(since=(1, 15), name="while_v2_inference", cond_v2=True)
@resource_variables
def while_inference():
    """Evaluation in a loop of what was trained outside of it."""
    return trained_outside(layers_norm)


@case(since=(1, 4))
def while_reference():
    """Evaluation in a loop, reference variables."""
    return trained_outside(contrib_norm)


@case(since=(1, 15))
def defun_inference():
    """The evaluation is a Defun that gets statistics, gamma and beta as arguments."""

    @function.Defun(tf.float32, tf.float32, tf.float32, tf.float32, tf.float32)
    def normalize(x, mean, variance, beta, gamma):
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)

    x, y = vector_input()
    train = sgd().minimize(cross_entropy(network(x, r2rt_norm(True)), y))
    with tf.variable_scope("net", reuse=True):
        h = dense(x, 4, "hidden")
        with tf.variable_scope("bn"):
            pieces = [tf.get_variable(n, [4]) for n in ("pop_mean", "pop_var", "beta", "gamma")]
        h = normalize(h, *pieces)
        h.set_shape([None, 4])
        return built(train, dense(tf.nn.relu(h), 3, "logits"), statistics=POP)


def defun_training(run):
    @function.Defun(tf.float32, tf.float32, tf.float32)
    def normalize(x, beta, gamma):
        mean, variance = tf.nn.moments(x, [0])
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3), mean, variance

    def norm(h, name):
        with tf.variable_scope(name):
            gamma, beta = variable("gamma", 1.0, [4]), variable("beta", 0.0, [4])
            pops = variable("pop_mean", 0.0, [4], trainable=False), variable("pop_var", 1.0, [4], trainable=False)
            outputs = normalize(h, beta, gamma)
            outputs[0].set_shape([None, 4])
            for pop, batch in zip(pops, outputs[1:]):
                batch.set_shape([4])
                update = moving_averages.assign_moving_average(pop, batch, 0.9, zero_debias=False)
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
            return outputs[0]

    if not run:
        return by_hand(norm)
    x, y = vector_input()
    return built(minimize(cross_entropy(network(x, norm), y), "control dependencies"), statistics=POP)


@case(since=(1, 15))
def defun_moments():
    """A Defun computes output and moments of a batch; the updates are outside."""
    return defun_training(True)


@case(NEVER_RUN, since=(1, 15))
def defun_moments_not_run():
    """A Defun computes output and moments; the updates hang on nothing."""
    return defun_training(False)
