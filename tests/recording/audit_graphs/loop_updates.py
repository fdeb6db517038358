"""Update ops in the bodies of loops: waited for inside, outside, or by nobody."""

import tensorflow as tf

from tests.recording.audit_graphs.by_hand import r2rt_norm
from tests.recording.audit_graphs.cases import IN_LOOP, NEVER_RUN, built, case
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    cross_entropy,
    dense,
    layers_norm,
    phase,
    resource_variables,
    sgd,
    update_ops,
    vector_input,
)

LAYERS = (1, 4)
MOVING = r"(moving_(mean|variance)|pop_(mean|var)):0$"
ALWAYS = ["wrong-statistics"]


def norm_of(library, training, **options):
    return {"contrib": contrib_norm, "layers": layers_norm, "hand": r2rt_norm}[library](training, **options)


def inside(h, updates):
    """h, behind the update ops that the body has just made."""
    if updates != "inside":
        return h
    with tf.control_dependencies(update_ops()):
        return tf.identity(h)


def loop(kind, norm, updates, x, reuse=None):
    with tf.variable_scope("net", reuse=reuse):
        w = tf.get_variable("w", [5, 5], initializer=tf.random_normal_initializer(stddev=0.3))

        def step(h):
            return inside(tf.tanh(norm(tf.matmul(h, w), "bn")), updates)

        if kind == "while":
            h = tf.while_loop(lambda i, h: i < 3, lambda i, h: (i + 1, step(h)), [tf.constant(0), x])[1]
        elif kind == "nested":

            def outer(i, h):
                h = tf.while_loop(lambda j, h: j < 2, lambda j, h: (j + 1, step(h)), [tf.constant(0), h])[1]
                return i + 1, h

            h = tf.while_loop(lambda i, h: i < 2, outer, [tf.constant(0), x])[1]
        elif kind == "scan":
            h = tf.scan(lambda h, i: step(h), tf.range(3), initializer=x)[-1]
            h.set_shape([None, 5])
        elif kind == "foldl":
            h = tf.foldl(lambda h, i: step(h), tf.range(3), initializer=x)
            h.set_shape([None, 5])
        elif kind == "map":
            parts = tf.map_fn(step, tf.stack([x, x + 1.0]) if hasattr(tf, "stack") else tf.pack([x, x + 1.0]))
            h = tf.reduce_mean(parts, 0)
            h.set_shape([None, 5])
        elif kind == "cond":
            first = tf.placeholder_with_default(True, [], name="often")

            def body(i, h):
                return i + 1, tf.cond(first, lambda: step(h), lambda: tf.identity(h))

            h = tf.while_loop(lambda i, h: i < 3, body, [tf.constant(0), x])[1]
        elif kind == "rnn":
            h = rnn(norm, updates, x)
        return dense(h, 3, "logits")


def rnn(norm, updates, x):
    base = tf.nn.rnn_cell.RNNCell if hasattr(tf.nn.rnn_cell, "RNNCell") else tf.contrib.rnn.RNNCell

    class Cell(base):
        state_size = output_size = 5

        def __call__(self, inputs, state, scope=None):
            with tf.variable_scope("cell"):
                w = tf.get_variable("w", [10, 5], initializer=tf.random_normal_initializer(stddev=0.3))
                both = tf.concat([inputs, state], 1)
                h = inside(tf.tanh(norm(tf.matmul(both, w), "bn")), updates)
            return h, h

    sequence = tf.stack([x, x, x], 1)
    _, state = tf.nn.dynamic_rnn(Cell(), sequence, dtype=tf.float32)
    return state


def recurrent(kind, updates, library="contrib", evaluated=False, fed=False, **options):
    """updates: inside, outside, in place or nobody."""
    x, y = vector_input(16)
    training = phase() if fed else True
    logits = loop(kind, norm_of(library, training, **options), updates, x)
    loss = cross_entropy(logits, y)
    collected = update_ops()
    evaluate = loop(kind, norm_of(library, False, **options), None, x, True) if evaluated else None
    with tf.control_dependencies(collected if updates == "outside" else []):
        train = sgd().minimize(loss)
    return built(train, evaluate, statistics=MOVING, on_batch=False if evaluated else None)


def _outside(name, since=LAYERS, cond_v2=False, layers=("net/bn",), **given):
    given = dict(updates="outside", **given)
    return case(IN_LOOP, name="loop_outside_" + name, since=since, given=given, cond_v2=cond_v2, layers=layers)


@_outside("while", kind="while")
@_outside("while_layers", kind="while", library="layers")
@_outside("while_evaluated", kind="while", evaluated=True)
@_outside("scan", kind="scan")
@_outside("foldl", kind="foldl")
@_outside("map", kind="map")
@_outside("cond", kind="cond")
@_outside("rnn", kind="rnn", layers=None)
def loop_outside(**options):
    """The train op outside of the loop waits for update ops in its body: different frames."""
    return recurrent(**options)


