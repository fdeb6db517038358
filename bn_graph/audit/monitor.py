"""At run time: do the moving statistics move while their layers train on their batch?

The audit cannot know what a session loop fetches, or feeds. Here the variables themselves are looked at: before the
first training step and after the tenth. In between, only names are compared; afterwards nothing is done.
"""

import dataclasses
import warnings

import numpy as np
from tensorflow.python.client.session import SessionInterface

from bn_graph.audit.advice import run_updates
from bn_graph.audit.audit import audit_of
from bn_graph.audit.graph.frames import find_frames
from bn_graph.audit.graph.ops import COMPARE_OPS, LOOP_OPS, is_optimizer_op
from bn_graph.audit.layers.normalizations import parameters_of
from bn_graph.audit.rules import apply
from bn_graph.audit.summary import shortened
from bn_graph.audit.training_step import targets
from bn_graph.formats.tf_graph import source_of
from bn_graph.tf1 import tf

STEPS = 10  # training steps after which is judged
_ACTIONS = ("raise", "warn")
# What a run can compute besides: it asks for no feed, and has no effect.
_HARMLESS_OPS = {"Const", "PlaceholderWithDefault", "Identity", "ReadVariableOp", "LogicalNot", *COMPARE_OPS}


class MovingStatisticsError(RuntimeError):
    """The moving statistics of a layer do not move, though it trains on the statistics of its batch."""


class MovingStatisticsWarning(UserWarning):
    """The same, as a warning."""


class MovingStatisticsHook(tf.train.SessionRunHook):
    """Says within ten training steps which layers' moving statistics do not move, though they train on their batch.

    For `tf.train.MonitoredTrainingSession(hooks=[...])` and `Estimator.train(hooks=[...])`. A training step is a run
    that changes parameters, whatever else it fetches. Updates may run in it or between. The variables are read twice,
    before the first step and after the tenth; then the hook does nothing any more.

    Args:
        action: "raise": `MovingStatisticsError`. "warn": `MovingStatisticsWarning`, by Python's `warnings`.
        train_op: the op that trains, or its name, or a list of several; by default what `audit_graph` takes for it.

    Raises ValueError for another action.
    """

    def __init__(self, action: str = "raise", train_op=None):
        _check_action(type(self).__name__, action)
        self._action, self._train_op = action, train_op
        self._watch = None

    def begin(self):
        self._watch = _Watch(tf.get_default_graph(), self._train_op)

    def before_run(self, run_context):
        if self._watch.done:
            return None
        predicates = self._watch.before(run_context.session, run_context.original_args.fetches)
        return None if predicates is None else tf.train.SessionRunArgs(predicates)

    def after_run(self, run_context, run_values):
        if run_values.results is None or self._watch.done:
            return
        idle = self._watch.after(run_context.session, run_values.results)
        if idle:
            _say(self._action, idle)


class MovingStatisticsSession(SessionInterface):
    """A `tf.Session` of which `run` says within ten training steps which layers' moving statistics do not move.

    For programs with a loop of their own:

        session = MovingStatisticsSession(session)

    In `with session:` it is the default session, which `train_op.run()` uses. Everything but `run` is the session's
    own. What `make_callable` returns, and runs of the session itself, are not seen.

    Args:
        session: a `tf.Session`, whose graph is complete.
        action, train_op: as in `MovingStatisticsHook`.

    Raises ValueError for another action.
    """

    def __init__(self, session, action: str = "raise", train_op=None):
        _check_action(type(self).__name__, action)
        self._session, self._action = session, action
        with session.graph.as_default():
            self._watch = _Watch(session.graph, train_op)

    def __getattr__(self, name):
        return getattr(self._session, name)

    as_default = tf.Session.as_default

    def __enter__(self):
        self._session.__enter__()
        self._default = self.as_default()
        self._default.__enter__()
        return self

    def __exit__(self, *error):
        self._default.__exit__(*error)
        return self._session.__exit__(*error)

    @property
    def graph(self):
        """`tf.Session.graph`."""
        return self._session.graph

    @property
    def sess_str(self):
        """`tf.Session.sess_str`."""
        return self._session.sess_str

    def partial_run_setup(self, fetches, feeds=None):
        """`tf.Session.partial_run_setup`."""
        return self._session.partial_run_setup(fetches, feeds)

    def partial_run(self, handle, fetches, feed_dict=None):
        """`tf.Session.partial_run`."""
        return self._session.partial_run(handle, fetches, feed_dict)

    def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
        """`tf.Session.run`."""
        predicates = None if self._watch.done else self._watch.before(self._session, fetches)
        if predicates is None:
            return self._session.run(fetches, feed_dict, options, run_metadata)
        results, predicates = self._session.run((fetches, predicates), feed_dict, options, run_metadata)
        idle = self._watch.after(self._session, predicates)
        if idle:
            _say(self._action, idle)
        return results


def _check_action(name, action):
    if action not in _ACTIONS:
        raise ValueError(f"{name}: action must be {' or '.join(_ACTIONS)}, found {action!r}")


def _say(action, message):
    if action == "raise":
        raise MovingStatisticsError(message)
    warnings.warn(message, MovingStatisticsWarning, stacklevel=3)


@dataclasses.dataclass
class _Watched:
    """A layer, by the names of its variables."""

    name: str
    statistics: list
    parameters: list  # those that any optimizer trains
    on_batch: list  # the conditions, {name of a predicate: value}, under which it is trained on its batch
    uses: list  # the nodes of those uses


@dataclasses.dataclass
class _Run:
    """What a run of some fetches does."""

    trains: bool  # whether it changes parameters
    layers: list  # the `_Watched` that it computes
    assigned: set  # the names of the moving statistics that it may assign
    predicates: dict  # the tensors, by name, that decide which statistics the layers use, as far as they can be had


