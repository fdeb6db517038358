"""The part of a graph that an estimate needs, run in a session with the variables of a checkpoint."""

import numpy as np

from bn_graph.audit.graph.flat_graph import printable
from bn_graph.audit.summary import shortened
from bn_graph.errors import InputError, first_line
from bn_graph.formats.tf_graph import node_name
from bn_graph.tf1 import is_registered, tf

# Ops whose values come from somewhere else: without a feed they wait, or have nothing to read.
_INPUT_OPS = ("Placeholder", "Iterator", "Queue", "Reader", "OneShotIterator", "FIFOQueue", "Stage")


def import_part(graph_def, subject, tensors) -> tf.Graph:
    """A graph of the ops that `tensors`, by name, need. Raises `InputError` where TensorFlow does not know one.

    Devices, and which ops are to be together, are left out: the graph may have been made for other machines.
    """
    part = tf.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in _needed(graph_def, tensors):
        copy = part.node.add()
        copy.CopyFrom(node)
        copy.device = ""
        copy.attr.pop("_class", None)
    functions = part.library.function
    ops = {node.op for nodes in (part.node, *(function.node_def for function in functions)) for node in nodes}
    called = {function.signature.name for function in functions}
    unknown = sorted(op for op in ops - called if not is_registered(op))
    if unknown:
        raise InputError(f"{subject}: the layers need ops that this TensorFlow does not know: {shortened(unknown)}")
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.import_graph_def(part, name="")
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise InputError(f"{subject}: cannot be imported: {first_line(error)}") from None
    return graph


def check_fed(graph_def, subject, tensors, fed) -> None:
    """Raises `InputError` where something that `tensors` need is not `fed`, with what it is. All are names."""
    missing = _unfed(graph_def, tensors, fed)
    if missing:
        found = [printable(f"{node.name} ({node.op})") for node in missing]
        raise InputError(f"{subject}: needs values for {shortened(found)}; give them as arrays of --data, or by --feed")


def can_run(graph_def, tensor, fed) -> bool:
    """Whether all that a tensor needs is `fed`. All are names."""
    return not _unfed(graph_def, [tensor], fed)


def _unfed(graph_def, tensors, fed):
    needed = _needed(graph_def, tensors, fed)
    return [node for node in needed if node.op.startswith(_INPUT_OPS) and node.op != "PlaceholderWithDefault"]


def _needed(graph_def, tensors, fed=()):
    """The nodes that run for `tensors`, in the order of the graph, without what only those that are fed need."""
    nodes = {node.name: node for node in graph_def.node}
    stack, seen = [node_name(name) for name in tensors], {node_name(name) for name in fed}
    cut = set(seen)
    while stack:
        name = stack.pop()
        if name not in seen and name in nodes:
            seen.add(name)
            stack += map(node_name, nodes[name].input)
    return [node for node in graph_def.node if node.name in seen - cut]


def restore_variables(audit, session, values: dict) -> None:
    """Gives the variables of the session's graph their values: those of `values`, or else of the checkpoint.

    values: name to value. Raises `InputError` where the checkpoint lacks one.
    """
    flat, graph = audit.graph, session.graph
    present = {op.name for op in graph.get_operations()}
    for variable, handles in flat.handles.items():
        nodes = [node for node in handles if flat.names[node] in present]
        if nodes:
            name = flat.names[variable]
            value = values[name] if name in values else read_variable(audit, variable)
            assign(session, graph.get_tensor_by_name(f"{flat.names[nodes[0]]}:0"), value)


def name_in_checkpoint(audit, variable) -> str:
    """What the checkpoint calls a variable, be it there or not."""
    name = audit.saved_as.get(variable, audit.graph.names[variable])
    return audit.checkpoint_names.get(name, name)


def read_variable(audit, variable):
    """The value that the checkpoint has of a variable. Raises `InputError`."""
    checkpoint, name = audit.checkpoint, name_in_checkpoint(audit, variable)
    if name not in checkpoint.variables:
        raise InputError(
            f"{checkpoint.path}: has no {printable(name)}, which the graph needs; expected a checkpoint of this graph"
        )
    return checkpoint.read(name)


def check_same_shapes(audit) -> None:
    """Raises `InputError` where a variable has another shape in the checkpoint than in the graph."""
    checkpoint = audit.checkpoint
    for variable in audit.graph.handles:
        name, shape = name_in_checkpoint(audit, variable), audit.size(variable)
        saved, _ = checkpoint.variables.get(name, (shape, None))
        if shape is not None and -1 not in shape and tuple(saved) != tuple(shape):
            raise InputError(
                f"{checkpoint.path}: {printable(name)}: expected shape {list(shape)}, as in the graph, found "
                f"{list(saved)}"
            )


def assign(session, variable, value) -> None:
    """Gives a variable its value. variable: the tensor that is a reference or handle of it."""
    is_handle = variable.dtype == tf.resource
    dtype = variable.op.get_attr("dtype") if is_handle else variable.dtype.base_dtype
    with session.graph.as_default():
        fed = tf.placeholder(dtype, np.shape(value))
        if is_handle:
            assignment = tf.raw_ops.AssignVariableOp(resource=variable, value=fed)
        else:
            assignment = tf.raw_ops.Assign(ref=variable, value=fed, validate_shape=False)
    session.run(assignment, {fed: value})
