"""Dropout stands before a batch norm, with at most linear layers and pooling between.

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
_LINEAR_OPS = {
    *("MatMul", "Conv2D", "DepthwiseConv2dNative", "BiasAdd", "BiasAddV1", "Pad", "AvgPool", "MaxPool"),
    *("Concat", "ConcatV2", *ADD_OPS, *DIVIDE_OPS, *MERGE_OPS, *SAME_VALUE_OPS),
}
_ALL_INPUTS = {"Concat", "ConcatV2", "Add", "AddV2", *MERGE_OPS}  # the first one of the others
_COMPARE_OPS = {"Floor", "GreaterEqual", "Greater", "Less", "LessEqual"}  # these make a mask out of random numbers
_MASK_OPS = {"Mul", "Sub", "SelectV2", "Select", *_COMPARE_OPS, *ADD_OPS, *DIVIDE_OPS, *SAME_VALUE_OPS}
_RANDOM_OPS = {"RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2"}
_MOST_NODES = 50  # between dropout and the layer


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
    while stack and len(seen) < _MOST_NODES:
        node = stack.pop()
        op, inputs = graph.ops[node], graph.inputs[node]
        if op in ("Mul", "Select", "SelectV2") and any(_is_mask(graph, operand.node) for operand in inputs):
            return node
        if node not in seen:
            seen.add(node)
            if op == "Mul":  # dropout that is scaled afterwards
                stack += [source.node for source, other in (inputs, inputs[::-1]) if graph.scalar(other) is not None]
            elif op in _LINEAR_OPS:
                stack += [source.node for source in inputs[: _MOST_NODES if op in _ALL_INPUTS else 1]]
    return None


def _is_mask(graph, operand):
    """Whether an operand is made of random numbers, one for each value, that were compared or rounded down."""
    stack, seen = [(operand, False)], set()
    while stack and len(seen) < 20:
        node, is_compared = stack.pop()
        if graph.ops[node] in _RANDOM_OPS and is_compared:
            shape = graph.constant(graph.inputs[node][0])
            return shape is None or shape.size > 0  # a single number chooses something else, as augmentation does
        if node not in seen and graph.ops[node] in _MASK_OPS:
            seen.add(node)
            is_compared = is_compared or graph.ops[node] in _COMPARE_OPS
            stack += [(source.node, is_compared) for source in graph.inputs[node]]
    return False
