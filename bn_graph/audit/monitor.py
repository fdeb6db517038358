"""At run time: do the moving statistics move while their layers train on their batch?

The audit cannot know what a session loop fetches, or feeds. Here the variables themselves are looked at: before the
first training step and after the tenth. In between, and afterwards, nothing is done.
"""

import dataclasses
import warnings

import numpy as np

from bn_graph.audit.advice import run_updates
from bn_graph.audit.audit import audit_of
from bn_graph.audit.graph.ops import LOOP_OPS
from bn_graph.audit.layers.normalizations import parameters_of
from bn_graph.audit.report import shortened
from bn_graph.audit.rules import apply
from bn_graph.formats.tf_graph import source_of
from bn_graph.tf1 import tf

STEPS = 10  # training steps after which is judged
_ACTIONS = ("raise", "warn")


class MovingStatisticsError(RuntimeError):
    """The moving statistics of a layer do not move, though it trains on the statistics of its batch."""


class MovingStatisticsWarning(UserWarning):
    """The same, as a warning."""


class MovingStatisticsHook(tf.train.SessionRunHook):
    """Says within ten training steps which layers' moving statistics do not move, though they train on their batch.

    For `tf.train.MonitoredTrainingSession(hooks=[...])` and `Estimator.train(hooks=[...])`. A training step is a run
    that changes parameters, whatever else it fetches. The variables are read twice, before the first step and after the
    tenth; then the hook does nothing any more.

    Args:
        action: "raise": `MovingStatisticsError`. "warn": `MovingStatisticsWarning`, by Python's `warnings`.
        train_op: the op that trains, or its name, or a list of several; by default what `audit_graph` takes for it.

    Raises ValueError for another action.
    """

    def __init__(self, action: str = "raise", train_op=None):
        if action not in _ACTIONS:
            raise ValueError(f"MovingStatisticsHook: action must be {' or '.join(_ACTIONS)}, found {action!r}")
        self._action, self._train_op = action, train_op
        self._watch = None

    def begin(self):
        self._watch = _Watch(tf.get_default_graph(), self._train_op)

    def before_run(self, run_context):
        watch = self._watch
        if watch.done or not watch.trains(run_context.original_args.fetches):
            return None
        watch.before_step(run_context.session)
        return tf.train.SessionRunArgs(watch.predicates)

    def after_run(self, run_context, run_values):
        if run_values.results is None or self._watch.done:
            return
        idle = self._watch.after_step(run_context.session, run_values.results)
        if idle:
            _say(self._action, idle)


class MovingStatisticsSession:
    """A `tf.Session` of which `run` says within ten training steps which layers' moving statistics do not move.

    For programs with a loop of their own:

        session = MovingStatisticsSession(session)

    Everything but `run` is the session's own.

    Args:
        session: a `tf.Session`, whose graph is complete.
        action, train_op: as in `MovingStatisticsHook`.
    """

    def __init__(self, session, action: str = "raise", train_op=None):
        if action not in _ACTIONS:
            raise ValueError(f"MovingStatisticsSession: action must be {' or '.join(_ACTIONS)}, found {action!r}")
        self._session, self._action = session, action
        with session.graph.as_default():
            self._watch = _Watch(session.graph, train_op)

    def __getattr__(self, name):
        return getattr(self._session, name)

    def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
        """`tf.Session.run`."""
        watch = self._watch
        if watch.done or not watch.trains(fetches):
            return self._session.run(fetches, feed_dict, options, run_metadata)
        watch.before_step(self._session)
        results, predicates = self._session.run((fetches, watch.predicates), feed_dict, options, run_metadata)
        idle = watch.after_step(self._session, predicates)
        if idle:
            _say(self._action, idle)
        return results


def _say(action, message):
    if action == "raise":
        raise MovingStatisticsError(message)
    warnings.warn(message, MovingStatisticsWarning, stacklevel=3)


@dataclasses.dataclass
class _Watched:
    """A layer, by the names of its variables."""

    name: str
    statistics: list
    parameters: list
    on_batch: list  # the conditions, {index of a predicate: value}, under which it is trained on its batch


