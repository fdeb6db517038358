"""A TensorFlow graph as plain lists: its nodes by number, its constants, and ways to walk it.

`inlining.flatten` makes one out of a GraphDef. Nothing is imported, registered or run, so that no op needs to be known
to TensorFlow.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from bn_graph.audit.graph.ops import ASSIGN_OPS, CONTROL_GROUP, MERGE_OPS, SAME_VALUE_OPS, VARIABLE_OPS

_DTYPES = {  # types.proto: those that a constant of interest can have, with the field that holds its values
    1: (np.float32, "float_val"),
    2: (np.float64, "double_val"),
    3: (np.int32, "int_val"),
    9: (np.int64, "int64_val"),
    10: (np.bool_, "bool_val"),
}
_MOST_VALUES = 1 << 20  # of a constant; no layer has more channels
# tensorflow/core/framework/resource_mgr.h: ResourceHandle::ANONYMOUS_NAME, the name of handles that share nothing.
_ANONYMOUS = b"cd2c89b7-88b7-44c8-ad83-06c2a9158347"


class Output(NamedTuple):
    """Output `index` of node `node`."""

    node: int
    index: int


def printable(name):
    """A name from a file, fit for a line of text: files can name things as they like."""
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= 200 else f"{name[:200]}..."


@dataclasses.dataclass(eq=False, repr=False)
class FlatGraph:
    """The nodes of a graph by number. A node from the body of a function is named `call->node`."""

    names: list  # str per node
    ops: list  # str per node
    attrs: list  # the attribute map of each node
    inputs: list  # a list of `Output` per node
    controls: list  # a list of nodes per node: those that it waits for
    unfollowed: list  # the calls whose functions could not be copied
    followed: set  # the calls that copies of their functions stand for; they still have their inputs
    number: dict = dataclasses.field(init=False)  # name to node
    top_level: list  # per node the op of the graph itself that it is a part of, by a call; most are their own
    variable: dict = dataclasses.field(init=False)  # nodes that are variables, to the one that stands for the variable
    handles: dict = dataclasses.field(init=False)  # the other way round: to the list of nodes
    consumers: list = dataclasses.field(init=False)  # per node the nodes that take its outputs
    waiters: list = dataclasses.field(init=False)  # per node the nodes that wait for it
    # Per node a frozenset of (predicate, value): it runs only where all of these predicates have these values.
    conditions: list = dataclasses.field(init=False)
    first_alike: dict = dataclasses.field(init=False)  # constants, and what predicates compare, to the first node alike

    def __post_init__(self):
        self.number = {name: node for node, name in enumerate(self.names)}
        self.variable = _variables(self.ops, self.attrs)
        self.handles = {}
        for node, variable in self.variable.items():
            self.handles.setdefault(variable, []).append(node)
        self.consumers = [[] for _ in self.names]
        self.waiters = [[] for _ in self.names]
        for node, inputs in enumerate(self.inputs):
            for source in {output.node for output in inputs}:
                self.consumers[source].append(node)
            for source in self.controls[node]:
                self.waiters[source].append(node)
        self.conditions = [frozenset()] * len(self.names)
        self.first_alike = {}
        self._constants = {}  # node to its array, or None

    # Constants and shapes

    def constant(self, output, limit=64):
        """The values of a constant as a numpy array, or None where it is none, or has more than `limit` values."""
        node = self.origin(output)
        if self.ops[node] != "Const":
            return None
        if node not in self._constants:
            if not _has_values(self.attrs[node], limit):
                return None
            self._constants[node] = _values(self.attrs[node]["value"].tensor)
        values = self._constants[node]
        return values if values is not None and values.size <= limit else None

    def scalar(self, output):
        """The value of a constant of one element as a float, or None."""
        values = self.constant(output, limit=1)
        return float(values.reshape(-1)[0]) if values is not None and values.size == 1 else None

    def boolean(self, node):
        """The value of a predicate that is a constant, else None."""
        if self.ops[node] != "Const":
            return None
        value = self.scalar(Output(node, 0))
        return None if value is None else bool(value)

    def strings(self, output, most):
        """The first values of a constant of strings, no more than `most`, or None."""
        node = self.origin(output)
        if self.ops[node] != "Const" or "value" not in self.attrs[node]:
            return None
        return [value.decode("utf-8", "replace") for value in self.attrs[node]["value"].tensor.string_val[:most]]

    def shape(self, output):
        """The static shape as a list, with None for what is not known; None where nothing is known."""
        attr = self.attrs[output.node]
        if "_output_shapes" in attr and output.index < len(attr["_output_shapes"].list.shape):
            shape = attr["_output_shapes"].list.shape[output.index]
        elif "shape" in attr and self.ops[output.node] in ("Placeholder", "PlaceholderWithDefault"):
            shape = attr["shape"].shape
            if not shape.dim:  # TF 1.0 and older write an unknown shape like this, too
                return None
        else:
            return None
        return None if shape.unknown_rank else [dim.size if dim.size >= 0 else None for dim in shape.dim]

    def rank(self, output):
        """The number of dimensions, or None."""
        shape = self.shape(output)
        return None if shape is None else len(shape)

    # Walking

    def origin(self, output):
        """The node that a value comes from, through ops that hand it on."""
        return origin(self.ops, self.inputs, output.node)

    def variables_of(self, output):
        """The variables that a reference or handle may stand for."""
        variables, stack, seen = set(), [output.node], set()
        while stack and len(seen) < 200:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in self.variable:
                variables.add(self.variable[node])
            elif self.ops[node] in MERGE_OPS:
                stack += [source.node for source in self.inputs[node]]
            elif self.ops[node] in SAME_VALUE_OPS or self.ops[node] in ASSIGN_OPS:
                stack.append(self.inputs[node][0].node)
        return variables

    def variable_of(self, output):
        """The variable that a value is read from, through ops that hand it on, or None."""
        return self.variable.get(self.origin(output))

    def waits_for(self, node):
        """The nodes that a node waits for without taking a value from them."""
        for source in self.controls[node]:
            if self.ops[source] == CONTROL_GROUP:
                yield from self.controls[source]
            else:
                yield source

    def ancestors(self, nodes, controls=True, cut=()):
        """All nodes that have to run before `nodes`, these included. Ops of a kind in `cut` are not passed."""
        seen = set(nodes)
        stack = list(seen)
        while stack:
            node = stack.pop()
            if self.ops[node] in cut:
                continue
            for output in self.inputs[node]:
                if output.node not in seen:
                    seen.add(output.node)
                    stack.append(output.node)
            if controls:
                for source in self.controls[node]:
                    if source not in seen:
                        seen.add(source)
                        stack.append(source)
        return seen

    def descendants(self, nodes, controls=True):
        """All nodes that run only after one of `nodes`, these included."""
        seen = set(nodes)
        stack = list(seen)
        while stack:
            node = stack.pop()
            for after in self.consumers[node] + self.waiters[node] if controls else self.consumers[node]:
                if after not in seen:
                    seen.add(after)
                    stack.append(after)
        return seen


def origin(ops, inputs, node):
    """The node that a node's value comes from, through ops that hand it on."""
    for _ in range(1000):
        if ops[node] not in SAME_VALUE_OPS:
            break
        node = inputs[node][0].node
    return node


