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
from bn_graph.audit.training_step import targets

NAME = "trainable-statistics"
SEVERITY = "error"
_FIX_LIST = "train_op = optimizer.minimize(loss, var_list=tf.trainable_variables())  # without the moving statistics"


def check(layer, audit):
    if not audit.trains:
        return
    optimized = audit.fact(_optimized)
    wrong = [v for v in layer.statistics if v in audit.trainable or v in optimized]
    if not wrong:
        return
    if optimized.intersection(wrong):
        message = "The moving statistics are trained: the optimizer moves them along a gradient."
    else:
        message = (
            "The moving statistics are in TRAINABLE_VARIABLES: an optimizer, weight decay, or whatever else "
            "takes these variables changes them."
        )
    listed = sorted(audit.trainable.intersection(wrong))
    names = [json.dumps(audit.graph.names[v].rpartition("/")[2]) for v in listed]
    fix = "\n".join(f"tf.get_variable({name}, ..., trainable=False)" for name in dict.fromkeys(names))
    yield Problem(wrong, message, fix or _FIX_LIST)


def _optimized(audit):
    graph = audit.graph
    optimizers = [node for node in audit.step.optimizer_ops if is_optimizer_op(graph.ops[node])]
    return {variable for node in optimizers for variable in targets(graph, node)}
