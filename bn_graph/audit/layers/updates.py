"""Finds what assigns moving statistics, and from which normalisation's batch."""

import dataclasses
import operator

from bn_graph.audit.graph.conditions import condition_of, possible, predicate
from bn_graph.audit.graph.flat_graph import Output
from bn_graph.audit.graph.ops import (
    ADD_OPS,
    ARITHMETIC_OPS,
    ASSIGN_OPS,
    DIVIDE_OPS,
    FUSED_OPS,
    MERGE_OPS,
    REDUCE_OPS,
    SAME_VALUE_OPS,
    SELECT_OPS,
)
from bn_graph.audit.layers.statistics import reduces_the_batch

_COMPUTE = {
    **dict.fromkeys(ADD_OPS, operator.add),
    **dict.fromkeys(DIVIDE_OPS, operator.truediv),
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Neg": operator.neg,
}
_INPUT_FREE = {"Const", "Placeholder", "PlaceholderWithDefault", "Fill", "ZerosLike", "OnesLike", "Shape"}
_MOST_USES = 100  # of one batch's mean that an update is said to take
_MAX_DEPTH, _MOST_VALUES = 40, 1000  # of the arithmetic of an update
_RESTORE = {"RestoreV2", "Restore", "RestoreSlice"}


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
    """An op that assigns a moving statistic."""

    node: int
    variable: int
    uses: tuple  # the `Normalization`s whose batch statistics it takes
    conditions: frozenset
    depends_on: frozenset  # the nodes that the assigned value is made of, predicates that choose in it included
    decay: float | None
    debiased: bool  # zero_debias: the average has forgotten its start from the first step on


def find_assignments(graph):
    """For each variable, the ops that assign it other than by its initializer, a checkpoint or a feed."""
    assignments = {}
    for node, op in enumerate(graph.ops):
        if op in ASSIGN_OPS and possible(graph, graph.conditions[node]):
            if op in ("Assign", "AssignVariableOp") and _is_from_outside(graph, graph.inputs[node][1]):
                continue
            for variable in graph.variables_of(graph.inputs[node][0]):
                assignments.setdefault(variable, []).append(node)
    return assignments


def _is_from_outside(graph, output):
    """Whether a value is an initial one, restored or fed: made of constants, random numbers and files alone."""
    stack, seen = [output.node], set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        op = graph.ops[node]
        if op in _RESTORE or op in _INPUT_FREE:
            continue
        if node in graph.variable or op in REDUCE_OPS or op in FUSED_OPS or len(seen) > 60:
            return False
        stack += [source.node for source in graph.inputs[node]]
    return True


def find_updates(graph, normalizations, assignments):
    """For each variable, the `Update`s of it: what takes batch statistics, or assigns a moving statistic."""
    by_reduction = {}
    for use in normalizations:
        for reduction in use.reductions:
            by_reduction.setdefault(reduction, []).append(use)
    moving = {variable for use in normalizations for variable in use.moving()}
    parameters = {parameter for use in normalizations for parameter in (use.gamma, use.beta)}
    batch_statistics = {s.node for use in normalizations for s in (*use.mean, *use.variance) if s.kind == "batch"}
    updates = {}
    for variable, nodes in assignments.items():
        if variable in parameters:
            continue
        for node in nodes:
            value = made_of(graph, graph.inputs[node][1])
            uses = dict.fromkeys(
                use for reduction in sorted(value.reductions) for use in by_reduction.get(reduction, ())[:_MOST_USES]
            )
            if uses or variable in moving:
                decay, debiased = _decay(graph, node, variable, batch_statistics, value.nodes)
                update = Update(node, variable, tuple(uses), graph.conditions[node], value.nodes, decay, debiased)
                updates.setdefault(variable, []).append(update)
    return updates


@dataclasses.dataclass(frozen=True)
class MadeOf:
    """What a value is made of, through arithmetic only."""

    nodes: frozenset  # predicates that choose in it included
    reductions: frozenset  # those that reduce a batch
    variables: frozenset  # that it reads


