"""The file of a V1 checkpoint, or its files in parts: each is one table with the values in it.

Its messages are those of tensorflow/core/util/saved_tensor_slice.proto.
"""

import functools
import glob
import os
import re

import numpy as np
from tensorflow.core.util.saved_tensor_slice_pb2 import SavedTensorSlices

from bn_graph.formats.leveldb_table import Table
from bn_graph.formats.tensor_slices import check_version, join_slices, shape_of, slice_of

# The field in which the values of a type are, and the type that they have there. Small integers are there as int32,
# float16 by its bits.
_FIELDS = {
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


class V1Files:
    """The variables in one file, or in those that match a pattern. Raises half a dozen kinds of error for broken bytes.

    listed: name to its shape and the number of its type in TensorFlow.
    """

    def __init__(self, pattern):
        paths = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern)) or [pattern]
        parts = re.search(r"\?-of-(\d{5})$", pattern)
        if parts and int(parts[1]) != len(paths):
            raise ValueError(f"{len(paths)} files of {int(parts[1])}")
        self._paths = paths
        self._slices = {}  # name to the slices and their tables
        self.listed = {}
        for path in paths:
            table = Table(path)
            meta = SavedTensorSlices.FromString(table[b""]).meta
            check_version(meta.versions)
            for tensor in meta.tensor:
                shape_and_type = shape_of(tensor.shape), tensor.type
                if self.listed.setdefault(tensor.name, shape_and_type) != shape_and_type:
                    raise ValueError(f"{tensor.name}: two shapes or types")
                self._slices.setdefault(tensor.name, []).extend((proto, table) for proto in tensor.slice)

    @functools.cached_property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(os.path.getsize, self._paths))

    def smallest_size(self, value) -> int:
        """The fewest bytes that the array `value` can take in the files."""
        return value.size  # small integers are stored in one byte, whatever their type

    def read(self, name, shape, dtype):
        """The array of the variable `name`, whose shape and dtype are these."""
        if dtype.name not in _FIELDS:
            raise ValueError(f"{dtype} in a V1 checkpoint")
        return join_slices(self._read_slices(name, shape, dtype), shape, dtype, self.size)

    def _read_slices(self, name, shape, dtype):
        # By their keys, which is the order of the file: a block is then read once, however many slices it has.
        slices = [(*slice_of(name, proto, shape), table) for proto, table in self._slices[name]]
        for place, key, table in sorted(slices, key=lambda part: (self._paths.index(part[2].path), part[1])):
            yield place, functools.partial(self._read_values, table, key, dtype)

    def _read_values(self, table, key, dtype):
        field, stored_dtype = _FIELDS[dtype.name]
        values = getattr(SavedTensorSlices.FromString(table[key]).data.data, field)
        values = np.fromiter(values, stored_dtype, len(values))
        if dtype.name == "float16":
            return values.astype(np.uint16).view(dtype)
        return values.view(dtype) if dtype.kind == "c" else values.astype(dtype, copy=False)
