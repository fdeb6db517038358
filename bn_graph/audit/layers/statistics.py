"""Where a mean or a variance comes from: the batch, moving variables or constants, or one of them on a condition."""

import math
from typing import NamedTuple

from bn_graph.audit.graph.conditions import condition_of, possible, predicate
from bn_graph.audit.graph.flat_graph import Output
from bn_graph.audit.graph.ops import (
    ARITHMETIC_OPS,
    ASSIGN_OPS,
    FUSED_OPS,
    MERGE_OPS,
    REDUCE_OPS,
    SAME_VALUE_OPS,
    SELECT_OPS,
)

_COMPUTED = ARITHMETIC_OPS | ASSIGN_OPS | REDUCE_OPS


class Statistic(NamedTuple):
    """What a mean or variance may be: kind is batch, moving or constant."""

    kind: str
    node: int  # of a batch statistic its last op, else the variable or constant
    conditions: frozenset  # under which it is this one


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
    return statistics


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
    """Whether a reduction goes over axis 0 of more than a single row."""
    values, axes = graph.inputs[node]
    rank = graph.rank(values)
    if rank == 1:  # one row
        return False
    axes = _axes(graph, axes)
    return 0 in axes or (rank is not None and -rank in axes)


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
    stack, seen = [output.node], set()
    while stack and len(seen) < 80:
        node = stack.pop()
        if node in seen or node in graph.variable or graph.ops[node] == "Const":
            continue
        seen.add(node)
        if graph.ops[node] not in _COMPUTED:
            return True
        stack += [source.node for source in graph.inputs[node]]
    return bool(stack)
