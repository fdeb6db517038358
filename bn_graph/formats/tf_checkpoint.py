"""The files of a checkpoint, read without TensorFlow's own reader.

That one trusts what the files claim: of those with lying numbers in them, some end Python (a negative size, a type that
is none), others make it ask for more memory than any machine has.

V2 is PREFIX.index, a table from names to places in PREFIX.data-00000-of-00001 and its like. V1 is one table with the
values in it. The table is LevelDB's, https://github.com/google/leveldb/blob/main/doc/table_format.md. Its messages are
those of tensorflow/core/protobuf/tensor_bundle.proto and tensorflow/core/util/saved_tensor_slice.proto.
"""

import contextlib
import functools
import glob
import math
import os
import re

import numpy as np
from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto
from tensorflow.core.util.saved_tensor_slice_pb2 import SavedTensorSlices

from bn_graph.errors import InputError
from bn_graph.formats.crc32c import _check
from bn_graph.formats.leveldb_table import _read, _Table
from bn_graph.tf1 import tf

_VERSION = 1  # of both formats; a file says which it takes to read it
_MOST_DIMENSIONS = 254  # TensorFlow's own limit

# Where a V1 file has the values of a type, and as what. Small numbers are there as int32, float16 by its bits.
_V1_VALUES = {
    "float32": ("float_val", np.float32),
    "float64": ("double_val", np.float64),
    "int8": ("int_val", np.int32),
    "int16": ("int_val", np.int32),
    "int32": ("int_val", np.int32),
    "uint8": ("int_val", np.int32),
    "uint16": ("int_val", np.int32),
    "int64": ("int64_val", np.int64),
    "bool": ("bool_val", np.bool_),
    "float16": ("half_val", np.int32),
    "complex64": ("scomplex_val", np.float32),
    "complex128": ("dcomplex_val", np.float64),
}


class Checkpoint:
    """The variables of a checkpoint: listed without a look at their values, and read one by one.

    path: the prefix of V2 files (PREFIX.index or one of the PREFIX.data files will do), a V1 file, or the pattern of
        V1 files in parts, as `tf.train.Saver(sharded=True)` returned it.

    variables: name to (shape, dtype), sorted by name. The dtype is numpy's; where numpy has none it is TensorFlow's
        name of it: 'string', 'variant' or 'resource'.

    Raises `InputError` where there is none or it cannot be read. Time and memory stay in proportion to the size of the
    files, whatever they claim.
    """

    def __init__(self, path):
        self.path = str(path)
        with self._one_line():
            prefix = re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", self.path)
            prefix = next((name for name in (self.path, prefix) if os.path.isfile(f"{name}.index")), None)
            self._files = _V1(self.path) if prefix is None else _V2(prefix)
            listed = self._files.listed
            self.variables = {name: (shape, _numpy(dtype)) for name, (shape, dtype) in sorted(listed.items())}

    def read(self, name):
        """The array of the variable `name`. Raises `InputError` where its values are damaged or no numbers."""
        with self._one_line(f"{name}: "):
            return self._files.read(name, *self._numbers(name))

    def read_all(self):
        """Name to array of every variable that holds numbers."""
        values, room = {}, self._files.size
        for name, (_, dtype) in self.variables.items():
            if isinstance(dtype, np.dtype):
                values[name] = self.read(name)
                # Each is no larger than the files. But a thousand may name the same bytes.
                room -= self._files.smallest_size(values[name])
                if room < 0:
                    raise InputError(f"{self.path}: not a checkpoint that can be read (more values than bytes)")
        return values

    def _numbers(self, name):
        if name not in self.variables:
            raise ValueError("no such variable")
        shape, dtype = self.variables[name]
        if not isinstance(dtype, np.dtype):
            raise ValueError(f"of type {dtype}, not numbers")
        return shape, dtype

    @contextlib.contextmanager
    def _one_line(self, what=""):
        try:
            yield
        except Exception as error:  # broken bytes raise half a dozen kinds, of Python, numpy and protobuf
            said = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
            raise InputError(f"{self.path}: not a checkpoint that can be read ({what}{said})") from None


