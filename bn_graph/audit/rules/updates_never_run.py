"""The ops that update the moving statistics are not run by the train op.

`batch_norm` makes an op for each moving average and puts it into the collection UPDATE_OPS. Somebody has to run it.
Where nobody does, the moving mean stays 0 and the moving variance stays 1. Training looks perfect, because it uses the
statistics of its batch; validation and test use the moving ones.

A checkpoint that was trained so has good weights: `scripts/recalibrate.py` estimates its statistics anew from data.

A session loop that fetches the update ops beside the train op is right, and the graph cannot show it.

Wrong:

    train_op = optimizer.minimize(loss)

Right:

    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer.minimize(loss)
"""

from bn_graph.audit.advice import recalibrate_or_train
from bn_graph.audit.evidence import Doubt, Problem, has_gradients
from bn_graph.audit.graph.flat_graph import printable
from bn_graph.audit.graph.ops import is_optimizer_op

NAME = "updates-never-run"
SEVERITY = "error"
_NAME_TRAIN_OP = "the graph has gradients, and no op in it is known to train; name the train op"


def check(layer, audit):
    if not audit.trained_by_batch(layer) or not layer.statistics:
        return
    if not audit.step.has_train_op:
        yield Doubt(_NAME_TRAIN_OP)
        return
    # Of averages of averages, every one has to move.
    variables = dict.fromkeys([*layer.statistics, *(v for update in layer.updates for v in update.through)])
    assignments = [audit.assignments.get(variable, []) for variable in variables]
    idle = [node for nodes in assignments if not audit.step.run.intersection(nodes) for node in nodes]
    if not idle:
        return
    beside = [audit.fact(_fetched_beside)[node] for node in idle if node in audit.fact(_fetched_beside)]
    if not beside:
        message = (
            "The train op does not run the ops that update the moving statistics. They keep their initial values, "
            f"and {audit.who_reads_statistics(layer)} normalises by these, unless the session loop fetches the update "
            "ops itself."
        )
        yield Problem(idle, message, recalibrate_or_train(audit, layer))
    else:
        name = printable(audit.graph.names[min(beside)])
        yield Doubt(f"the updates run only where {name} is fetched along with the train op")


def check_graph(audit):
    if audit.layers and not audit.trains and has_gradients(audit):
        yield Doubt(_NAME_TRAIN_OP)


def _fetched_beside(audit):
    """From each node to the first op that runs it and that somebody made in order to fetch it beside the train op."""
    graph, step = audit.graph, audit.step
    excluded = graph.descendants(step.train_ops)
    if step.named:  # what runs another optimizer is fetched for that
        others = [node for node, op in enumerate(graph.ops) if is_optimizer_op(op) and node not in step.run]
        candidates = graph.descendants(others) - excluded
    else:
        candidates = set(range(len(graph.ops))) - excluded
    first = {}
    for op in sorted(candidates):
        stack = _run_on_purpose(op, audit)
        while stack:
            node = stack.pop()
            if node not in first:
                first[node] = op
                stack += [source.node for source in graph.inputs[node]]
                stack += graph.controls[node]
    return first


def _run_on_purpose(op, audit):
    """What an op was made for to run: of a group its members, of a loss what it waits for."""
    graph, step = audit.graph, audit.step
    controls = list(graph.waits_for(op))
    if graph.ops[op] == "NoOp" and not graph.inputs[op] and not graph.waiters[op]:
        # ExponentialMovingAverage.apply makes a group of its own, around what it has made itself.
        return [source for source in controls if not graph.names[source].startswith(f"{graph.names[op]}/")]
    if graph.ops[op] == "Identity" and controls:
        value = graph.inputs[op][0].node
        if value in step.after_trained and value in step.loss_inputs:
            return controls
    return []
