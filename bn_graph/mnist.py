"""The 70 000 digits: where they come from, their order, and how the tutorial splits them.

numpy and scikit-learn only; psutil says how much memory is free. Every source gives the digits in the order of mldata's
'MNIST original', the file that the tutorial downloaded and that is gone: LeCun's 60 000 sorted by digit, then his
10 000 sorted by digit.
"""

import gzip
import hashlib
import math
import os
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bn_graph.config import SPLITS, InputError
from bn_graph.files import open_file

NUM_FEATURES = 28 * 28
NUM_CLASSES = 10

_DATA = Path(__file__).parent / "data"
_EMBEDDED = _DATA / "mnist.npz"
_EMBEDDED_SHA256 = "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"
_ROWS_AT_ONCE = 10_000  # read from images that memory need not hold
_PARTS = ("x_train", "y_train", "x_test", "y_test")
_IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class Rows:
    """Rows of images, to be read like an ndarray [rows, 784]. They are gathered when they are asked for.

    An index of any kind that numpy knows gives an ndarray; np.asarray gives them all. Until then nothing is copied, so
    that the float32 images of a training set, four times its pixels, are never in memory together.

    Args:
        images: uint8 [any, 784], or `Rows`; or a list of uint8 arrays that count as one behind the other.
        rows: int64 [rows], which of them these are, in this order.
        dtype: what the pixels, 0 to 255, are given out as.
    """

    def __init__(self, images, rows, dtype):
        if isinstance(images, Rows):
            images, rows = images._parts, images._rows[rows]
        self._parts = images if isinstance(images, list) else [images]
        self._rows = rows
        self.dtype = np.dtype(dtype)
        self.shape = (len(rows), NUM_FEATURES)

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, index):
        if isinstance(index, tuple):
            return self[index[0]][(..., *index[1:])]
        return self.pixels(index).astype(self.dtype, copy=False)

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(dtype or self.dtype, copy=False)

    def pixels(self, index=slice(None)):
        """The same as uint8."""
        asked = self._rows[index]
        rows = np.ravel(asked)
        if len(self._parts) == 1:
            pixels = self._parts[0][rows]
        else:
            pixels = np.empty((len(rows), NUM_FEATURES), np.uint8)
            start = 0
            for part in self._parts:
                here = (rows >= start) & (rows < start + len(part))
                pixels[here] = part[rows[here] - start]
                start += len(part)
        return pixels.reshape(*np.shape(asked), NUM_FEATURES)


class Mnist(NamedTuple):
    """Digits in the order of 'MNIST original'."""

    data: np.ndarray  # uint8 [70000, 784]: pixels 0 to 255; `Rows` where memory does not hold them
    target: np.ndarray  # float64 [70000]: the digit, 0.0 to 9.0
    source: str  # what `load_mnist` was asked for


class Splits(NamedTuple):
    """What the tutorial trains, validates and tests on. X is float32 [rows, 784], y is one-hot float32 [rows, 10].

    Each X may be an ndarray as well, for those who replace it.
    """

    train_X: Rows
    train_y: np.ndarray
    valid_X: Rows
    valid_y: np.ndarray
    test_X: Rows
    test_y: np.ndarray
    train_rows: np.ndarray  # int64: which rows of `Mnist` these are, in this order
    valid_rows: np.ndarray
    test_rows: np.ndarray
    how: str  # stratified or original
    source: str  # of the digits, as in `Mnist`

    def sha256(self):
        """The SHA-256 of all images and labels in their order, in hexadecimal: whether two runs have the same data."""
        digest = hashlib.sha256()
        for values in (self.train_X, self.train_y, self.valid_X, self.valid_y, self.test_X, self.test_y):
            digest.update(str(values.shape).encode())
            for start in range(0, len(values), _ROWS_AT_ONCE):
                some = slice(start, start + _ROWS_AT_ONCE)
                digest.update(np.ascontiguousarray(values.pixels(some) if isinstance(values, Rows) else values[some]))
        return digest.hexdigest()


def load_mnist(source="embedded"):
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
        with open_file(_EMBEDDED) as file:
            if hashlib.sha256(file.read()).hexdigest() != _EMBEDDED_SHA256:
                raise InputError(f"{_EMBEDDED}: damaged: its SHA-256 is not {_EMBEDDED_SHA256}; install bn_graph again")
        data, target = _in_original_order(*_npz(_EMBEDDED))
    elif source == "openml":
        data, target = _in_original_order(*_openml())
    else:
        path = Path(source)
        # Unlike pathlib, os.path answers no, instead of raising, where a name is too long or a folder is closed to us.
        if os.path.isdir(path):
            data, target = _in_original_order(*_idx_folder(path))
        elif path.suffix == ".npz":
            data, target = _in_original_order(*_npz(path))
        elif path.suffix == ".mat":
            data, target = _mat(path)
        elif os.path.exists(path):
            raise InputError(f"{path}: expected a folder of IDX files, an .npz file or a .mat file")
        else:
            raise InputError(f"{path}: no such file; expected embedded, openml or a path")
    if len(np.unique(target)) < 2:
        raise InputError(f"{source}: expected images of at least two classes, found {len(np.unique(target))}")
    return Mnist(data, target, str(source))


