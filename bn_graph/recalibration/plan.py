"""What is to be estimated, and where in the graph the values are that it describes.

All of it comes from the audit's analysis: which uses of a layer are trained, under which conditions they take the
statistics of their batch, and what assigns the moving ones.
"""

import dataclasses
from typing import NamedTuple

from bn_graph.audit.graph.conditions import predicate
from bn_graph.audit.graph.flat_graph import Output, printable
from bn_graph.audit.graph.frames import find_frames
from bn_graph.audit.graph.ops import COMPARE_OPS, FUSED_OPS, SAME_VALUE_OPS, SWITCH_OPS

# Ops that hand a value on as it is, from outside of a function or branch to the inside.
_HANDED_ON = (
    SAME_VALUE_OPS & {"Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot"}
) | SWITCH_OPS


class NotEstimable(Exception):
    """Why a layer cannot be estimated, in words."""


class Values(NamedTuple):
    """What one tower normalises. Tensors by name."""

    tensor: str
    axes: tuple | str  # over which the layer averages, from 0; or the tensor that holds them


class StatisticTensor(NamedTuple):
    """A mean or variance of the batch in a frozen graph, in whose place a constant is put."""

    node: str
    part: str  # mean or variance


class VarianceUpdate(NamedTuple):
    """What a moving variance is assigned, or what is added to it or subtracted from it: a tensor by name."""

    tensor: str
    variable: str
    decay: float


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """How one layer is estimated. Variables by their names in the graph."""

    name: str
    means: tuple
    variances: tuple
    second_moments: tuple  # variables that hold the mean of the squares in place of the variance
    shape: tuple  # of the moving variance; () in a frozen graph
    values: tuple  # of `Values`: one for each tower that is trained
    batch_mean: str | None  # the tensor that the first of them takes for the mean of its batch
    corrected: bool  # whether the kernel hands out the variance with Bessel's correction
    update: VarianceUpdate | None  # by which that can be measured
    frozen: tuple  # of `StatisticTensor`


class Plan(NamedTuple):
    """How a graph is estimated."""

    layers: list  # of `LayerPlan`
    skipped: dict  # name of a layer to why it is not estimated
    predicates: dict  # tensor to the bool, or 0 or 1, by which towers take the statistics of their batch
    variables: dict  # the same of variables


def plan_recalibration(audit) -> Plan:
    """The `Plan` for the graph of an `Audit`."""
    plan, conditions = Plan([], {}, {}, {}), {}
    frames = find_frames(audit.graph)
    for layer in audit.layers:
        try:
            uses = _batch_uses(audit, layer)
            needed = frozenset().union(*(condition for _, condition in uses))
            layer_plan = _plan_layer(audit, layer, [use for use, _ in uses], frames)
            predicates, variables = _predicates(audit.graph, needed, conditions)
        except NotEstimable as reason:
            plan.skipped[layer.name] = str(reason)
            continue
        conditions.update(needed)
        plan.predicates.update(predicates)
        plan.variables.update(variables)
        plan.layers.append(layer_plan)
    return plan


def _batch_uses(audit, layer):
    """(use, conditions) of the towers whose batches the moving statistics are to describe: those that are trained.

    Where the graph does not train, those that updates follow, or else all that normalise by their batch.
    """
    usages = [(use, conditions) for use, kind, conditions in audit.usages(layer) if kind == "batch"]
    if not usages:
        raise NotEstimable("no use of it normalises by its batch; expected the graph that trained it")
    updated_from = {use for update in layer.updates for use in update.uses}
    for chosen in (audit.trained_by_batch(layer), updated_from):
        if any(use in chosen for use, _ in usages):
            return [(use, conditions) for use, conditions in usages if use in chosen]
    return usages


def _plan_layer(audit, layer, uses, frames):
    graph, names = audit.graph, audit.graph.names
    means = _moving(layer, "mean") or {layer.mean} - {None}
    variances = _moving(layer, "variance") or {layer.variance} - {None}
    second_moments = {s.node for use in layer.uses for s in use.variance if s.second_moment}
    is_frozen = not graph.variable
    if not is_frozen and not (means and variances):
        raise NotEstimable("no moving mean and variance of it are known")
    values = tuple(dict.fromkeys(_values(graph, use, frames) for use in uses))
    return LayerPlan(
        name=layer.name,
        means=tuple(names[node] for node in sorted(means)),
        variances=tuple(names[node] for node in sorted(variances - second_moments)),
        second_moments=tuple(names[node] for node in sorted(second_moments)),
        shape=audit.size(min(variances)) if variances else (),
        values=values,
        batch_mean=_batch_mean(graph, uses[0], frames),
        corrected=_is_corrected(graph, layer, uses),
        update=_variance_update(graph, layer, uses) if len(values) == 1 else None,
        frozen=tuple(_statistic_tensors(graph, uses)) if is_frozen else (),
    )


