"""A bias is added just before the layer, which subtracts it again with the mean.

The bias has no effect on the result in training, and its gradient is 0 but for rounding errors. It is no fault, only a
variable too many; `beta` does what the bias was meant to do.

Wrong:

    x = tf.layers.dense(x, 64)
    x = tf.layers.batch_normalization(x, training=True)

Right:

    x = tf.layers.dense(x, 64, use_bias=False)
    x = tf.layers.batch_normalization(x, training=True)
"""

from bn_graph.audit.evidence import Problem
from bn_graph.audit.instructions import without_bias

NAME = "cancelled-bias"
SEVERITY = "note"


def check(layer, audit):
    graph, biases = audit.graph, {}  # variable to the op that adds it
    for use in audit.trained_by_batch(layer):
        added = graph.origin(use.x)
        if graph.ops[added] in ("BiasAdd", "BiasAddV1", "Add", "AddV2"):
            for operand in graph.inputs[added]:
                variable = graph.variable_of(operand)
                sizes = audit.size(variable) if variable is not None else None
                # One value to a channel; what differs from place to place is not subtracted again.
                if sizes is not None and sum(size != 1 for size in sizes) <= 1:
                    biases[variable] = added
    if biases:
        message = "A bias is added just before the layer, which subtracts it again with the mean: it learns nothing."
        first = min(biases)
        fix = without_bias(audit, layer, first, biases[first])
        yield Problem([*biases, *biases.values()], message, fix)
