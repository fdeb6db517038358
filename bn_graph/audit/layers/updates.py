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
    NEXT_ITERATION_OPS,
    REDUCE_OPS,
    SAME_VALUE_OPS,
    SELECT_OPS,
)
from bn_graph.audit.layers.normalizations import parameters_of
from bn_graph.audit.layers.statistics import choices, reduces_the_batch

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
    decay_in_evaluation: float | None  # where a condition chooses the decay and not whether the op runs
    through: tuple  # the variables that it averages, which are assigned from the batch


def find_assignments(graph):
    """For each variable, the ops that assign it other than by its initializer, a checkpoint or a feed."""
    assignments = {}
    for node, op in enumerate(graph.ops):
        if op in ASSIGN_OPS and possible(graph, graph.conditions[node]):
            if op in ("Assign", "AssignVariableOp") and _is_from_outside(graph, graph.inputs[node][1]):
                continue
            for variable in graph.variables_of(graph.inputs[node][0]):
                if graph.names[node] == f"{graph.names[variable]}/Assign":
                    continue  # its initializer, whose value may be another variable's
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
    batches = _Batches(graph, normalizations)
    batch_statistics = {s.node for use in normalizations for s in (*use.mean, *use.variance) if s.kind == "batch"}
    parameters = {parameter for use in normalizations for parameter in (use.gamma, use.beta)}
    values = {
        variable: {node: made_of(graph, graph.inputs[node][1]) for node in nodes}
        for variable, nodes in assignments.items()
        if variable not in parameters
    }
    for variable, assigned in values.items():
        batches.add_variable(variable, assigned.values())
    updates = {}
    for variable, assigned in values.items():
        for node, value in assigned.items():
            uses, averaged = batches.uses_in(value), ()
            # A plain copy of another variable is no average of it.
            averages = variable in value.variables or graph.ops[node] not in ("Assign", "AssignVariableOp")
            if not uses and variable in batches.moving and averages:
                uses, averaged = batches.uses_through_variables(value, variable)
            if uses or variable in batches.moving:
                runs_if, trains_if = graph.conditions[node], _while_training(uses)
                training = _Evaluation(graph, trains_if | runs_if, batch_statistics, averaged)
                decay, debiased = _decay(training, node, variable, value.nodes)
                opposite = {(predicate, not value) for predicate, value in trains_if - runs_if}
                evaluation = _Evaluation(graph, opposite | runs_if, batch_statistics, averaged)
                idle = _remainder(evaluation, node, variable) if opposite else None
                update = Update(node, variable, uses, runs_if, value.nodes, decay, debiased, idle, tuple(averaged))
                updates.setdefault(variable, []).append(update)
    return updates


class _Batches:
    """Which normalisations' batches a value is made of.

    moving: the variables that normalisations take for moving statistics.
    """

    def __init__(self, graph, normalizations):
        self._graph = graph
        self._by_reduction, self._by_moving, self._by_variable = {}, {}, {}
        for use in normalizations:
            for reduction in use.reductions:
                self._by_reduction.setdefault(reduction, []).append(use)
            for variable in use.moving():
                self._by_moving.setdefault(variable, []).append(use)
        self.moving = self._by_moving.keys()

    def uses_in(self, value):
        """The normalisations whose batch statistics a `MadeOf` has in it."""
        reductions = sorted(value.reductions)
        return tuple(dict.fromkeys(use for r in reductions for use in self._by_reduction.get(r, ())[:_MOST_USES]))

    def add_variable(self, variable, values):
        """Notes what a variable is assigned, `MadeOf`s."""
        uses = dict.fromkeys(use for value in values for use in self.uses_in(value))
        if uses:
            self._by_variable[variable] = tuple(uses)[:_MOST_USES]

    def uses_through_variables(self, value, variable):
        """(uses, variables between) where a moving statistic averages variables that are assigned from the batch.

        Those of another layer are copied from it, and not averaged: a target network has parameters of its own.
        """
        own = self._parameters(self._by_moving[variable][:_MOST_USES])
        between = [
            v
            for v in sorted(value.variables)[:_MOST_USES]
            if v != variable and v in self._by_variable and self._share(own, self._parameters(self._by_variable[v]))
        ]
        return tuple(dict.fromkeys(use for v in between for use in self._by_variable[v])), between

    def _parameters(self, uses):
        return set().union(*(parameters_of(self._graph, use) for use in uses))

    @staticmethod
    def _share(some, others):
        return bool(some & others) or not (some or others)


