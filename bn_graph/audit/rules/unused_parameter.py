"""A gamma or beta exists that no tower uses.

The variable was created, and `batch_norm` was called with `center` or `scale` switched off. Nothing trains it, and it
says nothing of the model in the checkpoint.

Wrong:

    gamma = tf.get_variable("gamma", shape)
    batch_norm(x, scale=False, reuse=True)

Right:

    gamma = tf.get_variable("gamma", shape)
    batch_norm(x, scale=True, reuse=True)
"""

from bn_graph.audit.evidence import Problem
from bn_graph.audit.instructions import use_parameters

NAME = "unused-parameter"
SEVERITY = "note"


def check(layer, audit):
    if audit.trains and layer.unused:
        names = [audit.graph.names[variable].rpartition("/")[2] for variable in layer.unused]
        message = f"{' and '.join(names)} exists and no tower uses it."
        yield Problem(layer.unused, message, use_parameters(audit, layer))
