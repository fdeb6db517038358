"""From a GraphDef to a `FlatGraph`: calls of functions are replaced by a copy of what they call.

`If`, `While`, `PartitionedCall` and their like get the shape that TensorFlow 1 itself gave to `cond` and `while_loop`:
branches end in a `Merge`, loops go through a `NextIteration`. So whoever reads a `FlatGraph` has one kind of control
flow to think of.
"""

import collections
import dataclasses
from typing import NamedTuple

from bn_graph.audit.graph.conditions import find_conditions, with_condition
from bn_graph.audit.graph.flat_graph import FlatGraph, Output, origin, printable
from bn_graph.audit.graph.ops import ASSIGN_OPS, CONTROL_GROUP, EXACT_INPUTS, FEWEST_INPUTS, is_optimizer_op
from bn_graph.errors import InputError

# Which attributes of a calling op name functions.
_FUNCTION_ATTRIBUTES = {
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
_BRANCHING = {"If", "StatelessIf", "Case", "StatelessCase"}
_LOOPING = {"While", "StatelessWhile"}
# Inside a function, an output is named by its argument. Of ops with several outputs only these matter here.
_OUTPUT_NAMES = {
    "Switch": ("output_false", "output_true"),
    "RefSwitch": ("output_false", "output_true"),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), ("y", "batch_mean", "batch_variance")),
}
_LOOPS = -1  # no output of a While: the predicate by which it goes on
# Of all that is copied from bodies of functions, by `_Function.size`. Functions that call each other twice grow without
# end, and a large one may be called as often as there are bytes in the file.
_MAX_COPIED = 50_000
_MAX_COPIES = 20  # beyond that, of as much as the file holds
_LONGEST_PREFIX = 200  # characters that a copied node's name has of its call's
_MAX_DEPTH = 60
_LARGE_GROUP = 8  # control edges of one node, above which they go through a node of their own
_MAX_GROUPS = 8  # of the latest groups, in which a larger set of control edges is looked for


def flatten(graph_def):
    """The `FlatGraph` of a GraphDef. Raises `InputError` where it is no graph."""
    nodes = _Nodes(graph_def.library)
    _Inlining(nodes, graph_def).run()
    graph = FlatGraph(
        names=nodes.names,
        ops=nodes.ops,
        attrs=nodes.attrs,
        inputs=nodes.inputs,
        controls=nodes.controls,
        unfollowed=nodes.unfollowed,
        followed=nodes.followed,
        top_level=nodes.top_level,
    )
    find_conditions(graph, nodes.call_conditions)
    return graph