class _Watch:
    """What is known of a graph, and of the steps so far.

    predicates: the tensors, by name, that decide which statistics the layers use.
    """

    def __init__(self, graph, train_op):
        audit = audit_of(source_of(graph), train_op)
        self._graph, self._audit = graph, audit
        self._layers = [_watched(audit, layer) for layer in audit.layers if audit.trained_by_batch(layer)]
        self._layers = [layer for layer in self._layers if layer.statistics and layer.parameters]
        nodes = sorted({node for layer in self._layers for conditions in layer.on_batch for node in conditions})
        self.predicates = {str(node): _tensor(graph, audit.graph.names[node]) for node in nodes}
        variables = {variable.op.name: variable for variable in tf.global_variables() + tf.local_variables()}
        names = {name for layer in self._layers for name in (*layer.statistics, *layer.parameters)}
        self._variables = {name: variables[name].read_value() for name in names if name in variables}
        self._steps, self._before, self._on_batch, self._known = 0, None, set(), {}
        self.done = not self._layers

    def trains(self, fetches):
        """Whether a run of these fetches changes parameters."""
        names = tuple(sorted(_names_in(fetches)))
        if names not in self._known:
            graph = self._audit.graph
            run = graph.ancestors([graph.number[name] for name in names if name in graph.number])
            self._known[names] = any(op in run for op in self._audit.step.optimizer_ops)
        return self._known[names]

    def before_step(self, session):
        if self._steps == 0:
            self._before = session.run(self._variables)

    def after_step(self, session, predicates):
        """What is to be said after a training step, or None. predicates: the values of `self.predicates`."""
        self._steps += 1
        for layer in self._layers:
            if any(_hold(conditions, predicates) for conditions in layer.on_batch):
                self._on_batch.add(layer.name)
        if self._steps < STEPS:
            return None
        self.done = True
        after = session.run(self._variables)
        idle = [layer for layer in self._layers if layer.name in self._on_batch and self._is_idle(layer, after)]
        if not idle:
            return None
        names = [layer.name for layer in idle]
        errors = [f.fix for f in apply(self._audit)[0] if f.severity == "error" and f.layer in names]
        return (
            f"After {STEPS} training steps the moving statistics of {shortened(names)} have not moved, though the "
            "layers train on the statistics of their batch. Evaluation would normalise by their initial values.\n\n"
            f"{errors[0] if errors else run_updates(self._audit)}"
        )

    def _is_idle(self, layer, after):
        """Whether a layer's parameters were trained, and one of its moving statistics is what it was, bit for bit."""
        trained = any(self._changed(name, after) for name in layer.parameters)
        return trained and any(name in after and not self._changed(name, after) for name in layer.statistics)

    def _changed(self, name, after):
        return name in after and not np.array_equal(self._before[name], after[name], equal_nan=True)


def _watched(audit, layer):
    graph = audit.graph
    parameters = set().union(*(parameters_of(graph, use) for use in layer.uses)) & audit.step.parameters
    on_batch = []
    for _, kind, conditions in audit.usages(layer, "training"):
        known = {node: value for node, value in conditions if graph.ops[node] not in LOOP_OPS}
        # A predicate in a branch or a function cannot be fetched. Whether it holds is then not known.
        if kind == "batch" and all(graph.top_level[n] == n and not graph.conditions[n] for n in known):
            on_batch.append(known)
    return _Watched(layer.name, list(audit.names(layer.statistics)), list(audit.names(parameters)), on_batch)


def _tensor(graph, name):
    return graph.get_operation_by_name(name).outputs[0]


def _hold(conditions, predicates):
    return all(str(node) in predicates and bool(predicates[str(node)]) == value for node, value in conditions.items())


def _names_in(fetches):
    """The names of the ops that a structure of fetches names, as `tf.Session.run` takes it."""
    if isinstance(fetches, dict):
        fetches = list(fetches.values())
    if isinstance(fetches, list | tuple):
        for fetch in fetches:
            yield from _names_in(fetch)
    elif isinstance(fetches, str):
        yield fetches.partition(":")[0]
    elif hasattr(fetches, "op"):  # tensors and variables
        yield fetches.op.name
    elif hasattr(fetches, "name"):
        yield fetches.name