def _has_values(attr, most):
    """Whether the attributes of a Const hold a tensor of a type of interest, of no more values than `most`."""
    if "value" not in attr:
        return False
    proto = attr["value"].tensor
    if proto.dtype not in _DTYPES or proto.tensor_shape.unknown_rank or len(proto.tensor_shape.dim) > 8:
        return False
    shape = [dim.size for dim in proto.tensor_shape.dim]
    return min(shape, default=0) >= 0 and math.prod(shape) <= min(most, _MOST_VALUES)


def _values(proto):
    """The array of a tensor in a Const, or None where it is damaged."""
    shape = [dim.size for dim in proto.tensor_shape.dim]
    size = math.prod(shape)
    dtype, field = _DTYPES[proto.dtype]
    if proto.tensor_content:
        content = proto.tensor_content
        return np.frombuffer(content, dtype).reshape(shape) if len(content) == size * np.dtype(dtype).itemsize else None
    values = getattr(proto, field)
    if not values:  # tensor.proto: a tensor of which no value is given is one of zeros
        return np.broadcast_to(dtype(0), shape)
    if len(values) > size:
        return None
    if len(values) == 1:  # and one of which the last ones are left out repeats the last that is there
        return np.broadcast_to(dtype(values[0]), shape)
    return np.array([*values, *[values[-1]] * (size - len(values))], dtype).reshape(shape)


def _variables(ops, attrs):
    """Nodes that are variables, to the first node of the same variable: resource handles of one name are one."""
    variable, first = {}, {}
    for node, op in enumerate(ops):
        if op in VARIABLE_OPS:
            attr = attrs[node]
            shared = attr["shared_name"].s if op == "VarHandleOp" and "shared_name" in attr else b""
            container = attr["container"].s if "container" in attr else b""
            key = (container, shared) if shared and shared != _ANONYMOUS else node
            variable[node] = first.setdefault(key, node)
    return variable
