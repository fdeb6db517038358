"""The evaluation tower has moving statistics of its own, which training does not update.

The layer was built a second time without `reuse`, or in another scope. Its copy of the moving mean and variance stays
at 0 and 1, while the training tower updates its own.

Wrong:

    with tf.variable_scope("train"):
        logits = network(x, is_training=True)
    with tf.variable_scope("valid"):
        valid_logits = network(valid_x, is_training=False)

Right:

    with tf.variable_scope("network"):
        logits = network(x, is_training=True)
    with tf.variable_scope("network", reuse=True):
        valid_logits = network(valid_x, is_training=False)
"""

import re

from bn_graph.audit.evidence import Problem, only_evaluates
from bn_graph.audit.instructions import share_variables
from bn_graph.audit.layers.normalizations import weights_before

NAME = "unshared-towers"
SEVERITY = "error"


def check(layer, audit):
    own = set(layer.statistics)
    if not own or {audit.step.roles[use] for use in layer.uses} != {"evaluation"}:
        return
    if any(_is_updated(variable, audit) for variable in own):
        return
    for key in _likeness(layer, audit):
        for other in audit.fact(_trained_by_likeness).get(key, ()):
            if own.isdisjoint(other.statistics):
                message = (
                    "The evaluation copy has moving statistics of its own, which training does not update: it "
                    "updates those of its own copy."
                )
                yield Problem([*layer.statistics, *other.statistics], message, share_variables(audit, other))
                return


def _is_updated(variable, audit):
    """Whether anything but an evaluation tower's update assigns a variable: a copy of the trained one may."""
    by_evaluation = {u.node for u in audit.updates.get(variable, ()) if u.uses and only_evaluates(audit, u)}
    return not by_evaluation.issuperset(audit.assignments.get(variable, ()))


def _likeness(layer, audit):
    """What the copies of a layer have in common: a parameter, the weights in front, or name and size."""
    keys = [("parameter", variable) for variable in (layer.gamma, layer.beta) if variable is not None]
    keys += [("weights", weights) for use in layer.uses if (weights := weights_before(audit.graph, use))]
    size = audit.size(layer.statistics[0]) if layer.statistics else None
    return [*keys, ("name", re.sub(r"_\d+(?=/|$)", "", layer.name), size)]


def _trained_by_likeness(audit):
    layers = {}
    for layer in audit.layers:
        if layer.statistics and audit.trained_by_batch(layer):
            for key in _likeness(layer, audit):
                layers.setdefault(key, []).append(layer)
    return layers
