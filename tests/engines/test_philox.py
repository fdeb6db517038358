"""Dropout's masks in ops for XLA: those of the numbers that TensorFlow's random op draws."""

import numpy as np
import pytest

from bn_graph.engines.philox import masks_at, philox
from bn_graph.tf1 import compiled, tf, uniform_at

FAR = 5 * 10**9  # a run whose counter does not fit into 32 bits


@pytest.mark.parametrize("shape", [[64, 1024], [7, 3], [1, 1]])
@pytest.mark.parametrize("seed", [0, 1, 2**31 - 2])
@pytest.mark.parametrize("with_xla", [True, False])
def test_masks_are_those_of_the_numbers_that_the_random_op_draws(seed, shape, with_xla):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(seed)
        op = tf.raw_ops.RandomUniform(shape=shape, dtype=tf.float32, seed=seed, seed2=104).op
        runs, keep_prob = tf.placeholder(tf.int64, [4]), tf.placeholder(tf.float32, [])

        def masks(runs, keep_prob):
            return masks_at(op, runs, lambda uniform: uniform >= 1 - keep_prob)

        drawn = tf.stack([uniform_at(op, run) for run in tf.unstack(runs)])
        masks = (compiled(masks) if with_xla else masks)(runs, keep_prob)
        numbers, found = session.run([drawn, masks], {runs: [3, 0, 1, FAR], keep_prob: 0.6})
        np.testing.assert_array_equal(found, numbers >= np.float32(1) - np.float32(0.6))
        (threshold,) = np.random.default_rng(0).choice(numbers.ravel(), 1)  # a number that was drawn: equal is kept
        found = session.run(masks, {runs: [3, 0, 1, FAR], keep_prob: 1 - threshold})
        np.testing.assert_array_equal(found, numbers >= np.float32(1) - (1 - threshold))


@pytest.mark.parametrize(
    ("counter", "key", "bits"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_the_generator_gives_the_known_answers_of_its_authors(counter, key, bits):
    """From the file tests/kat_vectors of Random123, the authors' own implementation."""
    counter, key, bits = ([int(word, 16) for word in words.split()] for words in (counter, key, bits))
    with tf.Graph().as_default(), tf.Session() as session:
        drawn = philox([tf.constant(word, tf.uint32) for word in counter], key)
        assert session.run(drawn) == tuple(bits)
