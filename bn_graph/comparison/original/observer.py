"""Watches what a program trains and measures, without changing a number of it.

A training step is a `session.run` that runs an op which an optimizer made. An accuracy is the mean of booleans that
were cast to floats, as every text of 2016 has it.
"""

import dataclasses
import functools

from tensorflow.python.client.session import BaseSession

from bn_graph.comparison.original.identify import describe, set_seeds
from bn_graph.comparison.recordings import recording
from bn_graph.tf1 import tf


class Observer:
    """Sends an event, a dict, for the graph, each training step and each accuracy.

    send: called with each event.
    """

    def __init__(self, send):
        self._send = send
        self._losses = {}  # the op that trains a step, to its loss
        self._batch_norms = []  # keyword arguments of the calls
        self._begun = set()  # the graphs that a session has run
        self._run = BaseSession.run

    def add_batch_norm(self, options):
        self._batch_norms.append(options)

    def install(self):
        """Watches the sessions and optimizers of this process from now on."""
        _wrap(tf.train.Optimizer, "compute_gradients", self._compute_gradients)
        _wrap(tf.train.Optimizer, "apply_gradients", self._apply_gradients)
        _wrap(BaseSession, "run", self._observe)

    def _compute_gradients(self, original, optimizer, loss, *arguments, **options):
        optimizer.bn_graph_loss = loss
        return original(optimizer, loss, *arguments, **options)

    def _apply_gradients(self, original, optimizer, *arguments, **options):
        train_op = original(optimizer, *arguments, **options)
        self._losses[train_op] = getattr(optimizer, "bn_graph_loss", None)
        return train_op

    def _observe(self, original, session, fetches, *arguments, **options):
        asked = [fetch for fetch in tf.nest.flatten(fetches) if isinstance(fetch, tf.Operation | tf.Tensor)]
        self._begin(session.graph)
        train_op = next((op for op in asked if isinstance(op, tf.Operation) and op in self._losses), None)
        loss = None if train_op is None else self._losses[train_op]
        accuracies = [tensor for tensor in asked if _is_accuracy(tensor)]
        watched = accuracies if loss is None else [loss, *accuracies]
        values, watched_values = original(session, [fetches, watched], *arguments, **options)
        if loss is not None:
            loss, *accuracy = map(float, watched_values)
            self._send({"event": "step", "loss": loss, "accuracy": accuracy[0] if accuracy else None})
        else:
            for tensor, value in zip(accuracies, watched_values, strict=True):
                self._send({"event": "accuracy", "name": tensor.name, "value": float(value)})
        return values

    def _begin(self, graph):
        """Before the first run of a graph: describes it, and gives its random ops their seeds of 2016."""
        if graph in self._begun:
            return
        self._begun.add(graph)
        train_op = next((op for op in self._losses if op.graph is graph), None)
        if train_op is None:
            return
        description = describe(graph, train_op, self._batch_norms)
        if description.recorded:
            set_seeds(graph, recording(description.recorded))
        self._send({"event": "graph"} | dataclasses.asdict(description))


def _wrap(owner, name, wrapper):
    """Puts `wrapper`, which is called with the original in front, in the place of a method."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def method(*arguments, **options):
        return wrapper(original, *arguments, **options)

    setattr(owner, name, method)


def _is_accuracy(tensor):
    if not isinstance(tensor, tf.Tensor) or tensor.op.type != "Mean":
        return False
    cast = tensor.op.inputs[0].op
    return cast.type == "Cast" and cast.inputs[0].dtype.base_dtype == tf.bool
