"""What a graph's Savers save and restore, and what a checkpoint has of it."""

import math

import numpy as np

from bn_graph.audit.evidence import GLOBAL_STEP
from bn_graph.audit.graph.flat_graph import Output
from bn_graph.audit.graph.ops import ASSIGN_OPS

_SAVE_OPS = {"SaveV2": 3, "Save": 2, "SaveSlices": 3}  # where the saved tensors begin among the inputs
_RESTORE_OPS = {"RestoreV2", "Restore", "RestoreSlice"}
_MOST_SAVERS = 16  # that are looked at one by one
CHECKPOINT_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"  # of every variable in a checkpoint that TensorFlow 2 wrote


def find_savers(graph, saver):
    """The ops of the Saver that wrote the file, where `saver` names its op, else of all that there are."""
    every = [node for node, op in enumerate(graph.ops) if op in _SAVE_OPS]
    own = graph.ancestors([graph.number[saver]]) if saver in graph.number else ()
    return [node for node in every if node in own] or every


def saved_names(graph, savers):
    """The variables that these ops save, to the names under which they do."""
    saved_as = {}
    for node in savers:
        names = graph.strings(graph.inputs[node][1], len(graph.inputs[node])) if len(graph.inputs[node]) > 1 else None
        for position, output in enumerate(graph.inputs[node][_SAVE_OPS[graph.ops[node]] :]):
            origin = graph.origin(output)
            if origin in graph.variable:
                name = names[position] if names and position < len(names) else graph.names[origin]
                saved_as[graph.variable[origin]] = name.removesuffix(CHECKPOINT_SUFFIX)
    return saved_as


def restored_from_elsewhere(graph, parameters):
    """The variables whose values come out of another training, as far as the graph shows it.

    Either their initial value is read from a file (`tf.train.init_from_checkpoint`), or a Saver restores a part of the
    model, or they are assigned what is fed (Keras' `load_weights`) or stands in the graph (a .npy file).

    parameters: the variables that are trained.
    """
    restores = {
        node: graph.variables_of(graph.inputs[node][0])
        for node, op in enumerate(graph.ops)
        if op in ASSIGN_OPS and graph.ops[graph.origin(graph.inputs[node][1])] in _RESTORE_OPS
    }
    savers, of_savers = _restored_by_savers(graph, restores)
    largest = max(savers, key=len, default=set())
    # Where no Saver has what is trained anew, those that are there restore an older model.
    are_all_saved = set().union(*savers).issuperset(parameters)
    parts = [saver for saver in savers if saver < largest or not are_all_saved]
    initial = [variables for node, variables in restores.items() if node not in of_savers]
    return _assigned_from_outside(graph).union(*parts, *initial)


def _restored_by_savers(graph, restores):
    """(for each Saver the set of variables that it restores, the ops of all Savers).

    restores: op to the variables that it restores.
    """
    shards = _groups_of(graph, restores)
    groups = {**shards, **_groups_of(graph, shards)}
    inside = {member for members in groups.values() for member in members}
    savers = [node for node in groups if node not in inside][:_MOST_SAVERS]
    restored = [set().union(*(restores[n] for n in graph.ancestors([node]) if n in restores)) for node in savers]
    return restored, inside


def _groups_of(graph, ops):
    """The groups that run some of `ops` and nothing else, to those that they run."""
    groups = {}
    for node, op in enumerate(graph.ops):
        members = list(graph.waits_for(node)) if op == "NoOp" and not graph.inputs[node] else ()
        if members and all(member in ops for member in members):
            groups[node] = members
    return groups


def _assigned_from_outside(graph):
    """The variables that are assigned what is fed, or numbers that no initializer makes."""
    by_value = {}
    for node, op in enumerate(graph.ops):
        if op in ("Assign", "AssignVariableOp"):
            by_value.setdefault(graph.origin(graph.inputs[node][1]), []).append(graph.inputs[node][0])
    assigned = set()
    for value, targets in by_value.items():
        if graph.ops[value] == "Placeholder" or (graph.ops[value] == "Const" and _has_different_values(graph, value)):
            assigned.update(*map(graph.variables_of, targets))
    return assigned


def _has_different_values(graph, constant):
    values = graph.constant(Output(constant, 0), math.inf)
    return values is not None and values.size > 1 and bool(np.any(values != values.reshape(-1)[0]))


def come_from_checkpoint(layer, audit):
    """Whether a layer's moving statistics were restored from somewhere: they are, or the checkpoint has others."""
    if layer.statistics and audit.fact(_restored_from_elsewhere).issuperset(layer.statistics):
        return True
    saved = next((saved for saved in audit.saved_layers if saved.layer is layer), None)
    return saved is not None and not saved.missing and not is_untouched(saved, audit)


def _restored_from_elsewhere(audit):
    return restored_from_elsewhere(audit.graph, audit.step.parameters)


def is_untouched(saved, audit):
    """Whether the moving statistics of a `SavedLayer` are 0 and 1 in the checkpoint, or both 0."""
    if saved.missing or len(saved.statistics) != 2:
        return False
    mean, variance = (read_numbers(audit, name, "f") for name in saved.statistics)
    if mean is None or variance is None or np.any(mean):
        return False
    return bool(np.all(variance == 1) or not np.any(variance))


def read_numbers(audit, name, kinds):
    """A variable of the checkpoint, or None where its type is not of one of these kinds of numpy's."""
    name = audit.checkpoint_names[name]
    shape, dtype = audit.checkpoint.variables[name]
    if not isinstance(dtype, np.dtype) or dtype.kind not in kinds or not math.prod(shape):
        return None
    return audit.checkpoint.read(name)


def is_before_training(audit):
    """Whether the checkpoint was saved before the first training step, as far as its global step says."""
    steps = audit.names(audit.variables_in(GLOBAL_STEP)) or ("global_step",)
    values = [read_numbers(audit, name, "iu") for name in steps if name in audit.checkpoint_names]
    return any(value is not None and not value.any() for value in values)
