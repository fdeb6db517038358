"""Runs a graph, to see whether its moving statistics really move."""

import re

import numpy as np
import tensorflow as tf

from tests.recording.audit_graphs.cases import NO_VARIABLE


def feeds(batch=8, training=True):
    """Something for every placeholder without a default."""
    random = np.random.RandomState(1)
    out = {}
    for op in tf.get_default_graph().get_operations():
        if op.name == "keras_learning_phase":
            out[op.outputs[0]] = training
        if op.type not in ("Placeholder", "PlaceholderV2"):
            continue
        tensor = op.outputs[0]
        if tensor.dtype.base_dtype == tf.resource:
            continue
        shape = [batch if d is None else d for d in (tensor.get_shape().as_list() if tensor.get_shape().ndims else [])]
        if tensor.dtype.base_dtype == tf.bool:
            out[tensor] = training
        elif tensor.dtype.is_integer:
            out[tensor] = np.zeros(shape, np.int64) if op.name == "mode" else random.randint(0, 3, shape)
            if op.name == "mode" and not training:
                out[tensor] = np.ones(shape, np.int64)
        else:
            out[tensor] = random.normal(0.5, 2.0, shape)
    return out


def watched_variables(graph):
    return [
        v
        for v in tf.global_variables()
        if re.search(graph.statistics, v.name) and not (graph.skip is not None and re.search(graph.skip, v.name))
    ]


def moves(sess, watched, fetch, training):
    """Runs something once. Returns the names of the variables that moved, and of those that did not."""
    before = sess.run(watched)
    sess.run(fetch, feeds(training=training))
    after = sess.run(watched)
    moved = [v.name for v, b, a in zip(watched, before, after) if not np.array_equal(b, a)]
    return moved, [v.name for v in watched if v.name not in moved]


def contradiction(graph, findings):
    """Runs the graph once; returns what is said about it that is not so."""
    if graph.train is None and graph.evaluate is None or graph.statistics is None:
        return None
    rules = [rule for rule, _ in findings]
    watched = watched_variables(graph)
    if not watched and graph.statistics != NO_VARIABLE and "wrong-statistics" not in rules:
        return "no statistics to watch"
    with tf.Session() as sess:
        # In 0.12 the averages that are made inside of a cond start within it, too: is_training has to be fed.
        sess.run([tf.global_variables_initializer(), tf.local_variables_initializer()], feeds())
        if graph.train is not None:
            _, still = moves(sess, watched, graph.train, training=True)
            expected = bool(set(rules) & {"updates-never-run", "no-updates"})
            if "wrong-statistics" in rules and not expected:
                still = []
            if bool(still) != expected:
                return "not updated by the train op: %s" % still
        if graph.evaluate is not None:
            moved, _ = moves(sess, watched, graph.evaluate, training=False)
            if bool(moved) != ("updates-in-evaluation" in rules) and graph.statistics != NO_VARIABLE:
                return "updated by the evaluation: %s" % moved
    return None
