"""The least that a step costs: X W, X^T of the same shape as its gradient, and Adam's pass over W. Nothing else."""

import numpy as np

from benchmark.peers.task import STDDEV, loop
from bn_graph.tf1 import tf


def train(task):
    config = task.config
    batches = min(config.eval_every, config.steps)  # as many as there are between two validations, again and again
    rows = np.concatenate([task.splits.train_X[at : at + config.batch_size] for at in task.offsets[:batches]])
    with tf.Graph().as_default(), tf.Session() as sess:
        initial_rows, num_steps = tf.placeholder(tf.float32, rows.shape), tf.placeholder(tf.int32, [])
        resident = tf.Variable(initial_rows, use_resource=True)
        steps = steps_in_graph(resident.value(), config, batches, num_steps)
        sess.run(tf.global_variables_initializer(), {initial_rows: rows})

        def train_steps(begin, end):
            sess.run(steps, {num_steps: end - begin})
            return [0.0]  # there is no loss

        return loop(task, train_steps, evaluate=None)


def steps_in_graph(rows, config, batches, num_steps):
    """The op that does so many steps, on the batches that `rows` are."""
    shape = [rows.shape[1], config.hidden_size]
    weights = tf.Variable(tf.truncated_normal(shape, stddev=STDDEV, seed=1), use_resource=True)
    moments = [tf.Variable(tf.zeros(shape), use_resource=True) for _ in range(2)]

    def step(number):
        X = tf.slice(rows, [number % batches * config.batch_size, 0], [config.batch_size, -1])
        gradient = tf.matmul(X, tf.matmul(X, weights), transpose_a=True)
        with tf.control_dependencies([adam(weights, *moments, gradient)]):
            return number + 1

    return tf.while_loop(lambda number: number < num_steps, step, [0], parallel_iterations=1)


def adam(weights, mean, variance, gradient):
    """The op that updates the weights and the moments of their gradient."""
    return tf.raw_ops.ResourceApplyAdam(
        var=weights.handle,
        m=mean.handle,
        v=variance.handle,
        beta1_power=0.9,
        beta2_power=0.999,
        lr=1e-5,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        grad=gradient,
    )
