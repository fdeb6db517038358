"""A TensorFlow graph as plain lists, read from protocol buffers alone: nothing is imported, registered or run.

Calls of functions (`If`, `While`, `PartitionedCall` ...) are replaced by a copy of what they call, in the shape that
TensorFlow 1 itself gave to `cond` and `while_loop`: branches end in a `Merge`, loops go through a `NextIteration`. So
whoever reads a `FlatGraph` has one kind of control flow to think of, and no op needs to be known to TensorFlow.
"""

import collections
import math
from typing import NamedTuple

import numpy as np

from bn_graph.errors import InputError

VARIABLE_OPS = {"Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"}
ASSIGN_OPS = {
    "Assign",
    "AssignAdd",
    "AssignSub",
    "AssignVariableOp",
    "AssignAddVariableOp",
    "AssignSubVariableOp",
}
# Ops whose result is their first input, as far as its origin goes.
SAME_VALUE_OPS = {
    "Identity",
    "RefIdentity",
    "ReadVariableOp",
    "Enter",
    "RefEnter",
    "Exit",
    "RefExit",
    "NextIteration",
    "RefNextIteration",
    "Switch",
    "RefSwitch",
    "Cast",
    "Reshape",
    "ExpandDims",
    "Squeeze",
    "BroadcastTo",
    "StopGradient",
    "PreventGradient",
    "CheckNumerics",
    "Print",
    "Snapshot",
}
MERGE_OPS = {"Merge", "RefMerge"}
SELECT_OPS = {"Select", "SelectV2"}
FUSED_OPS = {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "_FusedBatchNormEx"}
GLOBAL_OPS = {"BatchNormWithGlobalNormalization"}
SWITCH_OPS = {"Switch", "RefSwitch"}
_NEXT_ITERATION_OPS = {"NextIteration", "RefNextIteration"}

# How many inputs ops have, exactly or at least, where it matters. Whoever reads a FlatGraph need not count again.
_EXACT_INPUTS = {
    **dict.fromkeys(("Rsqrt", "Sqrt", "Square", "Neg", "Reciprocal", "LogicalNot"), 1),
    **dict.fromkeys(("Add", "AddV2", "BiasAdd", "BiasAddV1", "Sub", "Mul", "RealDiv", "Div", "DivNoNan", "Pow"), 2),
    **dict.fromkeys(("Maximum", "Minimum", "SquaredDifference", "Mean", "Sum", *SWITCH_OPS, *ASSIGN_OPS), 2),
    **dict.fromkeys(SELECT_OPS, 3),
}
_FEWEST_INPUTS = {
    **dict.fromkeys((*SAME_VALUE_OPS, *MERGE_OPS, "PlaceholderWithDefault"), 1),
    **dict.fromkeys(FUSED_OPS | GLOBAL_OPS, 5),
    **_EXACT_INPUTS,
}

CONTROL_GROUP = "ControlGroup"  # no op of TensorFlow: stands for many control edges, and has conditions as a NoOp has
_LARGE_GROUP = 8
_LOOPS = -1  # no output of a While: the predicate that it goes on by
LOOP_OPS = {"LoopCond", "While", "StatelessWhile"}
_COMPARE = {"Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "LogicalAnd", "LogicalOr"}

# Which attributes of a calling op name functions, and how it chooses between them.
_CALLS = {
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
    "TPUPartitionedCall": ("f",),
    "RemoteCall": ("f",),
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "Case": ("branches",),
    "StatelessCase": ("branches",),
    "While": ("body", "cond"),
    "StatelessWhile": ("body", "cond"),
}
_DISSOLVED = {"If", "StatelessIf", "Case", "StatelessCase", "While", "StatelessWhile"}
# Inside a function, an output is named by its argument. Of ops with several outputs only these matter here.
_OUTPUTS = {
    "Switch": ("output_false", "output_true"),
    "RefSwitch": ("output_false", "output_true"),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), ("y", "batch_mean", "batch_variance")),
}
_MAX_COPIES = 100_000  # nodes from bodies of functions; functions that call each other twice grow without end
_MAX_DEPTH = 60
_MAX_CONDITIONS = 16  # of one node; deeper nesting is cut off

_DTYPES = {  # types.proto: those that a constant of interest can have, with the field that holds its values
    1: (np.float32, "float_val"),
    2: (np.float64, "double_val"),
    3: (np.int32, "int_val"),
    9: (np.int64, "int64_val"),
    10: (np.bool_, "bool_val"),
}


