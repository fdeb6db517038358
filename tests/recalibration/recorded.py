"""Recalibrates a graph of a test, or one that an old release built, and says what its own updates would have stored."""

import contextlib
import re
from typing import NamedTuple

import numpy as np

from bn_graph import recalibrate
from bn_graph.audit.audit import audit_of
from bn_graph.formats.tf_graph import source_of
from bn_graph.recalibration.plan import plan_recalibration
from bn_graph.saving.restore import read_checkpoint
from bn_graph.tf1 import tf
from tests.audit.sessions import CannotRun, feeds, imported, initialize, run, session_of

ROWS = 32
_RANDOM = re.compile(r"Random|Multinomial|Dropout")


class Recalibrated(NamedTuple):
    """What became of a checkpoint. Statistics by the variable, outputs by the layer."""

    report: object
    before: dict  # name to value of every variable in the checkpoint
    after: dict
    stored: dict  # moving statistic to what it becomes where its own update runs for ever on the same batch
    towers: dict  # layer to what a tower on the new statistics, uncorrected, and a trained tower give, on the same data

    @property
    def changed(self):
        """The variables that are not what they were, bit for bit."""
        both = self.before.keys() | self.after.keys()
        missing = {name for name in both if name not in self.before or name not in self.after}
        return missing | {name for name in both - missing if self.before[name].tobytes() != self.after[name].tobytes()}

    def wrong(self):
        """What is wrong with it, in words; empty where it is right."""
        ours = {name for layer in self.report.layers for name in layer.variables}
        wrong = [f"{name} was changed" for name in self.changed - ours]
        for name, value in self.stored.items():
            if name in ours and not np.allclose(self.after[name], value, 2e-3, 2e-4 * max(1, np.abs(value).max())):
                wrong.append(f"{name} is not what its own update stores")
        for name, (moving, trained) in self.towers.items():
            if name not in self.report.skipped and not np.allclose(moving, trained, 2e-3, 2e-3):
                wrong.append(f"{name}: evaluation does not agree with training")
        return wrong


def recalibrated_recording(path, entry, folder):
    """Recalibrates a recorded graph with the weights that its initializers give.

    entry: what expected.json says of it. Raises `CannotRun`, or `InputError`.
    """
    built = imported(path, entry)
    built.feed = _same_for_alike(feeds(built.graph, ROWS))
    done = recalibrated(built, path, folder)
    if "hand_swapped_product" in path.name:
        return done._replace(stored={})  # its update moves nothing in training
    if "layers_renorm" in path.name:
        return done._replace(towers={})  # batch renormalisation does not normalise by its batch alone
    return done


def recalibrated(built, meta_graph, folder):
    """Recalibrates a `Built` graph on one batch, that of `built.feed`. meta_graph: its file."""
    audit = audit_of(source_of(meta_graph))
    plan = plan_recalibration(audit)
    rows = max((len(value) for value in built.feed.values() if np.ndim(value)), default=ROWS)
    data = {tensor.name: value for tensor, value in built.feed.items() if np.ndim(value) and len(value) == rows}
    feed = {t.name: v for t, v in built.feed.items() if t.name not in data and t.name not in plan.predicates}
    with session_of(built.graph) as session:
        try:
            initialize(session, built)
        except tf.errors.OpError as error:
            raise CannotRun(f"it is not initialised: {error.message.splitlines()[0]}") from None
        variables = {variable.op.name: variable for variable in tf.global_variables() + tf.local_variables()}
        if not variables:
            raise CannotRun("it has no variables")
        prefix = tf.train.Saver(variables).save(session, str(folder / "model.ckpt"), write_meta_graph=False)
        output = folder / "new.ckpt"
        report = recalibrate(prefix, output, meta_graph, data=data, feed=feed, batch_size=rows, batches=1)
        for name, value in plan.variables.items():
            _assign(session, variables[name], value)
        batch = built.feed | {session.graph.get_tensor_by_name(name): v for name, v in plan.predicates.items()}
        counts = _counts(plan, session, batch)
        stored = _stored(audit, session, variables, batch, counts)
        for name, value in _with_biased_variances(read_checkpoint(output), report, counts).items():
            _assign(session, variables[name], value)
        towers = _towers(audit, session, variables, built.feed, counts)
    return Recalibrated(report, read_checkpoint(prefix), read_checkpoint(output), stored, towers)


