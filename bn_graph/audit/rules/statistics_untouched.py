"""In the checkpoint or frozen graph the moving statistics are still 0 and 1.

No training step has updated them. Evaluation normalises by these values, and its results are wrong, however well the
weights were trained.

Wrong:

    train_op = optimizer.minimize(loss)

Right:

    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer.minimize(loss)
"""

import math

import numpy as np

from bn_graph.audit.evidence import GLOBAL_STEP, Doubt, Problem
from bn_graph.audit.graph.flat_graph import Output
from bn_graph.audit.rules.updates_never_run import FIX

NAME = "statistics-untouched"
SEVERITY = "error"
_MESSAGE = "The moving statistics are still their initial values: no training step updated them."


def check(layer, audit):
    """A frozen graph has its moving statistics as constants."""
    graph = audit.graph
    for use in layer.uses:
        means = [s.node for s in use.mean if s.kind == "constant"]
        variances = [s.node for s in use.variance if s.kind == "constant"]
        if means and variances:
            mean, variance = (graph.constant(Output(nodes[0], 0), math.inf) for nodes in (means, variances))
            if not np.any(mean) and np.all(variance == 1):
                yield Problem(means + variances, _MESSAGE, FIX)
                return


def check_saved(saved, audit):
    if saved.missing or len(saved.statistics) != 2:
        return
    mean, variance = (_value(audit, name, "f") for name in saved.statistics)
    if mean is None or variance is None:
        return
    if np.any(mean) or not (np.all(variance == 1) or not np.any(variance)):
        return
    if audit.fact(_is_before_training):
        yield Doubt("the checkpoint was saved before the first training step")
    else:
        yield Problem(saved.statistics, _MESSAGE, FIX)


def _is_before_training(audit):
    steps = audit.names(audit.variables_in(GLOBAL_STEP)) or ("global_step",)
    values = [_value(audit, name, "iu") for name in steps if name in audit.checkpoint_names]
    return any(value is not None and not value.any() for value in values)


def _value(audit, name, kinds):
    """A variable of the checkpoint, or None where its type is not of one of these kinds of numpy's."""
    name = audit.checkpoint_names[name]
    shape, dtype = audit.checkpoint.variables[name]
    if not isinstance(dtype, np.dtype) or dtype.kind not in kinds or not math.prod(shape):
        return None
    return audit.checkpoint.read(name)
