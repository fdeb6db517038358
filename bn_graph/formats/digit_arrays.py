"""Checks of arrays that are said to be images of digits and their labels, whatever file they come from."""

import numpy as np

from bn_graph.config import NUM_CLASSES, NUM_FEATURES
from bn_graph.errors import InputError
from bn_graph.memory import check_memory

PARTS = ("x_train", "y_train", "x_test", "y_test")  # as Keras calls them


def check_digits(arrays, names):
    """The four arrays of a data set in the package's own types.

    Args:
        arrays: training images and labels, test images and labels, of any shape and dtype.
        names: what an error calls each of them.

    Returns: training images uint8 [rows, 784] and labels float64 [rows], then the same of the test.

    Raises `InputError` where an array is something else.
    """
    train_images = check_images(arrays[0], names[0])
    train_labels = check_labels(arrays[1], len(train_images), names[1])
    test_images = check_images(arrays[2], names[2])
    test_labels = check_labels(arrays[3], len(test_images), names[3])
    return train_images, train_labels, test_images, test_labels


def check_images(array: np.ndarray, name) -> np.ndarray:
    """The images as uint8 [rows, 784], from [rows, 28, 28] or [rows, 784]. Raises `InputError`."""
    if array.shape[1:] not in ((28, 28), (NUM_FEATURES,)):
        raise InputError(f"{name}: expected images of 28 x 28, shape [rows, 28, 28], found {list(array.shape)}")
    _check_whole_numbers(array, 255, name)
    return array.astype(np.uint8, copy=False).reshape(len(array), NUM_FEATURES)


def check_labels(array: np.ndarray, num_rows: int, name) -> np.ndarray:
    """The labels as float64 [num_rows], 0.0 to 9.0. Raises `InputError`."""
    if array.shape != (num_rows,):
        raise InputError(f"{name}: expected {num_rows} labels, one for each image, found shape {list(array.shape)}")
    _check_whole_numbers(array, NUM_CLASSES - 1, name)
    return array.astype(np.float64)


def check_memory_for_digits(name, size: int) -> None:
    """Raises `InputError` where the free memory does not hold `size` bytes of images and labels twice."""
    what = "(a folder of plain IDX files needs less) it is held as it was read and in its order, which takes"
    check_memory(name, 2 * size, what)


def _check_whole_numbers(array, largest, name):
    accepted = f"expected whole numbers from 0 to {largest}"
    if array.dtype.kind not in "uif":
        raise InputError(f"{name}: {accepted}, found type {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{name}: {accepted}, found a value that is not finite")
    if array.size and not (array.dtype == np.uint8 and largest == 255):
        if array.min() < 0 or array.max() > largest:
            raise InputError(f"{name}: {accepted}, found {array.min()} to {array.max()}")
        if array.dtype.kind == "f" and (array != np.floor(array)).any():
            raise InputError(f"{name}: {accepted}, found {array[array != np.floor(array)][0]}")
