"""Update ops inside a loop are waited for by an op outside of it, which no session can run.

An op inside `tf.while_loop` runs once in each iteration. An op outside cannot wait for it: TensorFlow refuses the graph
when it is run ("has inputs from different frames"). What the loop is to run has to be waited for inside of its body.

Wrong:

    _, x = tf.while_loop(condition, body, [0, x])  # the body calls batch_norm
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer.minimize(loss)

Right:

    def body(i, x):
        x = batch_norm(x, is_training=True)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            return i + 1, tf.identity(x)
"""

from bn_graph.audit.advice import run_inside
from bn_graph.audit.evidence import Problem
from bn_graph.audit.graph.frames import find_frames, waited_for_from_other_frames

NAME = "updates-in-loop"
SEVERITY = "error"


def check(layer, audit):
    wrong = [update.node for update in layer.updates if update.node in audit.fact(_waited_for_from_outside)]
    if wrong:
        message = (
            "The train op, outside of a loop, waits for update ops inside of it. No session can run that: they are in "
            "different frames."
        )
        yield Problem(wrong, message, run_inside(audit, layer))


def _waited_for_from_outside(audit):
    return waited_for_from_other_frames(audit.graph, find_frames(audit.graph), audit.step.run)
