"""How large the batch of a normalisation is, as far as the graph says."""

import math

# Ops that keep the rows of a batch, their first input's first dimension.
_ROWWISE_OPS = {
    *("Identity", "Cast", "MatMul", "Conv2D", "DepthwiseConv2dNative", "BiasAdd"),
    *("Add", "AddV2", "Sub", "Mul", "RealDiv"),
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Softplus", "Sigmoid", "Tanh", "MaxPool", "AvgPool", "Pad"),
    *("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
}


def batch_of(graph, use):
    """(rows of the batch, values per channel) of a use; None for what the graph does not say."""
    shape = _shape_in_front(graph, use.x)
    if not shape:
        return None, None
    if use.fused:
        attr = graph.attrs[use.node]
        channel = 1 if "data_format" in attr and attr["data_format"].s.startswith(b"NC") else len(shape) - 1
        reduced = [axis for axis in range(len(shape)) if axis != channel]
    else:
        axes = [graph.constant(graph.inputs[node][1]) for node in sorted(use.reductions)]
        axes = [axis for axis in axes if axis is not None]
        reduced = sorted({a % len(shape) for a in axes[0].reshape(-1).tolist()}) if axes else [0]
    sizes = [shape[axis] for axis in reduced]
    return shape[0], None if None in sizes else math.prod(sizes)


def _shape_in_front(graph, output):
    """The shape of an output; where the graph keeps no shapes, the rows of the input that it was computed from."""
    shape = graph.shape(output)
    if shape is not None:
        return shape
    for _ in range(200):
        if graph.ops[output.node] not in _ROWWISE_OPS or not graph.inputs[output.node]:
            return None
        output = graph.inputs[output.node][0]
        shape = graph.shape(output)
        if shape:
            return shape if len(shape) == 2 else [shape[0], *[None] * (len(shape) - 1)]
    return None
