"""Fixes made for one graph: lines that work where they are followed, in the library that the graph was built with."""

from bn_graph.audit.evidence import UPDATE_OPS
from bn_graph.audit.graph.ops import MERGE_OPS

_COLLECTED = """\
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = optimizer.minimize(loss)"""


def run_updates(audit, updates=None):
    """How a train op is made that runs update ops: by their collection, if all are in it, or else by their names.

    updates: `Update`s; by default those of all layers' training towers.
    """
    if updates is None:
        return audit.fact(_run_all_updates)
    runners = list(dict.fromkeys(_runner(audit, update.node) for update in updates))
    collected = audit.fact(_run_by_collection)
    if not runners or all(update.node in collected for update in updates):
        return _COLLECTED
    names = [f'    "{audit.graph.names[node]}",' for node in sorted(runners)]
    lines = ["names = [", *names, "]"]
    if audit.fact(is_keras):
        lines.append("# in Keras also: update_ops = model.get_updates_for(x), or layer.updates; never the collection")
    lines += [
        "update_ops = [tf.get_default_graph().get_operation_by_name(name) for name in names]",
        "with tf.control_dependencies(update_ops):",
        "    train_op = optimizer.minimize(loss)",
    ]
    return "\n".join(lines)


def _run_all_updates(audit):
    updates = [
        update
        for layer in audit.layers
        if audit.trained_by_batch(layer)
        for update in layer.updates
        if any(audit.step.roles[use] == "training" for use in update.uses) or not update.uses
    ]
    return run_updates(audit, updates)


def _run_by_collection(audit):
    """All that whoever runs the collection UPDATE_OPS runs."""
    return audit.graph.ancestors(audit.collections.get(UPDATE_OPS, ()))


def _runner(audit, update):
    """The op to wait for so that an update runs: itself, or, inside a branch, what the branches join in."""
    graph = audit.graph
    stack, seen = [update], set()
    for node in stack:  # grows
        if graph.top_level[node] != node:
            return graph.top_level[node]
        if not graph.conditions[node] or (graph.ops[node] in MERGE_OPS and node != update):
            return node
        if len(seen) < 50 and node not in seen:
            seen.add(node)
            stack += graph.consumers[node] + graph.waiters[node]
    return update


def is_keras(audit):
    """Whether Keras built the graph: its placeholder for the phase is there, or its own training."""
    names = audit.graph.number
    return any(name.endswith("keras_learning_phase") or name.startswith("training/") for name in names)


def without_bias(audit, bias):
    """How the layer in front is built without its bias, by what its library calls that variable."""
    name = audit.graph.names[bias].rpartition("/")[2]
    if name == "biases":
        return "slim.fully_connected(..., biases_initializer=None)  # slim.conv2d, too"
    if name == "bias" and audit.fact(is_keras):
        return "tf.keras.layers.Dense(..., use_bias=False)  # Conv2D, too"
    if name == "bias":
        return "Dense(..., use_bias=False)  # tf.layers.dense and conv2d, Keras' Dense and Conv2D: all have it"
    return "x = tf.matmul(x, weights)  # without the bias; beta does what it was meant to do"
