"""What is fed: arrays of data, cut into batches, and single values."""

import ast
import dataclasses
import functools
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
from tensorflow.core.framework.types_pb2 import DT_STRING

from bn_graph.audit.graph.flat_graph import printable
from bn_graph.config import SPLITS
from bn_graph.errors import InputError

ESTIMATES = ("population", "batch")
_BATCH_SIZE = 64  # rows, where nobody says
_BATCHES = 100  # where nothing is fed in batches, as in a network that draws its own input
_WORDS = {"true": True, "false": False}


@dataclasses.dataclass(frozen=True)
class Sample:
    """Which data the statistics are estimated from, and how.

    Raises `InputError` where a value is outside what its comment says.
    """

    data: dict = dataclasses.field(default_factory=dict)  # array [rows, ...] by the name of the tensor it is fed to
    feed: dict = dataclasses.field(default_factory=dict)  # value by the name of the tensor it is fed to
    batch_size: int | None = None  # rows, 1 or more; None: what the graph says, or else 64
    batches: int | None = None  # 1 or more; None: as many as the rows make
    estimate: str = "population"  # or batch
    seed: int = 1  # of the order of the rows, 0 or more
    split: str = "stratified"  # of the digits, for the tutorial's network: or original
    source: str = "data"  # what an error calls the arrays

    def __post_init__(self):
        for name, smallest in (("batch_size", 1), ("batches", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and not smallest <= value < 2**31:
                raise InputError(f"{name} must be a whole number from {smallest} to {2**31 - 1}, found {value}")
        for name, choices in (("estimate", ESTIMATES), ("split", SPLITS)):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be {' or '.join(choices)}, found {getattr(self, name)!r}")


class Feeds(NamedTuple):
    """What is fed, by the name of a tensor."""

    data: dict  # array [rows, ...]
    values: dict  # array that is fed as it is

    @property
    def tensors(self) -> list:
        return [*self.data, *self.values]


def name_feeds(graph, subject, sample: Sample, predicates: dict) -> Feeds:
    """The `Feeds` of a `FlatGraph`, with the predicates that the layers need. Raises `InputError`."""
    data = _tensors_named(graph, subject, sample.data)
    values = {name: np.asarray(value) for name, value in _tensors_named(graph, subject, sample.feed).items()}
    twice = sorted(data.keys() & values.keys())
    if twice:
        raise InputError(f"--feed {_plain(twice[0])}: is an array of {sample.source} too; leave one of them out")
    for name, value in predicates.items():
        if name in values and (values[name].size != 1 or bool(values[name].item()) != value):
            raise InputError(
                f"--feed {_plain(name)}: the layers take the statistics of their batch where it is {value}; leave "
                "it out"
            )
        values.setdefault(name, np.asarray(value))
    return Feeds(data, values)


class Batches:
    """The feeds of each batch for a `tf.Graph`.

    Raises `InputError` where an array does not fit its tensor, or has too few rows.

    number: how many batches there are. size: rows in one; None where no data are fed.
    """

    def __init__(self, graph, feeds: Feeds, sample: Sample):
        self._tensors = {name: _tensor(graph, name) for name in feeds.tensors}
        self._data, self._seed = feeds.data, sample.seed
        self._num_rows = _count_rows(sample.source, feeds.data)
        self.size = self._batch_size(sample.batch_size) if feeds.data else None
        self.number = sample.batches or _BATCHES
        if feeds.data:
            self.number = _count_batches(sample, self._num_rows, self.size)
        for name, array in feeds.data.items():
            _check_fits(sample.source, name, array, self._tensors[name], self.size)
        for name, value in feeds.values.items():
            _check_fits("--feed", name, value, self._tensors[name])
        self._fixed = {self._tensors[name]: value for name, value in feeds.values.items()}

    def _batch_size(self, asked):
        fixed = [self._tensors[name].shape for name in self._data]
        fixed = [shape[0] for shape in fixed if shape.rank and shape[0] is not None]
        return asked or (fixed[0] if fixed else _BATCH_SIZE)

    def __getitem__(self, number):
        """The feed of the batch `number`.

        The rows are in a random order. Data are often sorted by class, and a batch of one class is one that no
        training has seen. Rows that are left over behind the last whole batch are not used: a smaller batch would have
        other statistics.
        """
        if not self._data:
            return self._fixed
        rows = self._order[number * self.size : (number + 1) * self.size]
        return self._fixed | {self._tensors[name]: array[rows] for name, array in self._data.items()}

    @functools.cached_property
    def _order(self):
        return np.random.default_rng(self._seed).permutation(self._num_rows)


def parse_feed(text: str):
    """(name, value) of NAME=VALUE, where VALUE is a number, True or False, or a list of them. Raises `InputError`."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--feed {text}: expected NAME=VALUE")
    try:
        parsed = _WORDS[value.lower()] if value.lower() in _WORDS else ast.literal_eval(value)
        array = np.array(parsed)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        array = None
    if array is None or array.dtype.kind not in "biuf":
        raise InputError(f"--feed {text}: expected a number, True or False, or a list of them, found {value!r}")
    return name, parsed


def _tensors_named(graph, subject, values: dict) -> dict:
    """`values` by the name of a tensor of a `FlatGraph`: "x" is "x:0". Raises `InputError` where it has none."""
    tensors = {}
    for key, value in values.items():
        name, _, index = str(key).partition(":")
        if name not in graph.number or not (index or "0").isdecimal():
            inputs = [graph.names[node] for node in range(len(graph.ops)) if _is_input(graph, node)]
            near = get_close_matches(name, inputs, n=5, cutoff=0.3) or inputs[:5]
            known = f"; it has {', '.join(map(printable, near))}" if near else ""
            raise InputError(f"{subject}: has no tensor {printable(str(key))!r} to be fed{known}")
        tensors[f"{name}:{int(index or 0)}"] = value
    return tensors


def _tensor(graph, name):
    try:
        return graph.get_tensor_by_name(name)
    except KeyError:
        raise InputError(f"{printable(name)}: the graph has an op of this name, but it has no such output") from None


def _is_input(graph, node):
    """Whether a node is a placeholder, and not one in which a Saver is told the name of a file."""
    is_string = "dtype" in graph.attrs[node] and graph.attrs[node]["dtype"].type == DT_STRING
    return graph.ops[node].startswith("Placeholder") and not is_string


def _count_rows(source, arrays):
    """The number of rows that all arrays have, by tensor. Raises `InputError`. source: what an error calls them."""
    rows = {name: len(array) if np.ndim(array) else None for name, array in arrays.items()}
    if not rows:
        return None
    first, num_rows = next(iter(rows.items()))
    for name, number in rows.items():
        if number is None:
            raise InputError(f"{source}: {_plain(name)}: expected an array of rows, found a single value; use --feed")
        if number != num_rows:
            raise InputError(
                f"{source}: {_plain(name)} has {number} rows and {_plain(first)} has {num_rows}; expected as many"
            )
    return num_rows


def _check_fits(source, name, array, tensor, rows=None) -> None:
    """Raises `InputError` where an array has not the dtype and the shape of the `tf.Tensor` to which it is fed.

    array: an ndarray, or `LazyRows`. rows: how many of its rows are fed at once; None for all.
    """
    what = f"{source}{' ' if source == '--feed' else ': '}{_plain(name)}"
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool):
        raise InputError(f"{what}: expected the name of a tensor of numbers, found one of {tensor.dtype.name}")
    dtype = np.dtype(tensor.dtype.base_dtype.as_numpy_dtype)
    if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, dtype, "same_kind"):
        if rows is not None or array.dtype.kind not in "biuf" or np.any(array.astype(dtype) != array):
            raise InputError(f"{what}: expected {dtype}, found {array.dtype}")
    shape = list(array.shape) if rows is None else [rows, *array.shape[1:]]
    if not tensor.shape.is_compatible_with(shape):
        raise InputError(f"{what}: expected shape {_shape_text(tensor.shape.as_list())}, found {_shape_text(shape)}")
    if isinstance(array, np.ndarray) and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{what}: has a value that is not finite")


def _plain(name):
    """The name of a tensor as its user writes it: without the :0."""
    return printable(name).removesuffix(":0")


def _shape_text(shape):
    return str([dim if dim is not None else "any" for dim in shape]).replace("'", "")


def _count_batches(sample, num_rows, batch_size):
    needed = batch_size * (sample.batches or 1)
    if num_rows < needed:
        batches = f"{sample.batches} batches of {batch_size}" if sample.batches else f"a batch of {batch_size}"
        raise InputError(f"{sample.source}: expected at least {needed} rows, for {batches}, found {num_rows}")
    return sample.batches or num_rows // batch_size
