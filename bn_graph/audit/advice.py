"""Fixes made for one graph: how updates are made and run. They are lines that can be executed where they are followed.

They use the names `tf`, `optimizer` and `loss`, and those that a comment explains.
"""

import json
import shlex

from bn_graph.audit.evidence import UPDATE_OPS, only_evaluates, placeholders_beside_loss
from bn_graph.audit.graph.flat_graph import Output, printable
from bn_graph.audit.graph.frames import find_frames
from bn_graph.audit.graph.ops import LOOP_OPS, SAME_VALUE_OPS
from bn_graph.audit.layers.normalizations import parameters_of
from bn_graph.audit.libraries import KERAS, LAYERS, TENSORPACK, is_keras, is_trained_by_keras, library_of
from bn_graph.audit.savers import is_before_training
from bn_graph.audit.training_step import targets
from bn_graph.errors import one_line

COLLECTED = """\
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = optimizer.minimize(loss)"""
COLLECTED_SOMEWHERE = f"{COLLECTED}  # in Keras, and by hand, updates are in no collection"
OF_KERAS = """\
with tf.control_dependencies(model.get_updates_for(x)):  # x is what the model was called on in training
    train_op = optimizer.minimize(loss)"""
OF_KERAS_3 = """\
with tf.control_dependencies(update_ops):  # Keras 3 tells nobody what it assigns: audit again, for the names
    train_op = optimizer.minimize(loss)"""
_NAMED = """\
update_ops = [tf.get_default_graph().get_operation_by_name(name) for name in names]
with tf.control_dependencies(update_ops):
    train_op = optimizer.minimize(loss)"""
_TRAINABLE = """\
layer.trainable = True  # before model.compile, which runs the updates of trainable layers alone
# or, where the layer is to stay frozen: layer(x, training=False)"""


# How the updates are run.


def recalibrate_or_train(audit, layer):
    """How a checkpoint gets the statistics of its weights without training; as the second way, `run_updates`.

    layer: as in `run_updates`.
    """
    train = run_updates(audit, layer)
    if audit.checkpoint is None or audit.fact(is_before_training):
        return train
    graph, without = " --graph train.meta", "; the tutorial's own network needs neither --graph nor --data"
    if audit.has_graph:
        without = ""
    if layer is not None and any(kind == "batch" for _, kind, _ in audit.usages(layer)):
        graph = ""
    checkpoint = shlex.quote(one_line(audit.subject))
    return (
        f"# python scripts/recalibrate.py {checkpoint} recalibrated.ckpt{graph} --data rows.npz\n"
        f"# estimates the statistics anew, without training{without}\n"
        f"# or, to train again:\n{train}"
    )


def run_updates(audit, layer=None):
    """How a train op is made that runs the updates of a layer, and of all that are trained with it.

    layer: a `BatchNorm`, or None where only a checkpoint names it.
    """
    lines = audit.fact(_lines_by_train_op)
    if layer is None or not audit.trained_by_batch(layer):
        return next(iter(lines.values())) if len(lines) == 1 else run_these(audit, [])
    if None in map(audit.fact(_runners).get, _own_updates(audit, layer)):
        return run_inside(audit, layer)
    return lines[_train_op_of(audit, layer)]


def _lines_by_train_op(audit):
    """Where there are several train ops, each to the lines that run the updates of the layers that it trains."""
    lines = {}
    for train_op, layers in _layers_by_train_op(audit).items():
        updates = [update for layer in layers for update in _own_updates(audit, layer)]
        if train_op is None:
            lines[None] = run_these(audit, updates)
        else:
            step = f"# in the step that trains {printable(layers[0].name)}: {printable(audit.graph.names[train_op])}"
            lines[train_op] = f"{step}\n{run_these(audit, updates, alone=True)}"
    return lines