def split(mnist, how="stratified", valid_size=10000, test_size=10000):
    """The tutorial's training, validation and test set, as `Splits`.

    how:
        'stratified': the tutorial's two calls of `train_test_split` on today's scikit-learn. The sets are disjoint.
        'original': index for index what scikit-learn 0.18.1 drew for the tutorial. It took the one-hot labels of the
            second call for one flat vector, so training and test set share rows, and rows occur more than once.

    Raises `InputError` where there are too few rows, or too few of a class, to split.
    """
    if how not in SPLITS:
        raise InputError(f"split must be {' or '.join(SPLITS)}, found {how!r}")
    target = mnist.target
    held_out = valid_size + test_size
    if len(target) <= held_out + NUM_CLASSES:
        raise InputError(
            f"{mnist.source}: has {len(target)} rows; {held_out} for validation and test leave too few to train on"
        )
    one_hot = (np.arange(NUM_CLASSES) == target[:, None]).astype(np.float32)
    draw = _stratified if how == "stratified" else _scikit_learn_0_18_1
    try:
        rest, valid_rows = draw(target, valid_size, random_state=102)
        train_rows, test_rows = draw(one_hot[rest], test_size, random_state=325)
    except ValueError as error:
        raise InputError(f"{mnist.source}: cannot be split: {error}") from None
    train_rows, test_rows = rest[train_rows], rest[test_rows]
    return Splits(
        train_X=Rows(mnist.data, train_rows, np.float32),
        train_y=one_hot[train_rows],
        valid_X=Rows(mnist.data, valid_rows, np.float32),
        valid_y=one_hot[valid_rows],
        test_X=Rows(mnist.data, test_rows, np.float32),
        test_y=one_hot[test_rows],
        train_rows=train_rows,
        valid_rows=valid_rows,
        test_rows=test_rows,
        how=how,
        source=mnist.source,
    )


def data_lines(mnist, splits):
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


# The two ways to draw. Both return row numbers: those that stay, and the `test_size` that are taken out.


def _stratified(labels, test_size, random_state):
    from sklearn.model_selection import train_test_split

    digits = labels.argmax(axis=1) if labels.ndim == 2 else labels.astype(int)
    (rare,) = np.where(np.bincount(digits) == 1)
    if rare.size:
        raise ValueError(f"of digit {rare[0]} there is only 1 member to divide")
    if labels.ndim == 2:
        # scikit-learn takes a row of the one-hot matrix for one label and sorts the rows as text, so that digit 9
        # comes first. 9 - digit sorts alike, and spares it 60 000 strings.
        labels = NUM_CLASSES - 1 - digits
    rows = np.arange(len(labels))
    return train_test_split(rows, test_size=test_size, random_state=random_state, stratify=labels)


def _scikit_learn_0_18_1(labels, test_size, random_state):
    """StratifiedShuffleSplit as release 0.18.1 had it, where labels of two dimensions were read as one flat vector."""
    rng = np.random.RandomState(random_state)
    classes, class_counts = np.unique(labels, return_counts=True)
    train_size = len(labels) - test_size
    if class_counts.min() < 2:
        raise ValueError("a class has only 1 member")
    if min(train_size, test_size) < len(classes):
        raise ValueError(f"{min(train_size, test_size)} rows are fewer than the {len(classes)} classes")
    train_counts = _approximate_mode(class_counts, train_size, rng)
    test_counts = _approximate_mode(class_counts - train_counts, test_size, rng)
    train, test = [], []
    for label, count, n_train, n_test in zip(classes, class_counts, train_counts, test_counts, strict=True):
        permutation = rng.permutation(count)
        rows = np.where(labels == label)[0][permutation]  # of a one-hot matrix: each row nine times, or once
        train.append(rows[:n_train])
        test.append(rows[n_train : n_train + n_test])
    return rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))


def _approximate_mode(class_counts, n_draws, rng):
    """How many of each class to draw: their share, rounded down, and the largest remainders once more."""
    # 0.18.1 multiplies before it divides. Later releases divide first; that rounds otherwise, and the remainders of
    # equal classes then tie or do not tie.
    continuous = n_draws * class_counts / class_counts.sum()
    floored = np.floor(continuous)
    remainder = continuous - floored
    missing = int(n_draws - floored.sum())
    for value in np.unique(remainder)[::-1]:
        if missing == 0:
            break
        (tied,) = np.where(remainder == value)
        chosen = rng.choice(tied, size=min(len(tied), missing), replace=False)
        floored[chosen] += 1
        missing -= len(chosen)
    return floored.astype(int)


