"""The digits that files are made of, and how each is read."""

import functools

import numpy as np

BOMB = bytes(20_000_000)  # packed, a thousandth of it


@functools.cache
def digits():
    """A few made-up digits, as Keras' mnist.npz has them."""
    rng = np.random.default_rng(1)
    parts = {}
    for name, rows in (("train", 3), ("test", 2)):
        parts[f"x_{name}"] = rng.integers(0, 256, (rows, 28, 28), np.uint8)
        parts[f"y_{name}"] = np.arange(rows, dtype=np.uint8)
    return parts


def load(name):
    """Reads the digits from `name` in the folder, and looks at them."""

    def parse(folder):
        from bn_graph.mnist import load_mnist

        mnist = load_mnist(folder / name)
        data, target = np.asarray(mnist.data), mnist.target
        assert (data.dtype, target.dtype) == (np.uint8, np.float64) and data.shape == (len(target), 784)
        assert set(np.unique(target)) <= set(range(10))

    return parse
