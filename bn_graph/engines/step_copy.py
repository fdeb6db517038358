"""A copy of the tutorial's training step, to be made inside of another graph's loop.

It has the same ops with the same op-level seeds on the same variables. Dropout's mask comes from outside.
"""

import dataclasses
from typing import Any, NamedTuple

from bn_graph.graph import Layer, build_graph
from bn_graph.tf1 import ancestors, tf

# What a copy is given from outside: the variables' handles, and what is fed.
_GIVEN_OPS = ("VarHandleOp", "Placeholder")


class StepOutputs(NamedTuple):
    """What one copy of the training step computes."""

    train_op: Any
    loss: Any  # float32 scalar
    accuracy: Any  # float32 scalar
    layers: dict  # hidden_layer and output_layer to `Layer`


class StepCopy:
    """The training step of a `TutorialGraph`, taken out of its graph.

    variables: name of a variable's handle to the handle.
    uniform: the RandomUniform op that draws dropout's numbers, float32 [batch_size, hidden_size].
    layers: hidden_layer and output_layer to `Layer`, in the graph that the step was taken from.
    """

    def __init__(self, tutorial, splits):
        if tutorial.is_training is not None:
            # Where it is a placeholder, dropout is in a function of the graph, out of reach; and a loop only trains.
            step = build_graph(dataclasses.replace(tutorial.config, is_training="bool"), splits)
        else:
            step = tutorial
        self._step = step
        self._ends = [step.train_op, step.train_loss, step.train_accuracy]
        ops = {op.name: op for op in ancestors(getattr(end, "op", end) for end in self._ends)}
        (self.uniform,) = (op for op in ops.values() if op.type == "RandomUniform")
        (compare,) = self.uniform.outputs[0].consumers()  # numbers >= rate
        self._mask = compare.outputs[0].name
        graph_def = step.graph.as_graph_def()
        given = {self.uniform.name, compare.name, *(op.name for op in ops.values() if op.type in _GIVEN_OPS)}
        nodes = [node for node in graph_def.node if node.name in ops and node.name not in given]
        self._graph_def = tf.GraphDef(node=nodes, versions=graph_def.versions, library=graph_def.library)
        for node in self._graph_def.node:
            node.attr.pop("_class", None)  # which names ops that are not there
        # Their shapes are known, which those of a graph with a placeholder is_training are not.
        self.layers = step.train_layers
        # The variables of `tutorial` have the names of those of `step`.
        self.variables = {v.handle.name: v.handle for v in tutorial.variables.values() if v.op.name in ops}

    @staticmethod
    def dropout_mask(uniform, keep_prob):
        """What dropout keeps, bool like `uniform`: as `tf.nn.dropout` has it, by the rate."""
        return uniform >= 1 - keep_prob

    def __call__(self, batch_X, batch_y, keep_prob, mask, variables) -> StepOutputs:
        """Makes the copy in the default graph.

        batch_X, batch_y: float32 [batch_size, 784] and [batch_size, 10]. keep_prob: float32 scalar. mask: bool
        [batch_size, hidden_size]. variables: those of `self.variables`, as the graph here sees them.
        """
        step = self._step
        input_map = {
            **variables,
            step.keep_prob.name: keep_prob,
            step.batch_X.name: batch_X,
            step.batch_y.name: batch_y,
            self._mask: mask,
        }
        activations = [tensor for layer in self.layers.values() for tensor in layer]
        names = [end.name for end in (*self._ends, *activations)]
        train_op, loss, accuracy, *copies = tf.import_graph_def(self._graph_def, input_map, names, name="step")
        for copy, tensor in zip(copies, activations, strict=True):
            copy.set_shape(tensor.shape)  # what Python knows of shapes is not in a GraphDef
        layers = {scope: Layer(*(copies.pop(0) for _ in Layer._fields)) for scope in self.layers}
        return StepOutputs(train_op, loss, accuracy, layers)
