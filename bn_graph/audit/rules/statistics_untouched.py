"""In the checkpoint or frozen graph the moving statistics are still 0 and 1.

No training step has updated them. Evaluation normalises by these values, and its results are wrong, however well the
weights were trained.

The weights are good. So `scripts/recalibrate.py` can estimate the statistics anew from data, without training.

Wrong:

    train_op = optimizer.minimize(loss)

Right:

    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer.minimize(loss)
"""

import math

import numpy as np

from bn_graph.audit.advice import recalibrate_or_train, run_updates
from bn_graph.audit.evidence import Doubt, Problem
from bn_graph.audit.graph.flat_graph import Output
from bn_graph.audit.savers import is_before_training, is_untouched

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
    if audit.fact(is_before_training):
        yield Doubt("the checkpoint was saved before the first training step")
    else:
        yield Problem(saved.statistics, _MESSAGE, recalibrate_or_train(audit, saved.layer))