def _moving(layer, part):
    return {s.node for use in layer.uses for s in getattr(use, part) if s.kind == "moving"}


def _values(graph, use, frames):
    """The `Values` of a use. Raises `NotEstimable` where no session can fetch them."""
    x = _fetchable(graph, use.x, frames)
    if use.fused:
        layout = graph.attrs[use.node]["data_format"].s if "data_format" in graph.attrs[use.node] else b"NHWC"
        return Values(x, (0, 2, 3) if layout.startswith(b"NC") else (0, 1, 2))
    if not use.reductions:
        raise NotEstimable("it is not known over which axes it averages")
    axes = graph.inputs[min(use.reductions)][1]
    constant = graph.constant(axes)
    if constant is not None:
        return Values(x, tuple(constant.reshape(-1).tolist()))
    return Values(x, _fetchable(graph, axes, frames))


def _fetchable(graph, output, frames):
    """The name of a tensor that has the value of an output and that a session can fetch."""
    for _ in range(100):
        node = output.node
        if graph.top_level[node] == node and not frames[node]:
            return f"{graph.names[node]}:{output.index}"
        if graph.ops[node] not in _HANDED_ON:
            break
        output = graph.inputs[node][0]
    where = "inside of a loop" if frames[output.node] else "inside of a function"
    raise NotEstimable(f"what it normalises is {where}, out of a session's reach")


def _batch_mean(graph, use, frames):
    """The name of the tensor that a use takes for the mean of its batch, or None where no session can fetch it."""
    (node, *_) = [s.node for s in use.mean if s.kind == "batch"] or [None]
    if node is None:
        return None
    try:
        return _fetchable(graph, Output(node, 1 if use.fused else 0), frames)
    except NotEstimable:
        return None


def _is_corrected(graph, layer, uses):
    """Whether its updates take the variance of a fused op, which has Bessel's correction; if there are none, its uses.

    https://www.tensorflow.org/api_docs/python/tf/raw_ops/FusedBatchNormV3: batch_variance is what is to be used for
    the running variance. Its kernels, on CPU and GPU, multiply it by n / (n - 1).
    """
    nodes = [n for update in layer.updates if update.uses for n in update.depends_on]
    if nodes:
        return any(graph.ops[node] in FUSED_OPS for node in nodes)
    return any(use.fused for use in uses)


def _variance_update(graph, layer, uses):
    """The `VarianceUpdate` by which it can be measured how the layer's variance is stored, or None."""
    for update in layer.updates:
        value = graph.inputs[update.node][1]
        if (
            update.variable == layer.variance
            and set(update.uses) == set(uses)
            and not (update.debiased or update.through)
            and update.decay is not None
            and update.decay < 1
            and {graph.top_level[value.node], graph.top_level[update.variable]} == {value.node, update.variable}
        ):
            return VarianceUpdate(
                f"{graph.names[value.node]}:{value.index}", graph.names[update.variable], update.decay
            )
    return None


def _statistic_tensors(graph, uses):
    for use in uses:
        if use.fused:
            yield StatisticTensor(graph.names[use.node], "fused")
        else:
            for part in ("mean", "variance"):
                for statistic in getattr(use, part):
                    if statistic.kind == "batch":
                        yield StatisticTensor(graph.names[statistic.node], part)


def _predicates(graph, conditions, known):
    """(tensor to value, variable to value) by which `conditions` hold.

    known: the conditions of the layers before, a dict.

    Raises `NotEstimable` where they contradict, or are out of reach.
    """
    tensors, variables = {}, {}
    for node, value in sorted(conditions):
        name = printable(graph.names[node])
        if known.get(node, value) != value or (node, not value) in conditions:
            raise NotEstimable(f"it needs {name} to be {value}, and other layers need {not value}")
        if node in graph.variable:
            variables[graph.names[node]] = value
        elif graph.ops[node] != "Const":
            for alike in _alike(graph, node):
                if graph.top_level[alike] != alike:
                    raise NotEstimable(f"{name} decides, inside of a function, out of a session's reach")
                tensors[f"{graph.names[alike]}:0"] = value
    return tensors, variables


def _alike(graph, node):
    """All ops that compare what `node` compares: predicates are often made anew for each layer."""
    if graph.ops[node] not in COMPARE_OPS:
        return [node]
    return [
        n for n, op in enumerate(graph.ops) if op in COMPARE_OPS and predicate(graph, Output(n, 0), True)[0] == node
    ]