# The sources. Each gives (images, labels) of the training part, then of the test part.


def free_memory():
    """Bytes."""
    import psutil

    return psutil.virtual_memory().available


def check_memory(name, size, what):
    """Raises `InputError`, "`name`: `what` ... GB of memory", where `size` bytes are not free."""
    free = free_memory()
    if size > free:
        raise InputError(f"{name}: {what} {size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free")


_TWICE = "(a folder of plain IDX files needs less) it is held as it was read and in its order, which takes"
_BYTES_OF_A_ROW = 200  # what its labels, its one-hot labels and its places in the sets take


def _in_original_order(train_images, train_labels, test_images, test_labels):
    train, test = np.argsort(train_labels, kind="stable"), np.argsort(test_labels, kind="stable")
    data = Rows([train_images, test_images], np.concatenate([train, len(train) + test]), np.uint8)
    held = not (isinstance(train_images, np.memmap) or isinstance(test_images, np.memmap))
    return np.asarray(data) if held else data, np.concatenate([train_labels[train], test_labels[test]])


def _npz(path):
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            names = [f"{name}.npy" for name in _PARTS]
            missing = [name for name in names if name not in archive.namelist()]
            if missing:
                raise InputError(f"{path}: has no {missing[0][:-4]}; expected {', '.join(_PARTS)}")
            check_memory(path, 2 * sum(archive.getinfo(name).file_size for name in names), _TWICE)
            arrays = [_npy(archive, name) for name in names]
    except InputError:
        raise
    except Exception as error:  # the zip and npy readers raise a dozen kinds for broken bytes
        raise InputError(f"{path}: not a whole .npz file of plain arrays ({_first_line(error)})") from None
    return _checked(arrays, [f"{path}: {name}" for name in _PARTS])


def _npy(archive, name):
    with archive.open(name) as file:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it was written by Python 2
            array = np.lib.format.read_array(file, allow_pickle=False)
        while file.read(1 << 20):  # to the end, where the checksum is compared; numpy stops where the array ends
            pass
    return array


def _idx_folder(folder):
    paths = []
    for name in _IDX_FILES:
        found = [path for path in (folder / name, folder / f"{name}.gz") if os.path.exists(path)]
        if not found:
            raise InputError(f"{folder}: has no {name} or {name}.gz")
        paths.append(found[0])
    arrays = [_idx(path, dimensions) for path, dimensions in zip(paths, (3, 1, 3, 1), strict=True)]
    rows = sum(map(len, arrays[::2]))
    check_memory(folder, _BYTES_OF_A_ROW * rows, f"the labels and the order of {rows} rows take")
    return _checked(arrays, paths)


def _idx(path, dimensions):
    packed = path.suffix == ".gz"
    header = struct.calcsize(f">{1 + dimensions}I")
    expected = 0x0800 + dimensions  # unsigned bytes, so many dimensions
    kind = "images" if dimensions == 3 else "labels"
    with open_file(path) as plain, gzip.open(plain) if packed else plain as file:
        try:
            head = file.read(header)
        except Exception as error:  # OSError, EOFError or zlib.error
            raise InputError(f"{path}: not a whole gzip file ({_first_line(error)})") from None
        magic = int.from_bytes(head[:4], "big")
        if len(head) >= 4 and magic != expected:
            raise InputError(f"{path}: expected IDX {kind} (magic number {expected:#06x}), found {magic:#06x}")
        if len(head) < header:
            raise InputError(f"{path}: expected IDX {kind}, a header of {header} bytes, found {len(head)} bytes")
        shape = struct.unpack(f">{dimensions}I", head[4:])
        size = math.prod(shape)
        if packed:
            check_memory(path, 2 * size, _TWICE)
            try:
                content = file.read(size)
                found = len(content)
                while more := file.read(1 << 20):
                    found += len(more)
            except Exception as error:
                raise InputError(f"{path}: not a whole gzip file ({_first_line(error)})") from None
        else:
            found = os.fstat(plain.fileno()).st_size - header
        if found != size:
            raise InputError(f"{path}: expected {size} bytes of data {shape}, found {found}")
        if not packed:
            if 2 * size > free_memory():
                return np.memmap(path, np.uint8, "r", header, shape)
            content = file.read()
    return np.frombuffer(content, np.uint8).reshape(shape)


