"""The ops that update the moving statistics are not run by the train op.

`batch_norm` makes an op for each moving average and puts it into the collection UPDATE_OPS. Somebody has to run it.
Where nobody does, the moving mean stays 0 and the moving variance stays 1. Training looks perfect, because it uses the
statistics of its batch; validation and test use the moving ones.

A session loop that fetches the update ops beside the train op is right, and the graph cannot show it.

Wrong:

    train_op = optimizer.minimize(loss)

Right:

    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer.minimize(loss)
"""

from bn_graph.audit.evidence import Doubt, Problem, has_gradients
from bn_graph.audit.graph.flat_graph import printable
from bn_graph.audit.graph.ops import is_optimizer_op

NAME = "updates-never-run"
SEVERITY = "error"
FIX = """\
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = optimizer.minimize(loss)"""
_NAME_TRAIN_OP = "the graph has gradients, and no op in it is known to train; name the train op"


def check(layer, audit):
    if not audit.trained_by_batch(layer) or not layer.statistics:
        return
    if not audit.step.has_train_op:
        yield Doubt(_NAME_TRAIN_OP)
        return
    assignments = [audit.assignments.get(variable, []) for variable in layer.statistics]
    idle = [node for nodes in assignments if not audit.step.run.intersection(nodes) for node in nodes]
    if not idle:
        return
    beside = _fetched_beside(idle, audit)
    if beside is None:
        message = (
            "The train op does not run the ops that update the moving statistics. They keep their initial values, "
            "and evaluation normalises by these, unless the session loop fetches the update ops itself."
        )
        yield Problem(idle, message, FIX)
    else:
        name = printable(audit.graph.names[beside])
        yield Doubt(f"the updates run only where {name} is fetched along with the train op")


def check_graph(audit):
    if audit.layers and not audit.trains and has_gradients(audit):
        yield Doubt(_NAME_TRAIN_OP)


def _fetched_beside(updates, audit):
    """An op that somebody made in order to run updates beside the train op: a group, or a loss that waits."""
    graph, step = audit.graph, audit.step
    after = graph.descendants(updates)
    candidates = after - audit.fact(_after_step)
    if step.named:
        candidates &= audit.fact(_other_steps)
    for node in sorted(candidates):
        name, controls = graph.names[node], list(graph.waits_for(node))
        if graph.ops[node] == "NoOp" and not graph.inputs[node] and not graph.waiters[node]:
            # ExponentialMovingAverage.apply makes a group of its own, around what it has made itself.
            if not all(graph.names[source].startswith(f"{name}/") for source in controls):
                return node
        elif graph.ops[node] == "Identity" and after.intersection(controls):
            value = graph.inputs[node][0].node
            if value in step.after_trained and value in step.loss_inputs:
                return node
    return None


def _after_step(audit):
    return audit.graph.descendants(audit.step.train_ops)


def _other_steps(audit):
    """What runs optimizers that the train op does not run."""
    ops = enumerate(audit.graph.ops)
    return audit.graph.descendants([node for node, op in ops if is_optimizer_op(op) and node not in audit.step.run])