def _assign(session, variable, value):
    session.run(variable.initializer, {variable.initializer.inputs[1]: value})


def _same_for_alike(fed):
    """The same values for placeholders of one dtype and shape, so that every tower sees the same data."""
    first = {}
    return {t: first.setdefault((t.dtype, np.shape(value)), value) for t, value in fed.items()}


def _stored(audit, session, variables, batch, counts):
    """From one run of each update: it moves a statistic by 1 - decay of the way. Only of the layers in `counts`."""
    graph, stored = audit.graph, {}
    for layer in audit.layers:
        if layer.name not in counts:
            continue
        uses = {use for use, kind, _ in audit.usages(layer, "training") if kind == "batch"}
        for variable in layer.statistics:
            own = [u for u in layer.updates if u.variable == variable and set(u.uses) & uses]
            if len(own) != 1 or own[0].decay in (None, 1.0) or own[0].debiased or own[0].through:
                continue
            (update,), name = own, graph.names[variable]
            if graph.top_level[update.node] != update.node or _is_random(graph, update.node):
                continue
            before = session.run(variables[name].read_value())
            try:
                run(session, [session.graph.get_operation_by_name(graph.names[update.node])], batch)
            except (tf.errors.OpError, ValueError, KeyError):  # KeyError: it is in a function
                continue
            after = session.run(variables[name].read_value())
            stored[name] = (after - update.decay * before) / (1 - update.decay)
    return stored


def _is_random(graph, node):
    return any(_RANDOM.search(graph.ops[n]) for n in graph.ancestors([node]) if "nitializer" not in graph.names[n])


def _counts(plan, session, batch):
    """Layer to the number of elements that its only tower normalises; of several, no tower alone has the statistics."""
    counts = {}
    for layer in plan.layers:
        if len(layer.values) == 1:
            with contextlib.suppress(tf.errors.OpError):
                counts[layer.name] = run(session, session.graph.get_tensor_by_name(layer.values[0].tensor), batch).size
    return counts


def _with_biased_variances(values, report, counts):
    """The values of a checkpoint, but the variances are those that training normalises by: without the correction."""
    values = dict(values)
    for change in report.layers:
        if change.corrected and change.layer in counts:
            number = counts[change.layer] / change.channels
            for name in set(change.variables[1:]):
                values[name] = values[name] * np.float32(1 - 1 / number)
    return values


def _towers(audit, session, variables, fed, counts):
    """Layer to the outputs of an evaluation and a training tower. Not of one whose evaluation moves its statistics."""
    graph, outputs = audit.graph, {}
    for layer in audit.layers:
        if layer.name not in counts:
            continue
        usages = audit.usages(layer)
        on_batch = [(use, c) for use, kind, c in usages if kind == "batch" and audit.step.roles[use] == "training"]
        on_moving = [(use, c) for use, kind, c in usages if kind == "moving"]
        if on_batch and on_moving:
            # The one on the moving statistics first: where updates are in place, the other one moves these.
            moving = [variables[graph.names[variable]].read_value() for variable in layer.statistics]
            before = session.run(moving)
            evaluated = _output(graph, session, *on_moving[0], fed)
            after = session.run(moving)
            trained = _output(graph, session, *on_batch[0], fed)
            if evaluated is not None and trained is not None and evaluated.shape == trained.shape:
                if all(map(np.array_equal, before, after)):
                    outputs[layer.name] = evaluated, trained
    return outputs


def _output(graph, session, use, conditions, fed):
    """What a use gives where these conditions hold; None where no session can say."""
    if _is_random(graph, use.output):
        return None
    batch = dict(fed)
    try:
        for node, value in conditions:
            batch[session.graph.get_tensor_by_name(f"{graph.names[node]}:0")] = value
        return run(session, session.graph.get_tensor_by_name(f"{graph.names[use.output]}:0"), batch)
    except (KeyError, ValueError, TypeError, tf.errors.OpError):
        return None
