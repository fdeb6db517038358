"""Files of digits with something wrong in them: each is refused in one line that says what."""
# ruff: noqa: E501

import gzip
import re

import numpy as np
import pytest

from bn_graph import InputError, load_mnist
from tests.formats.digit_files import IMAGES, LABELS, idx, idx_folder, in_original_order, made_up, mat_file, npz_file

pytestmark = pytest.mark.release


def changed(name, change):
    """A fault of one part: `change` is what becomes of it."""
    return lambda parts: {**parts, name: change(parts[name])}


def with_value(name, dtype, value):
    """A fault of one part: one value in the middle of it."""

    def change(part):
        part = part.astype(dtype)
        part.flat[part.size // 2] = value
        return part

    return changed(name, change)


def without(name):
    return lambda parts: {key: part for key, part in parts.items() if key != name}


def swapped(parts):
    return {
        "x_train": parts["y_train"],
        "y_train": parts["x_train"],
        "x_test": parts["y_test"],
        "y_test": parts["x_test"],
    }


# fmt: off
# What is wrong with the four parts.
NPZ_FAULTS = {
    "images and labels swapped": (swapped, "{path}: x_train: expected images of 28 x 28, shape [rows, 28, 28], found [120]"),
    "27 x 28": (changed("x_train", lambda x: x[:, :27]), "{path}: x_train: expected images of 28 x 28, shape [rows, 28, 28], found [120, 27, 28]"),
    "28 x 27": (changed("x_test", lambda x: x[:, :, 1:]), "{path}: x_test: expected images of 28 x 28, shape [rows, 28, 28], found [40, 28, 27]"),
    "783 columns": (changed("x_train", lambda x: x.reshape(-1, 784)[:, 1:]), "{path}: x_train: expected images of 28 x 28, shape [rows, 28, 28], found [120, 783]"),
    "one dimension": (changed("x_train", np.ravel), "{path}: x_train: expected images of 28 x 28, shape [rows, 28, 28], found [94080]"),
    "four dimensions": (changed("x_test", lambda x: x[..., None]), "{path}: x_test: expected images of 28 x 28, shape [rows, 28, 28], found [40, 28, 28, 1]"),
    "one image": (changed("x_train", lambda x: x[0]), "{path}: x_train: expected images of 28 x 28, shape [rows, 28, 28], found [28, 28]"),
    "one number": (changed("x_train", lambda x: x[0, 0, 0]), "{path}: x_train: expected images of 28 x 28, shape [rows, 28, 28], found []"),
    "an image short": (changed("x_train", lambda x: x[1:]), "{path}: y_train: expected 119 labels, one for each image, found shape [120]"),
    "a label short": (changed("y_test", lambda y: y[1:]), "{path}: y_test: expected 40 labels, one for each image, found shape [39]"),
    "labels in a column": (changed("y_train", lambda y: y[:, None]), "{path}: y_train: expected 120 labels, one for each image, found shape [120, 1]"),
    "one-hot labels": (changed("y_train", lambda y: np.eye(10)[y]), "{path}: y_train: expected 120 labels, one for each image, found shape [120, 10]"),
    "boolean pixels": (changed("x_train", lambda x: x > 99), "{path}: x_train: expected whole numbers from 0 to 255, found type bool"),
    "boolean labels": (changed("y_train", lambda y: y > 4), "{path}: y_train: expected whole numbers from 0 to 9, found type bool"),
    "complex pixels": (changed("x_test", lambda x: x.astype(complex)), "{path}: x_test: expected whole numbers from 0 to 255, found type complex128"),
    "text for pixels": (changed("x_train", lambda x: x.astype(str)), "{path}: x_train: expected whole numbers from 0 to 255, found type <U3"),
    "text for labels": (changed("y_train", lambda y: y.astype(str)), "{path}: y_train: expected whole numbers from 0 to 9, found type <U3"),
    "bytes for labels": (changed("y_test", lambda y: y.astype("S1")), "{path}: y_test: expected whole numbers from 0 to 9, found type |S1"),
    "dates for labels": (changed("y_test", lambda y: y.astype("M8[s]")), "{path}: y_test: expected whole numbers from 0 to 9, found type datetime64[s]"),
    'records': (changed("x_train", lambda x: x.view([("grey", "u1")])), "{path}: x_train: expected whole numbers from 0 to 255, found type [('grey', 'u1')]"),
    "NaN pixel": (with_value("x_train", "f4", np.nan), "{path}: x_train: expected whole numbers from 0 to 255, found a value that is not finite"),
    "NaN label": (with_value("y_train", "f8", np.nan), "{path}: y_train: expected whole numbers from 0 to 9, found a value that is not finite"),
    "infinite pixel": (with_value("x_test", "f8", np.inf), "{path}: x_test: expected whole numbers from 0 to 255, found a value that is not finite"),
    "infinite label": (with_value("y_test", "f4", -np.inf), "{path}: y_test: expected whole numbers from 0 to 9, found a value that is not finite"),
    "half a pixel": (with_value("x_train", "f4", 0.5), "{path}: x_train: expected whole numbers from 0 to 255, found 0.5"),
    "half a label": (with_value("y_train", "f8", 3.5), "{path}: y_train: expected whole numbers from 0 to 9, found 3.5"),
    "pixels from 0 to 1": (changed("x_train", lambda x: x / 255), "{path}: x_train: expected whole numbers from 0 to 255, found 0.10196078431372549"),
    "pixel of 256": (with_value("x_train", "i2", 256), "{path}: x_train: expected whole numbers from 0 to 255, found 0 to 256"),
    "pixel of 256.0": (with_value("x_test", "f4", 256), "{path}: x_test: expected whole numbers from 0 to 255, found 0.0 to 256.0"),
    "pixel of -1": (with_value("x_test", "i8", -1), "{path}: x_test: expected whole numbers from 0 to 255, found -1 to 255"),
    "label of 10": (with_value("y_train", "u1", 10), "{path}: y_train: expected whole numbers from 0 to 9, found 0 to 10"),
    "label of 255": (with_value("y_test", "u1", 255), "{path}: y_test: expected whole numbers from 0 to 9, found 0 to 255"),
    "label of -1": (with_value("y_test", "f8", -1), "{path}: y_test: expected whole numbers from 0 to 9, found -1.0 to 9.0"),
    "no images": (without("x_test"), "{path}: has no x_test; expected x_train, y_train, x_test, y_test"),
    "unlabelled": (without("y_train"), "{path}: has no y_train; expected x_train, y_train, x_test, y_test"),
}
# fmt: on


@pytest.fixture(scope="module")
def small():
    return made_up(120, 40)


def assert_refused(path, line):
    with pytest.raises(InputError) as raised:
        load_mnist(path)
    assert str(raised.value) == line.format(path=path)


@pytest.mark.parametrize("fault", NPZ_FAULTS)
def test_a_faulty_npz_file_is_refused_by_what_is_wrong_with_it(small, tmp_path, fault):
    change, line = NPZ_FAULTS[fault]
    assert_refused(npz_file(tmp_path / "faulty.npz", change(small)), line)


def replaced(name, change):
    """A fault of an IDX folder: `change` makes the bytes of a file out of those it has."""

    def fault(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return fault


def images_and_labels_swapped(folder):
    (folder / IMAGES).rename(folder / "images")
    (folder / LABELS).rename(folder / IMAGES)
    (folder / "images").rename(folder / LABELS)


def only_labels_packed_with(pack):
    def fault(folder):
        (folder / f"{LABELS}.gz").write_bytes(pack((folder / LABELS).read_bytes()))
        (folder / LABELS).unlink()

    return fault


def a_folder_for_labels(folder):
    (folder / LABELS).unlink()
    (folder / LABELS).mkdir()


# fmt: off
# What is wrong with a folder of four files.
IDX_FAULTS = {
    "images and labels swapped": (images_and_labels_swapped, "{path}/train-images-idx3-ubyte: expected IDX images (magic number 0x0803), found 0x0801"),
    "labels twice": (replaced(IMAGES, lambda _: idx(np.arange(120))), "{path}/train-images-idx3-ubyte: expected IDX images (magic number 0x0803), found 0x0801"),
    "images twice": (replaced(LABELS, lambda _: idx(np.ones((9, 28, 28)))), "{path}/train-labels-idx1-ubyte: expected IDX labels (magic number 0x0801), found 0x0803"),
    "four dimensions": (replaced(IMAGES, lambda _: idx(np.ones((9, 28, 28, 1)))), "{path}/train-images-idx3-ubyte: expected IDX images (magic number 0x0803), found 0x0804"),
    "signed bytes": (replaced(IMAGES, lambda b: b"\0\0\x09\3" + b[4:]), "{path}/train-images-idx3-ubyte: expected IDX images (magic number 0x0803), found 0x0903"),
    "other bytes": (replaced(IMAGES, lambda _: b"digits" * 9), "{path}/train-images-idx3-ubyte: expected IDX images (magic number 0x0803), found 0x64696769"),
    "packed, but not named so": (replaced(IMAGES, gzip.compress), "{path}/train-images-idx3-ubyte: expected IDX images (magic number 0x0803), found 0x1f8b0800"),
    "27 x 28": (replaced(IMAGES, lambda _: idx(np.ones((120, 27, 28)))), "{path}/train-images-idx3-ubyte: expected images of 28 x 28, shape [rows, 28, 28], found [120, 27, 28]"),
    "an image short": (replaced(IMAGES, lambda _: idx(np.ones((119, 28, 28)))), "{path}/train-labels-idx1-ubyte: expected 119 labels, one for each image, found shape [120]"),
    "a label short": (replaced(LABELS, lambda _: idx(np.arange(119) % 10)), "{path}/train-labels-idx1-ubyte: expected 120 labels, one for each image, found shape [119]"),
    "label of 10": (replaced(LABELS, lambda b: b[:-1] + b"\n"), "{path}/train-labels-idx1-ubyte: expected whole numbers from 0 to 9, found 0 to 10"),
    "trailing byte": (replaced(IMAGES, lambda b: b + b"\0"), "{path}/train-images-idx3-ubyte: expected 94080 bytes of data (120, 28, 28), found 94081"),
    "trailing label": (replaced(LABELS, lambda b: b + b"\0"), "{path}/train-labels-idx1-ubyte: expected 120 bytes of data (120,), found 121"),
    "more rows than bytes": (replaced(LABELS, lambda b: b[:4] + b"\xff" * 4 + b[8:]), "{path}/train-labels-idx1-ubyte: expected 4294967295 bytes of data (4294967295,), found 120"),
    "no images": (lambda folder: (folder / IMAGES).unlink(), "{path}: has no train-images-idx3-ubyte or train-images-idx3-ubyte.gz"),
    "unlabelled": (lambda folder: (folder / LABELS).unlink(), "{path}: has no train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz"),
    "folder for a file": (a_folder_for_labels, "{path}/train-labels-idx1-ubyte: Is a directory"),
    'not packed, but named so': (only_labels_packed_with(bytes), "{path}/train-labels-idx1-ubyte.gz: not a whole gzip file (Not a gzipped file (b'\\x00\\x00'))"),
    "packed twice": (only_labels_packed_with(lambda b: gzip.compress(gzip.compress(b))), "{path}/train-labels-idx1-ubyte.gz: expected IDX labels (magic number 0x0801), found 0x1f8b0800"),
    'trailing bytes after the packed ones': (only_labels_packed_with(lambda b: gzip.compress(b) + b"more"), "{path}/train-labels-idx1-ubyte.gz: not a whole gzip file (Not a gzipped file (b'mo'))"),
    "trailing label, packed": (only_labels_packed_with(lambda b: gzip.compress(b + b"\1")), "{path}/train-labels-idx1-ubyte.gz: expected 120 bytes of data (120,), found 121"),
}
# fmt: on


@pytest.mark.parametrize("fault", IDX_FAULTS)
def test_a_faulty_idx_file_is_refused_by_what_is_wrong_with_it(small, tmp_path, fault):
    change, line = IDX_FAULTS[fault]
    folder = idx_folder(tmp_path / "faulty", small)
    change(folder)
    assert_refused(folder, line)


def of_data(change):
    return lambda data, target: {"data": change(data.T)}


def of_label(change):
    return lambda data, target: {"label": change(target[None])}


def mat_value(name, dtype, value):
    change = with_value(name, dtype, value)
    return {"data": of_data, "label": of_label}[name](lambda array: change({name: array})[name])


# fmt: off
# What is wrong with data [784, rows] and label [1, rows].
MAT_FAULTS = {
    "images in rows": (of_data(np.transpose), "{path}: data: expected shape [784, rows], found [160, 784]"),
    "783 pixels": (of_data(lambda x: x[1:]), "{path}: data: expected shape [784, rows], found [783, 160]"),
    "an image short": (of_data(lambda x: x[:, 1:]), "{path}: label: expected 159 labels, one for each image, found shape [160]"),
    "a label short": (of_label(lambda y: y[:, 1:]), "{path}: label: expected 160 labels, one for each image, found shape [159]"),
    "labels in a column": (of_label(np.transpose), "{path}: label: expected shape [1, rows], found [160, 1]"),
    "images with a shape": (of_data(lambda x: x.reshape(28, 28, -1)), "{path}: data: expected shape [784, rows], found [28, 28, 160]"),
    "complex pixels": (of_data(lambda x: x + 1j), "{path}: not a whole MATLAB 5 file (data is complex)"),
    "text": (of_data(lambda _: "digits"), "{path}: not a whole MATLAB 5 file (data is no array of numbers)"),
    "cells": (of_data(lambda x: np.array([[0, "digit"]], object)), "{path}: not a whole MATLAB 5 file (data is no array of numbers)"),
    "struct": (of_data(lambda x: {"digits": 1}), "{path}: data: expected shape [784, rows], found [1, 1]"),
    "NaN pixel": (mat_value("data", "f8", np.nan), "{path}: data: expected whole numbers from 0 to 255, found a value that is not finite"),
    "infinite label": (mat_value("label", "f8", np.inf), "{path}: label: expected whole numbers from 0 to 9, found a value that is not finite"),
    "half a pixel": (mat_value("data", "f4", 0.5), "{path}: data: expected whole numbers from 0 to 255, found 0.5"),
    "half a label": (mat_value("label", "f8", 0.5), "{path}: label: expected whole numbers from 0 to 9, found 0.5"),
    "pixel of 256": (mat_value("data", "i2", 256), "{path}: data: expected whole numbers from 0 to 255, found 0 to 256"),
    "pixel of -1": (mat_value("data", "i2", -1), "{path}: data: expected whole numbers from 0 to 255, found -1 to 255"),
    "label of 10": (mat_value("label", "f8", 10), "{path}: label: expected whole numbers from 0 to 9, found 0.0 to 10.0"),
    "label of -1": (mat_value("label", "i1", -1), "{path}: label: expected whole numbers from 0 to 9, found -1 to 9"),
}
# fmt: on


@pytest.mark.parametrize("fault", MAT_FAULTS)
def test_a_faulty_mat_file_is_refused_by_what_is_wrong_with_it(small, tmp_path, fault):
    change, line = MAT_FAULTS[fault]
    assert_refused(mat_file(tmp_path / "faulty.mat", small, **change(*in_original_order(small))), line)


def nothing(parts):
    return {name: part[:0] for name, part in parts.items()}


def one_class(parts):
    return {name: np.full_like(part, 3) if name[0] == "y" else part for name, part in parts.items()}


@pytest.mark.parametrize(("change", "found"), [(nothing, 0), (one_class, 1)])
@pytest.mark.parametrize("write", [npz_file, idx_folder, mat_file])
def test_fewer_than_two_classes_are_refused(small, tmp_path, write, change, found):
    suffix = {npz_file: ".npz", idx_folder: "", mat_file: ".mat"}[write]
    line = f"{{path}}: expected images of at least two classes, found {found}"
    assert_refused(write(tmp_path / f"poor{suffix}", change(small)), line)


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[2J", "not\udcffutf8", "x" * 5000])
def test_whatever_a_file_is_called_the_line_can_be_printed_and_read(name):
    for suffix in ("", ".npz", ".mat"):
        with pytest.raises(InputError) as raised:
            load_mnist(name + suffix)
        line = str(raised.value)
        assert line.isprintable() and len(line) < 1100 and line.startswith(ascii(name)[1:-1][:400])
        assert re.search(
            r"no such file; expected embedded, openml or a path$|No such file or directory$|too long$", line
        )
