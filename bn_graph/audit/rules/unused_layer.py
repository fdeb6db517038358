"""Nothing uses the layer's result: the network goes on with what was put into it.

The call of `batch_norm` returns the normalised tensor, and the next layer was given the old one. The network trains as
if there were no batch norm. The moving statistics may well move.

Wrong:

    x = tf.layers.dense(x, 64)
    tf.layers.batch_normalization(x, training=True)
    x = tf.nn.relu(x)

Right:

    x = tf.layers.dense(x, 64)
    x = tf.layers.batch_normalization(x, training=True)
    x = tf.nn.relu(x)
"""

from bn_graph.audit.evidence import Problem

NAME = "unused-layer"
SEVERITY = "warning"
_FIX = "x = batch_norm(x, ...)  # and give this x to the next layer"


def check(layer, audit):
    unused = [use.output for use in layer.uses if audit.step.roles[use] == "unused"]
    if unused:
        some = "" if len(unused) == len(layer.uses) else "Of one of its uses: "
        message = f"{some}Nothing uses the layer's result; the network goes on with what was put into the layer."
        yield Problem(unused, message, _FIX)
