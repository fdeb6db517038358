"""The training batch is one row, or has fewer than 8 values to a channel.

The mean and variance of so few values are mostly noise. A single row minus its own mean is 0, whatever was in it.

Wrong:

    x = tf.placeholder(tf.float32, [1, 784])

Right:

    x = tf.placeholder(tf.float32, [64, 784])
"""

from bn_graph.audit.evidence import Problem
from bn_graph.audit.layers.batches import batch_of

NAME = "tiny-batch"
SEVERITY = "warning"
_FEWEST_VALUES = 8  # to a channel; the variance of fewer is mostly noise
_FIX = "x = tf.placeholder(tf.float32, [64, ...])  # a larger batch, or else group or layer normalisation"


def check(layer, audit):
    for use in audit.trained_by_batch(layer):
        rows, values = batch_of(audit.graph, use)
        if values is not None and values < _FEWEST_VALUES:
            size = "one row" if rows == values == 1 else f"{values} values to a channel"
            message = f"The training batch has {size}: too few for a mean and a variance that say anything."
            yield Problem([use.node], message, _FIX)
            return
