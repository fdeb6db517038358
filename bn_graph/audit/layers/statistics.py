"""Where a mean or a variance comes from: the batch, moving variables or constants, or one of them on a condition."""

import math
from typing import NamedTuple

from bn_graph.audit.graph.conditions import condition_of, possible, predicate
from bn_graph.audit.graph.flat_graph import Output
from bn_graph.audit.graph.ops import (
    ARITHMETIC_OPS,
    ASSIGN_OPS,
    COMPARE_OPS,
    FUSED_OPS,
    MERGE_OPS,
    REDUCE_OPS,
    SAME_VALUE_OPS,
    SELECT_OPS,
)

_COMPUTED = ARITHMETIC_OPS | ASSIGN_OPS | REDUCE_OPS
_SCHEDULES = COMPARE_OPS | {
    "Floor",
    "FloorDiv",
    "FloorMod",
    "Mod",
    "Exp",
    "Log",
    "LogicalNot",
}  # of a rate, by the step


class Statistic(NamedTuple):
    """What a mean or variance may be: kind is batch, moving or constant."""

    kind: str
    node: int  # of a batch statistic its last op, else the variable or constant
    conditions: frozenset  # under which it is this one
    second_moment: bool = False  # the variable holds the mean of the squares, and the variance is that - mean * mean


def statistics_of(graph, output):
    """The `Statistic`s that a mean or variance may be; empty where it is something else."""
    statistics = []
    for source, conditions in sources(graph, output):
        node = source.node
        if node in graph.variable:
            statistics.append(Statistic("moving", graph.variable[node], conditions))
        elif graph.ops[node] == "Const":
            values = graph.constant(source, math.inf)
            if values is not None and values.size > 1:
                statistics.append(Statistic("constant", node, conditions))
        elif reductions_behind(graph, source):
            statistics.append(Statistic("batch", node, conditions))
        elif _second_moment(graph, node) is not None:
            statistics.append(Statistic("moving", _second_moment(graph, node), conditions, second_moment=True))
    return statistics


def _second_moment(graph, node):
    """The variable of moving second moments where a node is that less the square of another variable, else None."""
    if graph.ops[node] in ("Maximum", "Relu"):  # rounding may leave less than 0
        node = graph.origin(graph.inputs[node][0])
    if graph.ops[node] != "Sub":
        return None
    moment, mean = (graph.origin(output) for output in graph.inputs[node])
    factors = {graph.variable_of(output) for output in graph.inputs[mean]}
    is_square = graph.ops[mean] == "Square" or (graph.ops[mean] == "Mul" and len(factors) == 1)
    return graph.variable.get(moment) if is_square and None not in factors else None


def sources(graph, output, stops=()):
    """(`Output`, conditions) of everything that an output may be, through ops that hand it on or choose."""
    reached, seen = [], set()
    stack = [(output, frozenset())]
    while stack and len(seen) < 400:
        output, conditions = stack.pop()
        if (output, conditions) in seen:
            continue
        seen.add((output, conditions))
        node, op = output.node, graph.ops[output.node]
        inputs = graph.inputs[node]
        if node in stops:
            reached.append((output, conditions))
        elif op in MERGE_OPS or op in SELECT_OPS:
            stack += [(source, more) for source, more in choices(graph, node, conditions) if possible(graph, more)]
        elif op == "IdentityN" and output.index < len(inputs):
            stack.append((inputs[output.index], conditions))
        elif op in SAME_VALUE_OPS or op in ASSIGN_OPS:
            stack.append((inputs[0], conditions))
        else:
            reached.append((output, conditions))
    return reached


def choices(graph, node, conditions):
    """(`Output`, conditions) of each input of a Merge or Select: the given conditions, and that it is chosen."""
    inputs = graph.inputs[node]
    if graph.ops[node] in MERGE_OPS:
        for source in inputs:
            yield source, conditions | condition_of(graph, source)
    else:
        for source, value in ((inputs[1], True), (inputs[2], False)):
            yield source, conditions | {predicate(graph, inputs[0], value)}


def reductions_behind(graph, output):
    """The nodes that reduce the batch on the way to an output, through arithmetic only."""
    reductions, stack, seen = set(), [output], set()
    while stack and len(seen) < 80:
        output = stack.pop()
        node = output.node
        if node in seen:
            continue
        seen.add(node)
        op = graph.ops[node]
        if op in REDUCE_OPS:
            if reduces_the_batch(graph, node):
                reductions.add(node)
        elif op in FUSED_OPS and output.index in (1, 2):
            reductions.add(node)
        elif op in ARITHMETIC_OPS:
            stack += graph.inputs[node]
    return reductions


def reductions_of(graph, statistics):
    """The nodes that reduce the batch on the way to these `Statistic`s, as a frozenset."""
    reductions = set()
    for statistic in statistics:
        if statistic.kind == "batch":
            reductions |= reductions_behind(graph, Output(statistic.node, 1))
    return frozenset(reductions)


def reduces_the_batch(graph, node):
    """Whether a reduction goes over axis 0, and leaves others: over all axes it makes one number of everything."""
    values, axes = graph.inputs[node]
    if _is_every_axis(graph, axes):
        return False
    rank, axes = graph.rank(values), _axes(graph, axes)
    if rank is not None:
        axes = {axis % rank for axis in axes} if rank else set()
    return 0 in axes and len(axes) != rank


def _is_every_axis(graph, output):
    """Whether the axes of a reduction are tf.range(0, tf.rank(x)), as they are where none was named."""
    node = graph.origin(output)
    if graph.ops[node] != "Range" or len(graph.inputs[node]) < 2:
        return False
    return graph.ops[graph.origin(graph.inputs[node][1])] == "Rank"


def _axes(graph, output, depth=0):
    """The axes of a reduction, as far as they are constants: tf.range(rank - 1) begins with its first one."""
    node = graph.origin(output)
    values = graph.constant(output)
    if values is not None:
        return values.reshape(-1).tolist() if values.dtype.kind == "i" else []
    if depth > 3 or graph.ops[node] not in ("Range", "Pack", "ConcatV2") or not graph.inputs[node]:
        return []
    if graph.ops[node] == "Range":
        return _axes(graph, graph.inputs[node][0], depth + 1)
    parts = graph.inputs[node][: -1 if graph.ops[node] == "ConcatV2" else None]
    return [axis for part in parts[:8] for axis in _axes(graph, part, depth + 1)]


def holds_data(graph, output):
    """Whether a value is made of anything but variables and constants, as far as arithmetic goes."""
    return _is_made_of_more(graph, output, _COMPUTED)


def made_of_variables(graph, output):
    """Whether a value is made of variables, constants, and rates that are fed or scheduled: a copy, or an average."""
    return not _is_made_of_more(graph, output, _COMPUTED | _SCHEDULES, rates=True)


def _is_made_of_more(graph, output, computed, rates=False):
    stack, seen = [output.node], set()
    while stack and len(seen) < 80:
        node = stack.pop()
        if node in seen or node in graph.variable or graph.ops[node] == "Const":
            continue
        seen.add(node)
        if rates and graph.ops[node] in ("Placeholder", "PlaceholderWithDefault") and not graph.shape(Output(node, 0)):
            continue
        if graph.ops[node] not in computed:
            return True
        stack += [source.node for source in graph.inputs[node]]
    return bool(stack)
