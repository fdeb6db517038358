"""The Saver, or the checkpoint, leaves the moving statistics out.

They are not trainable, so that a Saver of the trainable variables does not save them. Whoever restores the checkpoint
evaluates with their initial values, 0 and 1.

Wrong:

    saver = tf.train.Saver(tf.trainable_variables())

Right:

    saver = tf.train.Saver()
"""

from bn_graph.audit.checkpoint_layers import companions_of
from bn_graph.audit.evidence import Doubt, Problem

NAME = "statistics-not-saved"
SEVERITY = "error"
_MESSAGE = "The moving statistics are not saved: whoever restores the checkpoint evaluates with their initial values."
_FIX = "saver = tf.train.Saver()  # all variables; or var_list=tf.global_variables()"


def check(layer, audit):
    missing = _left_out(layer, audit)
    if missing:
        yield Problem([*missing, *audit.savers], _MESSAGE, _FIX)


def check_saved(saved, audit):
    # What the graph's own Saver leaves out is reported above.
    if saved.missing and saved.has_companions and not _left_out(saved.layer, audit):
        yield Problem(saved.missing, _MESSAGE, _FIX)


def check_graph(audit):
    if audit.checkpoint and not audit.saved_layers and not audit.layers:
        would_tell = "" if audit.has_graph else "; its .meta would tell"
        yield Doubt(f"the checkpoint names no moving statistics{would_tell}")


def _left_out(layer, audit):
    """The moving statistics that the graph's Savers do not save, where they save what belongs to the layer."""
    missing = [variable for variable in layer.statistics if variable not in audit.saved_as]
    return missing if missing and not companions_of(audit.graph, layer).isdisjoint(audit.saved_as) else []
