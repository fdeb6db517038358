"""What is known of one graph, and what the rules ask of it."""

import dataclasses
from typing import Any, NamedTuple

from bn_graph.audit.graph.conditions import possible
from bn_graph.audit.graph.flat_graph import FlatGraph, Output
from bn_graph.audit.training_step import TrainingStep

# tf.GraphKeys, spelt out so that rules can be listed without importing TensorFlow
UPDATE_OPS, GLOBAL_STEP = "update_ops", "global_step"


class Problem(NamedTuple):
    """What a rule has found wrong with a layer."""

    evidence: list  # nodes by number, or names of variables in a checkpoint
    message: str  # what follows from it, in a sentence
    fix: str  # the lines to write
    severity: str | None = None  # where it is another than the rule's


class Doubt(NamedTuple):
    """What a rule cannot decide, and what would decide it."""

    message: str


class SavedLayer(NamedTuple):
    """A layer as it is in a checkpoint. Names are the variables' there."""

    name: str
    statistics: list  # the names that its moving mean and variance have, or should have
    missing: list  # those of them that are not in the checkpoint
    has_companions: bool  # whether gamma, beta, or the weights in front are in the checkpoint
    layer: Any  # the `BatchNorm` of the graph; None where the layer is known by names alone
    parameters: dict  # gamma and beta, to their name or None


@dataclasses.dataclass(eq=False)
class Audit:
    """One audit. Variables and ops are node numbers of `graph`."""

    subject: str  # the path, or "graph"
    graph: FlatGraph
    has_graph: bool  # whether there was one, and not only a checkpoint
    serving: set  # the nodes that the signatures of a SavedModel return, and all that they need
    layers: list  # of `BatchNorm`
    assignments: dict  # variable to the nodes that assign it
    updates: dict  # variable to its `Update`s
    collections: dict  # collection to the nodes in it
    foreign: set  # the collections that have members which are no nodes of the graph, but of functions
    producer: int  # the version of GraphDefs that the TensorFlow had which made this one
    trainable: set  # variables in TRAINABLE_VARIABLES
    step: TrainingStep
    savers: list  # the ops that save
    saved_as: dict  # the variables that these save, to their names in the checkpoint
    num_steps: int | None
    checkpoint: Any  # a `formats.tf_checkpoint.Checkpoint`, or None
    checkpoint_names: dict  # the variables in the checkpoint, as a graph calls them, to their names there
    saved_layers: list  # of `SavedLayer`
    read_elsewhere: set  # the names of the statistics that another MetaGraph of a SavedModel normalises by
    _facts: dict = dataclasses.field(default_factory=dict)

    def fact(self, compute):
        """What `compute(audit)` returns. It is called once, however many layers are asked about."""
        if compute not in self._facts:
            self._facts[compute] = compute(self)
        return self._facts[compute]

    @property
    def trains(self):
        """Whether the graph trains, as far as is known."""
        return self.step.trains

    def usages(self, layer, *roles):
        """(use, kind, conditions) of each statistic that a use in one of these roles, or in any, can take."""
        return [
            (use, kind, conditions)
            for use in layer.uses
            if not roles or self.step.roles[use] in roles
            for kind, conditions in use.statistics()
            if possible(self.graph, conditions)
        ]

    def selectors(self, layer):
        """The (predicate, value) under which this layer takes the batch's statistics, and else the moving ones."""
        usages = self.usages(layer)
        moving = {condition for _, kind, conditions in usages if kind != "batch" for condition in conditions}
        batch = {condition for _, kind, conditions in usages if kind == "batch" for condition in conditions}
        return {(node, value) for node, value in batch if (node, not value) in moving}

    def trained_by_batch(self, layer):
        """The uses that are trained on the statistics of their batch."""
        return [use for use, kind, _ in self.usages(layer, "training") if kind == "batch"]

    def who_reads_statistics(self, layer):
        """Who normalises by the moving statistics: an evaluation in this graph, or one that it does not show."""
        in_graph = any(kind == "moving" for _, kind, _ in self.usages(layer))
        return "evaluation" if in_graph else "whoever evaluates in another graph"

    def names(self, nodes):
        """The names of nodes, each once."""
        return tuple(dict.fromkeys(self.graph.names[node] for node in nodes))

    def size(self, variable):
        """The shape of a variable as a tuple, or None."""
        attr = self.graph.attrs[variable]
        return tuple(dim.size for dim in attr["shape"].shape.dim) if "shape" in attr else None

    def variables_in(self, collection):
        """The variables that a collection names."""
        return [
            variable
            for node in self.collections.get(collection, ())
            for variable in self.graph.variables_of(Output(node, 0))
        ]


def only_evaluates(audit, update):
    """Whether all whose batch an update takes are evaluation towers."""
    return all(audit.step.roles[use] == "evaluation" for use in update.uses)


def placeholders_beside_loss(audit):
    """From each node to the first placeholder that it needs and the loss does not."""
    graph, needs = audit.graph, {}
    for placeholder, op in enumerate(graph.ops):
        stack = [placeholder] if op == "Placeholder" and placeholder not in audit.step.loss_inputs else []
        while stack:
            node = stack.pop()
            if node not in needs:
                needs[node] = placeholder
                stack += graph.consumers[node] + graph.waiters[node]
    return needs


def has_gradients(audit):
    """Whether the graph has ops of gradients."""
    return audit.fact(_has_gradients)


def _has_gradients(audit):
    graph = audit.graph
    return any("gradients/" in name for name in graph.names) or any(op.endswith("Grad") for op in graph.ops)
