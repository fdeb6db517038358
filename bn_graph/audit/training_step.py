"""What one training step of a graph runs, and which uses of batch norm it trains."""

import dataclasses

from bn_graph.audit.graph.ops import ARITHMETIC_OPS, is_optimizer_op
from bn_graph.audit.layers.statistics import made_of_variables
from bn_graph.audit.layers.updates import made_of
from bn_graph.audit.unused import find_unused

_MOST_TRAIN_OPS = 8  # that are looked at one by one
_NO_GRADIENT = ("StopGradient", "PreventGradient")
# Through these ops a gradient comes out of the variables in which it was added up: scaled, clipped, cut out of a whole.
_OF_GRADIENTS = ARITHMETIC_OPS | {
    *("ClipByValue", "Concat", "ConcatV2", "Pack", "Slice", "Split", "SplitV", "StridedSlice", "Transpose", "Unpack"),
    *("AccumulateNV2", "ZerosLike", "OnesLike"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingStep:
    """Nodes by number."""

    named: bool  # whether the train op was named by the user
    train_ops: set  # the train op, and what is a group around it
    separate: list  # the train ops that were named or collected, where none runs another
    run: set  # everything that they run
    optimizer_ops: list  # those of them that change parameters
    parameters: set  # the variables that these change
    loss_inputs: set  # what the loss is computed from, as far as gradients go
    any_loss_inputs: set  # what the loss of any optimizer of the graph is computed from, behind stop_gradient, too
    after_trained: set  # what is computed from a training tower's batch norm
    roles: dict  # `Normalization` to its role: training, evaluation, inference, unused or other
    trains: bool  # whether the graph trains at all, as far as is known

    @property
    def has_train_op(self):
        return bool(self.train_ops)


def find_training_step(graph, layers, assignments, trainable, train_op, loss, also_run, collected_train_ops):
    """The `TrainingStep` of a graph.

    layers: `BatchNorm`s. assignments: variable to the nodes that assign it. trainable: the variables that are in the
    collection TRAINABLE_VARIABLES. train_op, loss, also_run: sets of the nodes that the user named; empty for none.
    collected_train_ops: the nodes in TRAIN_OP.
    """
    moving = {variable for layer in layers for variable in layer.statistics}
    optimizer_ops = [node for node, op in enumerate(graph.ops) if is_optimizer_op(op)]
    optimizer_ops += _plain_steps(graph, sorted(trainable - moving), assignments)
    # A train op that nobody named may be a group around the collected one.
    train_ops = train_op or graph.descendants({*collected_train_ops, *optimizer_ops})
    run = graph.ancestors(train_ops)
    own_ops = [node for node in optimizer_ops if node in run]

    passed = moving.union(*(targets(graph, node) for node in optimizer_ops))
    run |= graph.ancestors(_accumulating(graph, own_ops, assignments, passed))
    run |= graph.ancestors(also_run)
    start = [source.node for node in own_ops for source in graph.inputs[node]] or list(train_ops)
    start += loss
    every_start = [source.node for node in optimizer_ops for source in graph.inputs[node]] + start
    loss_inputs = _computed_from(graph, start, assignments, passed, cut=_NO_GRADIENT)
    any_loss_inputs = _computed_from(graph, every_start, assignments, passed)
    uses = [use for layer in layers for use in layer.uses]
    trained = {use for use in uses if {use.node, use.output} & loss_inputs}
    # What hangs on a training tower is no evaluation tower: an auxiliary head that no loss looks at.
    after_trained = graph.descendants([use.output for use in trained], controls=False)
    trains = bool(train_ops) or bool(loss)
    unused = find_unused(graph, layers)

    def role(use):
        if use in trained:
            return "training"
        if use in unused:
            return "unused"
        if not trains:
            return "inference"
        return "other" if use.node in any_loss_inputs or use.node in after_trained else "evaluation"

    return TrainingStep(
        named=bool(train_op),
        train_ops=train_ops,
        separate=_separate(graph, train_op or collected_train_ops),
        run=run,
        optimizer_ops=own_ops,
        parameters={variable for node in own_ops for variable in targets(graph, node)},
        loss_inputs=loss_inputs,
        any_loss_inputs=any_loss_inputs,
        after_trained=after_trained,
        roles={use: role(use) for use in uses},
        trains=trains,
    )


def _separate(graph, train_ops):
    """Those of the train ops that no other one runs, at most a few."""
    several = sorted(set(train_ops))[:_MOST_TRAIN_OPS]
    run_by = {op: graph.ancestors([op]) for op in several} if len(several) > 1 else {}
    return [op for op in several if not any(op in run for other, run in run_by.items() if other != op)]


def _accumulating(graph, optimizer_ops, assignments, passed):
    """The ops that fill the variables out of which the gradients come, and the groups that a program runs around them.

    Where a gradient comes out of a variable, what assigns that variable is a part of training.
    """
    accumulated = _variables_of_gradients(graph, optimizer_ops) - passed
    filling = [node for variable in accumulated for node in assignments.get(variable, ())]
    return graph.descendants(filling) if filling else ()


def _variables_of_gradients(graph, optimizer_ops):
    """The variables that the optimizers' inputs are made of, as far as ops go that gradients go through."""
    variables, seen = set(), set()
    stack = [source.node for node in optimizer_ops for source in graph.inputs[node]]
    while stack:
        node = stack.pop()
        if node in graph.variable:
            variables.add(graph.variable[node])
        elif node not in seen and graph.ops[node] in _OF_GRADIENTS:
            stack += [source.node for source in graph.inputs[node]]
        seen.add(node)
    return variables


def targets(graph, node):
    """The variables that an op changes."""
    inputs = graph.inputs[node]
    return graph.variables_of(inputs[0]) if inputs else set()


def _plain_steps(graph, variables, assignments):
    """The steps of an optimizer that is made of plain assignments: w = w - something."""
    return [
        node
        for variable in variables
        for node in assignments.get(variable, ())
        # A copy that follows other variables is no step.
        if not made_of_variables(graph, graph.inputs[node][1])
        and (
            "Sub" in graph.ops[node]
            or "Add" in graph.ops[node]
            or variable in made_of(graph, graph.inputs[node][1]).variables
        )
    ]


def _computed_from(graph, nodes, assignments, passed, cut=()):
    """The data ancestors of `nodes`, and of what variables were assigned: accumulated gradients wait in one.

    passed: variables whose assignments do not count.
    """
    reached = graph.ancestors(nodes, controls=False, cut=cut)
    passed = set(passed)
    while True:
        variables = {graph.variable[node] for node in reached if node in graph.variable} - passed
        passed |= variables
        assigned = [n for v in variables for n in assignments.get(v, ()) if n not in reached]
        if not assigned:
            return reached
        reached |= graph.ancestors(assigned, controls=False, cut=cut)
