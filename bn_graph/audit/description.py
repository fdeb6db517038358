"""What a report says of each layer, for tools: a dict that JSON can hold."""

from bn_graph.audit.graph.flat_graph import printable
from bn_graph.audit.layers.normalizations import parameters_of
from bn_graph.audit.training_step import targets


def describe(audit, layer):
    """A `BatchNorm` as `AuditReport.layers` has it."""

    def name(node):
        return None if node is None else printable(audit.graph.names[node])

    return {
        "name": layer.name,
        "variables": {part: name(variable) for part, variable in layer.variables.items()},
        "towers": [
            {
                "op": name(use.node),
                "role": audit.step.roles[use],
                "statistics": kind,
                "condition": _condition(audit, conditions),
                "fused": use.fused,
            }
            for use, kind, conditions in audit.usages(layer)
        ],
        "updates": [
            {
                "op": name(update.node),
                "variable": name(update.variable),
                "condition": _condition(audit, update.conditions),
                "decay": None if update.decay is None else round(update.decay, 6),
                "run_by_train_op": update.node in audit.step.run if audit.step.has_train_op else None,
            }
            for update in layer.updates
        ],
    }


def describe_steps(audit):
    """Where there are several train ops, as in a GAN, what each trains, and whose averages it moves: `steps`."""
    graph, train_ops = audit.graph, audit.step.separate
    if len(train_ops) < 2:
        return ()
    steps = []
    for train_op in train_ops:
        run = graph.ancestors([train_op])
        changed = {v for node in audit.step.optimizer_ops if node in run for v in targets(graph, node)}
        trains = [layer.name for layer in audit.layers if not changed.isdisjoint(_parameters(graph, layer))]
        moves = [layer.name for layer in audit.layers if any(u.node in run for u in layer.updates)]
        steps.append({"train_op": printable(graph.names[train_op]), "trains": trains, "moves": moves})
    return tuple(steps)


def _parameters(graph, layer):
    return set().union(*(parameters_of(graph, use) for use in layer.uses))


def describe_saved(saved):
    """A `SavedLayer` that is known by names alone."""
    mean, variance = (*saved.statistics, None)[:2]
    variables = {"moving_mean": mean, "moving_variance": variance, **saved.parameters}
    return {"name": saved.name, "variables": variables, "towers": [], "updates": []}


def _condition(audit, conditions):
    return (
        " and ".join(f"{printable(audit.graph.names[node])} is {value}" for node, value in sorted(conditions)) or None
    )
