"""The moving statistics are trainable variables.

An optimizer without a list of variables trains them along a gradient, and weight decay pulls them to 0. They are to be
moved by their update ops alone.

Wrong:

    moving_mean = tf.get_variable("moving_mean", shape)

Right:

    moving_mean = tf.get_variable("moving_mean", shape, trainable=False)
"""

from bn_graph.audit.evidence import Problem
from bn_graph.audit.graph.ops import is_optimizer_op
from bn_graph.audit.keras import keras_trains
from bn_graph.audit.training_step import targets

NAME = "trainable-statistics"
SEVERITY = "error"
_FIX = "moving_mean = tf.get_variable('moving_mean', shape, trainable=False)"


def check(layer, audit):
    if not audit.trains:
        return
    optimized = audit.fact(_optimized)
    trained = [v for v in layer.statistics if v in optimized]
    collected = [v for v in layer.statistics if v in audit.trainable]
    if trained and _gets_no_gradient(layer, audit):
        message = (
            "The optimizer has the moving statistics among its variables. Where is_training says so, no gradient "
            "reaches them; a step that does not feed it trains them."
        )
        yield Problem(trained, message, _FIX, "warning")
    elif trained:
        message = "The moving statistics are trained: the optimizer moves them along a gradient."
        yield Problem(trained, message, _FIX)
    elif collected and not audit.fact(keras_trains):  # whose optimizers ask the model, and not the collection
        message = (
            "The moving statistics are in TRAINABLE_VARIABLES: an optimizer, weight decay, or whatever else "
            "takes these variables changes them."
        )
        yield Problem(collected, message, _FIX)


def _gets_no_gradient(layer, audit):
    """Whether the training towers normalise by the moving statistics only where a condition says so."""
    opposites = {(node, not value) for node, value in audit.selectors(layer)}
    moving = [conditions for _, kind, conditions in audit.usages(layer, "training") if kind == "moving"]
    return bool(moving) and all(conditions & opposites for conditions in moving)


def _optimized(audit):
    graph = audit.graph
    optimizers = [node for node in audit.step.optimizer_ops if is_optimizer_op(graph.ops[node])]
    return {variable for node in optimizers for variable in targets(graph, node)}
