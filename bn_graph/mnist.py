"""The 70 000 digits: where they come from, their order, how the tutorial splits them, and its batches.

Every source gives the digits in the order of mldata's 'MNIST original', the file that the tutorial downloaded and that
is gone: LeCun's 60 000 sorted by digit, then his 10 000 sorted by digit.
"""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bn_graph import scikit_learn_0_18
from bn_graph.config import NUM_CLASSES, SPLITS
from bn_graph.errors import InputError, check_type
from bn_graph.files import open_file
from bn_graph.formats.idx import read_idx_folder
from bn_graph.formats.matlab import read_mat
from bn_graph.formats.npz import read_npz
from bn_graph.formats.openml import fetch_openml
from bn_graph.lazy_rows import LazyRows

_EMBEDDED = Path(__file__).parent / "data" / "mnist.npz"
_EMBEDDED_SHA256 = "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"
_ROWS_AT_ONCE = 10_000  # read from images that memory need not hold


class Mnist(NamedTuple):
    """Digits in the order of 'MNIST original'."""

    data: np.ndarray  # uint8 [70000, 784]: pixels 0 to 255; `LazyRows` where memory does not hold them
    target: np.ndarray  # float64 [70000]: the digit, 0.0 to 9.0
    source: str  # what `load_mnist` was asked for

    def __repr__(self):
        return f"<Mnist {self.source}: {len(self.target)} digits>"


class Splits(NamedTuple):
    """What the tutorial trains, validates and tests on. X is float32 [rows, 784], y is one-hot float32 [rows, 10].

    Each X may be an ndarray as well, for those who replace it.
    """

    train_X: LazyRows
    train_y: np.ndarray
    valid_X: LazyRows
    valid_y: np.ndarray
    test_X: LazyRows
    test_y: np.ndarray
    train_rows: np.ndarray  # int64: which rows of `Mnist` these are, in this order
    valid_rows: np.ndarray
    test_rows: np.ndarray
    split: str  # stratified or original
    source: str  # of the digits, as in `Mnist`

    def __repr__(self):
        sizes = f"{len(self.train_y)} to train, {len(self.valid_y)} to validate, {len(self.test_y)} to test"
        return f"<Splits {self.split} of {self.source}: {sizes}>"

    def sha256(self) -> str:
        """The SHA-256 of all images and labels in their order, in hexadecimal: whether two runs have the same data."""
        digest = hashlib.sha256()
        for values in (self.train_X, self.train_y, self.valid_X, self.valid_y, self.test_X, self.test_y):
            digest.update(str(values.shape).encode())
            for start in range(0, len(values), _ROWS_AT_ONCE):
                index = slice(start, start + _ROWS_AT_ONCE)
                rows = values.pixels(index) if isinstance(values, LazyRows) else values[index]
                digest.update(np.ascontiguousarray(rows))
        return digest.hexdigest()


def load_mnist(source: str | os.PathLike = "embedded") -> Mnist:
    """The digits from `source`, as an `Mnist`: data uint8 [70000, 784], target float64 [70000].

    source:
        'embedded': the copy inside this package, verified by its SHA-256.
        'openml': OpenML's data set mnist_784, by scikit-learn's `fetch_openml`, which caches it.
        a path to an .npz file in the layout of Keras' mnist.npz: x_train, y_train, x_test, y_test.
        a path to a folder of LeCun's four IDX files, plain or .gz.
        a path to a .mat file in the layout of mldata's mnist-original.mat: data [784, 70000], label [1, 70000].

    Files of other data with images of 28 x 28 and labels 0 to 9 (Fashion-MNIST, say) may have any number of rows. Where
    the free memory does not hold them, plain IDX files are read row by row as they are needed; others are refused.
    Raises `InputError`, which names the file and what is wrong with it. Nothing is ever unpickled.
    """
    if source == "embedded":
        _check_embedded()
        data, target = _in_original_order(*read_npz(_EMBEDDED))
    elif source == "openml":
        data, target = _in_original_order(*fetch_openml())
    else:
        path = Path(source)
        # Unlike pathlib's, os.path.isdir is false where a name is too long or a folder is closed to us.
        if os.path.isdir(path):
            data, target = _in_original_order(*read_idx_folder(path))
        elif path.suffix == ".npz":
            data, target = _in_original_order(*read_npz(path))
        elif path.suffix == ".mat":
            data, target = read_mat(path)
        elif os.path.exists(path):
            raise InputError(f"{path}: expected a folder of IDX files, an .npz file or a .mat file")
        else:
            raise InputError(f"{path}: no such file; expected embedded, openml or a path")
    if len(np.unique(target)) < 2:
        raise InputError(f"{source}: expected images of at least two classes, found {len(np.unique(target))}")
    return Mnist(data, target, str(source))


def _check_embedded():
    with open_file(_EMBEDDED) as file:
        if hashlib.sha256(file.read()).hexdigest() != _EMBEDDED_SHA256:
            raise InputError(f"{_EMBEDDED}: damaged: its SHA-256 is not {_EMBEDDED_SHA256}; install bn_graph again")


