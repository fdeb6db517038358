"""Is my batch norm right? Reads a TensorFlow 1 graph or checkpoint and says what is wrong with its batch-norm layers.

TensorFlow 1 gives no error where moving averages are never updated, or where a tower uses the wrong statistics. The
graph shows it. Files are parsed as protocol buffers; nothing of them is imported or run.
"""

import dataclasses
import os
import re
import textwrap
from pathlib import Path

import numpy as np

from bn_graph.batch_norms import MEAN_NAME, VARIANCE_NAME, Finder, scope_of
from bn_graph.checkpoint import read_checkpoint
from bn_graph.config import InputError
from bn_graph.flat_graph import ASSIGN_OPS, FlatGraph, Tensor, is_optimizer_op
from bn_graph.tf1 import tf

SEVERITIES = ("error", "warning", "note")
_KEYS = tf.GraphKeys
_COLLECTIONS = (_KEYS.TRAINABLE_VARIABLES, _KEYS.UPDATE_OPS, _KEYS.TRAIN_OP, _KEYS.GLOBAL_STEP)
_SAVE_OPS = {"SaveV2": 3, "Save": 2, "SaveSlices": 3}  # where the tensors begin among the inputs
_STOP = ("StopGradient", "PreventGradient")
_LEFT = 0.01  # a moving average that holds more of its start than this is called slow
_FEW = 8  # values per channel; a variance of fewer is mostly noise
_MAX_FILE = 2**31 - 1  # bytes; no protocol buffer is larger


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing: a rule, and where the graph breaks it."""

    rule: str
    severity: str  # error, warning or note
    layer: str
    evidence: tuple  # names of ops and variables
    message: str  # what follows from it, in a sentence
    fix: str  # the lines to write


@dataclasses.dataclass(frozen=True)
class Undecided:
    """What the graph does not say, and what would."""

    rule: str
    layer: str
    message: str


@dataclasses.dataclass(frozen=True)
class AuditReport:
    """What an audit found. str() is the text for a terminal, to_json() the object for tools.

    findings: `Finding`s, errors first. layers: a dict per batch-norm layer, with name, variables (name or None by
    role), towers (op, role, statistics, condition, fused) and updates (op, variable, condition, decay, run_by_train_op).
    undecided: `Undecided`s.
    """

    subject: str
    findings: tuple
    layers: tuple
    undecided: tuple

    @property
    def clean(self):
        """Whether there is no error and no warning; notes may be there."""
        return all(finding.severity == "note" for finding in self.findings)

    def to_json(self):
        return {
            "findings": [{**dataclasses.asdict(f), "evidence": list(f.evidence)} for f in self.findings],
            "layers": list(self.layers),
            "undecided": [dataclasses.asdict(u) for u in self.undecided],
        }

    def __str__(self):
        return _text(self)


def audit_graph(graph, train_op=None, loss=None, num_steps=None):
    """Audits the batch-norm layers of a TensorFlow 1 graph or checkpoint.

    Args:
        graph: a `tf.Graph` (compat.v1), a GraphDef or MetaGraphDef, or a path: a MetaGraph (.meta), a GraphDef (.pb,
            .pbtxt), the folder of a SavedModel, or a checkpoint, with its .meta beside it where there is one.
        train_op: the op that trains, or its name. By default those in the collection TRAIN_OP and whatever depends on
            them; without that collection, whatever runs an optimizer.
        loss: the tensor that is minimised, or its name; needed only where no train op can be found.
        num_steps: how many training steps there will be; without it slow averages are not judged.

    Returns: an `AuditReport`.

    Raises `InputError` where a file cannot be read, is no graph, or has no op of that name.
    """
    subject, source = _source(graph)
    return _Audit(subject, source, _op_name(train_op), _op_name(loss), num_steps).report()


def _op_name(op):
    if op is None:
        return None
    name = op if isinstance(op, str) else op.name
    return name.removeprefix("^").split(":")[0]


# Sources


@dataclasses.dataclass
class _Source:
    """A graph, what its collections name, and the values of a checkpoint; any of them may be missing."""

    graph_def: object = None
    collections: dict = dataclasses.field(default_factory=dict)  # collection to names of nodes
    checkpoint: object = None  # path


def _source(graph):
    if isinstance(graph, tf.Graph):
        collected = {key: [_collected_name(item) for item in graph.get_collection(key)] for key in _COLLECTIONS}
        return "graph", _Source(graph.as_graph_def(add_shapes=True), collected)
    if isinstance(graph, tf.MetaGraphDef):
        return "graph", _from_meta_graph(graph)
    if isinstance(graph, tf.GraphDef):
        return "graph", _Source(graph)
    if isinstance(graph, str | os.PathLike):
        return str(graph), _from_path(Path(graph))
    raise TypeError(f"audit_graph takes a tf.Graph, a GraphDef, a MetaGraphDef or a path, found {type(graph).__name__}")


def _collected_name(item):
    op = getattr(item, "op", item)
    return getattr(op, "name", str(op))


def _from_meta_graph(meta_graph):
    collected = {}
    for key in _COLLECTIONS:
        if key not in meta_graph.collection_def:
            continue
        collection = meta_graph.collection_def[key]
        names = list(collection.node_list.value)
        for serialized in collection.bytes_list.value:
            variable = _variable_def()
            try:
                variable.ParseFromString(serialized)
            except _parse_errors():
                raise InputError(f"the collection {key} holds something that is not a variable") from None
            names.append(variable.variable_name)
        collected[key] = [name.removeprefix("^").split(":")[0] for name in names]
    return _Source(meta_graph.graph_def, collected)


def _variable_def():
    from tensorflow.core.framework import variable_pb2

    return variable_pb2.VariableDef()


def _saved_model():
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel()


def _parse_errors():
    from google.protobuf import message, text_format

    return (message.DecodeError, text_format.ParseError, UnicodeDecodeError, RecursionError, ValueError)


def _from_path(path):
    if path.is_dir():
        for name in ("saved_model.pb", "saved_model.pbtxt"):
            if (path / name).is_file():
                return _from_saved_model(path / name)
        raise InputError(
            f"{path}: a folder without saved_model.pb; expected a SavedModel, or name the checkpoint in it"
        )
    if path.name in ("saved_model.pb", "saved_model.pbtxt"):
        return _from_saved_model(path)
    if path.suffix in (".pb", ".pbtxt", ".meta") and path.is_file():
        return _from_graph_file(path)
    return _from_checkpoint(path)


def _read(path):
    try:
        if path.stat().st_size > _MAX_FILE:
            raise InputError(f"{path}: has {path.stat().st_size} bytes; a protocol buffer has less than 2 GB")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _parse(path, *kinds):
    """The file `path` as the first of the protocol buffers `kinds` that it can be."""
    from google.protobuf import text_format

    content = _read(path)
    for message in kinds:
        try:
            if path.suffix == ".pbtxt":
                text_format.Parse(content.decode("utf-8"), message)
            else:
                message.ParseFromString(content)
        except _parse_errors():
            continue
        if _holds_nodes(message):
            return message
    names = " or ".join(type(message).__name__ for message in kinds)
    raise InputError(f"{path}: expected a {names}, found something else, or one that is damaged")


def _holds_nodes(message):
    graphs = [message]
    if hasattr(message, "meta_graphs"):
        graphs = [meta_graph.graph_def for meta_graph in message.meta_graphs]
    elif hasattr(message, "graph_def"):
        graphs = [message.graph_def]
    nodes = [node for graph in graphs for node in graph.node]
    return bool(nodes) and all(node.name and node.op for node in nodes)


def _from_graph_file(path):
    kinds = [tf.GraphDef(), tf.MetaGraphDef(), _saved_model()]
    if path.suffix == ".meta":
        kinds = [tf.MetaGraphDef()]
    message = _parse(path, *kinds)
    if isinstance(message, tf.GraphDef):
        return _Source(message)
    if isinstance(message, tf.MetaGraphDef):
        return _from_meta_graph(message)
    return _from_meta_graph(message.meta_graphs[0])


def _from_saved_model(path):
    saved_model = _parse(path, _saved_model())
    meta_graphs = [m for m in saved_model.meta_graphs if "train" in m.meta_info_def.tags] or saved_model.meta_graphs
    source = _from_meta_graph(meta_graphs[0])
    if (path.parent / "variables" / "variables.index").is_file():
        source.checkpoint = path.parent / "variables" / "variables"
    return source


def _from_checkpoint(path):
    text = str(path)
    for suffix in (".index", ".data-00000-of-00001"):
        text = text.removesuffix(suffix)
    if not (Path(text).is_file() or Path(f"{text}.index").is_file()):
        raise InputError(f"{path}: there is no such file or checkpoint")
    meta = Path(f"{text}.meta")
    source = _from_graph_file(meta) if meta.is_file() else _Source()
    source.checkpoint = Path(text)
    return source


# The audit


class _Audit:
    def __init__(self, subject, source, train_op, loss, num_steps):
        self.subject, self.num_steps = subject, num_steps
        self.collections = source.collections
        self.findings, self.undecided = [], []
        self.graph = FlatGraph(source.graph_def if source.graph_def is not None else tf.GraphDef())
        self.has_graph = source.graph_def is not None
        self.saved = read_checkpoint(source.checkpoint) if source.checkpoint else None
        self.trainable = self._collected_variables(_KEYS.TRAINABLE_VARIABLES)
        self.finder = Finder(self.graph)
        self.layers = sorted(self.finder.layers, key=lambda layer: min(use.node for use in layer.uses))
        self._find_training(self._node(train_op, "train op"), self._node(loss, "loss"))

    def report(self):
        self._check_followed()
        for layer in self.layers:
            if self.trains:
                self._check_updates(layer)
                self._check_statistics(layer)
                self._check_trainable(layer)
                self._check_parameters(layer)
                self._check_decay(layer)
                self._check_batch(layer)
                self._check_mixed(layer)
                self._check_in_evaluation(layer)
                self._check_duplicates(layer)
            self._check_saver(layer)
            self._check_constants(layer)
        if self.trains:
            self._check_sharing()
        if self.saved is not None:
            self._check_checkpoint()
        if self.has_graph and not self.trains:
            self._say_inference()
        findings = sorted(self.findings, key=lambda f: SEVERITIES.index(f.severity))
        layers = tuple(self._describe(layer) for layer in self.layers)
        return AuditReport(self.subject, tuple(findings), layers, tuple(self.undecided))

    # What trains

    def _node(self, name, what):
        if name is None:
            return None
        if name not in self.graph.number:
            raise InputError(f"{self.subject}: has no op {name!r} that could be the {what}")
        return self.graph.number[name]

    def _collected(self, key):
        return [self.graph.number[name] for name in self.collections.get(key, ()) if name in self.graph.number]

    def _collected_variables(self, key):
        return {v for node in self._collected(key) for v in self.graph.variables_of(Tensor(node, 0))}

    def _find_training(self, train_op, loss):
        """Finds what one training step runs, and which uses of batch norm it trains."""
        graph = self.graph
        moving = {v for layer in self.layers for v in (layer.mean, layer.variance) if v is not None}
        steps = [node for node, op in enumerate(graph.ops) if is_optimizer_op(op)]
        # An optimizer made of plain assignments: w = w - something.
        for variable in self.trainable - moving:
            for node in self.finder.assignments.get(variable, ()):
                if "Sub" in graph.ops[node] or "Add" in graph.ops[node] or self._reads(node, variable):
                    steps.append(node)
        self.named = train_op is not None
        if self.named:
            roots = {train_op}
        else:
            roots = graph.descendants({*self._collected(_KEYS.TRAIN_OP), *steps})
        self.run = graph.ancestors(roots)
        applied = [node for node in steps if node in self.run] or sorted(roots)
        self.applied = applied
        start = [t.node for node in applied for t in graph.inputs[node]] if steps else list(roots)
        if loss is not None:
            start.append(loss)
        self.trained_through = graph.ancestors(start, controls=False, cut=_STOP)
        every = [t.node for node in steps for t in graph.inputs[node]]
        self.any_training = graph.ancestors([*every, *start], controls=False)
        self.moved = {
            v for node in applied if graph.inputs[node] for v in graph.variables_of(graph.inputs[node][0])
        } - (set() if steps else {None})
        self.roots = roots
        self.trains = bool(roots) or loss is not None
        self.has_train_op = bool(roots)
        self.gradients = any("gradients" in name or op.endswith("Grad") for name, op in zip(graph.names, graph.ops))
        for layer in self.layers:
            for use in layer.uses:
                if use.node in self.trained_through or use.output in self.trained_through:
                    use.role = "training"
                elif use.node in self.any_training:
                    use.role = "other"
                else:
                    use.role = "evaluation" if self.trains else "inference"

    def _reads(self, node, variable):
        _, _, _, read = self.finder._slice(self.graph.inputs[node][1])
        return variable in read

    # Helpers

    def _usages(self, layer, *roles):
        """(use, kind, conditions) of each statistic that can really be used."""
        return [
            (use, kind, conditions)
            for use in layer.uses
            if use.role in roles
            for kind, conditions in use.statistics()
            if self.graph.possible(conditions)
        ]

    def _selectors(self, layer):
        """The (predicate, value) under which this layer takes batch statistics, where the others are moving ones."""
        usages = self._usages(layer, "training", "evaluation", "other", "inference")
        moving = {c for _, kind, conditions in usages if kind != "batch" for c in conditions}
        return {
            (node, value)
            for _, kind, conditions in usages
            if kind == "batch"
            for node, value in conditions
            if (node, not value) in moving
        }

    def _trained_by_batch(self, layer):
        return [use for use, kind, _ in self._usages(layer, "training") if kind == "batch"]

    def _names(self, nodes):
        return tuple(dict.fromkeys(self.graph.names[node] for node in nodes))

    def _find(self, rule, severity, layer, evidence, message, fix):
        self.findings.append(Finding(rule, severity, layer.name, self._names(evidence), message, fix))

    def _leave(self, rule, layer, message):
        self.undecided.append(Undecided(rule, layer, message))

    def _moving(self, layer):
        return [v for v in (layer.mean, layer.variance) if v is not None]

    # Rules

    def _check_followed(self):
        if self.graph.unfollowed:
            names = ", ".join(self._names(self.graph.unfollowed)[:3])
            self._leave("any", "", f"the functions that {names} calls are missing, or call each other without end")

    def _check_updates(self, layer):
        if not self._trained_by_batch(layer) or not self._moving(layer):
            return
        if not self.has_train_op:
            self._leave("updates-never-run", layer.name, _NAME_TRAIN_OP)
            return
        for missing, group in self._by_fate(layer).items():
            if missing == "none":
                self._find(
                    "no-updates",
                    "error",
                    layer,
                    group,
                    "Nothing ever assigns the moving statistics: evaluation normalises by their initial values.",
                    _FIX_NO_UPDATES,
                )
            elif missing == "not run":
                updates = [u.node for v in group for u in self.finder.updates.get(v, ())]
                updates = updates or [n for v in group for n in self.finder.assignments[v]]
                self._find(
                    "updates-never-run",
                    "error",
                    layer,
                    updates,
                    "The train op does not run the ops that update the moving statistics: they keep their initial values, "
                    "and evaluation normalises by these, without any error.",
                    _FIX_UPDATES,
                )

    def _by_fate(self, layer):
        """The moving statistics of a layer by what becomes of them: none (no update), not run, or run."""
        fates = {}
        for variable in self._moving(layer):
            assignments = self.finder.assignments.get(variable, [])
            fate = "none" if not assignments else "run" if any(n in self.run for n in assignments) else "not run"
            fates.setdefault(fate, []).append(variable)
        return fates

    def _check_statistics(self, layer):
        selectors = self._selectors(layer)
        training = self._usages(layer, "training")
        if training and all(kind != "batch" for _, kind, _ in training):
            trained = [v for v in (layer.gamma, layer.beta) if v is not None and v in self.moved]
            uses = [use.node for use, _, _ in training]
            if trained:
                self._find(
                    "wrong-statistics",
                    "error",
                    layer,
                    [*uses, *trained],
                    "The training tower normalises by the moving statistics, and trains gamma or beta on top of them: "
                    "is_training is False where it should be True.",
                    _FIX_TRAINING,
                )
            else:
                self._find(
                    "wrong-statistics",
                    "warning",
                    layer,
                    uses,
                    "The layer is frozen: the training tower normalises by the moving statistics. That is right only if "
                    "they come from a checkpoint.",
                    _FIX_TRAINING,
                )
        for use, kind, conditions in self._usages(layer, "evaluation"):
            if kind == "batch" and not conditions & selectors:
                self._find(
                    "wrong-statistics",
                    "error",
                    layer,
                    [use.node, *sorted(use.reductions - {use.node})],
                    "An evaluation tower normalises by the statistics of its own batch: a prediction depends on what else "
                    "is in the batch. is_training is True where it should be False.",
                    _FIX_EVALUATION,
                )
        self._check_default(layer, selectors)

    def _check_default(self, layer, selectors):
        graph = self.graph
        evaluated = any(kind != "batch" and not c & selectors for _, kind, c in self._usages(layer, "evaluation"))
        for node, value in sorted(selectors):
            if graph.ops[node] != "PlaceholderWithDefault" or "keras_learning_phase" in graph.names[node]:
                continue
            default = graph.scalar(graph.inputs[node][0]) if graph.inputs[node] else None
            if default is None or not any((node, value) in c for _, _, c in self._usages(layer, "training")):
                continue
            if bool(default) != value:
                self._find(
                    "wrong-statistics",
                    "warning",
                    layer,
                    [node],
                    f"{graph.names[node]} is {bool(default)} by default: a training step that does not feed it normalises "
                    "by the moving statistics.",
                    _FIX_DEFAULT,
                )
            elif not evaluated:
                self._find(
                    "wrong-statistics",
                    "warning",
                    layer,
                    [node],
                    f"{graph.names[node]} is {bool(default)} by default: an evaluation that does not feed it normalises "
                    "by the statistics of its own batch.",
                    _FIX_DEFAULT,
                )

    def _check_in_evaluation(self, layer):
        graph = self.graph
        selectors = self._selectors(layer)
        opposite = {(node, not value) for node, value in selectors}
        wrong = [u for u in layer.updates if u.conditions & opposite]
        for update in layer.updates:
            if (
                update in wrong
                or update.conditions & selectors
                or {p for p, _ in update.chosen} & {p for p, _ in selectors}
            ):
                continue
            if update.node in self._run_by_evaluation or (selectors and update.node in self._run_by_selected):
                wrong.append(update)
        if wrong:
            self._find(
                "updates-in-evaluation",
                "error",
                layer,
                [u.node for u in wrong],
                "Evaluating moves the moving statistics: the evaluation data leaks into the model.",
                _FIX_IN_EVALUATION,
            )

    def _outputs_run(self, uses):
        return self.graph.ancestors({use.output for use in uses})

    @property
    def _run_by_evaluation(self):
        """What the evaluation towers run; empty where they run whole training steps, as some loops do on purpose."""
        if not hasattr(self, "_evaluation_cache"):
            uses = [use for layer in self.layers for use in layer.uses if use.role == "evaluation"]
            found = self._outputs_run(uses)
            self._evaluation_cache = set() if found & set(self.applied) else found
        return self._evaluation_cache

    @property
    def _run_by_selected(self):
        """What runs with the output of towers that choose by is_training."""
        if not hasattr(self, "_selected_cache"):
            uses = []
            for layer in self.layers:
                selectors = self._selectors(layer)
                uses += [u for u in layer.uses if any(c & selectors for _, c in u.statistics())]
            found = self._outputs_run(uses)
            self._selected_cache = set() if found & set(self.applied) else found
        return self._selected_cache

    def _check_trainable(self, layer):
        moved = [
            v
            for v in self._moving(layer)
            if any(is_optimizer_op(self.graph.ops[n]) and v in self._targets(n) for n in self.applied)
        ]
        wrong = [v for v in self._moving(layer) if v in self.trainable or v in moved]
        if wrong:
            self._find(
                "trainable-statistics",
                "error",
                layer,
                wrong,
                "The moving statistics are in TRAINABLE_VARIABLES: "
                + (
                    "the optimizer moves them along a gradient."
                    if moved
                    else "an optimizer, weight decay or anything else that walks over these variables changes them."
                ),
                _FIX_TRAINABLE,
            )

    def _targets(self, node):
        inputs = self.graph.inputs[node]
        return self.graph.variables_of(inputs[0]) if inputs else set()

    def _check_parameters(self, layer):
        graph = self.graph
        biases = {}
        for use in self._trained_by_batch(layer):
            added = graph.origin(use.x)
            if graph.ops[added] not in ("BiasAdd", "BiasAddV1", "Add", "AddV2") or len(graph.inputs[added]) != 2:
                continue
            for operand in graph.inputs[added]:
                variable = graph.variable.get(graph.origin(operand))
                if variable is not None:
                    biases[variable] = added
        if biases:
            self._find(
                "cancelled-bias",
                "note",
                layer,
                [*biases, *biases.values()],
                "A bias is added just before the layer, which subtracts it again with the mean: it learns nothing.",
                _FIX_BIAS,
            )
        if layer.unused:
            names = " and ".join(graph.names[v] for v in layer.unused)
            self._find(
                "unused-parameter",
                "note",
                layer,
                layer.unused,
                f"{names} exists and no tower uses it.",
                _FIX_UNUSED,
            )

    def _check_decay(self, layer):
        if not self._trained_by_batch(layer):
            return
        by_decay = {}
        for update in layer.updates:
            if update.decay is not None:
                by_decay.setdefault(round(update.decay, 6), []).append(update.node)
        for decay, nodes in sorted(by_decay.items()):
            if decay < 0.5:
                message = (
                    f"decay is {decay:g}: a moving average keeps that much of itself at an update, so it follows the last "
                    f"batch. Was {1 - decay:g} meant?"
                )
            elif decay >= 1:
                message = "decay is 1: the moving statistics never move."
            elif self.num_steps is not None and decay**self.num_steps > _LEFT:
                message = (
                    f"decay is {decay:g}: after {self.num_steps} steps the moving statistics still hold "
                    f"{decay**self.num_steps:.0%} of their initial values."
                )
            else:
                continue
            self._find("slow-decay", "warning", layer, nodes, message, _FIX_DECAY)

    def _check_batch(self, layer):
        for use in self._trained_by_batch(layer):
            batch, values = self._batch(use)
            if batch == 1 or (values is not None and values < _FEW):
                counted = "one row" if batch == 1 else f"{values} values per channel"
                self._find(
                    "tiny-batch",
                    "warning",
                    layer,
                    [use.node],
                    f"The training batch has {counted}: its variance is mostly noise"
                    + (", or 0." if values == 1 else "."),
                    _FIX_BATCH,
                )
                return

    def _batch(self, use):
        """(rows of the batch, values per channel) of a use; None for what the graph does not say."""
        shape = self._shape_in_front(use.x)
        if not shape:
            return None, None
        if use.fused:
            attr = self.graph.attrs[use.node]
            channel = 1 if "data_format" in attr and attr["data_format"].s == b"NCHW" else -1
            sizes = [size for axis, size in enumerate(shape) if axis != channel % len(shape)]
        elif len(shape) == 2:
            sizes = shape[:1]
        else:
            axes = self._axes(use, len(shape))
            sizes = [shape[axis] for axis in axes] if axes else [None]
        return shape[0], None if None in sizes else int(np.prod(sizes))

    def _axes(self, use, rank):
        for node in sorted(use.reductions):
            axes = self.graph.constant(self.graph.inputs[node][1]) if len(self.graph.inputs[node]) == 2 else None
            if axes is not None:
                return sorted({axis % rank for axis in axes.reshape(-1).tolist()})
        return None

    def _shape_in_front(self, tensor):
        """The shape of a tensor; where the graph keeps no shapes, [rows, None] of the input that it was computed from."""
        graph = self.graph
        shape = self.finder.shape(tensor)
        if shape is not None:
            return shape
        for _ in range(200):
            op, inputs = graph.ops[tensor.node], graph.inputs[tensor.node]
            shape = self.finder.shape(tensor)
            if shape:
                return [shape[0]] if len(shape) != 2 else [shape[0], None]
            if op not in _KEEPS_ROWS or not inputs:
                return None
            tensor = inputs[0]
        return None

    def _check_mixed(self, layer):
        if layer.variance is None:
            return
        fused = [use.node for use in layer.uses if use.fused]
        decomposed = [use.node for use in layer.uses if not use.fused]
        if fused and decomposed:
            self._find(
                "mixed-variance",
                "warning",
                layer,
                [*fused, *decomposed],
                "Fused and decomposed layers share a moving variance: the fused op averages the variance divided by n - 1, "
                "the other the one divided by n.",
                _FIX_MIXED,
            )

    def _check_duplicates(self, layer):
        collected = self._collected(_KEYS.UPDATE_OPS)
        moving = set(self._moving(layer))
        own = {u.node: u for u in layer.updates}
        twice = {n for n in collected if collected.count(n) > 1} if len(collected) != len(set(collected)) else set()
        twice = sorted(n for n in twice if n in own or self._leads_to(n, own))
        evaluation = sorted(
            n for n in set(collected) for u in self._leads_to(n, own) if u.uses and self._all_evaluation(u)
        )
        repeated, seen = [], {}
        for update in layer.updates:
            if update.node in self.run and update.uses and not update.conditions:
                key = (update.variable, tuple(id(use) for use in update.uses))
                if key in seen:
                    repeated += [seen[key], update.node]
                seen.setdefault(key, update.node)
        wrong = [*dict.fromkeys((*twice, *evaluation, *repeated))]
        if wrong and moving:
            where = "of an evaluation tower are in UPDATE_OPS" if evaluation else "are there twice"
            self._find(
                "duplicate-updates",
                "warning",
                layer,
                wrong,
                f"Update ops {where}: the moving statistics are moved more than once a step"
                + (", and by data that is not trained on." if evaluation else ", so decay counts twice."),
                _FIX_DUPLICATES,
            )

    def _leads_to(self, node, own):
        """The updates among `own` that a member of UPDATE_OPS stands for: itself, or what a cond around it runs."""
        if node in own:
            return [own[node]]
        found, stack, seen = [], [node], set()
        while stack and len(seen) < 12:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in own:
                found.append(own[node])
                continue
            if self.graph.ops[node] in ("Identity", "Merge", "NoOp", "Switch"):
                stack += [t.node for t in self.graph.inputs[node]] + self.graph.controls[node]
        return found

    def _all_evaluation(self, update):
        return all(use.role == "evaluation" for use in update.uses)

    def _check_sharing(self):
        """Finds evaluation copies whose moving statistics are their own."""
        trained = [layer for layer in self.layers if self._trained_by_batch(layer)]
        by_key = {}
        for layer in trained:
            for key in self._copy_keys(layer):
                by_key.setdefault(key, layer)
        for layer in self.layers:
            roles = {use.role for use in layer.uses}
            if roles != {"evaluation"} or not self._moving(layer) or set(self._moving(layer)) & self._assigned:
                continue
            other = next((by_key[key] for key in self._copy_keys(layer) if key in by_key), None)
            if other is None or set(self._moving(layer)) & set(self._moving(other)) or not self._moving(other):
                continue
            self._find(
                "unshared-towers",
                "error",
                layer,
                [*self._moving(layer), *self._moving(other)],
                f"The evaluation copy has moving statistics of its own, which nothing updates; training updates those of "
                f"{other.name}.",
                _FIX_UNSHARED,
            )

    @property
    def _assigned(self):
        return set(self.finder.assignments)

    def _copy_keys(self, layer):
        """What a copy of a layer has in common with it."""
        keys = [("parameter", v) for v in (layer.gamma, layer.beta) if v is not None]
        for use in layer.uses:
            weights = self.finder._weights(use)
            if weights:
                keys.append(("weights", weights))
        plain = re.sub(r"_\d+(?=/|$)", "", layer.name)
        size = self._size(layer)
        keys.append(("name", plain, size))
        return keys

    def _size(self, layer):
        for variable in self._moving(layer):
            attr = self.graph.attrs[variable]
            if "shape" in attr:
                return tuple(dim.size for dim in attr["shape"].shape.dim)
        return None

    # What is saved

    def _check_saver(self, layer):
        moving = self._moving(layer)
        if not self._saved_by_graph or not moving:
            return
        missing = [v for v in moving if v not in self._saved_by_graph]
        companions = {v for v in (layer.gamma, layer.beta) if v is not None}
        for use in layer.uses:
            companions |= self.finder._weights(use) or set()
        if missing and companions & self._saved_by_graph:
            self._find(
                "statistics-not-saved",
                "error",
                layer,
                [*missing, *self._savers],
                "The Saver leaves the moving statistics out: whoever restores the checkpoint evaluates with the initial "
                "values.",
                _FIX_SAVER,
            )

    @property
    def _savers(self):
        return [node for node, op in enumerate(self.graph.ops) if op in _SAVE_OPS]

    @property
    def _saved_by_graph(self):
        if not hasattr(self, "_saved_cache"):
            self._saved_cache = {
                self.graph.variable[origin]
                for node in self._savers
                for t in self.graph.inputs[node][_SAVE_OPS[self.graph.ops[node]] - 1 :]
                for origin in [self.graph.origin(t)]
                if origin in self.graph.variable
            }
        return self._saved_cache

    def _check_constants(self, layer):
        """A frozen graph has its moving statistics as constants."""
        for use in layer.uses:
            means = [s.node for s in use.mean if s.kind == "constant"]
            variances = [s.node for s in use.variance if s.kind == "constant"]
            if means and variances:
                mean, variance = (self.graph.constant(Tensor(n[0], 0), 1 << 20) for n in (means, variances))
                if not np.any(mean) and np.all(variance == 1):
                    self._find("statistics-untouched", "error", layer, means + variances, _UNTOUCHED, _FIX_UPDATES)
                    return

    def _check_checkpoint(self):
        """Compares what a checkpoint holds with what the layers need; without a graph, by the variables' names."""
        saved = self.saved
        pairs = {}  # layer name to (mean, variance), each a name in the checkpoint
        for layer in self.layers:
            if len(self._moving(layer)) == 2:
                pairs[layer.name] = tuple(self._key(v) for v in self._moving(layer))
        if not self.layers:
            means = {scope_of(n): n for n in sorted(saved) if MEAN_NAME.search(n)}
            variances = {scope_of(n): n for n in sorted(saved) if VARIANCE_NAME.search(n)}
            for scope in sorted({*means, *variances} | self._with_parameters(saved)):
                pairs[scope] = means.get(scope), variances.get(scope)
        for name, (mean, variance) in pairs.items():
            missing = [n for n in (mean, variance) if n is None or n not in saved]
            if missing:
                if not any(f.rule == "statistics-not-saved" and f.layer == name for f in self.findings):
                    evidence = tuple(n for n in missing if n) or (name,)
                    self._add_saved("statistics-not-saved", name, evidence, _NOT_SAVED, _FIX_SAVER)
                continue
            if saved[mean].dtype.kind != "f" or saved[variance].dtype.kind != "f" or not saved[mean].size:
                continue
            untouched = not np.any(saved[mean]) and (np.all(saved[variance] == 1) or not np.any(saved[variance]))
            if untouched:
                if self._before_first_step():
                    self._leave("statistics-untouched", name, "the checkpoint was saved before the first training step")
                else:
                    self._add_saved("statistics-untouched", name, (mean, variance), _UNTOUCHED, _FIX_UPDATES)
        if not self.layers:
            self.layers_by_name = sorted(pairs)

    def _with_parameters(self, saved):
        """Scopes with a gamma and a beta: batch norm, unless it is layer norm; said only where others have statistics."""
        return set()

    def _add_saved(self, rule, name, evidence, message, fix):
        self.findings.append(Finding(rule, "error", name, evidence, message, fix))

    def _key(self, variable):
        """The name that a variable has in a checkpoint."""
        return self.graph.names[variable]

    def _before_first_step(self):
        steps = self._names(self._collected_variables(_KEYS.GLOBAL_STEP)) or ("global_step",)
        found = [self.saved[name] for name in steps if name in self.saved]
        return any(value.size == 1 and not value.any() for value in found)

    def _say_inference(self):
        if self.gradients and self.layers:
            self._leave("updates-never-run", "", _NAME_TRAIN_OP)
            return
        for layer in self.layers:
            if all(kind == "batch" for _, kind, _ in self._usages(layer, "inference")):
                self._leave(
                    "wrong-statistics",
                    layer.name,
                    "it normalises by the statistics of the batch, and the graph has no train op: right for training, "
                    "wrong for anything else",
                )

    # What is told

    def _condition(self, conditions):
        return " and ".join(f"{self.graph.names[node]} is {value}" for node, value in sorted(conditions)) or None

    def _describe(self, layer):
        graph = self.graph
        return {
            "name": layer.name,
            "variables": {k: None if v is None else graph.names[v] for k, v in layer.variables.items()},
            "towers": [
                {
                    "op": graph.names[use.node],
                    "role": use.role,
                    "statistics": kind,
                    "condition": self._condition(conditions),
                    "fused": use.fused,
                }
                for use in layer.uses
                for kind, conditions in use.statistics()
                if graph.possible(conditions)
            ],
            "updates": [
                {
                    "op": graph.names[u.node],
                    "variable": graph.names[u.variable],
                    "condition": self._condition(u.conditions),
                    "decay": None if u.decay is None else round(u.decay, 6),
                    "run_by_train_op": u.node in self.run if self.has_train_op else None,
                }
                for u in layer.updates
            ],
        }