def run_these(audit, updates, alone=False):
    """How a train op is made that runs these `Update`s: by their collection, if that is right, or by their names.

    alone: whether no other updates are to run with them.
    """
    runners = {audit.fact(_runners).get(update) for update in updates} - {None}
    if not runners:
        return OF_KERAS if is_keras(audit) else COLLECTED_SOMEWHERE
    if is_trained_by_keras(audit) and not any(_is_trained(audit, update) for update in updates):
        return _TRAINABLE
    others = audit.fact(_updates_in_collection).difference(updates) if alone else ()
    if not others and _is_collection_right(audit, updates):
        return COLLECTED
    lines = ["names = [", *(f"    {json.dumps(audit.graph.names[node])}," for node in sorted(runners)), "]"]
    libraries = {audit.fact(_libraries).get(update) for update in updates}
    if libraries == {KERAS} and all(_is_trained(audit, update) for update in updates):
        lines.append("# or, in Keras, model.get_updates_for(x), where x is what the model was called on in training")
    if libraries == {TENSORPACK}:
        lines.append('# or, in tensorpack, BatchNorm(..., ema_update="default"), and the callback RunUpdateOps()')
    return "\n".join([*lines, _NAMED])


def run_inside(audit, layer):
    """How updates in a loop or branch run, which nothing outside can run: what leaves it waits for them."""
    library = library_of(audit, layer)
    if library.in_place:
        return f"{library.make.format(library.in_place)}  # in the loop or branch: its result then waits for them"
    update_ops = "update_ops"
    if library is LAYERS:
        update_ops = "tf.get_collection(tf.GraphKeys.UPDATE_OPS)"
    return (
        f"with tf.control_dependencies({update_ops}):  # in the function that tf.cond or tf.while_loop calls\n"
        "    x = tf.identity(x)  # and return this x"
    )


def _own_updates(audit, layer):
    """The updates that follow the batches that the layer is trained on, or whose batch is not known."""
    trained = {use for use in layer.uses if audit.step.roles[use] == "training"}
    updates = _all_updates(audit, layer)
    return [update for update in updates if not update.uses or not trained.isdisjoint(update.uses)]


def _all_updates(audit, layer):
    """The updates of a layer, and those of the variables that its moving statistics average."""
    through = dict.fromkeys(variable for update in layer.updates for variable in update.through)
    return dict.fromkeys([*layer.updates, *(u for variable in through for u in audit.updates.get(variable, ()))])


def _train_op_of(audit, layer):
    """Where there are several train ops, as in a GAN, the one that trains the layer's parameters, else None."""
    train_ops = audit.step.separate
    if len(train_ops) < 2:
        return None
    parameters = set().union(*(parameters_of(audit.graph, use) for use in layer.uses))
    changed_by = audit.fact(_changed_by_train_op)
    return next((op for op in train_ops if not parameters.isdisjoint(changed_by[op])), None)


def _changed_by_train_op(audit):
    graph, changed = audit.graph, {}
    for train_op in audit.step.separate:
        run = graph.ancestors([train_op])
        changed[train_op] = {v for node in audit.step.optimizer_ops if node in run for v in targets(graph, node)}
    return changed


def _layers_by_train_op(audit):
    """The layers that are trained on their batch, and whose updates can be run, by the train op that trains them."""
    layers = {}
    for layer in audit.layers:
        if audit.trained_by_batch(layer):
            if None not in map(audit.fact(_runners).get, _own_updates(audit, layer)):
                layers.setdefault(_train_op_of(audit, layer), []).append(layer)
    return layers


def _runners(audit):
    """Each `Update` to the op to wait for so that it runs; None where there is none, in some loops and branches.

    That is the update itself, or, inside of a branch, loop or function, the nearest op outside that waits for it.
    """
    graph, frames = audit.graph, find_frames(audit.graph)
    outside = [
        graph.top_level[node] == node and not frames[node] and not _is_conditional(graph, node)
        for node in range(len(graph.ops))
    ]
    runner = {node: node for node, is_outside in enumerate(outside) if is_outside}
    nodes = list(runner)
    for node in nodes:  # grows
        for source in (*(output.node for output in graph.inputs[node]), *graph.controls[node]):
            if source not in runner:
                runner[source] = runner[node]
                nodes.append(source)
    return {update: runner.get(update.node) for updates in audit.updates.values() for update in updates}


def _is_conditional(graph, node):
    """Whether an op runs only on some condition; that a loop has ended is none."""
    return any(value or graph.ops[predicate] not in LOOP_OPS for predicate, value in graph.conditions[node])


def _is_collection_right(audit, updates):
    """Whether running UPDATE_OPS runs these updates, and nothing that is of no use in training, or cannot run."""
    run = audit.fact(_run_by_collection)
    return all(update.node in run for update in updates) and not audit.fact(_is_collection_harmful)


