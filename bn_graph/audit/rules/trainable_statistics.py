"""The moving statistics are trainable variables.

An optimizer without a list of variables trains them along a gradient, and weight decay pulls them to 0. They are to be
moved by their update ops alone.

Wrong:

    moving_mean = tf.get_variable("moving_mean", shape)

Right:

    moving_mean = tf.get_variable("moving_mean", shape, trainable=False)
"""

import json

from bn_graph.audit.evidence import Problem
from bn_graph.audit.graph.ops import is_optimizer_op
from bn_graph.audit.keras import keras_trains
from bn_graph.audit.training_step import targets

NAME = "trainable-statistics"
SEVERITY = "error"
_FIX_LIST = "train_op = optimizer.minimize(loss, var_list=tf.trainable_variables())  # without the moving statistics"


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
        yield Problem(trained, message, _fix(trained, audit), "warning")
    elif trained:
        message = "The moving statistics are trained: the optimizer moves them along a gradient."
        yield Problem(trained, message, _fix(trained, audit))
    elif collected and not audit.fact(keras_trains):  # whose optimizers ask the model, and not the collection
        message = (
            "The moving statistics are in TRAINABLE_VARIABLES: an optimizer, weight decay, or whatever else "
            "takes these variables changes them."
        )
        yield Problem(collected, message, _fix(collected, audit))


def _fix(wrong, audit):
    """Each statistic that is listed as trainable is made so no more; else the optimizer's own list leaves it out."""
    listed = sorted(audit.trainable.intersection(wrong))
    names = [json.dumps(audit.graph.names[v].rpartition("/")[2]) for v in listed]
    return "\n".join(f"tf.get_variable({name}, ..., trainable=False)" for name in dict.fromkeys(names)) or _FIX_LIST


def _gets_no_gradient(layer, audit):
    """Whether the training towers normalise by the moving statistics only where a condition says so."""
    opposites = {(node, not value) for node, value in audit.selectors(layer)}
    moving = [conditions for _, kind, conditions in audit.usages(layer, "training") if kind == "moving"]
    return bool(moving) and all(conditions & opposites for conditions in moving)


def _optimized(audit):
    graph = audit.graph
    optimizers = [node for node in audit.step.optimizer_ops if is_optimizer_op(graph.ops[node])]
    return {variable for node in optimizers for variable in targets(graph, node)}
