"""Training uses the moving statistics, or evaluation those of its batch.

A tower that trains has to normalise by the mean and variance of its batch, and a tower that evaluates by the moving
ones. Evaluated on its batch, a prediction depends on what else is in the batch. Trained on the moving statistics, gamma
and beta learn to correct values that nobody updates. A layer that is frozen on purpose, and a default of `is_training`
that only makes the mistake likely, are warnings.

Wrong:

    logits = batch_norm(x, is_training=True, scope="bn", reuse=True)  # in the evaluation tower

Right:

    logits = batch_norm(x, is_training=False, scope="bn", reuse=True)
"""

import re

from bn_graph.audit.evidence import Doubt, Problem, has_gradients
from bn_graph.audit.graph.flat_graph import printable
from bn_graph.audit.instructions import train_on_batch, update_where_it_trains, use_moving_statistics
from bn_graph.audit.keras import keras_trains
from bn_graph.audit.layers.batches import batch_of
from bn_graph.audit.layers.grouping import is_in_loop, is_read
from bn_graph.audit.savers import come_from_checkpoint

NAME = "wrong-statistics"
SEVERITY = "error"
TRAINING_NAME = re.compile(r"(^|/)(is_?train(ing)?|train(ing)?|phase_train|train_phase|training_phase)(_\d+)?$", re.I)
_FIX_SERVING = "logits = network(x, is_training=False)  # the graph that is exported"
_FIX_DEFAULT = "is_training = tf.placeholder(tf.bool, [])  # without a default, TensorFlow says when it was not fed"


def check(layer, audit):
    if audit.trains:
        yield from _check_training(layer, audit)
        yield from _check_branches(layer, audit)
        yield from _check_evaluation(layer, audit)
        yield from _check_variable(layer, audit)
    yield from _check_default(layer, audit)
    served = list(_check_serving(layer, audit))
    yield from served or _check_purpose(layer, audit)


def _check_training(layer, audit):
    training = audit.usages(layer, "training")
    if not training or any(kind == "batch" for _, kind, _ in training):
        return
    trained = [v for v in (layer.gamma, layer.beta) if v is not None and v in audit.step.parameters]
    evidence = [use.node for use, _, _ in training] + trained
    if trained and come_from_checkpoint(layer, audit):
        message = (
            "The layer's moving statistics are frozen: they come from a checkpoint, and gamma or beta are trained on "
            "top of them. That is right only where the new data are like those of the checkpoint."
        )
        yield Problem(evidence, message, train_on_batch(audit, layer), "warning")
    elif trained:
        message = (
            "The training tower normalises by the moving statistics and trains gamma or beta on top of them: "
            "is_training is False where it should be True."
        )
        yield Problem(evidence, message, train_on_batch(audit, layer))
    elif not any(audit.step.run & _assigned_from_elsewhere(variable, audit) for variable in layer.statistics):
        message = (
            "The layer is frozen: its training tower normalises by the moving statistics. That is right only "
            "where they come from a checkpoint."
        )
        yield Problem(evidence, message, train_on_batch(audit, layer), "warning")


def _assigned_from_elsewhere(variable, audit):
    """What assigns a moving statistic, and takes no batch norm's statistics: averages that follow something else."""
    updates = {update.node for update in audit.updates.get(variable, ()) if update.uses}
    return set(audit.assignments.get(variable, ())) - updates


def _check_branches(layer, audit):
    for node, value in sorted(audit.selectors(layer)):
        if not value and TRAINING_NAME.search(audit.graph.names[node]):
            message = "The branches are exchanged: where is_training is True, the moving statistics are used."
            yield Problem([node], message, update_where_it_trains())


def _check_evaluation(layer, audit):
    selectors = audit.selectors(layer)
    wrong = [
        use
        for use, kind, conditions in audit.usages(layer, "evaluation")
        if kind == "batch" and not conditions & selectors
    ]
    if not layer.statistics and all(is_in_loop(audit.graph, use) for use in layer.uses):
        return  # a map over the rows, each normalised by itself
    if wrong:
        evidence = [node for use in wrong for node in (use.node, *sorted(use.reductions - {use.node}))]
        message = (
            "An evaluation tower normalises by the statistics of its own batch, so that a prediction depends on "
            "what else is in the batch: is_training is True where it should be False."
        )
        yield Problem(evidence, message, use_moving_statistics(audit, layer, "in the evaluation tower"))


