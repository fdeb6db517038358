"""The digits in LeCun's four IDX files, plain or packed by gzip. Fashion-MNIST has the same layout.

The format is on http://yann.lecun.com/exdb/mnist/: a magic number, the length of each dimension, and the bytes. All
numbers of the header are big-endian uint32.
"""

import gzip
import math
import os
import struct

import numpy as np

from bn_graph import memory
from bn_graph.errors import InputError, first_line
from bn_graph.files import open_file
from bn_graph.formats.digit_arrays import check_digits, check_memory_for_digits

_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_DIMENSIONS = (3, 1, 3, 1)
_BYTES_OF_A_ROW = 200  # what its labels, its one-hot labels and its places in the sets take


def read_idx_folder(folder):
    """The digits in the four files of `folder`, as `check_digits` returns them. Raises `InputError`.

    Where the free memory does not hold the images of a plain file twice, they are a memory map. A packed file is then
    refused.
    """
    paths = [_find(folder, name) for name in _FILES]
    arrays = [_read_idx(path, dimensions) for path, dimensions in zip(paths, _DIMENSIONS, strict=True)]
    rows = sum(map(len, arrays[::2]))
    memory.check_memory(folder, _BYTES_OF_A_ROW * rows, f"the labels and the order of {rows} rows take")
    return check_digits(arrays, paths)


def _find(folder, name):
    for path in (folder / name, folder / f"{name}.gz"):
        if os.path.exists(path):
            return path
    raise InputError(f"{folder}: has no {name} or {name}.gz")


def _read_idx(path, dimensions):
    """The array of one file, uint8 of so many dimensions."""
    read = _read_packed if path.suffix == ".gz" else _read_plain
    with open_file(path) as file:
        return read(path, file, dimensions)


def _read_plain(path, file, dimensions):
    shape = _read_shape(path, file, dimensions)
    size, header = math.prod(shape), file.tell()
    _check_size(path, shape, os.fstat(file.fileno()).st_size - header)
    if 2 * size > memory.free_memory():
        return np.memmap(path, np.uint8, "r", header, shape)
    return np.frombuffer(file.read(), np.uint8).reshape(shape)


def _read_packed(path, file, dimensions):
    with gzip.open(file) as unpacker:
        shape = _read_shape(path, unpacker, dimensions)
        check_memory_for_digits(path, math.prod(shape))
        try:
            content = unpacker.read(math.prod(shape))
            size = len(content)
            while more := unpacker.read(1 << 20):
                size += len(more)
        except Exception as error:  # OSError, EOFError or zlib.error
            raise InputError(f"{path}: not a whole gzip file ({first_line(error)})") from None
    _check_size(path, shape, size)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_shape(path, file, dimensions):
    """The shape that the header says."""
    kind = "images" if dimensions == 3 else "labels"
    expected_magic = 0x0800 + dimensions  # 08 is the code of unsigned bytes
    size = struct.calcsize(f">{1 + dimensions}I")
    try:
        header = file.read(size)
    except Exception as error:  # OSError, EOFError or zlib.error
        raise InputError(f"{path}: not a whole gzip file ({first_line(error)})") from None
    magic = int.from_bytes(header[:4], "big")
    if len(header) >= 4 and magic != expected_magic:
        raise InputError(f"{path}: expected IDX {kind} (magic number {expected_magic:#06x}), found {magic:#06x}")
    if len(header) < size:
        raise InputError(f"{path}: expected IDX {kind}, a header of {size} bytes, found {len(header)} bytes")
    return struct.unpack(f">{dimensions}I", header[4:])


def _check_size(path, shape, size):
    if size != math.prod(shape):
        raise InputError(f"{path}: expected {math.prod(shape)} bytes of data {shape}, found {size}")
