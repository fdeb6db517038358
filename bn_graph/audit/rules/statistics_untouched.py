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

from bn_graph.audit.advice import run_updates
from bn_graph.audit.evidence import GLOBAL_STEP, Doubt, Problem
from bn_graph.audit.graph.flat_graph import Output
from bn_graph.audit.savers import is_untouched, read_numbers

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
                yield Problem(means + variances, _MESSAGE, run_updates(audit))
                return


def check_saved(saved, audit):
    if not is_untouched(saved, audit):
        return
    if audit.fact(_is_before_training):
        yield Doubt("the checkpoint was saved before the first training step")
    else:
        yield Problem(saved.statistics, _MESSAGE, run_updates(audit, saved.layer))


def _is_before_training(audit):
    steps = audit.names(audit.variables_in(GLOBAL_STEP)) or ("global_step",)
    values = [read_numbers(audit, name, "iu") for name in steps if name in audit.checkpoint_names]
    return any(value is not None and not value.any() for value in values)
