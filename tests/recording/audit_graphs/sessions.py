"""Runs a graph, to see whether its moving statistics really move."""

import re

import numpy as np
import tensorflow as tf

from tests.recording.audit_graphs.cases import NO_VARIABLE, WRONG


def feeds(batch=8, training=True):
    """Something for every placeholder without a default."""
    random = np.random.RandomState(1)
    out = {}
    for op in tf.get_default_graph().get_operations():
        if op.name.endswith("keras_learning_phase"):
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
    """Runs something. Returns the names of the variables that moved, and of those that did not."""
    before = sess.run(watched)
    for _ in range(3):  # what is copied in the first step may be what was there before it
        sess.run(fetch, feeds(training=training))
    after = sess.run(watched)
    moved = [v.name for v, b, a in zip(watched, before, after) if not np.array_equal(b, a)]
    return moved, [v.name for v in watched if v.name not in moved]


def _step_is_contradicted(graph, sess, watched, findings):
    rules = [rule for rule, _ in findings]
    if graph.unfed is not None:
        given = {t: value for t, value in feeds().items() if not re.search(graph.unfed, t.name)}
        asks = _is_refused(sess, graph.train, given)
        if asks != ("updates-of-another-input" in rules):
            return "the train op %s a value that nobody has" % ("asks for" if asks else "does not ask for")
    if "updates-in-loop" in rules:
        return None if _is_refused(sess, graph.train, feeds()) else "a session runs the train op"
    _, still = moves(sess, watched, graph.train, training=True)
    expected = bool(set(rules) & {"updates-never-run", "no-updates", "statistics-not-copied"})
    if WRONG in findings and not expected:
        still = []
    return "not updated by the train op: %s" % still if bool(still) != expected else None


def _is_refused(sess, fetch, given):
    try:
        sess.run(fetch, given)
    except tf.errors.InvalidArgumentError:
        return True
    return False


def depends_on_batch(sess, output, given):
    """Whether the first row of an output depends on the other rows of what is fed."""
    other = {t: value for t, value in given.items()}
    for tensor, value in given.items():
        if getattr(value, "ndim", 0) > 1 and len(value) > 1 and value.dtype.kind == "f":
            other[tensor] = np.concatenate([value[:1], 3 * value[1:] + 1])
    one, two = sess.run(output, given)[0], sess.run(output, other)[0]
    return not np.allclose(one, two, rtol=1e-3, atol=1e-5)


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
            wrong = _step_is_contradicted(graph, sess, watched, findings)
            if wrong:
                return wrong
        if graph.evaluate is not None:
            moved, _ = moves(sess, watched, graph.evaluate, training=False)
            if bool(moved) != ("updates-in-evaluation" in rules) and graph.statistics != NO_VARIABLE:
                return "updated by the evaluation: %s" % moved
            if graph.on_batch is not None:
                if depends_on_batch(sess, graph.evaluate, feeds(training=False)) != graph.on_batch:
                    return "one row of the evaluation depends on the others: %s" % (not graph.on_batch)
    return None
