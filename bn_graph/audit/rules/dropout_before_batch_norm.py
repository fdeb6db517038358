"""Dropout stands right before a batch norm, with at most a linear layer between.

Dropout changes the variance of what comes behind it, and does so in training only. The moving variance is that of
training; in evaluation, without dropout, the layer normalises by a variance that its input does not have (variance
shift, https://arxiv.org/abs/1801.05134). The tutorial itself has it. It costs little where the layers are wide.

Wrong:

    x = tf.nn.dropout(x, keep_prob)
    x = tf.layers.dense(x, 64)
    x = tf.layers.batch_normalization(x, training=is_training)

Right:

    x = tf.layers.dense(x, 64)
    x = tf.layers.batch_normalization(x, training=is_training)
    x = tf.nn.dropout(tf.nn.relu(x), keep_prob)  # behind the last batch norm
"""

from bn_graph.audit.evidence import Problem
from bn_graph.audit.graph.ops import ADD_OPS, DIVIDE_OPS, MERGE_OPS, SAME_VALUE_OPS

NAME = "dropout-before-batch-norm"
SEVERITY = "note"
_FIX = "x = tf.nn.dropout(x, keep_prob)  # behind the last batch norm, or not at all"
_LINEAR_OPS = {"MatMul", "Conv2D", "DepthwiseConv2dNative", "BiasAddV1", "Pad", *ADD_OPS, *SAME_VALUE_OPS}
_MASK_OPS = {"Floor", "GreaterEqual", "Less", "Mul", "SelectV2", "Select", *ADD_OPS, *DIVIDE_OPS, *SAME_VALUE_OPS}
_RANDOM_OPS = {"RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2"}


def check(layer, audit):
    dropouts = [d for use in audit.trained_by_batch(layer) if (d := _dropout_before(audit.graph, use.x)) is not None]
    if dropouts:
        message = (
            "Dropout right before the layer: in evaluation, without dropout, the variance is another one than that "
            "which was averaged in training."
        )
        yield Problem(dropouts, message, _FIX)


def _dropout_before(graph, output):
    """The product of dropout behind an output, through linear ops and branches, or None."""
    stack, seen = [output.node], set()
    while stack and len(seen) < 20:
        node = stack.pop()
        if graph.ops[node] in ("Mul", "Select", "SelectV2") and _is_masked(graph, node):
            return node
        if node not in seen:
            seen.add(node)
            if graph.ops[node] in MERGE_OPS:
                stack += [source.node for source in graph.inputs[node]]
            elif graph.ops[node] in _LINEAR_OPS:
                stack += [source.node for source in graph.inputs[node][:1]]
    return None


def _is_masked(graph, node):
    """Whether one of the operands is made of random numbers, by comparison or rounding down alone."""
    for operand in graph.inputs[node]:
        stack, seen = [operand.node], set()
        while stack and len(seen) < 20:
            source = stack.pop()
            if graph.ops[source] in _RANDOM_OPS:
                return True
            if source not in seen and graph.ops[source] in _MASK_OPS:
                seen.add(source)
                stack += [more.node for more in graph.inputs[source]]
    return False
