"""No optimizer trains the layer's parameters, and its moving statistics move all the same.

A part of a network that is kept as it was is usually left out of the list of variables that the optimizer trains. That
does not stop its batch norm from averaging: the moving statistics drift to those of the new data, and away from what
the frozen weights were trained with.

Wrong:

    features = pretrained(x, is_training=True)
    train_op = optimizer.minimize(loss, var_list=tf.trainable_variables("head"))  # behind UPDATE_OPS

Right:

    features = pretrained(x, is_training=False)
    train_op = optimizer.minimize(loss, var_list=tf.trainable_variables("head"))
"""

from bn_graph.audit.evidence import Problem
from bn_graph.audit.graph.ops import is_optimizer_op
from bn_graph.audit.instructions import use_moving_statistics
from bn_graph.audit.layers.normalizations import parameters_of
from bn_graph.audit.training_step import targets

NAME = "frozen-layer-updates"
SEVERITY = "warning"


def check(layer, audit):
    if not audit.step.parameters or not layer.statistics:
        return
    usages = audit.usages(layer, "training", "other")
    uses = [use for use, kind, _ in usages if kind == "batch" and use.node in audit.step.any_loss_inputs]
    parameters = set().union(*(parameters_of(audit.graph, use) for use in uses))
    moved = [update.node for update in layer.updates if update.node in audit.step.run and update.uses]
    changed = audit.fact(_trained_by_any)
    if moved and parameters and not any(v in changed or v in audit.assignments for v in parameters):
        message = "No optimizer trains the layer's parameters, and the train op updates its moving statistics."
        yield Problem([*moved, *sorted(parameters)], message, use_moving_statistics(audit, layer, "in the frozen part"))


def _trained_by_any(audit):
    """What any optimizer of the graph changes, be it that of another train op."""
    graph = audit.graph
    return {v for node, op in enumerate(graph.ops) if is_optimizer_op(op) for v in targets(graph, node)}
