"""What tells that Keras itself trains a graph."""

import re

from bn_graph.audit.graph.ops import ASSIGN_OPS, MERGE_OPS, SAME_VALUE_OPS

_FUNCTION = re.compile(r"^training(_\d+)?/(.*/)?group_deps(_\d+)?$")


def keras_trains(audit):
    """Whether Keras' fit runs the optimizers: its `K.function` groups them, and waits for the loss, too."""
    graph, no_loss = audit.graph, {"NoOp", *ASSIGN_OPS, *MERGE_OPS, *SAME_VALUE_OPS}
    return any(
        graph.ops[node] == "NoOp"
        and _FUNCTION.search(graph.names[node])
        and any(graph.ops[n] not in no_loss and n in audit.step.after_trained for n in graph.waits_for(node))
        for node in graph.descendants(audit.step.optimizer_ops)
    )