_KEEPS_ROWS = {
    *("Identity", "MatMul", "Conv2D", "DepthwiseConv2dNative", "BiasAdd", "Add", "AddV2", "Relu", "Relu6", "Elu"),
    *("Sigmoid", "Tanh", "MaxPool", "AvgPool", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "Cast", "Mul"),
    *("Sub", "RealDiv", "Pad", "LeakyRelu", "Selu", "Softplus"),
}
_NAME_TRAIN_OP = "the graph has gradients and no op that is known to train; name the train op to decide"
_UNTOUCHED = "The moving statistics are still at their initial values: training never updated them."
_NOT_SAVED = (
    "The checkpoint does not hold the moving statistics: whoever restores it evaluates with the initial values."
)
_FIX_UPDATES = """\
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = optimizer.minimize(loss)"""
_FIX_NO_UPDATES = """\
update_mean = tf.assign_sub(moving_mean, (moving_mean - batch_mean) * (1 - decay))
update_variance = tf.assign_sub(moving_variance, (moving_variance - batch_variance) * (1 - decay))
with tf.control_dependencies([update_mean, update_variance]):
    train_op = optimizer.minimize(loss)"""
_FIX_TRAINING = "batch_norm(..., is_training=True)  # in the training tower"
_FIX_EVALUATION = "batch_norm(..., is_training=False, reuse=True)  # in the evaluation tower"
_FIX_DEFAULT = "is_training = tf.placeholder(tf.bool, [])  # without a default, forgetting to feed it is an error"
_FIX_IN_EVALUATION = """\
tf.cond(is_training, update_and_normalise, normalise)  # with the update ops made inside update_and_normalise
batch_norm(..., is_training=False, reuse=True)  # in an evaluation tower of its own"""
_FIX_TRAINABLE = "moving_mean = tf.get_variable('moving_mean', shape, trainable=False)"
_FIX_BIAS = "leave the bias out: tf.layers.dense(..., use_bias=False), or biases_initializer=None in tf-slim"
_FIX_UNUSED = "do not create it, or use it: batch_norm(..., center=True, scale=True)"
_FIX_DECAY = "batch_norm(..., decay=0.9)  # decay**steps is what is left of the start; 0.9 forgets it in 50 steps"
_FIX_BATCH = "train with more rows in a batch, or use group or layer normalisation"
_FIX_MIXED = "batch_norm(..., fused=False)  # the same for all towers"
_FIX_DUPLICATES = """\
update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope=training_tower)  # taken before evaluation is built"""
_FIX_UNSHARED = "batch_norm(..., is_training=False, scope=scope, reuse=True)  # with the training tower's scope"
_FIX_SAVER = "saver = tf.train.Saver()  # or var_list=tf.global_variables()"


