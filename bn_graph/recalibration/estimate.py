"""Estimates the moving statistics of a plan's layers, by running their training towers on batches of data."""

import dataclasses
from typing import NamedTuple

import numpy as np

from bn_graph.errors import InputError
from bn_graph.recalibration.feeds import Batches, Sample, name_feeds
from bn_graph.recalibration.moments import BatchStatistics
from bn_graph.recalibration.plan import LayerPlan
from bn_graph.recalibration.session import (
    assign,
    can_run,
    check_fed,
    import_part,
    name_in_checkpoint,
    restore_variables,
)
from bn_graph.tf1 import tf


class Estimated(NamedTuple):
    """What was estimated, and from how much."""

    layers: dict  # name of a layer to its `Estimate`
    skipped: dict  # name of a layer to why it has none
    num_batches: int
    batch_size: int | None  # rows
    shapes: dict  # of the batch's means and variances in a frozen graph, by the node


class _Tower(NamedTuple):
    """Tensors: how many values of each channel a tower averages, and their moments."""

    count: tf.Tensor
    mean: tf.Tensor  # float64 [channels]
    variance: tf.Tensor  # float64 [channels], biased


def estimate_layers(audit, graph_def, plan, sample: Sample, progress=None) -> Estimated:
    """Estimates the layers of a `Plan`. The graph's training towers are run; nothing in them is trained.

    audit: the `Audit` of `graph_def`. progress: wraps the range of batches, as tqdm does.

    Raises `InputError` where the graph cannot be run, or the data do not fit it.
    """
    feeds = name_feeds(audit.graph, audit.subject, sample, plan.predicates)
    needed = [name for layer in plan.layers for values in layer.values for name in values if isinstance(name, str)]
    check_fed(graph_def, audit.subject, needed, feeds.tensors)
    plan = plan._replace(layers=[_without_update(graph_def, layer, feeds.tensors) for layer in plan.layers])
    updates = [layer.update.tensor for layer in plan.layers if layer.update]
    own = {layer.name: layer.batch_mean for layer in plan.layers if layer.batch_mean}
    frozen = [f"{tensor.node}:0" for layer in plan.layers for tensor in layer.frozen if tensor.part != "fused"]
    graph = import_part(graph_def, audit.subject, [*needed, *updates, *own.values(), *frozen, *feeds.tensors])
    batches = Batches(graph, feeds, sample)
    with graph.as_default():
        towers = {layer.name: [_tower(graph, values) for values in layer.values] for layer in plan.layers}
        shapes = {name.removesuffix(":0"): tf.shape(graph.get_tensor_by_name(name)) for name in frozen}
    with tf.Session(graph=graph, config=tf.ConfigProto(allow_soft_placement=True)) as session:
        restore_variables(audit, session, {**_initial_values(audit, plan), **plan.variables})
        try:
            statistics = _collect(session, batches, towers, progress or iter)
            own, moments, shapes = session.run([own, towers, shapes], batches[0])
            corrected = {layer.name: _is_corrected(session, layer, batches, towers) for layer in plan.layers}
        except tf.errors.OpError as error:
            raise InputError(f"{audit.subject}: cannot be run: {error.message.splitlines()[0]}") from None
    layers, skipped = {}, dict(plan.skipped)
    for layer in plan.layers:
        one = statistics[layer.name].estimate(sample.estimate == "batch", corrected[layer.name])
        reason = _reason_against(layer, one, own.get(layer.name), moments[layer.name])
        if reason:
            skipped[layer.name] = reason
        else:
            layers[layer.name] = one
    return Estimated(layers, skipped, batches.number, batches.size, shapes)


def _reason_against(layer, estimate, own_mean, moments):
    """Why an estimate does not describe what the layer normalises by, or None.

    own_mean: what the layer takes for the mean of a batch, or None. moments: that batch's, of each `_Tower`.
    """
    if not estimate.is_finite:
        return "its values are not finite"
    if moments[0].count < 2:
        return "a batch has one value of a channel, and so no variance; expected batches of more rows"
    if layer.shape and estimate.mean.size != np.prod(layer.shape):
        return f"it averages {estimate.mean.size} groups of values for {np.prod(layer.shape)} channels"
    if own_mean is not None:
        everywhere = np.mean([tower.mean for tower in moments], axis=0)  # where devices share their statistics
        tolerance = 0.01 * np.sqrt(moments[0].variance) + 1e-3 * np.abs(moments[0].mean) + 1e-6
        means = (moments[0].mean, everywhere)
        if not any(np.all(np.abs(own_mean.reshape(-1) - mean) <= tolerance) for mean in means):
            return "what it takes for the mean of its batch is not the mean of what it normalises"
    return None


def _without_update(graph_def, layer, fed):
    """The layer, without an update that needs more than what is fed."""
    runs = layer.update and can_run(graph_def, layer.update.tensor, fed)
    return layer if runs else dataclasses.replace(layer, update=None)


def _initial_values(audit, plan):
    """Those of moving statistics that the checkpoint lacks. The estimate does not depend on them."""
    numbers, values = audit.graph.number, {}
    for layer in plan.layers:
        for value, names in ((0, layer.means), (1, (*layer.variances, *layer.second_moments))):
            for name in names:
                if name_in_checkpoint(audit, numbers[name]) not in audit.checkpoint.variables:
                    values[name] = np.full(audit.size(numbers[name]), value)
    return values


def _tower(graph, values):
    """The `_Tower` of what a tower normalises, `plan.Values`."""
    x = tf.cast(graph.get_tensor_by_name(values.tensor), tf.float64)
    axes = graph.get_tensor_by_name(values.axes) if isinstance(values.axes, str) else list(values.axes)
    mean = tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), axes)
    return _Tower(tf.size(x) / tf.size(mean), tf.reshape(mean, [-1]), tf.reshape(variance, [-1]))


def _collect(session, batches, towers, progress):
    """Name of a layer to the `BatchStatistics` of all batches. Each tower of a layer has a batch of its own."""
    statistics = {name: BatchStatistics() for name in towers}
    for number in progress(range(batches.number)):
        for name, moments in session.run(towers, batches[number]).items():
            for moment in moments:
                statistics[name].add(*moment)
    return statistics


def _is_corrected(session, layer: LayerPlan, batches, towers):
    """Whether the layer stores variances with Bessel's correction, n / (n - 1).

    Where its update can be run, that is measured: of a moving variance of 0 it makes (1 - decay) times what is stored
    of the batch. Else it is what the kernel is known to hand out.
    """
    update = layer.update
    if update is None:
        return layer.corrected
    variable, value = (session.graph.get_tensor_by_name(name) for name in (f"{update.variable}:0", update.tensor))
    assign(session, variable, np.zeros(layer.shape))
    tower, change = session.run([towers[layer.name][0], value], batches[0])
    moves = tower.variance > 0
    if not moves.any() or tower.count < 2 or change.size != moves.size:
        return layer.corrected
    stored = np.abs(change.reshape(-1)[moves]) / (1 - update.decay)
    excess = (np.median(stored / tower.variance[moves]) - 1) * (tower.count - 1)  # 0 without the correction, 1 with it
    return excess > 0.5 if min(abs(excess), abs(excess - 1)) < 0.25 else layer.corrected
