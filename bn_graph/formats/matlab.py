"""The digits in one MATLAB 5 file, in the layout of mldata's mnist-original.mat: data [784, rows], label [1, rows].

scipy's loadmat does not read it: a damaged type makes that read outside its own table of types, which ends Python. The
format is https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf.
"""

import math
import os
import struct
import zlib

import numpy as np

from bn_graph.config import NUM_FEATURES
from bn_graph.errors import InputError, first_line
from bn_graph.files import open_file
from bn_graph.formats.digit_arrays import check_images, check_labels, check_memory_for_digits

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_HEADER = [6, 5, 1]  # a matrix begins with flags (uint32), dimensions (int32) and name (int8)
_COMPLEX = 0x0800  # one of the flags


def read_mat(path):
    """Images uint8 [rows, 784] and labels float64 [rows] of the .mat file `path`. Raises `InputError`."""
    with open_file(path) as file:
        check_memory_for_digits(path, os.fstat(file.fileno()).st_size)
        content = file.read()
    try:
        arrays = dict(_read_arrays(path, content))
    except InputError:
        raise
    except (ValueError, struct.error, zlib.error) as error:
        raise InputError(f"{path}: not a whole MATLAB 5 file ({first_line(error)})") from None
    for name, rows in (("data", NUM_FEATURES), ("label", 1)):
        if name not in arrays:
            raise InputError(f"{path}: has no {name}; expected data [784, rows] and label [1, rows]")
        shape = arrays[name].shape
        if len(shape) != 2 or shape[0] != rows:
            raise InputError(f"{path}: {name}: expected shape [{rows}, rows], found {list(shape)}")
    images = check_images(arrays["data"].T, f"{path}: data")
    return images, check_labels(arrays["label"][0], len(images), f"{path}: label")


def _read_arrays(path, content):
    """The name and the array of `data` and `label`, if they are there."""
    byte_order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(content[124:128])
    if byte_order is None:
        raise ValueError("MATLAB 7.3: save it with -v7" if content[124:128] == b"\x00\x02IM" else "no MATLAB 5 header")
    for kind, variable in _elements(memoryview(content)[128:], byte_order):
        if kind == _COMPRESSED:
            kind, variable = _unpack(path, variable, byte_order)
        if kind != _MATRIX:
            raise ValueError(f"type {kind} where a matrix is expected")
        elements = list(_elements(variable, byte_order))
        if [kind for kind, _ in elements[:3]] != _HEADER:
            raise ValueError("a variable does not begin with its flags, dimensions and name")
        flags, dimensions, name = (_numbers(element, byte_order) for element in elements[:3])
        name = name.tobytes().decode("latin-1")
        if name not in ("data", "label"):
            continue
        if len(elements) < 4 or elements[3][0] not in _NUMBERS:
            raise ValueError(f"{name} is no array of numbers")
        if (flags & _COMPLEX).any():
            raise ValueError(f"{name} is complex")
        values = _numbers(elements[3], byte_order)
        if (dimensions < 0).any() or math.prod(dimensions.tolist()) != len(values):
            raise ValueError(f"{name} has {len(values)} numbers, its shape is {dimensions.tolist()}")
        yield name, values.reshape(dimensions, order="F")


def _unpack(path, variable, byte_order):
    """The type and the bytes of the element that is packed in a compressed one."""
    unpacker = zlib.decompressobj()
    tag = unpacker.decompress(variable, 8)
    _, size = struct.unpack(f"{byte_order}2I", tag)
    check_memory_for_digits(path, size)  # a small file can hold much
    unpacked = tag + unpacker.decompress(unpacker.unconsumed_tail, size + 8)
    if not unpacker.eof:
        raise ValueError("a packed variable has no end")
    ((kind, content),) = _elements(memoryview(unpacked), byte_order)
    return kind, content


def _elements(content, byte_order):
    """The type and the bytes of each element, one after the other."""
    while content:
        kind, size = struct.unpack_from(f"{byte_order}2I", content)
        start, end = 8, 8 + size
        if kind >> 16:  # four bytes or fewer are in the tag itself
            kind, size, start, end = kind & 0xFFFF, kind >> 16, 4, 4 + (kind >> 16)
        if end > (8 if start == 4 else len(content)):
            raise ValueError(f"an element of {size} bytes, and {len(content) - start} bytes are left")
        yield kind, content[start:end]
        content = content[end if kind == _COMPRESSED else -(-end // 8) * 8 :]


def _numbers(element, byte_order):
    kind, content = element
    return np.frombuffer(content, byte_order + _NUMBERS[kind])
