"""What the random ops give."""

import os

import numpy as np
import tensorflow as tf

from tests.recording.reference.files import save_arrays


def record_draws(out, digits):
    """The dropout's first two draws from some seeds, and rows of the initial weights."""
    arrays = {}
    for graph_seed, op_seed in [(1, 101), (1, 102), (1, 103), (1, 104), (20161122, 101), (2147483646, 104)]:
        with tf.Graph().as_default():
            tf.set_random_seed(graph_seed)
            uniform = tf.random_uniform([64, 16], seed=op_seed)
            with tf.Session() as sess:
                key = "uniform_" + str(graph_seed) + "_" + str(op_seed)
                arrays[key] = np.stack([sess.run(uniform) for _ in range(2)])
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        initializers = [tf.truncated_normal_initializer(stddev=0.01, seed=seed) for seed in (10, 39)]
        hidden = tf.get_variable("h", [784, 1024], initializer=initializers[0])
        output = tf.get_variable("o", [1024, 10], initializer=initializers[1])
        with tf.Session() as sess:
            sess.run(tf.initialize_all_variables())
            arrays["hidden_rows"] = np.array([0, 1, 391, 782, 783])
            arrays["hidden_weights"] = sess.run(hidden)[arrays["hidden_rows"]]
            arrays["output_weights"] = sess.run(output)
    save_arrays(os.path.join(out, "draws_tf-0.12.1.npz"), arrays)
