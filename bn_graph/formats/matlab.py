"""TODO."""

import math
import os
import struct
import zlib

import numpy as np

from bn_graph.config import NUM_FEATURES
from bn_graph.errors import InputError
from bn_graph.files import open_file
from bn_graph.formats.digit_arrays import _TWICE, _first_line, _images, _labels
from bn_graph.memory import check_memory

# MATLAB 5's types of numbers, https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf. Its files are not read
# by scipy's loadmat, which a damaged type makes read outside its own table of types, and that ends Python.
_MAT_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}

_MAT_MATRIX, _MAT_COMPRESSED = 14, 15

_MAT_HEADER = [6, 5, 1]  # a matrix begins with flags (uint32), dimensions (int32) and name (int8)

_MAT_COMPLEX = 0x0800  # one of the flags


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
