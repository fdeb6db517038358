"""Is my batch norm right? Reads a TensorFlow 1 graph or checkpoint and says what is wrong with its batch-norm layers.

TensorFlow 1 gives no error where moving averages are never updated, or where a tower uses the wrong statistics. The
graph shows it. `flat_graph` has the graph, `batch_norms` finds the layers in it, and here are the rules.
"""

import collections
import dataclasses
import functools
import gc
import math
import re
import textwrap
from difflib import get_close_matches

import numpy as np

from bn_graph.audit.graph.flat_graph import (
    LOOP_OPS,
    MERGE_OPS,
    SAME_VALUE_OPS,
    FlatGraph,
    Tensor,
    is_optimizer_op,
    shown,
)
from bn_graph.audit.layers.grouping import MEAN_NAME, VARIANCE_NAME, Finder, scope_of
from bn_graph.errors import InputError
from bn_graph.formats.tf_checkpoint import Checkpoint
from bn_graph.formats.tf_graph import node_name, source_of
from bn_graph.tf1 import tf

SEVERITIES = ("error", "warning", "note")
_KEYS = tf.GraphKeys
_SAVE_OPS = {"SaveV2": 3, "Save": 2, "SaveSlices": 3}  # where the saved tensors begin among the inputs
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"  # of every variable in a checkpoint that TensorFlow 2 wrote
_STOPS = ("StopGradient", "PreventGradient")
_TRAINING_NAME = re.compile(r"(^|/)(is_?train(ing)?|train(ing)?|phase_train|train_phase|training_phase)(_\d+)?$", re.I)
_GRADIENT_NAME = re.compile(r"(^|/)gradients(_\d+)?/")
_LEFT = 0.01  # a moving average that still holds more of its start than this is called slow
_FEW = 8  # values per channel; the variance of fewer is mostly noise