def made_of(graph, value):
    """What an assigned value is made of, a `MadeOf`."""
    reductions, choosing, variables = set(), set(), set()
    stack, seen = [value], set()
    while stack and len(seen) < 300:
        output = stack.pop()
        if output in seen:
            continue
        seen.add(output)
        node, op, inputs = output.node, graph.ops[output.node], graph.inputs[output.node]
        if node in graph.variable:
            variables.add(graph.variable[node])
            continue
        if op in ("ReadVariableOp", "Identity"):
            # What a variable holds after an assignment is read behind a control edge.
            stack += [Output(c, 0) for c in graph.controls[node] if graph.ops[c] in ASSIGN_OPS]
        if op in REDUCE_OPS and reduces_the_batch(graph, node):
            reductions.add(node)
        elif op in FUSED_OPS:
            reductions.add(node)
        elif op in MERGE_OPS:
            choosing |= {c for source in inputs for c, _ in condition_of(graph, source) - graph.conditions[node]}
            stack += inputs
        elif op in SELECT_OPS:
            choosing.add(predicate(graph, inputs[0], True)[0])
            stack += inputs[1:]
        elif op in ARITHMETIC_OPS or op in ASSIGN_OPS or op in REDUCE_OPS:
            stack += inputs
    nodes = {output.node for output in seen}
    return MadeOf(frozenset(nodes | choosing), frozenset(reductions), frozenset(variables))


def _decay(graph, node, variable, batch_statistics, nodes):
    """(decay, debiased). The decay is what is left of the old value where that is 1 and the new one is 0."""
    decay = _remainder(graph, node, variable, batch_statistics)
    if decay is None:  # zero_debias averages in a variable of its own
        for biased in sorted(nodes):
            if graph.ops[biased] in ASSIGN_OPS:
                other = graph.origin(graph.inputs[biased][0])
                if graph.names[other].endswith("/biased") and other in graph.variable:
                    return _remainder(graph, biased, graph.variable[other], batch_statistics), True
    return decay, False


def _remainder(graph, assignment, variable, batch_statistics):
    value = _Evaluation(graph, variable, batch_statistics).value(graph.inputs[assignment][1])
    if value is None:
        return None
    op = graph.ops[assignment]
    remainder = 1 - value if "Sub" in op else 1 + value if "Add" in op else value
    return remainder if -1e-6 <= remainder <= 1 + 1e-6 else None


class _Evaluation:
    """The value of an output where `variable` is 1 and everything that comes out of the batch is 0."""

    def __init__(self, graph, variable, batch_statistics):
        self._graph, self._variable, self._batch_statistics = graph, variable, batch_statistics
        self._values = {}

    def value(self, output, depth=0):
        node = output.node
        if node not in self._values:
            self._values[node] = None  # until it is known; a cycle finds this
            if depth <= _MAX_DEPTH and len(self._values) <= _MOST_VALUES:
                self._values[node] = self._compute(output, depth + 1)
        return self._values[node]

    def _compute(self, output, depth):
        graph, node = self._graph, output.node
        op, inputs = graph.ops[node], graph.inputs[node]
        if node in self._batch_statistics or op in FUSED_OPS or (op in REDUCE_OPS and reduces_the_batch(graph, node)):
            return 0.0
        if node in graph.variable:
            return 1.0 if graph.variable[node] == self._variable else None
        if op == "Const":
            return graph.scalar(output)
        if op in MERGE_OPS or op in SELECT_OPS:
            # Of several branches, the one that moves.
            values = [self.value(branch, depth) for branch in (inputs[1:] if op in SELECT_OPS else inputs)]
            values = sorted((value for value in values if value is not None), key=lambda value: value == 1)
            return values[0] if values else None
        if op in SAME_VALUE_OPS:
            return self.value(inputs[0], depth)
        if op in _COMPUTE:
            values = [self.value(operand, depth) for operand in inputs]
            if op == "Mul" and 0.0 in values:
                return 0.0
            if None not in values and not (op in DIVIDE_OPS and values[1] == 0):
                return _COMPUTE[op](*values)
        return None