def _in_original_order(train_images, train_labels, test_images, test_labels):
    """Images and labels in the order of 'MNIST original'. Images that are memory maps are left where they are."""
    train, test = np.argsort(train_labels, kind="stable"), np.argsort(test_labels, kind="stable")
    data = LazyRows([train_images, test_images], np.concatenate([train, len(train) + test]), np.uint8)
    if not (isinstance(train_images, np.memmap) or isinstance(test_images, np.memmap)):
        data = np.asarray(data)
    return data, np.concatenate([train_labels[train], test_labels[test]])


def split(mnist: Mnist, how: str = "stratified", valid_size: int = 10000, test_size: int = 10000) -> Splits:
    """The tutorial's training, validation and test set, as `Splits`.

    how:
        'stratified': the tutorial's two calls of `train_test_split` on today's scikit-learn. The sets are disjoint.
        'original': index for index what scikit-learn 0.18.1 drew for the tutorial. It took the one-hot labels of the
            second call for one flat vector. So training and test set share rows, and rows occur more than once.

    Raises `InputError` where there are too few rows, or too few of a class, to split.
    """
    check_type("split", "mnist", mnist, Mnist)
    if how not in SPLITS:
        raise InputError(f"split must be {' or '.join(SPLITS)}, found {how!r}")
    target = mnist.target
    held_out = valid_size + test_size
    if len(target) <= held_out + NUM_CLASSES:
        raise InputError(
            f"{mnist.source}: has {len(target)} rows; {held_out} for validation and test leave too few to train on"
        )
    one_hot = (np.arange(NUM_CLASSES) == target[:, None]).astype(np.float32)
    draw = _draw_rows if how == "stratified" else scikit_learn_0_18.draw_rows
    try:
        rest, valid_rows = draw(target, valid_size, random_state=102)
        train_rows, test_rows = draw(one_hot[rest], test_size, random_state=325)
    except ValueError as error:
        raise InputError(f"{mnist.source}: cannot be split: {error}") from None
    train_rows, test_rows = rest[train_rows], rest[test_rows]
    return Splits(
        train_X=LazyRows(mnist.data, train_rows, np.float32),
        train_y=one_hot[train_rows],
        valid_X=LazyRows(mnist.data, valid_rows, np.float32),
        valid_y=one_hot[valid_rows],
        test_X=LazyRows(mnist.data, test_rows, np.float32),
        test_y=one_hot[test_rows],
        train_rows=train_rows,
        valid_rows=valid_rows,
        test_rows=test_rows,
        split=how,
        source=mnist.source,
    )


def _draw_rows(labels, test_size, random_state):
    """What `scikit_learn_0_18.draw_rows` returns, as today's scikit-learn draws it."""
    from sklearn.model_selection import train_test_split  # here: importing it takes a second, which --help can spare

    digits = labels.argmax(axis=1) if labels.ndim == 2 else labels.astype(int)
    (rare,) = np.where(np.bincount(digits) == 1)
    if rare.size:
        raise ValueError(f"of digit {rare[0]} there is only 1 member to divide")
    if labels.ndim == 2:
        # scikit-learn takes a row of the one-hot matrix for one label. It sorts the rows as text, where digit 9 comes
        # first. 9 - digit sorts alike, and spares it 60 000 strings.
        labels = NUM_CLASSES - 1 - digits
    rows = np.arange(len(labels))
    return train_test_split(rows, test_size=test_size, random_state=random_state, stratify=labels)


def data_lines(mnist: Mnist, splits: Splits):
    """The lines that the tutorial prints about its data, before it builds the graph."""
    rows = len(mnist.target)
    yield f"MNIST data, X shape\t{mnist.data.shape}"
    yield f"MNIST data, y shape\t{mnist.target.shape}"
    yield str(mnist.data.dtype)
    yield str(mnist.target.dtype)
    yield str(splits.train_X.dtype)
    yield str(splits.train_y.dtype)
    yield f"({rows}, {splits.train_y.shape[1]})"
    yield "Dataset\t\tFeatureShape\tLabelShape"
    yield f"Training set:\t{splits.train_X.shape} \t{splits.train_y.shape}"
    yield f"Validation set:\t{splits.valid_X.shape} \t{splits.valid_y.shape}"
    yield f"Testing set:\t{splits.test_X.shape} \t{splits.test_y.shape}"


def batch(splits: Splits, step: int, size: int):
    """The batch of a step: images float32 [size, 784] and one-hot labels float32 [size, 10]."""
    offset = batch_offset(step, size, len(splits.train_y))
    return splits.train_X[offset : offset + size], splits.train_y[offset : offset + size]


def batch_offset(step, batch_size: int, num_rows: int):
    """The first row of the batch of `step`, a number or an array of them."""
    return (step * batch_size) % (num_rows - batch_size)
