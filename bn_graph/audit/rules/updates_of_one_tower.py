"""Towers are trained on data of different sources, and the moving statistics follow a part of them.

With one tower a GPU it is usual to run the updates of the first tower alone. That is cheap, and right where all towers
see parts of the same batches. Where they read different sources, the averages, and with them the evaluation, suit the
first one only.

Wrong:

    for tower, dataset in enumerate(datasets):
        losses.append(loss_of(network(dataset, reuse=tower > 0)))
        if tower == 0:
            update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)

Right:

    for tower, dataset in enumerate(datasets):
        losses.append(loss_of(network(dataset, reuse=tower > 0)))
    update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
"""

from bn_graph.audit.advice import run_updates
from bn_graph.audit.evidence import Problem
from bn_graph.audit.graph.conditions import topological_order

NAME = "updates-of-one-tower"
SEVERITY = "note"
_NO_DATA_OPS = {"Const", "Fill", "Shape", "RandomUniform", "RandomStandardNormal", "TruncatedNormal", "NoOp"}
_MOST_SOURCES = 8  # of one node


def check(layer, audit):
    trained = list(dict.fromkeys(audit.trained_by_batch(layer)))
    if len(trained) < 2:
        return
    averaged = {use for update in layer.updates if update.node in audit.step.run for use in update.uses}
    sources = audit.fact(_sources)
    seen = set().union(*(sources[use.x.node] for use in trained if use in averaged))
    left_out = [use.node for use in trained if use not in averaged and not sources[use.x.node] <= seen]
    if seen and left_out:
        message = (
            f"The moving statistics follow {len(trained) - len(left_out)} of {len(trained)} training towers, and the "
            "others are trained on data of other sources."
        )
        yield Problem(left_out, message, run_updates(audit, layer))


def _sources(audit):
    """Per node the placeholders, iterators, queues and the like that its value comes from."""
    graph = audit.graph
    sources = [frozenset()] * len(graph.ops)
    for node in topological_order(graph):
        if graph.inputs[node]:
            found = sources[graph.inputs[node][0].node]
            for output in graph.inputs[node][1:]:
                if not sources[output.node] <= found:
                    found = frozenset(sorted(found | sources[output.node])[:_MOST_SOURCES])
            sources[node] = found
        elif node not in graph.variable and graph.ops[node] not in _NO_DATA_OPS:
            sources[node] = frozenset([node])
    return sources