def _run_by_collection(audit):
    return audit.graph.ancestors(audit.collections.get(UPDATE_OPS, ()))


def _is_collection_harmful(audit):
    """Whether UPDATE_OPS has updates of evaluation towers or inside of loops, ops of functions, or asks for a feed."""
    run, runners = audit.fact(_run_by_collection), audit.fact(_runners)
    others = audit.fact(_updates_in_collection)
    return (
        UPDATE_OPS in audit.foreign
        or any((update.uses and only_evaluates(audit, update)) or runners[update] is None for update in others)
        or not run.isdisjoint(audit.fact(placeholders_beside_loss))
    )


def _libraries(audit):
    return {update: library_of(audit, layer) for layer in audit.layers for update in _all_updates(audit, layer)}


def _updates_in_collection(audit):
    run = audit.fact(_run_by_collection)
    return {update for layer in audit.layers for update in layer.updates if update.node in run}


def _is_trained(audit, update):
    """Whether an optimizer trains the parameters of an update's layer: of a frozen one Keras tells no updates."""
    return any(not audit.step.parameters.isdisjoint({use.gamma, use.beta}) for use in update.uses)


# How updates are made.


def make_updates(audit, layer, missing):
    """How the moving statistics `missing` of a layer are updated, of which nothing assigns them."""
    graph, use = audit.graph, audit.trained_by_batch(layer)[0]
    batch = {part: _batch_statistic(audit, layer, use, part) for part in ("mean", "variance")}
    parts = [part for part in batch if layer.variables[f"moving_{part}"] in missing]
    lines = []
    for part in parts:
        moving, tensor = graph.names[layer.variables[f"moving_{part}"]], graph.names[graph.top_level[batch[part].node]]
        lines.append(f"# moving_{part} = {moving}, batch_{part} = {tensor}:{batch[part].index}")
    updates = [
        f"update_{part} = tf.assign_sub(moving_{part}, (1 - decay) * (moving_{part} - batch_{part}))" for part in parts
    ]
    wait = f"with tf.control_dependencies([{', '.join(f'update_{part}' for part in parts)}]):"
    then = ["    train_op = optimizer.minimize(loss)"]
    if any(
        graph.top_level[batch[part].node] != batch[part].node or graph.conditions[batch[part].node] for part in parts
    ):
        lines.append("# in the function that tf.cond calls where it trains; it returns batch_mean and batch_variance:")
        then = [f"    batch_{part} = tf.identity(batch_{part})" for part in parts]
    return "\n".join([*lines, *updates, wait, *then])


def _batch_statistic(audit, layer, use, part):
    """The `Output` that is the batch's mean or variance, in the shape of the moving one."""
    if use.fused:
        return Output(use.node, {"mean": 1, "variance": 2}[part])
    graph, variable = audit.graph, layer.variables[f"moving_{part}"]
    first = next(s.node for s in (use.mean if part == "mean" else use.variance) if s.kind == "batch")
    nodes = [first]
    for node in nodes:  # grows
        shape = graph.shape(Output(node, 0))
        if variable is not None and shape is not None and tuple(shape) == audit.size(variable):
            return Output(node, 0)
        nodes += [after for after in graph.consumers[node] if graph.ops[after] in SAME_VALUE_OPS and len(nodes) < 20]
    return Output(first, 0)


def run_without(audit, nodes):
    """How UPDATE_OPS gets rid of some of its members, and of what is in it twice, and is run."""
    members = audit.collections.get(UPDATE_OPS, ())
    names = [f"    {json.dumps(audit.graph.names[node])}," for node in sorted(nodes.intersection(members))]
    lines = ["update_ops = tf.get_collection_ref(tf.GraphKeys.UPDATE_OPS)"]
    if names:
        lines += ["names = [", *names, "]"]
        lines += ['update_ops[:] = [op for op in update_ops if op.name.split(":")[0] not in names]']
    if len(set(members)) < len(members):
        lines += ["update_ops[:] = {op.name: op for op in update_ops}.values()  # each once"]
    return "\n".join([*lines, "with tf.control_dependencies(update_ops):", "    train_op = optimizer.minimize(loss)"])
