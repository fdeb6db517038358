"""The files of a V2 checkpoint: PREFIX.index, a table from names to places in PREFIX.data-00000-of-00001 and its like.

Its messages are those of tensorflow/core/protobuf/tensor_bundle.proto.
"""

import functools
import glob
import math
import os

from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto

from bn_graph.formats.crc32c import check_masked
from bn_graph.formats.leveldb_table import Table, read_bytes
from bn_graph.formats.tensor_slices import check_version, join_slices, shape_of, slice_of


class V2Files:
    """The variables in the files with the prefix `prefix`. Raises half a dozen kinds of error for broken bytes.

    listed: name to its shape and the number of its type in TensorFlow.
    """

    def __init__(self, prefix):
        self._prefix = prefix
        entries = Table(f"{prefix}.index").items()
        key, value = next(entries, (None, None))
        if key != b"":
            raise ValueError("it does not begin with its header")
        header = BundleHeaderProto.FromString(value)
        if header.endianness != BundleHeaderProto.LITTLE:
            raise ValueError("big-endian")
        check_version(header.version)
        self._num_shards = header.num_shards
        self._entries = dict(entries)  # not yet parsed: a small message is large in memory
        self.listed = {}
        for key in self._entries:
            if not key.startswith(b"\0"):  # else the entry is a slice's, which its variable names
                entry = self._entry(key)
                self.listed[key.decode()] = shape_of(entry.shape), entry.dtype

    @functools.cached_property
    def size(self) -> int:
        """Bytes of all files of values."""
        # The files are looked for and not counted up to num_shards, which may be two thousand million.
        return sum(map(os.path.getsize, glob.glob(f"{glob.escape(self._prefix)}.data-?????-of-?????")))

    def smallest_size(self, value) -> int:
        """The fewest bytes that the array `value` can take in the files."""
        return value.nbytes

    def read(self, name, shape, dtype):
        """The array of the variable `name`, whose shape and dtype are these."""
        entry = self._entry(name.encode())
        if not entry.slices:
            return self._read_values(entry, shape, dtype)
        return join_slices(self._slices(name, entry, shape, dtype), shape, dtype, self.size // dtype.itemsize)

    def _entry(self, key):
        if key not in self._entries:
            raise ValueError("one of its slices is missing")
        return BundleEntryProto.FromString(self._entries[key])

    def _slices(self, name, whole, shape, dtype):
        for proto in whole.slices:
            place, key = slice_of(name, proto, shape)
            part = self._entry(key)
            if part.slices or part.dtype != whole.dtype:
                raise ValueError("one of its slices is no plain array of its type")
            yield place, functools.partial(self._read_values, part, shape_of(part.shape), dtype)

    def _read_values(self, entry, shape, dtype):
        if entry.size != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{dtype} {list(shape)} in {entry.size} bytes")
        if not 0 <= entry.shard_id < self._num_shards:
            raise ValueError(f"in file {entry.shard_id} of {self._num_shards}")
        path = f"{self._prefix}.data-{entry.shard_id:05}-of-{self._num_shards:05}"
        content = read_bytes(path, entry.offset, entry.size)
        check_masked(content, entry.crc32c)
        return content.view(dtype).reshape(shape)
