"""MATLAB 5 files."""

import functools
import io
import struct
import zlib

import numpy as np
from scipy.io import savemat

from tests.fuzzing.damage import NUMBERS, damaged
from tests.fuzzing.digits import BOMB, digits, load


def element(order, kind, content, size=None):
    return struct.pack(f"{order}2I", kind, len(content) if size is None else size) + content + bytes(-len(content) % 8)


def mat(rng, arrays, order="<"):
    """A MATLAB 5 file. With a `random.Random` it lies."""

    def lie(right, *lies):
        return rng.choice(lies) if rng and rng.random() < 0.06 else right

    numbers = [number & 0xFFFFFFFF for number in NUMBERS]
    variables = b""
    for name, array in arrays.items():
        dimensions = [lie(length, -1, 0, 1 << 30, (1 << 31) - 1, length + 1) for length in array.shape]
        dimensions = lie(dimensions, dimensions * 2, dimensions[:1], [], dimensions * 40)
        content = array.T.astype(array.dtype.newbyteorder(order)).tobytes()
        number = {1: 2, 8: 9}[array.dtype.itemsize]
        flags = struct.pack(f"{order}2I", lie(6, *numbers, 0x0806), 0)
        parts = [
            element(order, lie(6, *range(20)), flags),
            element(order, lie(5, *range(20)), struct.pack(f"{order}{len(dimensions)}i", *dimensions)),
            element(order, lie(1, *range(20)), lie(name.encode(), b"", b"\xff" * 9, b"data", b"x" * 9999)),
            element(order, lie(number, *range(20), 60000), content, lie(None, *numbers)),
        ]
        parts = lie(parts, parts[:3], parts[1:], parts * 2, [])
        variable = element(order, lie(14, *range(20)), b"".join(parts), lie(None, *numbers))
        if rng and rng.random() < 0.3:
            packed = zlib.compress(lie(variable, variable * 2, variable[:-9], b""))
            if rng.random() < 0.004:
                packed = bomb_of_mat(order, name)
            # MATLAB does not pad what is packed.
            variable = struct.pack(f"{order}2I", 15, lie(len(packed), *numbers)) + lie(
                packed, packed[:-4], packed + b"x"
            )
        variables += variable
    version = lie({"<": b"\x00\x01IM", ">": b"\x01\x00MI"}[order], b"\x00\x02IM", b"\x01\x00MI", b"IM\0\0")
    return b"MATLAB 5.0 MAT-file".ljust(124) + version + variables


@functools.cache
def bomb_of_mat(order, name):
    dimensions = struct.pack(f"{order}2i", 784, len(BOMB) // 784)
    head = element(order, 6, struct.pack(f"{order}2I", 6, 0)) + element(order, 5, dimensions)
    return zlib.compress(element(order, 14, head + element(order, 1, name.encode()) + element(order, 2, BOMB)))


@functools.cache
def mat_arrays():
    data = np.concatenate([digits()["x_train"], digits()["x_test"]]).reshape(-1, 784).T
    return {"data": data, "label": np.arange(5.0)[None] % 3}


def seeds():
    seeds = [{"digits.mat": mat(None, mat_arrays(), order)} for order in "<>"]
    for packed in (False, True):
        file = io.BytesIO()
        savemat(file, mat_arrays(), do_compression=packed)
        seeds.append({"digits.mat": file.getvalue()})
    return seeds


def damage(rng, seeds):
    if rng.random() < 0.4:
        return {"digits.mat": damaged(rng, rng.choice(seeds)["digits.mat"])}
    content = mat(rng, mat_arrays(), rng.choice("<>"))
    return {"digits.mat": damaged(rng, content) if rng.random() < 0.2 else content}


parse = load("digits.mat")
