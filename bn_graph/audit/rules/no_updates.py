"""Nothing ever assigns the moving statistics.

The layer trains on the statistics of its batch, and its moving mean and variance are variables that no op changes.
Evaluation then normalises by their initial values, 0 and 1. It is the usual fault of a batch norm written by hand.

Wrong:

    moving_mean = tf.get_variable("moving_mean", shape, trainable=False)
    mean = batch_mean if is_training else moving_mean

Right:

    update = tf.assign_sub(moving_mean, (1 - decay) * (moving_mean - batch_mean))
    with tf.control_dependencies([update]):
        train_op = optimizer.minimize(loss)
"""

from bn_graph.audit.advice import make_updates
from bn_graph.audit.evidence import Doubt, Problem

NAME = "no-updates"
SEVERITY = "error"


def check(layer, audit):
    if not audit.trained_by_batch(layer):
        return
    if not layer.statistics:
        yield Doubt("it has no moving statistics; only an evaluation would show that they are missing")
        return
    never = [variable for variable in layer.statistics if not audit.assignments.get(variable)]
    if never and audit.step.has_train_op:
        reader = audit.who_reads_statistics(layer)
        message = f"Nothing ever assigns the moving statistics: {reader} normalises by their initial values."
        yield Problem(never, message, make_updates(audit, layer, never))