class Tensor(NamedTuple):
    """Output `index` of node `node`."""

    node: int
    index: int


def shown(name):
    """A name from a file, fit for a line of text: files can name things as they like."""
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= 200 else f"{name[:200]}..."


class FlatGraph:
    """The nodes of a graph by number.

    names, ops: str per node. attrs: attribute maps. inputs: a list of `Tensor` per node. controls: a list of nodes per
    node. consumers, waiters: the other way round, the nodes that take a node's outputs, or wait for it. variable: nodes
    that are variables, to the node that stands for the variable. conditions: per node a frozenset of (predicate,
    value): it runs only where all of these predicates have these values. unfollowed: calls whose functions could not be
    copied.

    A node from the body of a function is named `call->node`.
    """

    def __init__(self, graph_def):
        self.names, self.ops, self.attrs = [], [], []
        self.inputs, self.controls = [], []
        self.unfollowed = []
        self._library = {function.signature.name: function for function in graph_def.library.function}
        self._own = len(graph_def.node)
        self._alike = {}  # what a predicate compares, to the first node that does
        self._call_conditions = {}  # node to the conditions of the branch that it was copied from
        self._build(graph_def)
        del self._library
        self.number = {name: node for node, name in enumerate(self.names)}
        self._name_variables()
        self.consumers = [[] for _ in self.names]
        self.waiters = [[] for _ in self.names]
        for node, inputs in enumerate(self.inputs):
            for source in {tensor.node for tensor in inputs}:
                self.consumers[source].append(node)
            for source in self.controls[node]:
                self.waiters[source].append(node)
        self.conditions = self._find_conditions()

    # Building

    def _build(self, graph_def):
        pending = collections.deque()
        names, groups = {}, []
        nodes = sorted(graph_def.node, key=lambda node: node.name)  # so that their order in a file changes nothing
        for node in nodes:
            if node.name in names:
                raise InputError(f"the graph has two nodes named {shown(node.name)}")
            names[node.name] = self._add(node.name, node.op, node.attr)
        outputs = {}  # of calls: Tensor to the Tensor that the body returns in its place

        def tensor(text):
            name, _, index = text.partition(":")
            if name not in names:
                raise InputError(f"a node of the graph takes input from '{shown(name)}', which is not there")
            return Tensor(names[name], int(index) if index.isdigit() else 0)

        for number, node in enumerate(nodes):
            self._wire(number, node.input, tensor, lambda name: tensor(name).node, groups)
            if self._called(number):
                pending.append((number, (), frozenset(), 0))
        while pending:
            self._expand(*pending.popleft(), outputs, pending)

        def final(source):
            for _ in range(_MAX_DEPTH):
                if source not in outputs:
                    break
                source = outputs[source]
            return source

        self.inputs = [[final(source) for source in inputs] for inputs in self.inputs]
        for node, conditions in self._call_conditions.items():
            self._call_conditions[node] = frozenset((final(predicate), value) for predicate, value in conditions)

    def _add(self, name, op, attr):
        self.names.append(name)
        self.ops.append(op)
        self.attrs.append(attr)
        self.inputs.append([])
        self.controls.append([])
        return len(self.names) - 1

    def _wire(self, number, inputs, tensor, control, groups):
        texts = list(inputs)
        data = next((position for position, text in enumerate(texts) if text.startswith("^")), len(texts))
        self.inputs[number] = [tensor(text) for text in texts[:data]]
        waits = texts[data:]
        if len(waits) > _LARGE_GROUP:
            group, members = self._group_in(frozenset(waits), number, control, groups)
            self.controls[number] = [group]
            waits = [text for text in waits if text not in members]
        self.controls[number] += [control(text[1:]) for text in waits]
        op, found = self.ops[number], len(self.inputs[number])
        if found < _FEWEST_INPUTS.get(op, 0) or found > _EXACT_INPUTS.get(op, found):
            raise InputError(
                f"{shown(self.names[number])}: expected a {op} to have {_FEWEST_INPUTS[op]} inputs, found {found}"
            )

    def _group_in(self, waits, number, control, groups):
        """A node that stands for the most of many control edges, and which they are.

        control_dependencies gives all of its ops to every op made inside: n * m edges, or n + m through one node.
        """
        common = max((waits & members for members, _ in groups), key=len, default=frozenset())
        if 2 * len(common) < len(waits):
            common = waits
        for members, group in groups:
            if members == common:
                return group, members
        group = self._add(f"{self.names[number]}->controls", CONTROL_GROUP, {})
        self.controls[group] = [control(text[1:]) for text in sorted(common)]
        groups.insert(0, (common, group))
        del groups[8:]
        return group, common

    def _called(self, number):
        """The functions that a node calls, empty for most."""
        op, attr = self.ops[number], self.attrs[number]
        if op in self._library:
            return [op]
        if op not in _CALLS:
            return []
        names = []
        for key in _CALLS[op]:
            if key in attr:
                value = attr[key]
                names += [f.name for f in value.list.func] if value.WhichOneof("value") == "list" else [value.func.name]
        return names

    def _expand(self, call, stack, conditions, depth, outputs, pending):
        """Copies the functions that node `call` calls, and points the outputs of the call to what they return."""
        op, names = self.ops[call], self._called(call)
        size = sum(len(self._library[name].node_def) for name in names if name in self._library)
        arguments = list(self.inputs[call])
        chooses = op in ("If", "StatelessIf", "Case", "StatelessCase")
        loops = op in ("While", "StatelessWhile")
        if (
            any(name not in self._library or name in stack for name in names)
            or depth >= _MAX_DEPTH
            or len(self.names) - self._own + size > _MAX_COPIES
            or (chooses and not arguments)
            or (loops and len(names) != 2)
        ):
            self.unfollowed.append(call)
            return
        predicate = arguments.pop(0) if chooses else None
        stack = (*stack, *names)
        if loops:
            merges = [self._make(call, f"Merge_{k}", "Merge", [argument]) for k, argument in enumerate(arguments)]
            arguments = [Tensor(merge, 0) for merge in merges]
        returned, effects = [], []
        for branch, name in enumerate(names):
            inside = conditions
            if chooses:
                value = branch if op.endswith("Case") else branch == 0
                inside = self._with(conditions, (predicate, value))
            elif loops:
                inside = self._with(conditions, (Tensor(call, _LOOPS), True))
            results, did = self._copy(call, name, arguments, inside, stack, depth, pending)
            returned.append([self._make(call, f"{name}/{k}", "Identity", [r], inside) for k, r in enumerate(results)])
            effects += did
        effects = [*self.controls[call], *effects]  # what a call waits for, its results wait for
        self.controls[call] = effects
        if loops:
            for merge, result in zip(merges, returned[0], strict=False):
                if self.origin(Tensor(result, 0)) == merge:
                    self.ops[merge] = "Identity"  # what the loop does not change
                    continue
                again = self._make(call, f"NextIteration_{merge}", "NextIteration", [Tensor(result, 0)])
                self.inputs[merge].append(Tensor(again, 0))
                self.controls[merge] += [node for node in effects if node != merge]
            results = merges
        elif chooses:
            results = [
                self._make(call, f"Merge_{k}", "Merge", [Tensor(branch, 0) for branch in branches], conditions)
                for k, branches in enumerate(zip(*returned, strict=False))
            ]
            for result in results:
                self.controls[result] += effects
        else:
            results = returned[0]
            for result in results:
                self.controls[result] += effects
        for k, result in enumerate(results):
            outputs[Tensor(call, k)] = Tensor(result, 0)

    def _make(self, call, name, op, inputs, conditions=frozenset()):
        number = self._add(f"{self.names[call]}->{name}", op, {})
        self.inputs[number] = list(inputs)
        self._call_conditions[number] = conditions
        return number

    def _copy(self, call, name, arguments, conditions, stack, depth, pending):
        """Copies one function body. Returns the tensors that it returns and the nodes that run for their effect."""
        function = self._library[name]
        bound, position = {}, 0
        for argument in function.signature.input_arg:
            attr = self.attrs[call]
            count = 1
            if argument.number_attr:
                count = attr[argument.number_attr].i if argument.number_attr in attr else 1
            elif argument.type_list_attr and argument.type_list_attr in attr:
                count = len(attr[argument.type_list_attr].list.type)
            bound[argument.name] = arguments[position : position + max(count, 0)]
            position += max(count, 0)
        local = {}
        for node in function.node_def:
            if node.name in local:
                raise InputError(f"function {shown(name)} has two nodes named {shown(node.name)}")
            local[node.name] = self._add(f"{self.names[call]}->{node.name}", node.op, node.attr)
            self._call_conditions[local[node.name]] = conditions

        def tensor(text):
            first, *rest = text.split(":")
            index = int(rest[-1]) if rest and rest[-1].isdigit() else 0
            if first in bound:
                if index >= len(bound[first]):
                    raise InputError(f"function {shown(name)} is called with too few arguments")
                return bound[first][index]
            if first not in local:
                raise InputError(
                    f"function {shown(name)}: a node takes input from '{shown(first)}', which is not there"
                )
            number = local[first]
            if len(rest) == 2:
                index += self._output_index(number, rest[0])
            return Tensor(number, index)

        def control(text):
            if text in local:
                return local[text]
            if text in bound and bound[text]:
                return bound[text][0].node
            raise InputError(f"function {shown(name)}: a node waits for '{shown(text)}', which is not there")

        effects = [control(target) for target in function.control_ret.values()]
        # Older functions do not say what runs for its effect: there it is every op that has one. Branches and loops are
        # dissolved into the graph around them before they run, and what nothing waits for is dropped.
        implicit = not effects and self.ops[call] not in _DISSOLVED
        groups = []
        for node in function.node_def:
            number = local[node.name]
            self._wire(number, node.input, tensor, control, groups)
            if self._called(number):
                pending.append((number, stack, conditions, depth + 1))
            if implicit and (self._called(number) or node.op in ASSIGN_OPS or is_optimizer_op(node.op)):
                effects.append(number)
        results = []
        for argument in function.signature.output_arg:
            if argument.name not in function.ret:
                raise InputError(f"function {shown(name)} does not say what it returns as '{shown(argument.name)}'")
            results.append(tensor(function.ret[argument.name]))
        return results, effects

    def _output_index(self, number, name):
        op = self.ops[number]
        if op in _OUTPUTS:
            return _OUTPUTS[op].index(name) if name in _OUTPUTS[op] else len(_OUTPUTS[op])
        if op in self._library:
            declared = [argument.name for argument in self._library[op].signature.output_arg]
            return declared.index(name) if name in declared else 0
        return 0

    def _name_variables(self):
        """A resource variable is what its shared name says: handles of one name are one variable."""
        self.variable = {}  # node to the node that stands for the variable
        first = {}
        for node, op in enumerate(self.ops):
            if op in VARIABLE_OPS:
                attr = self.attrs[node]
                shared = attr["shared_name"].s if op == "VarHandleOp" and "shared_name" in attr else b""
                container = attr["container"].s if "container" in attr else b""
                key = (container, shared) if shared and shared != b"cd2c89b7-88b7-44c8-ad83-06c2a9158347" else node
                self.variable[node] = first.setdefault(key, node)

    # Control flow

    @staticmethod
    def _with(conditions, condition):
        return conditions if len(conditions) >= _MAX_CONDITIONS else conditions | {condition}

    def _order(self):
        """The nodes, inputs before consumers where there is no cycle; the edges that close a loop are left out."""
        waiting, following = [0] * len(self.ops), [[] for _ in self.ops]
        for node in range(len(self.ops)):
            for source in self._before(node):
                waiting[node] += 1
                following[source].append(node)
        ready = [node for node, count in enumerate(waiting) if not count]
        for node in ready:  # grows
            for after in following[node]:
                waiting[after] -= 1
                if not waiting[after]:
                    ready.append(after)
        if len(ready) < len(self.ops):
            ready += [node for node, count in enumerate(waiting) if count]
        return ready

    def _before(self, node):
        """What a node waits for; a Merge does not wait for the next iteration."""
        loops = self.ops[node] in MERGE_OPS
        for tensor in self.inputs[node]:
            if not (loops and self.ops[tensor.node] in _NEXT_ITERATION_OPS):
                yield tensor.node
        if not loops:
            yield from self.controls[node]

    def _find_conditions(self):
        found = self.conditions = [frozenset()] * len(self.ops)
        known = {
            node: frozenset((*self.predicate(tensor, value),) for tensor, value in conditions)
            for node, conditions in self._call_conditions.items()
            if conditions
        }
        for node in self._order():
            if self.ops[node] in MERGE_OPS:
                sources = [
                    self.condition_of(t) for t in self.inputs[node] if self.ops[t.node] not in _NEXT_ITERATION_OPS
                ]
                conditions = frozenset.intersection(*sources) if sources else frozenset()
            else:
                conditions = frozenset()
                for tensor in self.inputs[node]:
                    more = self.condition_of(tensor)
                    if not more <= conditions:
                        conditions |= more
                for control in self.controls[node]:
                    if not found[control] <= conditions:
                        conditions |= found[control]
            if node in known:
                conditions |= known[node]
            if len(conditions) > _MAX_CONDITIONS:
                conditions = frozenset(sorted(conditions)[:_MAX_CONDITIONS])
            found[node] = conditions
        return found

    def condition_of(self, tensor):
        """The conditions under which a tensor has a value."""
        conditions = self.conditions[tensor.node]
        if self.ops[tensor.node] in SWITCH_OPS:
            conditions = self._with(conditions, self.predicate(self.inputs[tensor.node][1], tensor.index == 1))
        return conditions

    def predicate(self, tensor, value):
        """(node, value): the op that a predicate comes from, and what it must say for the predicate to be `value`."""
        for _ in range(200):
            node = tensor.node
            if self.ops[node] == "LogicalNot":
                value = not value
            elif self.ops[node] not in SAME_VALUE_OPS:
                break
            tensor = self.inputs[node][0]
        return self._first_alike(tensor.node), value

    def _first_alike(self, node, depth=0):
        """The first node that compares the same in the same way: predicates are often made anew for each layer."""
        node = self.variable.get(node, node)
        if self.ops[node] == "Const" and "value" in self.attrs[node]:
            key = self.attrs[node]["value"].tensor.SerializeToString()[:1000]
        elif self.ops[node] in _COMPARE and depth < 4:
            key = (self.ops[node], *(self._first_alike(self.origin(tensor), depth + 1) for tensor in self.inputs[node]))
        else:
            return node
        return self._alike.setdefault(key, node)

    def possible(self, conditions):
        """Whether conditions can hold together, given the predicates that are constants."""
        values = {}
        for node, value in conditions:
            known = self.boolean(node)
            if (known is not None and known != value) or values.setdefault(node, value) != value:
                return False
        return True

    # Constants

    def constant(self, tensor, limit=64):
        """The values of a constant as a numpy array, or None where it is none, or has more than `limit` values."""
        node = self.origin(tensor)
        if self.ops[node] != "Const" or "value" not in self.attrs[node]:
            return None
        proto = self.attrs[node]["value"].tensor
        if proto.dtype not in _DTYPES or proto.tensor_shape.unknown_rank:
            return None
        shape = [dim.size for dim in proto.tensor_shape.dim]
        if any(size < 0 for size in shape) or len(shape) > 8 or math.prod(shape) > limit:
            return None
        dtype, field = _DTYPES[proto.dtype]
        size = math.prod(shape)
        if proto.tensor_content:
            if len(proto.tensor_content) != size * np.dtype(dtype).itemsize:
                return None
            return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
        values = list(getattr(proto, field))
        if len(values) > size or (size and not values):
            # Nothing given at all is a tensor of zeros.
            return np.zeros(shape, dtype) if not values else None
        return np.array(values + values[-1:] * (size - len(values)), dtype).reshape(shape)

    def scalar(self, tensor):
        """The value of a constant of one element as a float, or None."""
        values = self.constant(tensor, limit=1)
        return float(values.reshape(-1)[0]) if values is not None and values.size == 1 else None

    def strings(self, tensor):
        """The values of a constant of strings, or None."""
        node = self.origin(tensor)
        if self.ops[node] != "Const" or "value" not in self.attrs[node]:
            return None
        return [value.decode("utf-8", "replace") for value in self.attrs[node]["value"].tensor.string_val]

    def boolean(self, node):
        """The value of a predicate that is a constant, else None."""
        if self.ops[node] != "Const":
            return None
        value = self.scalar(Tensor(node, 0))
        return None if value is None else bool(value)

    # Walking

    def origin(self, tensor):
        """The node that a tensor's value comes from, through ops that hand it on."""
        node = tensor.node
        for _ in range(1000):
            if self.ops[node] not in SAME_VALUE_OPS:
                break
            node = self.inputs[node][0].node
        return node

    def variables_of(self, tensor):
        """The variables that a reference or handle may stand for."""
        found, stack, seen = set(), [tensor.node], set()
        while stack and len(seen) < 200:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in self.variable:
                found.add(self.variable[node])
            elif self.ops[node] in MERGE_OPS:
                stack += [t.node for t in self.inputs[node]]
            elif self.ops[node] in SAME_VALUE_OPS or self.ops[node] in ASSIGN_OPS:
                stack.append(self.inputs[node][0].node)
        return found

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
            for tensor in self.inputs[node]:
                if tensor.node not in seen:
                    seen.add(tensor.node)
                    stack.append(tensor.node)
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


def is_optimizer_op(op):
    """Whether an op applies a gradient to a variable, or hands one on for a later step."""
    name = op.removeprefix("Resource").removeprefix("Sparse")
    return name.startswith("Apply") or op in ("AccumulatorApplyGradient", "ResourceAccumulatorApplyGradient")