# The text for a terminal

_SHOWN = 4  # names in a list, before it says how many more there are


def _text(report):
    groups = {}
    for finding in report.findings:
        groups.setdefault((finding.rule, finding.severity, finding.message, finding.fix), []).append(finding)
    lines = []
    for (rule, severity, message, fix), findings in groups.items():
        lines += [
            f"{severity}[{rule}]: {_listed([f.layer for f in findings])}",
            *_wrapped(message),
            f"    at {_listed([name for f in findings for name in f.evidence])}",
            *(f"    {'fix' if not i else '   '} {line}" for i, line in enumerate(fix.splitlines())),
            "",
        ]
    undecided = {}
    for item in report.undecided:
        undecided.setdefault((item.rule, item.message), []).append(item.layer)
    for (rule, message), layers in undecided.items():
        named = _listed([layer for layer in layers if layer])
        lines += [f"undecided[{rule}]: {named}" if named else f"undecided[{rule}]", *_wrapped(message), ""]
    lines.append(f"{report.subject}: {_summary(report)}")
    return "\n".join(lines)


def _wrapped(message):
    return textwrap.wrap(message, 96, initial_indent="    ", subsequent_indent="    ")


def _listed(names):
    names = list(dict.fromkeys(names))
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _summary(report):
    towers = [tower for layer in report.layers for tower in layer["towers"]]
    counts = [(len(report.layers), "batch-norm layer")] if report.layers else []
    if towers:
        counts.append((len({tower["op"] for tower in towers}), "use"))
    for severity in SEVERITIES:
        counts.append((sum(f.severity == severity for f in report.findings), severity))
    said = [f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts if count]
    if not report.layers:
        said.insert(0, "no batch-norm layer found")
    elif not report.findings:
        said.append("nothing found wrong" + (", as far as it can be decided" if report.undecided else ""))
    return ", ".join(said)