# Ops that keep the rows of a batch, their first input's first dimension.
_KEEPS_ROWS = {
    *(
        "Identity",
        "Cast",
        "MatMul",
        "Conv2D",
        "DepthwiseConv2dNative",
        "BiasAdd",
        "Add",
        "AddV2",
        "Sub",
        "Mul",
        "RealDiv",
    ),
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Softplus", "Sigmoid", "Tanh", "MaxPool", "AvgPool", "Pad"),
    *("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

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

    subject: the path, or "graph". findings: `Finding`s, errors first. undecided: `Undecided`s. layers: a dict for each
    batch-norm layer: `name`; `variables`, their names or None, by part; `towers`, dicts of op, role (training,
    evaluation, inference in a graph that does not train, other), statistics (batch, moving or constant), condition and
    fused; `updates`, dicts of op, variable, condition, decay and run_by_train_op.
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
        graph: a `tf.Graph` (compat.v1), a GraphDef, a MetaGraphDef, or a path: a MetaGraph (.meta), a GraphDef (.pb,
            .pbtxt), the folder of a SavedModel, or a checkpoint, with its .meta beside it where there is one.
        train_op: the op that trains, or its name, or a list of several. By default those in the collection TRAIN_OP and
            whatever depends on them; without that collection, whatever runs an optimizer.
        loss: the tensor that is minimised, or its name; for graphs in which no train op can be found.
        num_steps: int, how many training steps there will be; without it slow averages are not judged.

    Returns: an `AuditReport`.

    Raises `InputError` where a file cannot be read or is no graph, or where the graph has no op of that name.
    """
    if num_steps is not None and not 1 <= num_steps < 2**63:
        raise InputError(f"num_steps must be a whole number from 1 to {2**63 - 1}, found {num_steps}")
    source = source_of(graph)
    # Hundreds of thousands of small lists, none of them garbage: without this, Python's collector takes half the time.
    collected = gc.isenabled()
    gc.disable()
    try:
        return _Audit(source, _op_names(train_op), _op_names(loss), num_steps).report()
    finally:
        if collected:
            gc.enable()


def _op_names(ops):
    if ops is None:
        return []
    ops = ops if isinstance(ops, list | tuple) else [ops]
    return [node_name(op if isinstance(op, str) else op.name) for op in ops]


class _Audit:
    """The rules over one graph. Variables and ops are node numbers of `graph`."""

    def __init__(self, source, train_op, loss, num_steps):
        self.subject, self.num_steps = source.subject, num_steps
        self.collections, self.saver = source.collections, source.saver
        self.findings, self.undecided = [], []
        self.has_graph = source.graph_def is not None
        try:
            self.graph = FlatGraph(source.graph_def if self.has_graph else tf.GraphDef())
        except InputError as error:
            raise InputError(f"{self.subject}: {error}") from None
        self.checkpoint = source.checkpoint and Checkpoint(source.checkpoint)
        names = self.checkpoint.variables if self.checkpoint else ()
        self.saved = {name.removesuffix(_SUFFIX): name for name in names}  # to the name in the checkpoint
        self.finder = Finder(self.graph)
        self.layers = sorted(self.finder.layers, key=lambda layer: min(use.node for use in layer.uses))
        self.trainable = {
            variable
            for node in self._collected(_KEYS.TRAINABLE_VARIABLES)
            for variable in self.graph.variables_of(Tensor(node, 0))
        }
        self._find_training(self._named(train_op, "train op"), self._named(loss, "loss"))

    def report(self):
        described = [self._describe(layer) for layer in self.layers]
        if self.graph.unfollowed:
            names = _listed(self._names(self.graph.unfollowed))
            self._leave("all", "", f"{names} calls functions that are missing, or that call each other without end")
        for layer in self.layers:
            if self.trains:
                self._check_updates(layer)
                self._check_training_statistics(layer)
                self._check_evaluation_statistics(layer)
                self._check_default(layer)
                self._check_updates_in_evaluation(layer)
                self._check_sharing(layer)
                self._check_trainable(layer)
                self._check_duplicates(layer)
                self._check_decay(layer)
                self._check_batch(layer)
                self._check_mixed(layer)
                self._check_bias(layer)
                self._check_unused(layer)
            self._check_saver(layer)
            self._check_constants(layer)
        if self.has_graph and not self.trains:
            self._leave_inference()
        if self.checkpoint:
            described += self._check_checkpoint()
        findings = sorted(self.findings, key=lambda finding: SEVERITIES.index(finding.severity))
        return AuditReport(self.subject, tuple(findings), tuple(described), tuple(self.undecided))

    # What trains

    def _named(self, names, what):
        for name in names:
            if name not in self.graph.number:
                known = self._names(self._collected(_KEYS.TRAIN_OP)) or get_close_matches(name, self.graph.names)
                found = f"; it has {_listed(known)}" if known else ""
                raise InputError(
                    f"{self.subject}: expected the name of the {what}, found {name!r}, which is no op there{found}"
                )
        return {self.graph.number[name] for name in names}

    def _collected(self, key):
        return [self.graph.number[name] for name in self.collections.get(key, ()) if name in self.graph.number]

    def _find_training(self, train_op, loss):
        """Finds what one training step runs, and which uses of batch norm it trains."""
        graph = self.graph
        self.moving = {variable for layer in self.layers for variable in layer.statistics}
        steps = [node for node, op in enumerate(graph.ops) if is_optimizer_op(op)] + self._assigned_steps()
        collected = {*self._collected(_KEYS.TRAIN_OP), *steps}
        # A train op that nobody named may be a group around the collected one.
        self.named = bool(train_op)
        roots = train_op or graph.descendants(collected)
        self.roots, self.run = roots, graph.ancestors(roots)
        self.steps = [node for node in steps if node in self.run]
        self.parameters = {variable for node in self.steps for variable in self._targets(node)}
        self.has_train_op = bool(roots)
        self.trains = self.has_train_op or bool(loss)

        start = [t.node for node in self.steps for t in graph.inputs[node]] or list(roots)
        start += loss
        every = [t.node for node in steps for t in graph.inputs[node]] + start
        self.loss_of = self._behind(start, steps, cut=_STOPS)
        in_any_loss = self._behind(every, steps)
        uses = [use for layer in self.layers for use in layer.uses]
        trained = {use for use in uses if {use.node, use.output} & self.loss_of}
        # What hangs on a training tower is no evaluation tower: an auxiliary head that no loss looks at.
        self.after_trained = graph.descendants([use.output for use in trained], controls=False)
        for use in uses:
            if not self.trains:
                use.role = "inference"
            elif use in trained:
                use.role = "training"
            else:
                use.role = "other" if use.node in in_any_loss | self.after_trained else "evaluation"

    def _assigned_steps(self):
        """The steps of an optimizer that is made of plain assignments: w = w - something."""
        graph = self.graph
        return [
            node
            for variable in sorted(self.trainable - self.moving)
            for node in self.finder.assignments.get(variable, ())
            # A copy that follows other variables is no step.
            if self.finder.holds_data(graph.inputs[node][1])
            and (
                "Sub" in graph.ops[node]
                or "Add" in graph.ops[node]
                or variable in self.finder.variables_read(graph.inputs[node][1])
            )
        ]

    def _behind(self, nodes, steps, cut=()):
        """The data ancestors of `nodes`, and of what variables were assigned: accumulated gradients wait in one."""
        graph = self.graph
        passed = self.moving | {variable for node in steps for variable in self._targets(node)}
        found = graph.ancestors(nodes, controls=False, cut=cut)
        while True:
            variables = {graph.variable[node] for node in found if node in graph.variable} - passed
            passed |= variables
            assigned = [n for v in variables for n in self.finder.assignments.get(v, ()) if n not in found]
            if not assigned:
                return found
            found |= graph.ancestors(assigned, controls=False, cut=cut)

    def _targets(self, node):
        inputs = self.graph.inputs[node]
        return self.graph.variables_of(inputs[0]) if inputs else set()

    # What the rules ask

    def _usages(self, layer, *roles):
        """(use, kind, conditions) of each statistic that a use can take."""
        return [
            (use, kind, conditions)
            for use in layer.uses
            if not roles or use.role in roles
            for kind, conditions in use.statistics()
            if self.graph.possible(conditions)
        ]

    def _selectors(self, layer):
        """The (predicate, value) under which this layer takes the batch's statistics, and else the moving ones."""
        usages = self._usages(layer)
        moving = {condition for _, kind, conditions in usages if kind != "batch" for condition in conditions}
        batch = {condition for _, kind, conditions in usages if kind == "batch" for condition in conditions}
        return {(node, value) for node, value in batch if (node, not value) in moving}

    def _trained_by_batch(self, layer):
        return [use for use, kind, _ in self._usages(layer, "training") if kind == "batch"]

    def _names(self, nodes):
        return tuple(dict.fromkeys(self.graph.names[node] for node in nodes))

    def _find(self, rule, severity, layer, evidence, message, fix):
        # Of what is inside a function, the op of the graph that calls it.
        names = tuple(dict.fromkeys(name.partition("->")[0] for name in self._names(evidence)))
        self.findings.append(Finding(rule, severity, layer.name, names, message, fix))

    def _leave(self, rule, layer, message):
        self.undecided.append(Undecided(rule, layer, message))

    # The rules

    def _check_updates(self, layer):
        if not self._trained_by_batch(layer):
            return
        if not layer.statistics:
            self._leave(
                "no-updates",
                layer.name,
                "it has no moving statistics; only an evaluation would show that they are missing",
            )
            return
        if not self.has_train_op:
            self._leave("updates-never-run", layer.name, _NAME_TRAIN_OP)
            return
        assignments = {variable: self.finder.assignments.get(variable, []) for variable in layer.statistics}
        never = [variable for variable, nodes in assignments.items() if not nodes]
        idle = [variable for variable, nodes in assignments.items() if nodes and not self.run.intersection(nodes)]
        if never:
            message = "Nothing ever assigns the moving statistics: evaluation normalises by their initial values."
            self._find("no-updates", "error", layer, never, message, _FIX_NO_UPDATES)
        if idle:
            nodes = [node for variable in idle for node in assignments[variable]]
            apart = self._run_apart(nodes)
            if apart is not None:
                message = (
                    f"the updates run only where {shown(self.graph.names[apart])} is fetched along with the train op"
                )
                self._leave("updates-never-run", layer.name, message)
                return
            message = (
                "The train op does not run the ops that update the moving statistics. They keep their initial values, "
                "and evaluation normalises by these, unless the session loop fetches the update ops itself."
            )
            self._find("updates-never-run", "error", layer, nodes, message, _FIX_UPDATES)

    def _run_apart(self, updates):
        """An op that somebody made in order to run updates beside the train op: a group, or a loss that waits."""
        graph = self.graph
        after = graph.descendants(updates)
        for node in sorted((after - self._after_step) & self._other_steps if self.named else after - self._after_step):
            name, controls = graph.names[node], list(graph.waits_for(node))
            if graph.ops[node] == "NoOp" and not graph.inputs[node] and not graph.waiters[node]:
                # ExponentialMovingAverage.apply makes a group of its own, around what it has made itself.
                if not all(graph.names[source].startswith(f"{name}/") for source in controls):
                    return node
            elif graph.ops[node] == "Identity" and after.intersection(controls):
                value = graph.inputs[node][0].node
                if value in self.after_trained and value in self.loss_of:
                    return node
        return None

    @functools.cached_property
    def _other_steps(self):
        """What runs optimizers that the train op does not run."""
        steps = [node for node, op in enumerate(self.graph.ops) if is_optimizer_op(op) and node not in self.run]
        return self.graph.descendants(steps)

    @functools.cached_property
    def _after_step(self):
        return self.graph.descendants(self.roots)

    def _check_training_statistics(self, layer):
        training = self._usages(layer, "training")
        selectors = self._selectors(layer)
        if training and all(kind != "batch" for _, kind, _ in training):
            trained = [v for v in (layer.gamma, layer.beta) if v is not None and v in self.parameters]
            evidence = [use.node for use, _, _ in training] + trained
            if trained:
                message = (
                    "The training tower normalises by the moving statistics and trains gamma or beta on top of them: "
                    "is_training is False where it should be True."
                )
            elif any(self.run & self._moved_otherwise(variable) for variable in layer.statistics):
                return  # averages that follow something else than a batch norm
            else:
                message = (
                    "The layer is frozen: its training tower normalises by the moving statistics. That is right only "
                    "where they come from a checkpoint."
                )
            self._find("wrong-statistics", "error" if trained else "warning", layer, evidence, message, _FIX_TRAINING)
        for node, value in sorted(selectors):
            if not value and _TRAINING_NAME.search(self.graph.names[node]):
                message = "The branches are exchanged: where is_training is True, the moving statistics are used."
                self._find("wrong-statistics", "error", layer, [node], message, _FIX_BRANCHES)

    def _moved_otherwise(self, variable):
        """What assigns a moving statistic, and takes no batch norm's statistics."""
        return set(self.finder.assignments.get(variable, ())) - {
            update.node for update in self.finder.updates.get(variable, ()) if update.uses
        }

    def _check_evaluation_statistics(self, layer):
        selectors = self._selectors(layer)
        wrong = [
            use
            for use, kind, conditions in self._usages(layer, "evaluation")
            if kind == "batch" and not conditions & selectors
        ]
        if not layer.statistics and all(self._in_loop(use) for use in layer.uses):
            return  # a map over the rows, each normalised by itself
        if wrong:
            evidence = [node for use in wrong for node in (use.node, *sorted(use.reductions - {use.node}))]
            message = (
                "An evaluation tower normalises by the statistics of its own batch, so that a prediction depends on "
                "what else is in the batch: is_training is True where it should be False."
            )
            self._find("wrong-statistics", "error", layer, evidence, message, _FIX_EVALUATION)

    def _in_loop(self, use):
        return any(self.graph.ops[node] in LOOP_OPS for node, _ in use.conditions)

    def _check_default(self, layer):
        graph, selectors = self.graph, self._selectors(layer)
        evaluated_apart = any(
            kind != "batch" and not conditions & {(node, not value) for node, value in selectors}
            for _, kind, conditions in self._usages(layer, "evaluation")
        )
        for node, value in sorted(selectors):
            if graph.ops[node] != "PlaceholderWithDefault" or not graph.inputs[node]:
                continue
            default = graph.scalar(graph.inputs[node][0])
            # Keras feeds its own placeholder in fit and in evaluate.
            if default is None or graph.names[node].endswith("keras_learning_phase"):
                continue
            if not any((node, value) in conditions for _, _, conditions in self._usages(layer, "training")):
                continue
            if bool(default) != value:
                message = (
                    "is_training is False by default: a training step that does not feed it uses the moving statistics."
                )
            elif not evaluated_apart:
                message = (
                    "is_training is True by default: an evaluation that does not feed it uses its batch's statistics."
                )
            else:
                continue
            self._find("wrong-statistics", "warning", layer, [node], message, _FIX_DEFAULT)

    def _check_updates_in_evaluation(self, layer):
        selectors = self._selectors(layer)
        predicates = {node for node, _ in selectors}
        wrong = []
        for update in layer.updates:
            if any(
                (node, not value) in update.conditions
                or ((node, value) in update.conditions and not value and _TRAINING_NAME.search(self.graph.names[node]))
                for node, value in selectors
            ):
                wrong.append(update.node)
            elif update.conditions & selectors or update.depends_on & predicates:
                continue  # runs in the training branch, or changes nothing in the other
            elif update.node in self._run_by_evaluation or (selectors and update.node in self._run_by_choosing):
                wrong.append(update.node)
        if wrong:
            message = "Evaluating moves the moving statistics: the evaluation data leaks into the model."
            self._find("updates-in-evaluation", "error", layer, wrong, message, _FIX_IN_EVALUATION)

    @functools.cached_property
    def _run_by_evaluation(self):
        return self._run_by([use for layer in self.layers for use in layer.uses if use.role == "evaluation"])

    @functools.cached_property
    def _run_by_choosing(self):
        """What runs with the output of the towers that are for training and evaluation, as is_training says."""
        choosing = []
        for layer in self.layers:
            selectors = self._selectors(layer)
            opposites = {(node, not value) for node, value in selectors}
            choosing += [use for use in layer.uses if any(c & (selectors | opposites) for _, c in use.statistics())]
        return self._run_by(choosing)

    def _run_by(self, uses):
        """What fetching the output of `uses` runs; nothing, where it runs whole training steps on purpose."""
        graph = self.graph
        outputs = {use.output for use in uses}
        stack = list(outputs)
        while stack:
            for user in graph.consumers[stack.pop()]:
                # In-place updates are often waited for behind the result.
                handed_on = graph.ops[user] in SAME_VALUE_OPS or graph.ops[user] in MERGE_OPS
                if handed_on and user not in outputs and not _GRADIENT_NAME.search(graph.names[user]):
                    outputs.add(user)
                    stack.append(user)
        found = graph.ancestors(outputs)
        return set() if found.intersection(self.steps) else found

    def _check_sharing(self, layer):
        """An evaluation copy whose moving statistics are its own, and are never updated."""
        own = set(layer.statistics)
        if not own or {use.role for use in layer.uses} != {"evaluation"}:
            return
        if any(self._kept_up_to_date(variable) for variable in own):
            return
        for key in self._likeness(layer):
            for other in self._trained_by_likeness.get(key, ()):
                if other.statistics and not own & set(other.statistics):
                    message = (
                        "The evaluation copy has moving statistics of its own, which training does not update: it "
                        "updates those of its own copy."
                    )
                    evidence = [*layer.statistics, *other.statistics]
                    self._find("unshared-towers", "error", layer, evidence, message, _FIX_UNSHARED)
                    return

    def _kept_up_to_date(self, variable):
        """Whether anything assigns a variable but what an evaluation tower says: a copy of the trained one may."""
        by_evaluation = {u.node for u in self.finder.updates.get(variable, ()) if u.uses and _only_evaluation(u)}
        return not by_evaluation.issuperset(self.finder.assignments.get(variable, ()))

    def _likeness(self, layer):
        """What the copies of a layer have in common: a parameter, the weights in front, or name and size."""
        keys = [("parameter", variable) for variable in (layer.gamma, layer.beta) if variable is not None]
        keys += [("weights", weights) for use in layer.uses if (weights := self.finder.weights(use))]
        size = self._size(layer.statistics[0]) if layer.statistics else None
        return [*keys, ("name", re.sub(r"_\d+(?=/|$)", "", layer.name), size)]

    @functools.cached_property
    def _trained_by_likeness(self):
        found = {}
        for layer in self.layers:
            if self._trained_by_batch(layer):
                for key in self._likeness(layer):
                    found.setdefault(key, []).append(layer)
        return found

    def _size(self, variable):
        attr = self.graph.attrs[variable]
        return tuple(dim.size for dim in attr["shape"].shape.dim) if "shape" in attr else None

    def _check_trainable(self, layer):
        wrong = [v for v in layer.statistics if v in self.trainable or v in self._optimized]
        if wrong:
            if self._optimized.intersection(wrong):
                message = "The moving statistics are trained: the optimizer moves them along a gradient."
            else:
                message = (
                    "The moving statistics are in TRAINABLE_VARIABLES: an optimizer, weight decay, or whatever else "
                    "takes these variables changes them."
                )
            self._find("trainable-statistics", "error", layer, wrong, message, _FIX_TRAINABLE)

    @functools.cached_property
    def _optimized(self):
        return {v for n in self.steps if is_optimizer_op(self.graph.ops[n]) for v in self._targets(n)}

    def _check_duplicates(self, layer):
        evaluation, twice = {}, {}  # members of UPDATE_OPS, to their places in it
        for update in layer.updates:
            for place, node, count in self._collected_for.get(update.node, ()):
                if update.uses and _only_evaluation(update):
                    evaluation[node] = place
                if count > 1:
                    twice[node] = place
        evaluation, twice = (sorted(found, key=found.get) for found in (evaluation, twice))
        by_origin = {}
        for update in layer.updates:
            if update.node in self.run and update.uses:
                key = (update.variable, update.conditions, *sorted(use.node for use in update.uses))
                by_origin.setdefault(key, []).append(update.node)
        twice += [node for nodes in by_origin.values() if len(nodes) > 1 for node in nodes]
        if evaluation:
            averaged = (
                "training steps average" if self.run.intersection(evaluation) else "whoever runs them all averages"
            )
            message = f"UPDATE_OPS holds updates of an evaluation tower: {averaged} its data, too."
            self._find("duplicate-updates", "warning", layer, evaluation, message, _FIX_DUPLICATES)
        elif twice:
            message = "Update ops are there twice: where both run, a step moves the averages twice."
            self._find("duplicate-updates", "warning", layer, twice, message, _FIX_DUPLICATES)

    @functools.cached_property
    def _collected_for(self):
        """Update ops to the members of UPDATE_OPS that stand for them: (place, member, how often it is there)."""
        own = {update.node for layer in self.layers for update in layer.updates}
        found = {}
        members = collections.Counter(self._collected(_KEYS.UPDATE_OPS)).items()
        for place, (node, count) in enumerate(members):
            for update in self._leads_to(node, own):
                found.setdefault(update, []).append((place, node, count))
        return found

    def _leads_to(self, node, own):
        """The update ops that a member of UPDATE_OPS stands for: itself, or what the cond or group that it is runs."""
        found, stack, seen = [], [node], set()
        while stack and len(seen) < 12:
            node = stack.pop()
            if node in own:
                found.append(node)
            elif node not in seen and self.graph.ops[node] in {"Identity", "NoOp", "ReadVariableOp", *MERGE_OPS}:
                seen.add(node)
                stack += [*(t.node for t in self.graph.inputs[node]), *self.graph.waits_for(node)]
        return found

    def _check_decay(self, layer):
        if not self._trained_by_batch(layer):
            return
        by_decay = {}
        for update in layer.updates:
            if update.decay is not None:
                by_decay.setdefault((round(update.decay, 6), update.debiased), []).append(update.node)
        for (decay, debiased), nodes in sorted(by_decay.items()):
            left = decay ** (self.num_steps or math.inf)
            if decay < 0.5:
                message = (
                    f"decay is {decay:g}, which is how much of itself a moving average keeps at an update: it is "
                    f"little more than the last batch. Was {1 - decay:g} meant?"
                )
            elif decay >= 1:
                message = "decay is 1: the moving statistics never move."
            elif left > _LEFT and not debiased:
                message = (
                    f"decay is {decay:g}: after {self.num_steps} steps, {left:.0%} of the moving statistics is still "
                    "their initial values."
                )
            else:
                continue
            self._find("slow-decay", "warning", layer, nodes, message, _FIX_DECAY)

    def _check_batch(self, layer):
        for use in self._trained_by_batch(layer):
            rows, values = self._batch(use)
            if rows == 1 or (values is not None and values < _FEW):
                found = "one row" if rows == 1 else f"{values} values to a channel"
                message = f"The training batch has {found}: too few for a mean and a variance that say anything."
                self._find("tiny-batch", "warning", layer, [use.node], message, _FIX_BATCH)
                return

    def _batch(self, use):
        """(rows of the batch, values per channel) of a use; None for what the graph does not say."""
        shape = self._shape_in_front(use.x)
        if not shape:
            return None, None
        if use.fused:
            attr = self.graph.attrs[use.node]
            channel = 1 if "data_format" in attr and attr["data_format"].s.startswith(b"NC") else len(shape) - 1
            reduced = [axis for axis in range(len(shape)) if axis != channel]
        else:
            axes = [self.graph.constant(self.graph.inputs[node][1]) for node in sorted(use.reductions)]
            axes = [axis for axis in axes if axis is not None]
            reduced = sorted({a % len(shape) for a in axes[0].reshape(-1).tolist()}) if axes else [0]
        sizes = [shape[axis] for axis in reduced]
        return shape[0], None if None in sizes else math.prod(sizes)

    def _shape_in_front(self, tensor):
        """The shape of a tensor; where the graph keeps no shapes, the rows of the input that it was computed from."""
        graph = self.graph
        shape = self.finder.shape(tensor)
        if shape is not None:
            return shape
        for _ in range(200):
            if graph.ops[tensor.node] not in _KEEPS_ROWS or not graph.inputs[tensor.node]:
                return None
            tensor = graph.inputs[tensor.node][0]
            shape = self.finder.shape(tensor)
            if shape:
                return shape if len(shape) == 2 else [shape[0], *[None] * (len(shape) - 1)]
        return None

    def _check_mixed(self, layer):
        fused = [use.node for use in layer.uses if use.fused]
        decomposed = [use.node for use in layer.uses if not use.fused]
        if layer.variance is not None and fused and decomposed:
            message = (
                "Fused and decomposed layers share a moving variance. The fused op averages the variance divided by "
                "n - 1, the others the one divided by n."
            )
            self._find("mixed-variance", "warning", layer, [*fused, *decomposed], message, _FIX_MIXED)

    def _check_bias(self, layer):
        graph, biases = self.graph, {}
        for use in self._trained_by_batch(layer):
            added = graph.origin(use.x)
            if graph.ops[added] in ("BiasAdd", "BiasAddV1", "Add", "AddV2"):
                for operand in graph.inputs[added]:
                    variable = graph.variable.get(graph.origin(operand))
                    sizes = self._size(variable) if variable is not None else None
                    # One value to a channel; what differs from place to place is not subtracted again.
                    if sizes is not None and sum(size != 1 for size in sizes) <= 1:
                        biases[variable] = added
        if biases:
            message = (
                "A bias is added just before the layer, which subtracts it again with the mean: it learns nothing."
            )
            self._find("cancelled-bias", "note", layer, [*biases, *biases.values()], message, _FIX_BIAS)

    def _check_unused(self, layer):
        if layer.unused:
            names = [self.graph.names[variable].rpartition("/")[2] for variable in layer.unused]
            message = f"{' and '.join(names)} exists and no tower uses it."
            self._find("unused-parameter", "note", layer, layer.unused, message, _FIX_UNUSED)

    # What is saved

    def _check_saver(self, layer):
        missing = [variable for variable in layer.statistics if variable not in self._saved_as]
        if missing and self._companions(layer) & set(self._saved_as):
            self._find("statistics-not-saved", "error", layer, [*missing, *self._savers], _NOT_SAVED, _FIX_SAVER)

    @functools.cached_property
    def _saved_as(self):
        """The variables that the graph's Savers save, and under which names."""
        graph, found = self.graph, {}
        for node in self._savers:
            names = graph.strings(graph.inputs[node][1]) if len(graph.inputs[node]) > 1 else None
            for position, tensor in enumerate(graph.inputs[node][_SAVE_OPS[graph.ops[node]] :]):
                origin = graph.origin(tensor)
                if origin in graph.variable:
                    name = names[position] if names and position < len(names) else graph.names[origin]
                    found[graph.variable[origin]] = name.removesuffix(_SUFFIX)
        return found

    @functools.cached_property
    def _savers(self):
        """The ops of the Saver that wrote the file, where it says which one, else of all that there are."""
        graph = self.graph
        every = [node for node, op in enumerate(graph.ops) if op in _SAVE_OPS]
        own = graph.ancestors([graph.number[self.saver]]) if self.saver in graph.number else ()
        return [node for node in every if node in own] or every

    def _companions(self, layer):
        """The variables that are saved with a layer wherever it is saved at all."""
        found = {variable for variable in (layer.gamma, layer.beta) if variable is not None}
        return found.union(*(self.finder.weights(use) or () for use in layer.uses))

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
        """Compares a checkpoint with the layers; without a graph that fits, with names. Returns what it then found."""
        name_of = {variable: self._saved_as.get(variable, self.graph.names[variable]) for variable in self.moving}
        known = [layer for layer in self.layers if layer.statistics]
        fitting = any(
            name_of.get(v, self.graph.names[v]) in self.saved
            for layer in known
            for v in (*layer.statistics, *self._companions(layer))
        )
        if fitting:
            reported = {finding.layer for finding in self.findings if finding.rule == "statistics-not-saved"}
            for layer in known:
                names = [name_of[variable] for variable in layer.statistics]
                missing = [name for name in names if name not in self.saved]
                companions = {self._saved_as.get(v, self.graph.names[v]) for v in self._companions(layer)}
                if not missing:
                    self._check_values(layer.name, names)
                elif companions & set(self.saved) and layer.name not in reported:
                    finding = Finding(
                        "statistics-not-saved", "error", layer.name, tuple(missing), _NOT_SAVED, _FIX_SAVER
                    )
                    self.findings.append(finding)
            return []
        found = []
        variances = {_scope(name): name for name in sorted(self.saved) if VARIANCE_NAME.search(name)}
        for mean in sorted(name for name in self.saved if MEAN_NAME.search(name)):
            scope, name = _scope(mean), scope_of(mean)
            variables = {"moving_mean": mean, "moving_variance": variances.get(scope)}
            for part in ("gamma", "beta"):
                variable = f"{scope}/{part}".lstrip("/")
                variables[part] = variable if variable in self.saved else None
            found.append({"name": name, "variables": variables, "towers": [], "updates": []})
            if scope in variances:
                self._check_values(name, [mean, variances[scope]])
        if not found and not self.layers:
            self._leave("statistics-not-saved", "", "the checkpoint names no moving statistics; its .meta would tell")
        return found

    def _check_values(self, layer, names):
        values = [self._value(name) for name in names]
        if len(values) != 2 or any(value is None for value in values):
            return
        mean, variance = values
        if np.any(mean) or not (np.all(variance == 1) or not np.any(variance)):
            return
        steps = self._names(
            v for n in self._collected(_KEYS.GLOBAL_STEP) for v in self.graph.variables_of(Tensor(n, 0))
        )
        for name in steps or ("global_step",):
            step = self._value(name, kinds="iu") if name in self.saved else None
            if step is not None and not step.any():
                self._leave("statistics-untouched", layer, "the checkpoint was saved before the first training step")
                return
        finding = Finding("statistics-untouched", "error", layer, tuple(names), _UNTOUCHED, _FIX_UPDATES)
        self.findings.append(finding)

    def _value(self, name, kinds="f"):
        """A variable of the checkpoint, or None where it is not of the kind that it should be."""
        shape, dtype = self.checkpoint.variables[self.saved[name]]
        if not isinstance(dtype, np.dtype) or dtype.kind not in kinds or not math.prod(shape):
            return None
        return self.checkpoint.read(self.saved[name])

    def _leave_inference(self):
        graph = self.graph
        gradients = any("gradients/" in name for name in graph.names) or any(op.endswith("Grad") for op in graph.ops)
        if self.layers and gradients:
            self._leave("updates-never-run", "", _NAME_TRAIN_OP)
            return
        for layer in self.layers:
            if all(kind == "batch" for _, kind, _ in self._usages(layer)):
                message = "it normalises by the batch's statistics, and nothing trains: wrong if this is for evaluation"
                self._leave("wrong-statistics", layer.name, message)

    # What is told of a layer

    def _condition(self, conditions):
        said = [f"{self.graph.names[node]} is {value}" for node, value in sorted(conditions)]
        return " and ".join(said) or None

    def _describe(self, layer):
        names = self.graph.names
        return {
            "name": layer.name,
            "variables": {part: None if v is None else names[v] for part, v in layer.variables.items()},
            "towers": [
                {
                    "op": names[use.node],
                    "role": use.role,
                    "statistics": kind,
                    "condition": self._condition(conditions),
                    "fused": use.fused,
                }
                for use, kind, conditions in self._usages(layer)
            ],
            "updates": [
                {
                    "op": names[update.node],
                    "variable": names[update.variable],
                    "condition": self._condition(update.conditions),
                    "decay": None if update.decay is None else round(update.decay, 6),
                    "run_by_train_op": update.node in self.run if self.has_train_op else None,
                }
                for update in layer.updates
            ],
        }


def _scope(name):
    return scope_of(name) if "/" in name else ""


def _only_evaluation(update):
    return all(use.role == "evaluation" for use in update.uses)


_NAME_TRAIN_OP = "the graph has gradients, and no op in it is known to train; name the train op"
_UNTOUCHED = "The moving statistics are still their initial values: no training step updated them."
_NOT_SAVED = "The moving statistics are not saved: whoever restores the checkpoint evaluates with their initial values."
_FIX_UPDATES = """\
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = optimizer.minimize(loss)"""
_FIX_NO_UPDATES = """\
update_mean = tf.assign_sub(moving_mean, (1 - decay) * (moving_mean - batch_mean))
update_variance = tf.assign_sub(moving_variance, (1 - decay) * (moving_variance - batch_variance))
with tf.control_dependencies([update_mean, update_variance]):
    train_op = optimizer.minimize(loss)"""
_FIX_TRAINING = "batch_norm(..., is_training=True)  # in the training tower"
_FIX_BRANCHES = "mean, variance = tf.cond(is_training, update_and_take_batch_statistics, take_moving_statistics)"
_FIX_EVALUATION = "batch_norm(..., is_training=False, reuse=True)  # in the evaluation tower"
_FIX_DEFAULT = "is_training = tf.placeholder(tf.bool, [])  # without a default, TensorFlow says when it was not fed"
_FIX_IN_EVALUATION = """\
batch_norm(..., is_training=False, reuse=True)  # in an evaluation tower of its own; or, with a placeholder,
tf.cond(is_training, update, no_update)  # where `update` makes the update ops, so that only its branch runs them"""
_FIX_TRAINABLE = "moving_mean = tf.get_variable('moving_mean', shape, trainable=False)"
_FIX_BIAS = "tf.layers.dense(..., use_bias=False)  # in tf-slim: biases_initializer=None"
_FIX_UNUSED = "batch_norm(..., center=True, scale=True)  # or do not create the variable"
_FIX_DECAY = "batch_norm(..., decay=0.9)  # decay ** steps of the start is left: 0.9 forgets it within 50 steps"
_FIX_BATCH = "x = tf.placeholder(tf.float32, [64, ...])  # a larger batch, or else group or layer normalisation"
_FIX_MIXED = "batch_norm(..., fused=False)  # the same in all towers"
_FIX_DUPLICATES = "update_ops = list(set(tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope=training_scope)))"
_FIX_UNSHARED = "batch_norm(..., is_training=False, scope=scope, reuse=True)  # in the training tower's variable scope"
_FIX_SAVER = "saver = tf.train.Saver()  # all variables; or var_list=tf.global_variables()"


# The text for a terminal

_SHOWN = 4  # names in a list, before it says how many more there are


def _text(report):
    """What is the same for several layers is said once."""
    lines, found, undecided = [], {}, {}
    for finding in report.findings:
        found.setdefault((finding.severity, finding.rule, finding.message, finding.fix), []).append(finding)
    for (severity, rule, message, fix), findings in found.items():
        lines += [f"{severity}[{rule}]: {_listed([f.layer for f in findings])}", *_wrapped(message)]
        lines += _wrapped("at: " + _listed([name for finding in findings for name in finding.evidence]), hanging="    ")
        lines += [f"    {'fix:' if not i else '    '} {line}" for i, line in enumerate(fix.splitlines())]
        lines.append("")
    for item in report.undecided:
        undecided.setdefault((item.rule, item.message), []).append(item.layer)
    for (rule, message), layers in undecided.items():
        lines += [f"undecided[{rule}]: {_listed(layers)}".removesuffix(": "), *_wrapped(message), ""]
    return "\n".join([*lines, f"{report.subject}: {_summary(report)}"])


def _wrapped(message, hanging=""):
    return textwrap.wrap(
        message,
        100,
        initial_indent="    ",
        subsequent_indent="    " + hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _listed(names):
    names = [shown(name) for name in dict.fromkeys(names)]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _summary(report):
    if not report.layers:
        said = ["no batch-norm layer found"]
    else:
        towers = {tower["op"] for layer in report.layers for tower in layer["towers"]}
        said = [_count(len(report.layers), "batch-norm layer")] + ([_count(len(towers), "use")] if towers else [])
    counts = collections.Counter(finding.severity for finding in report.findings)
    said += [_count(counts[severity], severity) for severity in SEVERITIES if counts[severity]]
    if report.layers and not counts:
        said.append("nothing wrong, as far as the graph says" if report.undecided else "nothing wrong")
    return ", ".join(said)


def _count(count, name):
    return f"{count} {name}{'' if count == 1 else 's'}"
