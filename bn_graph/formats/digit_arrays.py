"""TODO."""

import numpy as np

from bn_graph.config import NUM_CLASSES, NUM_FEATURES
from bn_graph.errors import InputError

_PARTS = ("x_train", "y_train", "x_test", "y_test")

_TWICE = "(a folder of plain IDX files needs less) it is held as it was read and in its order, which takes"

_BYTES_OF_A_ROW = 200  # what its labels, its one-hot labels and its places in the sets take


def _checked(arrays, names):
    train_images = _images(arrays[0], names[0])
    train_labels = _labels(arrays[1], len(train_images), names[1])
    test_images = _images(arrays[2], names[2])
    test_labels = _labels(arrays[3], len(test_images), names[3])
    return train_images, train_labels, test_images, test_labels


def _images(array, name):
    if array.shape[1:] not in ((28, 28), (NUM_FEATURES,)):
        raise InputError(f"{name}: expected images of 28 x 28, shape [rows, 28, 28], found {list(array.shape)}")
    return _whole_numbers(array, 255, name).astype(np.uint8, copy=False).reshape(len(array), NUM_FEATURES)


def _labels(array, rows, name):
    if array.shape != (rows,):
        raise InputError(f"{name}: expected {rows} labels, one for each image, found shape {list(array.shape)}")
    return _whole_numbers(array, NUM_CLASSES - 1, name).astype(np.float64)


def _whole_numbers(array, largest, name):
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
    return array


def _first_line(error):
    line = (str(error).splitlines() or [""])[0] or type(error).__name__
    return line if len(line) <= 200 else f"{line[:200]} ..."  # zipfile quotes whole damaged headers