class _Watch:
    """What is known of a graph, and of the steps so far."""

    def __init__(self, graph, train_op):
        audit = audit_of(source_of(graph), train_op)
        self._graph, self._audit = graph, audit
        frames = find_frames(audit.graph)
        self._layers = [_watched(audit, frames, layer) for layer in audit.layers if audit.trained_by_batch(layer)]
        self._layers = [layer for layer in self._layers if layer.statistics]
        self._by_name = {variable.op.name: variable for variable in tf.global_variables() + tf.local_variables()}
        names = {name for layer in self._layers for name in (*layer.statistics, *layer.parameters)}
        self._variables = {name: self._by_name[name] for name in names if name in self._by_name}
        self._runs, self._run = {}, None  # names of fetches to a `_Run`, and that of the latest step
        self._steps, self._before, self._on_batch, self._assigned = 0, None, set(), set()
        self.done = not self._layers

    def before(self, session, fetches):
        """What a run of these fetches has to fetch besides, or None where it is no training step."""
        names = tuple(sorted(_names_in(fetches)))
        if names not in self._runs:
            self._runs[names] = self._run_of(names)
        run = self._runs[names]
        self._assigned |= run.assigned
        if not run.trains:
            return None
        self._run = run
        if self._steps == 0:
            self._before = session.run(self._variables)
        return run.predicates

    def after(self, session, predicates):
        """What is to be said after a training step, or None. predicates: the values of what `before` returned."""
        self._steps += 1
        for layer in self._run.layers:
            if any(_hold(conditions, predicates) for conditions in layer.on_batch):
                self._on_batch.add(layer.name)
        if self._steps < STEPS:
            return None
        self.done = True
        after = session.run(self._variables)
        idle = [layer.name for layer in self._layers if layer.name in self._on_batch and self._is_idle(layer, after)]
        message = self._message(idle) if idle else None
        self._audit = self._before = self._runs = self._run = None  # to be free
        return message

    def _message(self, idle):
        errors = [f.fix for f in apply(self._audit)[0] if f.severity == "error" and f.layer in idle]
        first = next(layer for layer in self._audit.layers if layer.name == idle[0])
        return (
            f"After {STEPS} training steps the moving statistics of {shortened(idle)} have not moved, though the "
            "layers train on the statistics of their batch. Evaluation would normalise by their initial values.\n\n"
            f"{errors[0] if errors else run_updates(self._audit, first)}"
        )

    def _run_of(self, names):
        audit, graph = self._audit, self._audit.graph
        run = _with_calls(graph, graph.ancestors([graph.number[name] for name in names if name in graph.number]))
        statistics = {graph.number[name] for layer in self._layers for name in layer.statistics}
        predicates = {name for layer in self._layers for conditions in layer.on_batch for name in conditions}
        return _Run(
            trains=any(op in run for op in audit.step.optimizer_ops),
            layers=[layer for layer in self._layers if not run.isdisjoint(layer.uses)],
            assigned={graph.names[v] for v in statistics if not run.isdisjoint(audit.assignments.get(v, ()))},
            predicates={
                name: self._by_name.get(name, self._graph.get_operation_by_name(name).outputs[0])
                for name in sorted(predicates)
                if _can_be_fetched(graph, graph.number[name], run)
            },
        )

    def _is_idle(self, layer, after):
        """Whether a layer's parameters were trained, if any are, and its moving statistics are the same bit for bit.

        One of two that stays is right where something assigned it: a batch may have a mean of 0.
        """
        trained = not layer.parameters or any(self._changed(name, after) for name in layer.parameters)
        still = [name for name in layer.statistics if name in after and not self._changed(name, after)]
        return trained and bool(still) and (len(still) == len(layer.statistics) or not self._assigned.issuperset(still))

    def _changed(self, name, after):
        return name in after and not np.array_equal(self._before[name], after[name], equal_nan=True)


def _watched(audit, frames, layer):
    graph = audit.graph
    optimizers = [node for node, op in enumerate(graph.ops) if is_optimizer_op(op)]
    trained = audit.step.parameters.union(*(targets(graph, node) for node in optimizers))
    parameters = {layer.gamma, layer.beta} & trained  # the weights in front may be large
    parameters = parameters or set().union(*(parameters_of(graph, use) for use in layer.uses)) & trained
    on_batch, uses = [], []
    for use, kind, conditions in audit.usages(layer, "training"):
        known = {node: value for node, value in conditions if graph.ops[node] not in LOOP_OPS}
        # A predicate in a branch, loop or function cannot be fetched. Whether it holds is then not known.
        inside = [node for node in known if graph.top_level[node] != node or graph.conditions[node] or frames[node]]
        if kind == "batch" and not inside:
            on_batch.append({graph.names[node]: value for node, value in known.items()})
            uses.append(use.output)
    statistics = list(audit.names(layer.statistics))
    return _Watched(layer.name, statistics, list(audit.names(parameters)), on_batch, uses)


def _with_calls(graph, run):
    """The nodes and, where they are a part of a call of functions, that call, with all that it needs."""
    while calls := {graph.top_level[node] for node in run} - run:
        run = run | graph.ancestors(calls)
    return run


def _can_be_fetched(graph, predicate, run):
    """Whether a run can fetch a predicate as well, so that nothing more has to be fed, and nothing else happens."""
    return all(
        node in run or node in graph.variable or graph.ops[node] in _HARMLESS_OPS
        for node in graph.ancestors([predicate])
    )


def _hold(conditions, predicates):
    """Whether all conditions hold, as far as their predicates are known; else not."""
    return all(name in predicates and _is(predicates[name], value) for name, value in conditions.items())


def _is(found, value):
    return np.size(found) == 1 and np.asarray(found).reshape(-1)[0] == value


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
