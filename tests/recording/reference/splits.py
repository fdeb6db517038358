"""The rows that scikit-learn 0.18.1 drew."""

import os

import numpy as np
from sklearn.model_selection import train_test_split

from tests.recording.reference.files import save_arrays
from tests.recording.reference.tutorial import num_classes

# name: rows of each digit, sorted like 'MNIST original' or shuffled, valid_size, test_size
SMALL_SPLITS = [
    # multiplying before dividing, as 0.18.1 does, rounds these otherwise than dividing first
    ("unequal", [50, 58, 48, 29, 28, 25, 30, 36, 24, 37], False, 73, 91),
    ("tied", [40, 12, 36, 36, 40, 12, 40, 12, 12, 40], False, 70, 56),
    # all remainders tie, and the generator breaks the tie
    ("equal", [40] * 10, False, 77, 55),
    # down to two members
    ("skewed", [2, 3, 5, 8, 12, 20, 40, 60, 100, 150], False, 71, 54),
    ("five_digits", [0, 45, 0, 45, 20, 0, 0, 40, 0, 50], False, 35, 25),
    ("sorted", [31, 36, 30, 29, 27, 24, 31, 33, 29, 30], True, 55, 45),
]


def record_splits(out, digits):
    """The rows of 'MNIST original' that the tutorial draws."""
    train, valid, test = draw_rows(digits.mnist().target, 10000, 10000)
    rows = {"train": train.astype(np.uint32), "valid": valid.astype(np.uint32), "test": test.astype(np.uint32)}
    save_arrays(os.path.join(out, "splits_scikit-learn-0.18.1.npz"), rows)


def record_small_splits(out, digits):
    """The same of made-up labels."""
    arrays = {}
    for name, counts, in_order, valid_size, test_size in SMALL_SPLITS:
        labels = np.repeat(np.arange(10), counts).astype(np.float64)
        if not in_order:
            labels = np.random.RandomState(len(labels)).permutation(labels)
        train, valid, test = draw_rows(labels, valid_size, test_size)
        arrays[name + "_labels"] = labels.astype(np.uint8)
        arrays[name + "_sizes"] = np.array([valid_size, test_size], np.uint16)
        arrays[name + "_train"] = train.astype(np.uint16)
        arrays[name + "_valid"] = valid.astype(np.uint16)
        arrays[name + "_test"] = test.astype(np.uint16)
    save_arrays(os.path.join(out, "splits_small_scikit-learn-0.18.1.npz"), arrays)


def draw_rows(labels, valid_size, test_size):
    """The row numbers that the tutorial's two calls of train_test_split draw: training, validation, test."""
    rows = np.arange(len(labels))
    one_hot = (np.arange(num_classes) == labels[:, None]).astype(np.float32)
    train_X, valid_X, train_y, valid_y = train_test_split(
        rows, one_hot, test_size=valid_size, random_state=102, stratify=labels
    )
    train_X, test_X, train_y, test_y = train_test_split(
        train_X, train_y, test_size=test_size, random_state=325, stratify=train_y
    )
    assert (len(valid_X), len(test_X)) == (valid_size, test_size)
    for drawn, drawn_y in ((train_X, train_y), (valid_X, valid_y), (test_X, test_y)):
        assert (one_hot[drawn] == drawn_y).all()
    return train_X, valid_X, test_X