class _V2:
    def __init__(self, prefix):
        self._prefix = prefix
        entries = _Table(f"{prefix}.index").items()
        key, value = next(entries, (None, None))
        if key != b"":
            raise ValueError("it does not begin with its header")
        header = BundleHeaderProto.FromString(value)
        if header.endianness != BundleHeaderProto.LITTLE:
            raise ValueError("big-endian")
        _check_version(header.version)
        self._num_shards = header.num_shards
        self._entries = dict(entries)  # not yet parsed: a small message is large in memory
        self.listed = {}
        for key in self._entries:
            if not key.startswith(b"\0"):  # else it is that of a slice, which its variable names
                entry = self._entry(key)
                self.listed[key.decode()] = _shape(entry.shape), entry.dtype

    def _entry(self, key):
        if key not in self._entries:
            raise ValueError("one of its slices is missing")
        return BundleEntryProto.FromString(self._entries[key])

    @functools.cached_property
    def size(self):
        # Not by counting to num_shards, which may be two thousand million.
        return sum(map(os.path.getsize, glob.glob(f"{glob.escape(self._prefix)}.data-?????-of-?????")))

    def smallest_size(self, value):
        return value.nbytes

    def read(self, name, shape, dtype):
        entry = self._entry(name.encode())
        if not entry.slices:
            return self._values(entry, shape, dtype)
        return _joined(self._slices(name, entry, shape, dtype), shape, dtype, self.size // dtype.itemsize)

    def _slices(self, name, whole, shape, dtype):
        for proto in whole.slices:
            where, key = _slice(name, proto, shape)
            part = self._entry(key)
            if part.slices or part.dtype != whole.dtype:
                raise ValueError("one of its slices is no plain array of its type")
            yield where, functools.partial(self._values, part, _shape(part.shape), dtype)

    def _values(self, entry, shape, dtype):
        if entry.size != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{dtype} {list(shape)} in {entry.size} bytes")
        if not 0 <= entry.shard_id < self._num_shards:
            raise ValueError(f"in file {entry.shard_id} of {self._num_shards}")
        content = _read(f"{self._prefix}.data-{entry.shard_id:05}-of-{self._num_shards:05}", entry.offset, entry.size)
        _check(content, entry.crc32c)
        return content.view(dtype).reshape(shape)


class _V1:
    def __init__(self, pattern):
        paths = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern)) or [pattern]
        parts = re.search(r"\?-of-(\d{5})$", pattern)
        if parts and int(parts[1]) != len(paths):
            raise ValueError(f"{len(paths)} files of {int(parts[1])}")
        self._paths = paths
        self._slices = {}  # name to the slices and their tables
        self.listed = {}
        for path in paths:
            table = _Table(path)
            meta = SavedTensorSlices.FromString(table[b""]).meta
            _check_version(meta.versions)
            for tensor in meta.tensor:
                described = _shape(tensor.shape), tensor.type
                if self.listed.setdefault(tensor.name, described) != described:
                    raise ValueError(f"{tensor.name}: two shapes or types")
                self._slices.setdefault(tensor.name, []).extend((proto, table) for proto in tensor.slice)

    @functools.cached_property
    def size(self):
        return sum(map(os.path.getsize, self._paths))

    def smallest_size(self, value):
        return value.size  # small integers are stored in one byte, whatever their type

    def read(self, name, shape, dtype):
        if dtype.name not in _V1_VALUES:
            raise ValueError(f"{dtype} in a V1 checkpoint")
        return _joined(self._parts(name, shape, dtype), shape, dtype, self.size)

    def _parts(self, name, shape, dtype):
        # By their keys, which is the order of the file: a block is then read once, however many slices it has.
        parts = [(*_slice(name, proto, shape), table) for proto, table in self._slices[name]]
        for where, key, table in sorted(parts, key=lambda part: (self._paths.index(part[2].path), part[1])):
            yield where, functools.partial(self._values, table, key, dtype)

    def _values(self, table, key, dtype):
        field, stored = _V1_VALUES[dtype.name]
        values = getattr(SavedTensorSlices.FromString(table[key]).data.data, field)
        values = np.fromiter(values, stored, len(values))
        if dtype.name == "float16":
            return values.astype(np.uint16).view(dtype)
        return values.view(dtype) if dtype.kind == "c" else values.astype(dtype, copy=False)