class _Nodes:
    """The lists of a graph that is being made."""

    def __init__(self, library):
        self.names, self.ops, self.attrs = [], [], []
        self.inputs, self.controls = [], []
        self.unfollowed, self.followed = [], set()
        self.top_level = []  # per node the op of the graph itself that it is a part of
        self.call_conditions = {}  # node to the conditions of the branch that it was copied from
        self.functions = {definition.signature.name: _Function(definition) for definition in library.function}

    def add(self, name, op, attr):
        self.names.append(name)
        self.ops.append(op)
        self.attrs.append(attr)
        self.inputs.append([])
        self.controls.append([])
        self.top_level.append(len(self.names) - 1)
        return len(self.names) - 1

    def add_inside(self, call, name, op, attr=None, inputs=(), conditions=frozenset()):
        """Adds a node that stands for a part of what `call` does."""
        node = self.add(f"{self.names[call][-_LONGEST_PREFIX:]}->{name}", op, {} if attr is None else attr)
        self.inputs[node] = list(inputs)
        self.call_conditions[node] = conditions
        self.top_level[node] = self.top_level[call]
        return node

    def connect(self, node, texts, scope):
        """Gives a node its inputs and control inputs, which `scope` knows by name."""
        texts = list(texts)
        num_data = next((place for place, text in enumerate(texts) if text.startswith("^")), len(texts))
        self.inputs[node] = [scope.output(text) for text in texts[:num_data]]
        waits = texts[num_data:]
        if len(waits) > _LARGE_GROUP:
            group, members = self._control_group(frozenset(waits), node, scope)
            self.controls[node] = [group]
            waits = [text for text in waits if text not in members]
        self.controls[node] += [scope.control(text[1:]) for text in waits]
        op, count = self.ops[node], len(self.inputs[node])
        if count < FEWEST_INPUTS.get(op, 0) or count > EXACT_INPUTS.get(op, count):
            raise InputError(
                f"{printable(self.names[node])}: expected a {op} to have {FEWEST_INPUTS[op]} inputs, found {count}"
            )

    def _control_group(self, waits, node, scope):
        """A node that stands for the most of many control edges, and which they are.

        control_dependencies gives all of its ops to every op made inside: n * m edges, or n + m through one node.
        """
        common = max((waits & members for members, _ in scope.groups), key=len, default=frozenset())
        if 2 * len(common) < len(waits):
            common = waits
        for members, group in scope.groups:
            if members == common:
                return group, members
        group = self.add_group(node, [scope.control(text[1:]) for text in sorted(common)])
        scope.groups.insert(0, (common, group))
        del scope.groups[_MAX_GROUPS:]
        return group, common

    def add_group(self, node, controls):
        """Adds a node that stands for many control edges; `node` is one of those that wait for it."""
        group = self.add(f"{self.names[node][-_LONGEST_PREFIX:]}->controls", CONTROL_GROUP, {})
        self.controls[group] = controls
        return group

    def called_functions(self, node):
        """The names of the functions that a node calls; of most nodes, none."""
        op, attr = self.ops[node], self.attrs[node]
        if op in self.functions:
            return [op]
        names = []
        for key in _FUNCTION_ATTRIBUTES.get(op, ()):
            if key in attr:
                value = attr[key]
                names += [f.name for f in value.list.func] if value.WhichOneof("value") == "list" else [value.func.name]
        return names

    def output_index(self, node, name):
        """Which output of a node is called `name` inside a function."""
        op = self.ops[node]
        if op in _OUTPUT_NAMES:
            return _OUTPUT_NAMES[op].index(name) if name in _OUTPUT_NAMES[op] else len(_OUTPUT_NAMES[op])
        return self.functions[op].output_index.get(name, 0) if op in self.functions else 0