def _mat(path):
    with open_file(path) as file:
        check_memory(path, 2 * os.fstat(file.fileno()).st_size, _TWICE)
        content = file.read()
    try:
        arrays = dict(_mat_arrays(path, content))
    except InputError:
        raise
    except (ValueError, struct.error, zlib.error) as error:
        raise InputError(f"{path}: not a whole MATLAB 5 file ({_first_line(error)})") from None
    for name, rows in (("data", NUM_FEATURES), ("label", 1)):
        if name not in arrays:
            raise InputError(f"{path}: has no {name}; expected data [784, rows] and label [1, rows]")
        shape = arrays[name].shape
        if len(shape) != 2 or shape[0] != rows:
            raise InputError(f"{path}: {name}: expected shape [{rows}, rows], found {list(shape)}")
    images = _images(arrays["data"].T, f"{path}: data")
    return images, _labels(arrays["label"][0], len(images), f"{path}: label")


# MATLAB 5's types of numbers, https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf. Its files are not read
# by scipy's loadmat, which a damaged type makes read outside its own table of types, and that ends Python.
_MAT_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MAT_MATRIX, _MAT_COMPRESSED = 14, 15
_MAT_HEADER = [6, 5, 1]  # a matrix begins with flags (uint32), dimensions (int32) and name (int8)
_MAT_COMPLEX = 0x0800  # one of the flags


def _mat_arrays(path, content):
    """The name and the array of `data` and `label`, if they are there."""
    order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(content[124:128])
    if order is None:
        raise ValueError("MATLAB 7.3: save it with -v7" if content[124:128] == b"\x00\x02IM" else "no MATLAB 5 header")
    for kind, variable in _mat_elements(memoryview(content)[128:], order):
        if kind == _MAT_COMPRESSED:
            unpacker = zlib.decompressobj()
            tag = unpacker.decompress(variable, 8)
            _, size = struct.unpack(f"{order}2I", tag)
            check_memory(path, 2 * size, _TWICE)  # a small file can hold much
            unpacked = tag + unpacker.decompress(unpacker.unconsumed_tail, size + 8)
            if not unpacker.eof:
                raise ValueError("a packed variable has no end")
            ((kind, variable),) = _mat_elements(memoryview(unpacked), order)
        if kind != _MAT_MATRIX:
            raise ValueError(f"type {kind} where a matrix is expected")
        elements = list(_mat_elements(variable, order))
        if [kind for kind, _ in elements[:3]] != _MAT_HEADER:
            raise ValueError("a variable does not begin with its flags, dimensions and name")
        flags, dimensions, name = (_mat_numbers(element, order) for element in elements[:3])
        name = name.tobytes().decode("latin-1")
        if name not in ("data", "label"):
            continue
        if len(elements) < 4 or elements[3][0] not in _MAT_NUMBERS:
            raise ValueError(f"{name} is no array of numbers")
        if (flags & _MAT_COMPLEX).any():
            raise ValueError(f"{name} is complex")
        numbers = _mat_numbers(elements[3], order)
        if (dimensions < 0).any() or math.prod(dimensions.tolist()) != len(numbers):
            raise ValueError(f"{name} has {len(numbers)} numbers, its shape is {dimensions.tolist()}")
        yield name, numbers.reshape(dimensions, order="F")


def _mat_elements(content, order):
    """The type and the bytes of each element, one after the other."""
    while content:
        kind, size = struct.unpack_from(f"{order}2I", content)
        start, end = 8, 8 + size
        if kind >> 16:  # four bytes or fewer are in the tag itself
            kind, size, start, end = kind & 0xFFFF, kind >> 16, 4, 4 + (kind >> 16)
        if end > (8 if start == 4 else len(content)):
            raise ValueError(f"an element of {size} bytes, and {len(content) - start} bytes are left")
        yield kind, content[start:end]
        content = content[end if kind == _MAT_COMPRESSED else -(-end // 8) * 8 :]


def _mat_numbers(element, order):
    kind, content = element
    return np.frombuffer(content, order + _MAT_NUMBERS[kind])


def _openml():
    from sklearn.datasets import fetch_openml

    try:
        bunch = fetch_openml("mnist_784", version=1, as_frame=False, parser="liac-arff")
        # The labels come as text, '0' to '9'; the rows in LeCun's order, his 60 000 first.
        images, labels = np.asarray(bunch.data), np.asarray(bunch.target).astype(np.float64)
    except Exception as error:  # no network, OpenML down, a damaged cache: whatever it is, the user hears which
        raise InputError(f"openml: mnist_784 could not be fetched ({_first_line(error)})") from None
    if len(images) != 70000:
        raise InputError(f"openml: expected 70000 rows of mnist_784, found {len(images)}")
    arrays = images[:60000], labels[:60000], images[60000:], labels[60000:]
    return _checked(arrays, [f"openml: {name}" for name in _PARTS])


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