@_outside("while_resource", kind="while", library="layers")
@_outside("scan_resource", kind="scan", library="layers")
@resource_variables
def loop_outside_resource(**options):
    """The train op outside of the loop waits for update ops in its body: resource variables."""
    return recurrent(**options)


@case(IN_LOOP, name="loop_outside_group", since=LAYERS, given=dict(kind="group"))
@case(IN_LOOP, name="loop_outside_loss", since=LAYERS, given=dict(kind="loss"))
@case(IN_LOOP, name="loop_outside_barrier", since=LAYERS, given=dict(kind="barrier"))
def loop_outside_otherwise(kind):
    """A group, or the loss, outside of the loop waits for update ops in its body."""
    x, y = vector_input(16)
    loss = cross_entropy(loop("while", contrib_norm(True), "outside", x), y)
    if kind == "group":
        return built(tf.group(sgd().minimize(loss), *update_ops(), name="train"), statistics=MOVING)
    if kind == "loss":
        with tf.control_dependencies(update_ops()):
            return built(sgd().minimize(tf.identity(loss)), statistics=MOVING)
    with tf.control_dependencies([tf.group(*update_ops())]):
        return built(sgd().minimize(loss), statistics=MOVING)


def _inside(name, since=LAYERS, doubts=ALWAYS, layers=("net/bn",), updates="inside", **given):
    given = dict(updates=updates, **given)
    return case(name="loop_inside_" + name, since=since, given=given, doubts=doubts, layers=layers)


@_inside("while", kind="while", library="layers")
@_inside("while_evaluated", kind="while", library="layers", evaluated=True, doubts=[])
@_inside("nested", kind="nested", library="layers")
@_inside("scan", kind="scan", library="layers")
@_inside("map", kind="map", library="layers")
@_inside("rnn", kind="rnn", library="layers", layers=None)
@_inside("hand", kind="while", library="hand", updates="nobody else")
@_inside("in_place", kind="while", updates_collections=None, updates="nobody else")
@resource_variables
def loop_inside(**options):
    """The body waits for its own update ops."""
    return recurrent(**options)


def _nobody(name, since=LAYERS, layers=("net/bn",), **given):
    return case(NEVER_RUN, name="loop_not_run_" + name, since=since, given=dict(updates=None, **given), layers=layers)


@_nobody("while", kind="while")
@_nobody("scan", kind="scan")
@_nobody("nested", kind="nested")
@_nobody("map", kind="map")
@_nobody("rnn", kind="rnn", layers=None)
def loop_not_run(**options):
    """Nobody waits for the update ops in the body."""
    return recurrent(**options)


@case(name="loop_beside", since=LAYERS, doubts=[])
def loop_beside():
    """The layer is outside of the loop; the loop takes its result."""
    x, y = vector_input(16)

    def tower(training, reuse=None):
        with tf.variable_scope("net", reuse=reuse):
            h = tf.nn.relu(contrib_norm(training)(dense(x, 5, "hidden"), "bn"))
            w = tf.get_variable("w", [5, 5], initializer=tf.random_normal_initializer(stddev=0.3))
            h = tf.while_loop(lambda i, h: i < 3, lambda i, h: (i + 1, tf.tanh(tf.matmul(h, w))), [tf.constant(0), h])[
                1
            ]
            return dense(h, 3, "logits")

    loss = cross_entropy(tower(True), y)
    collected = update_ops()
    evaluate = tower(False, True)
    with tf.control_dependencies(collected):
        return built(sgd().minimize(loss), evaluate, on_batch=False)


@case(name="loop_trains", since=LAYERS, layers=None, doubts=ALWAYS)
@resource_variables
def loop_trains():
    """The whole training is in a loop, steps and updates."""
    x, y = vector_input(16)
    with tf.variable_scope("net"):
        dense(x, 4, "hidden")
        with tf.variable_scope("logits"):
            tf.get_variable("w", [4, 3])

    def body(i):
        with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
            h = tf.nn.relu(r2rt_norm(True)(dense(x, 4, "hidden"), "bn"))
            loss = cross_entropy(dense(h, 3, "logits"), y)
        variables = tf.trainable_variables()
        with tf.control_dependencies(
            [v.assign_sub(0.01 * g) for v, g in zip(variables, tf.gradients(loss, variables))]
        ):
            return i + 1

    with tf.variable_scope("net/bn"):
        for name, initial in (("gamma", 1.0), ("beta", 0.0), ("pop_mean", 0.0), ("pop_var", 1.0)):
            tf.get_variable(name, [4], initializer=tf.constant_initializer(initial), trainable=name[:3] != "pop")
    steps = tf.while_loop(lambda i: i < 3, lambda i: (body(i),), [tf.constant(0)])
    return built(steps, statistics=None, train_op="while/Exit")