class _Function:
    """A function of the library.

    size: how much a copy of it takes: its nodes, their inputs, every 64 characters of their names, and its results.
    output_index: the names of its outputs, to their numbers.
    """

    def __init__(self, definition):
        self.definition = definition
        signature, nodes = definition.signature, definition.node_def
        self.size = sum(1 + len(node.input) + len(node.name) // 64 for node in nodes)
        self.size += len(signature.output_arg) + len(definition.control_ret) + 1
        self.output_index = {argument.name: index for index, argument in enumerate(signature.output_arg)}


@dataclasses.dataclass
class _GraphScope:
    """What the names in a graph mean."""

    nodes: dict  # name to node
    groups: list = dataclasses.field(default_factory=list)  # the latest (members, node) of control groups

    def output(self, text):
        name, _, index = text.partition(":")
        if name not in self.nodes:
            raise InputError(f"a node of the graph takes input from '{printable(name)}', which is not there")
        return Output(self.nodes[name], int(index) if index.isdigit() else 0)

    def control(self, text):
        return self.output(text).node


class _FunctionScope:
    """What the names in one copy of a function's body mean: its arguments, and its own nodes."""

    def __init__(self, nodes, definition, call, arguments):
        self._nodes, self._name = nodes, definition.signature.name
        self._arguments, self._local, self.groups = {}, {}, []
        start = 0
        for argument in definition.signature.input_arg:
            count = max(_num_tensors(argument, nodes.attrs[call]), 0)
            self._arguments[argument.name] = arguments[start : start + count]
            start += count

    def add(self, name, node):
        if name in self._local:
            raise InputError(f"function {printable(self._name)} has two nodes named {printable(name)}")
        self._local[name] = node

    def output(self, text):
        first, *rest = text.split(":")
        index = int(rest[-1]) if rest and rest[-1].isdigit() else 0
        if first in self._arguments:
            if index >= len(self._arguments[first]):
                raise InputError(f"function {printable(self._name)} is called with too few arguments")
            return self._arguments[first][index]
        if first not in self._local:
            raise InputError(
                f"function {printable(self._name)}: a node takes input from '{printable(first)}', which is not there"
            )
        node = self._local[first]
        if len(rest) == 2:
            index += self._nodes.output_index(node, rest[0])
        return Output(node, index)

    def control(self, text):
        if text in self._local:
            return self._local[text]
        if self._arguments.get(text):
            return self._arguments[text][0].node
        raise InputError(f"function {printable(self._name)}: a node waits for '{printable(text)}', which is not there")


def _num_tensors(argument, attr):
    """How many tensors an argument of a function takes, by the attributes of the call."""
    if argument.number_attr:
        return attr[argument.number_attr].i if argument.number_attr in attr else 1
    if argument.type_list_attr and argument.type_list_attr in attr:
        return len(attr[argument.type_list_attr].list.type)
    return 1


class _Call(NamedTuple):
    """A call that is yet to be replaced."""

    node: int
    stack: tuple  # the names of the functions around it
    conditions: frozenset  # of the branch that it is in, as (`Output`, value)


class _Inlining:
    """Replaces all calls of a graph, and those in the copies that are made for it."""

    def __init__(self, nodes, graph_def):
        self._nodes, self._graph_def = nodes, graph_def
        self._copied = 0  # so far, by `_Function.size`
        held = len(graph_def.node) + sum(function.size for function in nodes.functions.values())
        self._most_copied = _MAX_COPIED + _MAX_COPIES * held
        self._pending = collections.deque()
        self._results = {}  # `Output` of a call, to the `Output` that a copied body returns in its place

    def run(self):
        nodes, scope = self._nodes, _GraphScope({})
        defs = sorted(self._graph_def.node, key=lambda node: node.name)  # so that their order in a file changes nothing
        for node_def in defs:
            if node_def.name in scope.nodes:
                raise InputError(f"the graph has two nodes named {printable(node_def.name)}")
            scope.nodes[node_def.name] = nodes.add(node_def.name, node_def.op, node_def.attr)
        for node, node_def in enumerate(defs):
            nodes.connect(node, node_def.input, scope)
            if nodes.called_functions(node):
                self._pending.append(_Call(node, (), frozenset()))
        while self._pending:
            self._inline(self._pending.popleft())
        nodes.inputs = [[self._final(source) for source in inputs] for inputs in nodes.inputs]
        for node, conditions in nodes.call_conditions.items():
            nodes.call_conditions[node] = frozenset((self._final(output), value) for output, value in conditions)

    def _final(self, output):
        """What is there in the end in place of an output, through calls of calls."""
        for _ in range(_MAX_DEPTH):
            if output not in self._results:
                break
            output = self._results[output]
        return output

    def _inline(self, call):
        """Copies the functions that a call names, and points its outputs to what they return."""
        nodes, op = self._nodes, self._nodes.ops[call.node]
        names = nodes.called_functions(call.node)
        if not self._can_inline(call, names):
            nodes.unfollowed.append(call.node)
            return
        nodes.followed.add(call.node)
        if op in _BRANCHING:
            results = self._inline_branches(call, names)
        elif op in _LOOPING:
            results = self._inline_loop(call, *names)
        else:
            results, effects = self._copy(call, names[0], nodes.inputs[call.node], call.conditions)
            self._wait_for_effects(call, results, effects)
        for index, result in enumerate(results):
            self._results[Output(call.node, index)] = Output(result, 0)

    def _can_inline(self, call, names):
        nodes, op = self._nodes, self._nodes.ops[call.node]
        size = sum(nodes.functions[name].size for name in names if name in nodes.functions)
        return (
            all(name in nodes.functions and name not in call.stack for name in names)
            and len(call.stack) < _MAX_DEPTH
            and self._copied + size <= self._most_copied
            and (op not in _BRANCHING or bool(nodes.inputs[call.node]))
            and (op not in _LOOPING or len(names) == 2)
        )

    def _inline_branches(self, call, names):
        nodes = self._nodes
        predicate, *arguments = nodes.inputs[call.node]
        is_case = nodes.ops[call.node].endswith("Case")
        returned, effects = [], []
        for branch, name in enumerate(names):
            conditions = with_condition(call.conditions, (predicate, branch if is_case else branch == 0))
            results, more = self._copy(call, name, arguments, conditions)
            returned.append(results)
            effects += more
        merges = [
            nodes.add_inside(
                call.node,
                f"Merge_{k}",
                "Merge",
                inputs=[Output(result, 0) for result in one],
                conditions=call.conditions,
            )
            for k, one in enumerate(zip(*returned, strict=False))
        ]
        self._wait_for_effects(call, merges, effects)
        return merges

    def _inline_loop(self, call, body, condition):
        nodes, inputs = self._nodes, self._nodes.inputs[call.node]
        merges = [nodes.add_inside(call.node, f"Merge_{k}", "Merge", inputs=[value]) for k, value in enumerate(inputs)]
        arguments = [Output(merge, 0) for merge in merges]
        conditions = with_condition(call.conditions, (Output(call.node, _LOOPS), True))
        results, effects = self._copy(call, body, arguments, conditions)
        effects += self._copy(call, condition, arguments, conditions)[1]
        effects = self._wait_for_effects(call, (), effects)
        for merge, result in zip(merges, results, strict=False):
            if origin(nodes.ops, nodes.inputs, result) == merge:
                nodes.ops[merge] = "Identity"  # what the loop does not change
                continue
            inputs = [Output(result, 0)]
            again = nodes.add_inside(call.node, f"NextIteration_{merge}", "NextIteration", inputs=inputs)
            nodes.inputs[merge].append(Output(again, 0))
            nodes.controls[merge] += effects
        return merges

    def _wait_for_effects(self, call, results, effects):
        """Makes the results of a call wait for what it waits for, and for what runs in it for its effect.

        Returns what they wait for, through a node of its own where that is much.
        """
        nodes = self._nodes
        effects = [*nodes.controls[call.node], *effects]
        if len(effects) > _LARGE_GROUP:
            effects = [nodes.add_group(call.node, effects)]
        nodes.controls[call.node] = effects
        for result in results:
            nodes.controls[result] += effects
        return effects

    def _copy(self, call, name, arguments, conditions):
        """Copies one function's body. Returns the nodes of what it returns, and those that run for their effect."""
        nodes, function = self._nodes, self._nodes.functions[name].definition
        self._copied += self._nodes.functions[name].size
        scope = _FunctionScope(nodes, function, call.node, arguments)
        for node_def in function.node_def:
            node = nodes.add_inside(call.node, node_def.name, node_def.op, node_def.attr, conditions=conditions)
            scope.add(node_def.name, node)
        effects = [scope.control(target) for target in function.control_ret.values()]
        # Older functions do not say what runs for its effect: there it is every op that has one. Branches and loops
        # become part of the graph around them before they run, and what nothing waits for is dropped.
        implicit = not effects and nodes.ops[call.node] not in _BRANCHING | _LOOPING
        stack = (*call.stack, name)
        for node_def in function.node_def:
            node = scope.control(node_def.name)
            nodes.connect(node, node_def.input, scope)
            calls = bool(nodes.called_functions(node))
            if calls:
                self._pending.append(_Call(node, stack, conditions))
            if implicit and (calls or node_def.op in ASSIGN_OPS or is_optimizer_op(node_def.op)):
                effects.append(node)
        returned = []
        for argument in function.signature.output_arg:
            if argument.name not in function.ret:
                raise InputError(
                    f"function {printable(name)} does not say what it returns as '{printable(argument.name)}'"
                )
            returned.append(scope.output(function.ret[argument.name]))
        results = [
            nodes.add_inside(call.node, f"{name}/{k}", "Identity", inputs=[output], conditions=conditions)
            for k, output in enumerate(returned)
        ]
        return results, effects
