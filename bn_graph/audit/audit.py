"""The audit: from a graph or checkpoint to a report, in steps that each return a value."""

import dataclasses
import gc
from difflib import get_close_matches

from bn_graph.audit import rules
from bn_graph.audit.checkpoint_layers import find_saved_layers
from bn_graph.audit.description import describe, describe_saved, describe_steps
from bn_graph.audit.evidence import Audit
from bn_graph.audit.graph.flat_graph import Output
from bn_graph.audit.graph.inlining import flatten
from bn_graph.audit.layers.grouping import group_layers
from bn_graph.audit.layers.normalizations import find_normalizations
from bn_graph.audit.layers.updates import find_assignments, find_updates
from bn_graph.audit.report import EVERY_RULE, AuditReport, Undecided
from bn_graph.audit.savers import CHECKPOINT_SUFFIX, find_savers, saved_names
from bn_graph.audit.summary import SEVERITIES, shortened
from bn_graph.audit.training_step import find_training_step
from bn_graph.errors import InputError
from bn_graph.formats.tf_checkpoint import Checkpoint
from bn_graph.formats.tf_graph import node_name, source_of
from bn_graph.tf1 import tf


def audit_graph(graph, train_op=None, loss=None, num_steps: int | None = None, also_run=None) -> AuditReport:
    """Audits the batch-norm layers of a TensorFlow 1 graph or checkpoint.

    Args:
        graph: a `tf.Graph` (compat.v1), a GraphDef, a MetaGraphDef, or a path: a MetaGraph (.meta), a GraphDef (.pb,
            .pbtxt), an event file, a checkpoint, with the graph beside it where there is one, or a folder of these, as
            `formats.graph_paths.find_graph` takes it.
        train_op: the op that trains, or its name, or a list of several. By default those in the collection TRAIN_OP and
            whatever depends on them; without that collection, whatever runs an optimizer.
        loss: the tensor that is minimised, or its name; for graphs in which no train op can be found.
        num_steps: int, how many training steps there will be; without it slow averages are not judged.
        also_run: the op that the session loop fetches beside the train op, or its name, or a list of several.

    Returns: an `AuditReport`.

    Raises `InputError` where a file cannot be read or is no graph, or where the graph has no op of that name.
    """
    if num_steps is not None and not 1 <= num_steps < 2**63:
        raise InputError(f"num_steps must be a whole number from 1 to {2**63 - 1}, found {num_steps}")
    source = source_of(graph)
    # Hundreds of thousands of small lists, none of them garbage: without this, Python's collector takes half the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        others = [audit_of(other, num_steps=num_steps) for other in source.others]
        read = {name for other in others for name in _read_statistics(other)}
        return _joined([_report(one) for one in (audit_of(source, train_op, loss, num_steps, also_run, read), *others)])
    finally:
        if collecting:
            gc.enable()


def _op_names(ops):
    if ops is None:
        return []
    ops = ops if isinstance(ops, list | tuple) else [ops]
    return [node_name(op if isinstance(op, str) else op.name) for op in ops]


def audit_of(source, train_op=None, loss=None, num_steps=None, also_run=None, read_elsewhere=frozenset()) -> Audit:
    """Everything that is known of a `formats.tf_graph.Source`. The other arguments are those of `audit_graph`.

    read_elsewhere: names of the moving statistics that other graphs of the same model normalise by.
    """
    try:
        graph = flatten(tf.GraphDef() if source.graph_def is None else source.graph_def)
    except InputError as error:
        raise InputError(f"{source.subject}: {error}") from None
    checkpoint = Checkpoint(source.checkpoint) if source.checkpoint else None
    collections = {
        key: [graph.number[name] for name in names if name in graph.number] for key, names in source.collections.items()
    }
    normalizations = find_normalizations(graph)
    assignments = find_assignments(graph)
    updates = find_updates(graph, normalizations, assignments)
    layers = group_layers(graph, normalizations, updates)
    train_ops = collections.get(tf.GraphKeys.TRAIN_OP, [])
    trainable = {
        variable
        for node in collections.get(tf.GraphKeys.TRAINABLE_VARIABLES, ())
        for variable in graph.variables_of(Output(node, 0))
    }
    train_op, loss, also_run = (
        _nodes_named(graph, source.subject, ops, what, train_ops)
        for ops, what in ((train_op, "train op"), (loss, "loss"), (also_run, "op that is run beside it"))
    )
    step = find_training_step(graph, layers, assignments, trainable, train_op, loss, also_run, train_ops)
    savers = find_savers(graph, source.saver)
    saved_as = saved_names(graph, savers)
    names = {name.removesuffix(CHECKPOINT_SUFFIX): name for name in checkpoint.variables} if checkpoint else {}
    return Audit(
        subject=source.subject,
        graph=graph,
        has_graph=source.graph_def is not None,
        serving=graph.ancestors([graph.number[name] for name in source.serving if name in graph.number]),
        layers=layers,
        assignments=assignments,
        updates=updates,
        collections=collections,
        foreign={key for key, names in source.collections.items() if not graph.number.keys() >= set(names)},
        producer=source.graph_def.versions.producer if source.graph_def is not None else 0,
        trainable=trainable,
        step=step,
        savers=savers,
        saved_as=saved_as,
        num_steps=num_steps,
        checkpoint=checkpoint,
        checkpoint_names=names,
        saved_layers=find_saved_layers(graph, layers, saved_as, names) if checkpoint else [],
        read_elsewhere=read_elsewhere,
    )


def _nodes_named(graph, subject, ops, what, train_ops):
    """The nodes of these ops, or of these names. Raises `InputError` where there is none."""
    names = _op_names(ops)
    for name in names:
        if name not in graph.number:
            known = [graph.names[node] for node in train_ops] or get_close_matches(name, graph.names)
            others = f"; it has {shortened(known)}" if known else ""
            raise InputError(
                f"{subject}: expected the name of the {what}, found {name!r}, which is no op there{others}"
            )
    return {graph.number[name] for name in names}


def _read_statistics(audit):
    """The names of the moving statistics that an audited graph normalises by."""
    read = {s.node for layer in audit.layers for use in layer.uses for s in use.variance if s.kind == "moving"}
    return audit.names(read)


def _joined(reports):
    """One report of the MetaGraphs of a SavedModel: the first one's, and what the others have beside that."""
    first, *others = reports
    for other in others:
        known = {(finding.rule, finding.layer) for finding in first.findings}
        more = tuple(finding for finding in other.findings if (finding.rule, finding.layer) not in known)
        doubts = tuple(doubt for doubt in other.undecided if doubt not in first.undecided)
        names = {layer["name"] for layer in first.layers}
        layers = tuple(layer for layer in other.layers if layer["name"] not in names)
        findings = sorted(first.findings + more, key=lambda finding: SEVERITIES.index(finding.severity))
        first = dataclasses.replace(
            first, findings=tuple(findings), layers=first.layers + layers, undecided=first.undecided + doubts
        )
    return first


def _report(audit):
    findings, undecided = rules.apply(audit)
    unfollowed = audit.graph.unfollowed
    if unfollowed:
        calls = shortened(audit.names(unfollowed))
        message = f"{calls} calls functions that are missing, or that call each other without end"
        undecided.insert(0, Undecided(EVERY_RULE, "", message))
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    layers = [describe(audit, layer) for layer in audit.layers]
    layers += [describe_saved(saved) for saved in audit.saved_layers if saved.layer is None]
    return AuditReport(audit.subject, tuple(findings), tuple(layers), tuple(undecided), describe_steps(audit))
