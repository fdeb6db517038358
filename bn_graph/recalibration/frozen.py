"""A frozen graph whose layers normalise by their batch: estimated statistics are put in the batch's place."""

import os
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from bn_graph.errors import InputError
from bn_graph.files import write_whole
from bn_graph.tf1 import tf


def with_statistics(graph_def, layers, estimates: dict, shapes: dict):
    """A copy of a GraphDef in which the layers normalise by their estimates.

    Args:
        layers: `LayerPlan`s. estimates: name of a layer to its `Estimate`.
        shapes: of the batch's means and variances, by the node that computes them.
    """
    changed = tf.GraphDef()
    changed.CopyFrom(graph_def)
    nodes = {node.name: node for node in changed.node}
    replaced = {}
    for layer in layers:
        for tensor in layer.frozen if layer.name in estimates else ():
            estimate = estimates[layer.name]
            if tensor.part == "fused":
                _give_to_fused(changed, nodes[tensor.node], estimate)
            else:
                value = getattr(estimate, tensor.part).astype(np.float32).reshape(shapes[tensor.node])
                replaced[tensor.node] = _add_constant(changed, f"{tensor.node}/recalibrated", value)
    for node in changed.node:
        for place, text in enumerate(node.input):
            if text.removesuffix(":0") in replaced:
                node.input[place] = replaced[text.removesuffix(":0")]
    return changed


def _give_to_fused(graph_def, node, estimate):
    node.attr["is_training"].b = False
    for place, part in ((3, "mean"), (4, "variance")):
        value = getattr(estimate, part).astype(np.float32)
        node.input[place] = _add_constant(graph_def, f"{node.name}/recalibrated_{part}", value)


def _add_constant(graph_def, name, value):
    with tf.Graph().as_default() as graph:
        tf.constant(value, name=name)
        graph_def.node.add().CopyFrom(graph.as_graph_def().node[0])
    return name


def write_graph(graph_def, path) -> None:
    """Writes a GraphDef to `path`, as text where that ends in .pbtxt. Raises `InputError` where it cannot."""
    as_text = Path(path).suffix == ".pbtxt"
    content = text_format.MessageToString(graph_def).encode() if as_text else graph_def.SerializeToString()
    try:
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {os.strerror(error.errno)}") from None
