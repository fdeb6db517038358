"""A checkpoint of TensorFlow, of either format, read without TensorFlow's own reader.

That one trusts what the files claim. Some that have lying numbers in them end Python (a negative size, a type that does
not exist); others make it ask for more memory than any machine has.
"""

import contextlib
import functools
import os
import re

import numpy as np

from bn_graph.errors import InputError
from bn_graph.formats.tf_checkpoint_v1 import V1Files
from bn_graph.formats.tf_checkpoint_v2 import V2Files
from bn_graph.tf1 import tf


class Checkpoint:
    """The variables of a checkpoint: listed without a look at their values, and read one by one.

    path: the prefix of V2 files, or one of them; a V1 file; or the pattern of V1 files in parts, as
        `tf.train.Saver(sharded=True)` returned it.

    variables: name to (shape, dtype), sorted by name. The dtype is numpy's; where numpy has none it is TensorFlow's
        name of it: 'string', 'variant' or 'resource'.

    Raises `InputError` where there is none or it cannot be read. Time and memory stay in proportion to the size of the
    files, whatever they claim.
    """

    def __init__(self, path):
        self.path = str(path)
        with self._only_input_errors():
            prefix = re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", self.path)
            prefix = next((name for name in (self.path, prefix) if os.path.isfile(f"{name}.index")), None)
            self._files = V1Files(self.path) if prefix is None else V2Files(prefix)
            listed = self._files.listed
            self.variables = {name: (shape, _dtype_of(number)) for name, (shape, number) in sorted(listed.items())}

    def read(self, name: str) -> np.ndarray:
        """The array of the variable `name`. Raises `InputError` where its values are damaged or no numbers."""
        with self._only_input_errors(f"{name}: "):
            if name not in self.variables:
                raise ValueError("no such variable")
            shape, dtype = self.variables[name]
            if not isinstance(dtype, np.dtype):
                raise ValueError(f"of type {dtype}, not numbers")
            return self._files.read(name, shape, dtype)

    def read_all(self) -> dict:
        """Name to array of every variable that holds numbers."""
        values, bytes_left = {}, self._files.size
        for name, (_, dtype) in self.variables.items():
            if isinstance(dtype, np.dtype):
                values[name] = self.read(name)
                # Each is no larger than the files. But a thousand may name the same bytes.
                bytes_left -= self._files.smallest_size(values[name])
                if bytes_left < 0:
                    raise InputError(f"{self.path}: not a checkpoint that can be read (more values than bytes)")
        return values

    @contextlib.contextmanager
    def _only_input_errors(self, what=""):
        try:
            yield
        except Exception as error:  # broken bytes raise half a dozen kinds, of Python, numpy and protobuf
            reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
            raise InputError(f"{self.path}: not a checkpoint that can be read ({what}{reason})") from None


@functools.lru_cache
def _dtype_of(number):
    """The dtype with this number in TensorFlow: as numpy's, or by its name where numpy has none."""
    dtype = tf.as_dtype(number)
    if number != dtype.base_dtype.as_datatype_enum:
        raise ValueError(f"type {number}")
    if dtype in (tf.string, tf.resource, tf.variant):
        return dtype.name
    return np.dtype(dtype.as_numpy_dtype)