def _joined(slices, shape, dtype, most):
    """The array of `shape` whose slices are given as where they belong and a function that reads them.

    most: as many values as there can be, by the size of the files.
    """
    slices = list(slices)
    counts = [math.prod(part.stop - part.start for part in where) for where, _ in slices]
    if sum(counts) != math.prod(shape) or math.prod(shape) > most:
        raise ValueError(f"{sum(counts)} values in slices, {math.prod(shape)} in {list(shape)}, room for {most}")
    values, filled = np.empty(shape, dtype), np.zeros(shape, bool)
    for (where, read), count in zip(slices, counts, strict=True):
        part = read()
        if part.size != count or filled[where].any():
            raise ValueError("its slices do not fit together")
        values[where] = part.reshape(values[where].shape)
        filled[where] = True
    return values


def _slice(name, proto, shape):
    """Where a slice lies in its variable of `shape`, and the key of its values."""
    if len(proto.extent) != len(shape):
        raise ValueError(f"a slice of {len(proto.extent)} dimensions of {list(shape)}")
    where, numbers = [], []
    for extent, length in zip(proto.extent, shape, strict=True):
        # An extent without a length is the whole dimension.
        start, stop = (extent.start, extent.start + extent.length) if extent.HasField("length") else (0, length)
        if not 0 <= start <= stop <= length:
            raise ValueError(f"a slice from {start} to {stop} of {list(shape)}")
        where.append(slice(start, stop))
        numbers += [start, extent.length if extent.HasField("length") else -1]
    escaped = name.encode().replace(b"\xff", b"\xff\0").replace(b"\0", b"\0\xff")
    rank = bytes([1, len(shape)]) if shape else b"\0"
    return tuple(where), b"\0" + escaped + b"\0\1" + rank + b"".join(map(_ordered, numbers))


def _ordered(number):
    """A number from -1 up as bytes that sort as the numbers do: as many leading ones as bytes, then a zero."""
    if number < 0:
        return b"\x7f"
    length = number.bit_length() // 7 + 1
    return (number | (1 << 8 * length) - (1 << 7 * length)).to_bytes(length, "big")


def _shape(proto):
    shape = tuple(dimension.size for dimension in proto.dim[: _MOST_DIMENSIONS + 1])
    if proto.unknown_rank or len(shape) > _MOST_DIMENSIONS or min(shape, default=0) < 0:
        raise ValueError("a shape that is none")
    return shape


@functools.lru_cache
def _numpy(number):
    """The type of this number in TensorFlow: as numpy's, or by its name where there is none."""
    dtype = tf.as_dtype(number)
    if number != dtype.base_dtype.as_datatype_enum:
        raise ValueError(f"type {number}")
    if dtype in (tf.string, tf.resource, tf.variant):
        return dtype.name
    return np.dtype(dtype.as_numpy_dtype)


def _check_version(versions):
    if versions.min_consumer > _VERSION or _VERSION in versions.bad_consumers:
        raise ValueError(f"written for readers of version {versions.min_consumer}")


# The checksum. A CRC is linear: that of two halves is that of the first, moved on over the second, XOR that of the
# second. So all pairs of words become one word each at once, then all pairs of those, and numpy does the work.
