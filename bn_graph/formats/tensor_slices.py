"""What both formats of a checkpoint share: shapes, versions, and variables that are stored in slices."""

import math

import numpy as np

_VERSION = 1  # of both formats; a file names the version that its reader must have
_MOST_DIMENSIONS = 254  # TensorFlow's own limit


def check_version(versions) -> None:
    """Raises `ValueError` where a VersionDef asks for a newer reader than this one."""
    if versions.min_consumer > _VERSION or _VERSION in versions.bad_consumers:
        raise ValueError(f"written for readers of version {versions.min_consumer}")


def shape_of(proto) -> tuple:
    """The shape that a TensorShapeProto says. Raises `ValueError` where it is none."""
    shape = tuple(dimension.size for dimension in proto.dim[: _MOST_DIMENSIONS + 1])
    if proto.unknown_rank or len(shape) > _MOST_DIMENSIONS or min(shape, default=0) < 0:
        raise ValueError("a shape that is none")
    return shape


def slice_of(name, proto, shape):
    """Where a slice lies in its variable, as a tuple of `slice`, and the key of its values in the table.

    name: of the variable.
    proto: the TensorSliceProto.
    shape: of the variable.
    """
    if len(proto.extent) != len(shape):
        raise ValueError(f"a slice of {len(proto.extent)} dimensions of {list(shape)}")
    slices, numbers = [], []
    for extent, length in zip(proto.extent, shape, strict=True):
        # An extent without a length is the whole dimension.
        start, stop = (extent.start, extent.start + extent.length) if extent.HasField("length") else (0, length)
        if not 0 <= start <= stop <= length:
            raise ValueError(f"a slice from {start} to {stop} of {list(shape)}")
        slices.append(slice(start, stop))
        numbers += [start, extent.length if extent.HasField("length") else -1]
    escaped = name.encode().replace(b"\xff", b"\xff\0").replace(b"\0", b"\0\xff")
    rank = bytes([1, len(shape)]) if shape else b"\0"
    return tuple(slices), b"\0" + escaped + b"\0\1" + rank + b"".join(map(_ordered_code, numbers))


def join_slices(slices, shape, dtype, most: int) -> np.ndarray:
    """The array of `shape` whose slices are given. Raises `ValueError` where they do not fit.

    slices: pairs of where a slice belongs, as a tuple of `slice`, and a function that reads it.
    most: as many values as there can be, by the size of the files.
    """
    slices = list(slices)
    counts = [math.prod(part.stop - part.start for part in place) for place, _ in slices]
    if sum(counts) != math.prod(shape) or math.prod(shape) > most:
        raise ValueError(f"{sum(counts)} values in slices, {math.prod(shape)} in {list(shape)}, room for {most}")
    values, filled = np.empty(shape, dtype), np.zeros(shape, bool)
    for (place, read), count in zip(slices, counts, strict=True):
        part = read()
        if part.size != count or filled[place].any():
            raise ValueError("its slices do not fit together")
        values[place] = part.reshape(values[place].shape)
        filled[place] = True
    return values


def _ordered_code(number):
    """A number from -1 up as bytes that sort as the numbers do: as many leading ones as bytes, then a zero.

    It is TensorFlow's OrderedCode, tensorflow/core/lib/strings/ordered_code.cc.
    """
    if number < 0:
        return b"\x7f"
    length = number.bit_length() // 7 + 1
    return (number | (1 << 8 * length) - (1 << 7 * length)).to_bytes(length, "big")