def _while_training(uses):
    """The conditions under which all of these uses take the statistics of their batch."""
    conditions = [
        s.conditions | use.conditions for use in uses for s in (*use.mean, *use.variance) if s.kind == "batch"
    ]
    return frozenset.intersection(*conditions) if conditions else frozenset()


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
            own = graph.variables_of(inputs[0])
            assigned = [c for c in graph.controls[node] if graph.ops[c] in ASSIGN_OPS]
            stack += [Output(c, 0) for c in assigned if not own.isdisjoint(graph.variables_of(graph.inputs[c][0]))]
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
        elif op == "LogicalNot":  # as a number
            choosing.add(predicate(graph, output, True)[0])
        elif op in ARITHMETIC_OPS or op in ASSIGN_OPS or op in REDUCE_OPS:
            stack += inputs
    nodes = {output.node for output in seen}
    return MadeOf(frozenset(nodes | choosing), frozenset(reductions), frozenset(variables))


def _decay(evaluation, node, variable, nodes):
    """(decay, debiased). The decay is what is left of the old value where that is 1 and the new one is 0."""
    graph = evaluation.graph
    decay = _remainder(evaluation, node, variable)
    if decay is None:  # zero_debias averages in a variable of its own
        for biased in sorted(nodes):
            if graph.ops[biased] in ASSIGN_OPS:
                other = graph.origin(graph.inputs[biased][0])
                if graph.names[other].endswith("/biased") and other in graph.variable:
                    return _remainder(evaluation, biased, graph.variable[other]), True
    return decay, False


def _remainder(evaluation, assignment, variable):
    graph = evaluation.graph
    value = evaluation.value(graph.inputs[assignment][1], variable)
    if value is None:
        return None
    op = graph.ops[assignment]
    remainder = 1 - value if "Sub" in op else 1 + value if "Add" in op else value
    return remainder if -1e-6 <= remainder <= 1 + 1e-6 else None


class _Evaluation:
    """The value of an output where one variable is 1 and everything that comes out of the batch is 0.

    settled: conditions, (predicate, value), that settle which branch of a choice is taken.
    batch_statistics: nodes that come out of the batch. averaged: variables that do.
    """

    def __init__(self, graph, settled, batch_statistics, averaged):
        self.graph = graph
        self._settled = dict(settled)
        self._excluded = {(node, not value) for node, value in settled}
        self._batch_statistics, self._averaged = batch_statistics, averaged

    def value(self, output, variable):
        """The value as a number, or None where it is something else."""
        self._variable, self._values = variable, {}
        return self._value(output, 0)

    def _value(self, output, depth):
        node = output.node
        if node not in self._values:
            self._values[node] = None  # until it is known; a cycle finds this
            if depth <= _MAX_DEPTH and len(self._values) <= _MOST_VALUES:
                self._values[node] = self._compute(output, depth + 1)
        return self._values[node]

    def _compute(self, output, depth):
        graph, node = self.graph, output.node
        op, inputs = graph.ops[node], graph.inputs[node]
        if node in self._batch_statistics or op in FUSED_OPS or (op in REDUCE_OPS and reduces_the_batch(graph, node)):
            return 0.0
        if node in graph.variable:
            variable = graph.variable[node]
            return 1.0 if variable == self._variable else 0.0 if variable in self._averaged else None
        if node in self._settled:  # a predicate that is cast to a number
            return float(self._settled[node])
        if op == "LogicalNot":
            inverse = self._value(inputs[0], depth)
            return None if inverse is None else 1 - inverse
        if op == "Const":
            return graph.scalar(output)
        if op in MERGE_OPS or op in SELECT_OPS:
            values = {self._value(branch, depth) for branch in self._possible_branches(node)}
            return values.pop() if len(values) == 1 else None
        if op in SAME_VALUE_OPS:
            return self._value(inputs[0], depth)
        if op in _COMPUTE:
            values = [self._value(operand, depth) for operand in inputs]
            if op == "Mul" and 0.0 in values:
                return 0.0
            if None not in values and not (op in DIVIDE_OPS and values[1] == 0):
                return _COMPUTE[op](*values)
        return None

    def _possible_branches(self, node):
        """The inputs of a Merge or Select that can be its value under the conditions."""
        graph = self.graph
        for branch, conditions in choices(graph, node, frozenset()):
            comes_around = graph.ops[branch.node] in NEXT_ITERATION_OPS
            if not comes_around and self._excluded.isdisjoint(conditions) and possible(graph, conditions):
                yield branch
