"""Which recorded run a graph is, so that its random ops can have the seeds that they had in 2016.

In TensorFlow 1 the position of a random op in the graph was its seed. Today's graphs have other ops between them. So
the seeds are those that TF 0.12.1 recorded, op by op, where the variables and random ops have the recorded names.
"""

import dataclasses

from tensorflow.core.framework import attr_value_pb2

from bn_graph.comparison.recordings import RECORDED, recording
from bn_graph.tf1 import ancestors, tf


@dataclasses.dataclass(frozen=True)
class Description:
    """What a program built."""

    recorded: str | None  # the recorded run whose graph it is; None where it is none of them
    why_not: str  # why it is none of them; empty where it is one
    updates: str  # who updates the moving averages: control_dependencies, in_place or collected


def describe(graph, train_op, batch_norms) -> Description:
    """Describes the graph of a program.

    train_op: the op that trains a step.
    batch_norms: the keyword arguments of each call of `tf.contrib.layers.batch_norm`.
    """
    updates = _updates(graph, train_op, batch_norms)
    scales = {bool(call.get("scale", False)) for call in batch_norms}
    fitting = [name for name, config in RECORDED.items() if config.updates == updates and scales == {config.scale}]
    if not fitting:
        why_not = "no run was recorded with these arguments of batch_norm"
    else:
        why_not = _difference(graph, recording(fitting[0]))
    return Description(None if why_not else fitting[0], why_not, updates)


def _updates(graph, train_op, batch_norms):
    if any(call.get("updates_collections", "") is None for call in batch_norms):
        return "in_place"
    collected = graph.get_collection(tf.GraphKeys.UPDATE_OPS)
    run_by_train_op = ancestors([train_op])
    run = bool(collected) and all(getattr(member, "op", member) in run_by_train_op for member in collected)
    return "control_dependencies" if run else "collected"


def _difference(graph, recorded):
    """What of a graph is not as it was recorded, in words; empty where nothing is."""
    with graph.as_default():
        variables = [(v.op.name, v.shape.as_list()) for v in tf.global_variables()]
    if variables != [(v["name"], v["shape"]) for v in recorded["variables"]]:
        return "its variables are not those of the recorded run"
    if [(op.type, op.name) for op in random_ops(graph)] != [(op["type"], op["name"]) for op in recorded["random_ops"]]:
        return "its random ops are not those of the recorded run"
    return ""


def random_ops(graph) -> list:
    """The ops of a graph that draw numbers, in order of creation."""
    return [op for op in graph.get_operations() if {"seed", "seed2"} <= set(op.node_def.attr)]


def set_seeds(graph, recorded) -> None:
    """Gives the random ops of a graph, which no session has run yet, the seeds of the `recording`."""
    for op, known in zip(random_ops(graph), recorded["random_ops"], strict=True):
        for name in ("seed", "seed2"):
            op._set_attr(name, attr_value_pb2.AttrValue(i=known[name]))
