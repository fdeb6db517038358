"""Several towers are trained on different data, and the moving statistics follow one of them.

With one tower a GPU it is usual to run the updates of the first tower alone. The averages then see a part of the data.
That is cheap, and right where all towers see data of one kind; where they do not, evaluation suits the first one only.

Wrong:

    if tower == 0:
        update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)  # and the towers read different sources

Right:

    update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)  # after all towers
"""

from bn_graph.audit.evidence import Problem

NAME = "updates-of-one-tower"
SEVERITY = "note"
_FIX = "update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)  # of all towers, after the last one is built"


def check(layer, audit):
    trained = list(dict.fromkeys(audit.trained_by_batch(layer)))
    averaged = {use for update in layer.updates if update.node in audit.step.run for use in update.uses}
    left_out = [use.node for use in trained if use not in averaged]
    if left_out and len(left_out) < len(trained):
        message = f"The moving statistics follow {len(trained) - len(left_out)} of {len(trained)} training towers."
        yield Problem(left_out, message, _FIX)
