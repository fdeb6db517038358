"""TODO."""

import gzip
import math
import os
import struct

import numpy as np

from bn_graph import memory
from bn_graph.errors import InputError
from bn_graph.files import open_file
from bn_graph.formats.digit_arrays import _BYTES_OF_A_ROW, _TWICE, _checked, _first_line

_IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _idx_folder(folder):
    paths = []
    for name in _IDX_FILES:
        found = [path for path in (folder / name, folder / f"{name}.gz") if os.path.exists(path)]
        if not found:
            raise InputError(f"{folder}: has no {name} or {name}.gz")
        paths.append(found[0])
    arrays = [_idx(path, dimensions) for path, dimensions in zip(paths, (3, 1, 3, 1), strict=True)]
    rows = sum(map(len, arrays[::2]))
    memory.check_memory(folder, _BYTES_OF_A_ROW * rows, f"the labels and the order of {rows} rows take")
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
            memory.check_memory(path, 2 * size, _TWICE)
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
            if 2 * size > memory.free_memory():
                return np.memmap(path, np.uint8, "r", header, shape)
            content = file.read()
    return np.frombuffer(content, np.uint8).reshape(shape)