def _check_default(layer, audit):
    graph, selectors = audit.graph, audit.selectors(layer)
    opposites = {(node, not value) for node, value in selectors}
    has_evaluation_tower = any(
        kind != "batch" and not conditions & opposites for _, kind, conditions in audit.usages(layer, "evaluation")
    )
    role = "training" if audit.trains else "inference"
    decisive = {condition for _, _, conditions in audit.usages(layer, role) for condition in conditions}
    for node, value in sorted(selectors & decisive):
        if graph.ops[node] != "PlaceholderWithDefault" or not graph.inputs[node]:
            continue
        default = graph.scalar(graph.inputs[node][0])
        is_keras_phase = graph.names[node].endswith("keras_learning_phase")
        if default is None or (is_keras_phase and not _is_fed_by_user(layer, audit)):
            continue
        if bool(default) != value:
            if not audit.trains:
                continue
            message = (
                "is_training is False by default: a training step that does not feed it uses the moving statistics."
            )
        elif not has_evaluation_tower:
            message = "is_training is True by default: an evaluation that does not feed it uses its batch's statistics."
        else:
            continue
        fix = _FIX_DEFAULT
        if is_keras_phase:
            fix = f'feed_dict["{graph.names[node]}:0"] = True  # in each training step'
        yield Problem([node], message, fix, "warning")


def _is_fed_by_user(layer, audit):
    """Whether a program has to feed Keras' own placeholder: Keras does in fit and evaluate, a tf.train optimizer no.

    Where nobody runs the layer's updates, that comes first.
    """
    return not audit.fact(keras_trains) and any(update.node in audit.step.run for update in layer.updates)


def _check_variable(layer, audit):
    """is_training may be a variable, or computed from some, and no graph tells their values."""
    graph = audit.graph
    for node, value in sorted(audit.selectors(layer)):
        variables = _variables_behind(graph, node)
        if variables:
            names = " and ".join(printable(name) for name in audit.names(variables[:2]))
            initial = _initial_value(graph, node) if node in graph.variable else None
            begins = "" if initial is None else f", and is {initial} at first"
            what = "It is a variable" if node in graph.variable else f"It is computed from the variable {names}"
            yield Doubt(
                f"{printable(graph.names[node])} decides between the batch's statistics and the moving ones. "
                f"{what}{begins}. Training is right only where it is {value} then, and evaluation where {not value}: "
                "that is for the program to assign"
            )


def _variables_behind(graph, predicate):
    """The variables that a predicate is made of, where it is made of nothing else but constants; else none."""
    variables, stack, seen = set(), [predicate], set()
    while stack:
        node = stack.pop()
        if node in graph.variable:
            variables.add(graph.variable[node])
        elif node not in seen and graph.ops[node] != "Const":
            seen.add(node)
            if not graph.inputs[node] or len(seen) > 50:
                return []
            stack += [source.node for source in graph.inputs[node]]
    return sorted(variables)


def _initial_value(graph, variable):
    """The value of a boolean variable's initializer, or None."""
    initializer = graph.number.get(f"{graph.names[variable]}/Assign")
    if initializer is None or len(graph.inputs[initializer]) < 2:
        return None
    return graph.boolean(graph.origin(graph.inputs[initializer][1]))


def _check_serving(layer, audit):
    """What a frozen graph or a signature returns is a prediction, and must not depend on the rest of its batch."""
    roles, selectors = audit.step.roles, audit.selectors(layer)
    usages = audit.usages(layer)
    chosen = {use for use, kind, conditions in usages if kind != "batch" or conditions & selectors}
    on_batch = [use for use in layer.uses if use not in chosen]
    frozen = not audit.graph.variable and not audit.trains
    # Of evaluation towers it is reported above.
    served = [u for u in on_batch if (frozen or u.node in audit.serving) and roles[u] != "evaluation"]
    if served and all(batch_of(audit.graph, use)[0] == 1 for use in served):
        yield Doubt("it normalises one row by itself: right only if it was trained with one row at a time")
    elif served:
        where = "The frozen graph" if frozen else "What the SavedModel serves"
        message = (
            f"{where} normalises by the statistics of its own batch, so that a prediction depends on what else is in "
            "the batch: it was exported with is_training True."
        )
        yield Problem([use.node for use in served], message, _FIX_SERVING)


def _check_purpose(layer, audit):
    """Where all towers are on their batch, only the purpose of what they compute can tell whether that is right."""
    if not layer.uses or any(kind != "batch" for _, kind, _ in audit.usages(layer)):
        return
    roles = {audit.step.roles[use] for use in layer.uses} - {"unused"}
    if audit.trains and layer.statistics and "training" in roles and roles <= {"training", "other"}:
        updates = set().union(*({update.node} | update.depends_on for update in layer.updates))
        elsewhere = audit.read_elsewhere.intersection(audit.names(layer.statistics))
        if not elsewhere and not any(is_read(audit.graph, variable, updates) for variable in layer.statistics):
            yield Doubt("every tower is on the statistics of its batch: wrong if you evaluate this tensor")
    elif not audit.trains and roles and not has_gradients(audit):
        yield Doubt("it normalises by the batch's statistics, and nothing trains: wrong if this is for evaluation")
