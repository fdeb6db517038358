"""Graphs for the tests of the audit: each is built, can be run in a session, and knows what is to be run.

`network` is one small network with whatever batch normalisation and whatever mistake. What it cannot say is built by
hand, of pieces.py.
"""

import contextlib
import dataclasses
from typing import Any

import numpy as np

import bn_graph
from bn_graph.tf1 import tf, tf_slim

INPUTS, UNITS = 6, 5
STATISTICS = ("moving_mean", "moving_variance")


@dataclasses.dataclass
class Built:
    """A graph, how it is audited, and how it is run."""

    graph: Any
    arguments: dict = dataclasses.field(default_factory=dict)  # of audit_graph
    train: Any = None  # what is run to train, and what is fed
    feed: dict = dataclasses.field(default_factory=dict)
    evaluate: Any = None  # what is run to evaluate
    evaluation_feed: dict = dataclasses.field(default_factory=dict)
    init: Any = None


@contextlib.contextmanager
def control_flow(version):
    """Lets tf.cond build Switch and Merge (1) or If with functions (2) in this block."""
    was = tf.control_flow_v2_enabled()
    (tf.enable_control_flow_v2 if version == 2 else tf.disable_control_flow_v2)()
    try:
        yield
    finally:
        (tf.enable_control_flow_v2 if was else tf.disable_control_flow_v2)()


@contextlib.contextmanager
def new_graph(version=2, resource=True):
    """A graph to build in, its variables resource or reference variables."""
    with control_flow(version), tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        with tf.variable_scope(tf.get_variable_scope(), use_resource=resource):
            yield graph


def smart_cond(condition, true, false):
    if isinstance(condition, bool):
        return true() if condition else false()
    return tf.cond(condition, true, false)


# Layers. Each is called layer(inputs, is_training, scope, reuse, in_place, decay, **options); its updates are in
# UPDATE_OPS unless in_place, and its statistics are `scope`/something.


def slim(x, is_training, scope, reuse, in_place, decay=0.9, **options):
    """tf_slim.batch_norm, asked by the plain name UPDATE_OPS."""
    collections = None if in_place else tf.GraphKeys.UPDATE_OPS
    return tf_slim.batch_norm(
        x, decay, is_training=is_training, scope=scope, reuse=reuse, updates_collections=collections, **options
    )


def slim_list(x, is_training, scope, reuse, in_place, decay=0.9, **options):
    """tf_slim.batch_norm, asked by a list."""
    collections = None if in_place else [tf.GraphKeys.UPDATE_OPS]
    return tf_slim.batch_norm(
        x, decay, is_training=is_training, scope=scope, reuse=reuse, updates_collections=collections, **options
    )


def slim_unfused(x, *arguments, **options):
    return slim_list(x, *arguments, **{"fused": False, **options})


def slim_zero_debias(x, *arguments, **options):
    return slim_list(x, *arguments, zero_debias_moving_mean=True, **options)


def port(x, is_training, scope, reuse, in_place, decay=0.9, **options):
    """bn_graph.batch_norm."""
    collections = None if in_place else tf.GraphKeys.UPDATE_OPS
    return bn_graph.batch_norm(
        x, decay, is_training=is_training, scope=scope, reuse=reuse, updates_collections=collections, **options
    )


def port_fused(x, *arguments, **options):
    return port(x, *arguments, fused=True, **options)


def _variable(name, value, trainable=True, shape=None):
    return tf.get_variable(name, shape or [UNITS], initializer=tf.constant_initializer(value), trainable=trainable)


def _collect(in_place, is_training, update, outputs):
    """The outputs, after the updates where in place; else the updates are collected. `update` gives them, as a list."""

    def dependent():
        with tf.control_dependencies(update()):
            return tf.identity(outputs)

    if is_training is False:
        return outputs
    if in_place:
        return smart_cond(is_training, dependent, lambda: tf.identity(outputs))

    def collected():
        with tf.control_dependencies(update()):
            return tf.constant(True)

    if is_training is True:
        for op in update():
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, op)
    else:
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.cond(is_training, collected, lambda: tf.constant(False)))
    return outputs


def hand(x, is_training, scope, reuse, in_place, decay=0.9, write="r2rt", normalise="library", scale=True, **options):
    """Written by hand: tf.nn.moments, pop_mean and pop_var, and assignments in several spellings."""
    del options
    with tf.variable_scope(scope, reuse=reuse):
        beta = _variable("beta", 0)
        gamma = _variable("gamma", 1) if scale else None
        mean, variance = _variable("pop_mean", 0, False), _variable("pop_var", 1, False)

        def batch():
            return tf.nn.moments(x, [0])

        batch_mean, batch_variance = batch() if is_training is not False else (None, None)
        used = smart_cond(
            is_training, lambda: (batch_mean, batch_variance), lambda: (tf.identity(mean), tf.identity(variance))
        )
        if normalise == "library":
            outputs = tf.nn.batch_normalization(x, used[0], used[1], beta, gamma, 1e-3)
        else:
            outputs = (x - used[0]) / tf.sqrt(used[1] + 1e-3)
            outputs = outputs * gamma + beta if scale else outputs + beta

        def one(moving, value):
            return {
                "r2rt": lambda: tf.assign(moving, moving * decay + value * (1 - decay)),
                "assign_sub": lambda: tf.assign_sub(moving, (moving - value) * (1 - decay)),
                "assign_add": lambda: tf.assign_add(moving, (value - moving) * (1 - decay)),
                "difference": lambda: tf.assign(moving, moving - (1 - decay) * (moving - value)),
                "scalar_last": lambda: tf.assign(moving, decay * moving + (1.0 - decay) * value),
            }[write]()

        return _collect(in_place, is_training, lambda: [one(mean, batch_mean), one(variance, batch_variance)], outputs)


def hand_root(*arguments, **options):
    return hand(*arguments, normalise="root", write="assign_sub", **options)


def ema(x, is_training, scope, reuse, in_place, decay=0.9, scale=True, **options):
    """Written by hand with tf.train.ExponentialMovingAverage over two variables, as older code had it."""
    del options
    with tf.variable_scope(scope, reuse=reuse):
        beta, gamma = _variable("beta", 0), _variable("gamma", 1)
        mean, variance = _variable("moving_mean", 0, False), _variable("moving_variance", 1, False)
        if is_training is not False:
            batch_mean, batch_variance = tf.nn.moments(x, [0])
        used = smart_cond(
            is_training, lambda: (batch_mean, batch_variance), lambda: (tf.identity(mean), tf.identity(variance))
        )
        outputs = tf.nn.batch_normalization(x, used[0], used[1], beta, gamma if scale else None, 1e-3)

        def update():
            return [
                moving.assign(decay * moving + (1 - decay) * value)
                for moving, value in ((mean, batch_mean), (variance, batch_variance))
            ]

        return _collect(in_place, is_training, update, outputs)


def raw(version):
    """FusedBatchNorm itself, V1 to V3, with assignments by hand."""

    def layer(x, is_training, scope, reuse, in_place, decay=0.9, **options):
        del options
        kernel = getattr(tf.raw_ops, {1: "FusedBatchNorm", 2: "FusedBatchNormV2", 3: "FusedBatchNormV3"}[version])
        with tf.variable_scope(scope, reuse=reuse):
            gamma, beta = _variable("gamma", 1), _variable("beta", 0)
            mean, variance = _variable("moving_mean", 0, False), _variable("moving_variance", 1, False)
            four = tf.reshape(x, [-1, 1, 1, UNITS])
            shared = dict(x=four, scale=tf.convert_to_tensor(gamma), offset=tf.convert_to_tensor(beta), epsilon=1e-3)

            def training():
                return kernel(mean=tf.constant([]), variance=tf.constant([]), is_training=True, **shared)[:3]

            def inference():
                moving = dict(mean=tf.convert_to_tensor(mean), variance=tf.convert_to_tensor(variance))
                return kernel(is_training=False, **moving, **shared)[:3]

            outputs, batch_mean, batch_variance = smart_cond(is_training, training, inference)

            def update():
                return [
                    tf.assign_sub(moving, (moving - value) * (1 - decay))
                    for moving, value in ((mean, batch_mean), (variance, batch_variance))
                ]

            return _collect(in_place, is_training, update, tf.reshape(outputs, [-1, UNITS]))

    layer.__name__ = f"fused_v{version}"
    return layer


def tensorpack(x, is_training, scope, reuse, in_place, decay=0.9, **options):
    """The names of tensorpack: scope/mean/EMA."""
    del options
    with tf.variable_scope(scope, reuse=reuse):
        beta, gamma = _variable("beta", 0), _variable("gamma", 1)
        mean, variance = _variable("mean/EMA", 0, False), _variable("variance/EMA", 1, False)
        four = tf.reshape(x, [-1, 1, 1, UNITS])
        if is_training is not False:
            outputs, batch_mean, batch_variance = tf.nn.fused_batch_norm(four, gamma, beta, epsilon=1e-3)
        if is_training is not True:
            moving = tf.nn.fused_batch_norm(four, gamma, beta, mean, variance, epsilon=1e-3, is_training=False)[0]
            outputs = moving if is_training is False else tf.cond(is_training, lambda: outputs, lambda: moving)

        def update():
            return [
                tf.assign_sub(one, (one - value) * (1 - decay))
                for one, value in ((mean, batch_mean), (variance, batch_variance))
            ]

        return _collect(in_place, is_training, update, tf.reshape(outputs, [-1, UNITS]))


def sonnet(x, is_training, scope, reuse, in_place, decay=0.9, scale=True, **options):
    """As Sonnet 1: statistics of shape [1, units], and moments that keep their dimensions."""
    del options
    with tf.variable_scope(scope, reuse=reuse):
        shape = [1, UNITS]
        beta = _variable("beta", 0, shape=shape)
        gamma = _variable("gamma", 1, shape=shape) if scale else None
        mean = _variable("moving_mean", 0, False, shape)
        variance = _variable("moving_variance", 1, False, shape)
        if is_training is not False:
            batch_mean, batch_variance = tf.nn.moments(x, [0], keepdims=True)
        used = smart_cond(
            is_training, lambda: (batch_mean, batch_variance), lambda: (tf.identity(mean), tf.identity(variance))
        )
        outputs = tf.nn.batch_normalization(x, used[0], used[1], beta, gamma, 1e-3)

        def update():
            return [
                tf.assign_sub(one, (one - value) * (1 - decay))
                for one, value in ((mean, batch_mean), (variance, batch_variance))
            ]

        return _collect(in_place, is_training, update, outputs)


LAYERS = {
    layer.__name__: layer
    for layer in (
        slim,
        slim_list,
        slim_unfused,
        slim_zero_debias,
        port,
        port_fused,
        hand,
        hand_root,
        ema,
        raw(1),
        raw(2),
        raw(3),
        tensorpack,
        sonnet,
    )
}


def network(
    layer="slim",
    *,
    train=True,
    valid=None,
    updates="control_dependencies",
    version=2,
    resource=True,
    scopes=("bn", "bn"),
    batch=16,
    valid_batch=16,
    bias=None,
    valid_layer=None,
    optimizer="sgd",
    named=False,
    collection=True,
    before=None,
    after=None,
    arguments=None,
    valid_options=None,
    **options,
):
    """x * w -> batch norm -> ReLU -> loss, and an evaluation tower beside it that shares w.

    Args:
        layer: name in `LAYERS`, or a function like those; valid_layer: another for the evaluation tower.
        train: is_training of the training tower: a bool, "placeholder", or ("default", bool).
        valid: is_training of the evaluation tower; None for no such tower.
        updates: control_dependencies, collected, in_place, group, loss, create_train_op, early (UPDATE_OPS is read
            before the evaluation tower is built, if there is one).
        version, resource: of the control flow, and of the variables.
        scopes: of the layer in either tower.
        batch, valid_batch: rows, None for unknown.
        bias: None, "before" (added before the norm), "relu" (added, then ReLU, then the norm).
        named: the train op is named to the audit. collection: TRAIN_OP is filled.
        before, after: called before the towers are built, and at the end.
    """
    arguments = dict(arguments or {})
    valid_layer = LAYERS.get(valid_layer or layer, valid_layer or layer)
    layer = LAYERS.get(layer, layer)
    in_place = updates == "in_place"
    one_tower = not isinstance(train, bool)
    with new_graph(version, resource) as graph:
        if before:
            before()
        X = tf.placeholder(tf.float32, [batch, INPUTS], name="X")
        y = tf.placeholder(tf.float32, [batch, UNITS], name="y")
        w = tf.get_variable("w", [INPUTS, UNITS])
        b = _variable("b", 1) if bias else None
        is_training = train
        if train == "placeholder":
            is_training = tf.placeholder(tf.bool, [], name="is_training")
        elif one_tower:
            name = train[2] if len(train) > 2 else "is_training"
            is_training = tf.placeholder_with_default(train[1], [], name=name)

        def tower(X, layer, is_training, scope, reuse, options):
            hidden = tf.matmul(X, w)
            hidden = hidden + b if bias else hidden
            hidden = tf.nn.relu(hidden) if bias == "relu" else hidden
            return tf.nn.relu(layer(hidden, is_training, scope, reuse, in_place, **options))

        output = tower(X, layer, is_training, scopes[0], None, options)
        loss = tf.reduce_mean(tf.squared_difference(output, y), name="loss")
        update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        evaluate = None
        feed = {X: np.random.RandomState(1).randn(batch or 16, INPUTS), y: np.ones([batch or 16, UNITS])}
        evaluation_feed = {}
        if valid is not None:
            valid_X = tf.placeholder(tf.float32, [valid_batch, INPUTS], name="valid_X")
            reuse = True if scopes[0] == scopes[1] else None
            with tf.name_scope("valid"):
                evaluate = tower(
                    valid_X, valid_layer, valid, scopes[1], reuse, options if valid_options is None else valid_options
                )
            evaluation_feed = {valid_X: np.random.RandomState(2).randn(valid_batch or 16, INPUTS)}
            if valid is True:  # its updates may be run in training
                feed.update(evaluation_feed)
        elif one_tower:
            evaluate, evaluation_feed = output, {X: feed[X], is_training: False}
            feed[is_training] = True
        if updates != "early":
            update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)

        maker = {"sgd": tf.train.GradientDescentOptimizer, "adam": tf.train.AdamOptimizer}.get(optimizer)
        maker = (
            maker(0.01) if maker else tf.train.MomentumOptimizer(0.01, 0.9) if optimizer == "momentum" else optimizer()
        )
        if updates == "create_train_op":
            global_step = tf.train.get_or_create_global_step()
            train_op = tf_slim.learning.create_train_op(loss, maker, global_step=global_step)
        elif updates in ("control_dependencies", "early"):
            with tf.control_dependencies(update_ops):
                train_op = maker.minimize(loss)
        elif updates == "loss":
            with tf.control_dependencies(update_ops):
                train_op = maker.minimize(tf.identity(loss))
        else:
            train_op = maker.minimize(loss)
            if updates == "group":
                train_op = tf.group(train_op, *update_ops)
        if not collection:
            graph.clear_collection("train_op")
        if after:
            after()
        init = tf.global_variables_initializer()
    if named:
        arguments["train_op"] = train_op
    return Built(graph, arguments, train_op, feed, evaluate, evaluation_feed, init)


def values(session, graph):
    with graph.as_default():
        return session.run({variable.op.name: variable for variable in tf.global_variables()})


def moved(built):
    """Trains one step, then evaluates once, in a new session; the names of the variables that each of them moved."""
    off = tf.ConfigProto()  # no rewriting of the graph: it is as correct, and slower
    off.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Session(graph=built.graph, config=off) as session:
        session.run(built.init)
        seen = [values(session, built.graph)]
        for fetch, feed in ((built.train, built.feed), (built.evaluate, built.evaluation_feed)):
            if fetch is not None:
                session.run(fetch, feed)
            seen.append(values(session, built.graph))
    return [
        {name for name in before if not np.array_equal(before[name], after[name])}
        for before, after in zip(seen, seen[1:], strict=False)
    ]


def statistics(graph):
    """The names of the moving statistics: variables that nobody trains and that are not the optimizer's."""
    ends = ("moving_mean", "moving_variance", "pop_mean", "pop_var", "mean/EMA", "variance/EMA", "MovingAverage")
    with graph.as_default():
        return {one.op.name for one in tf.global_variables() if one.op.name.endswith(ends)}


def step_of(built):
    """The layers whose statistics one training step leaves as they are, and whether evaluating moves any."""
    stepped, evaluated = moved(built)
    by_layer = {}
    for name in statistics(built.graph):
        layer = name.removesuffix("/EMA").rpartition("/")[0]
        by_layer[layer] = by_layer.get(layer, False) or name in stepped
    return {layer for layer, moves in by_layer.items() if not moves}, bool(evaluated)


def depends_on_batch(built):
    """Whether the first row of the evaluation depends on the other rows that are fed."""
    others = {
        tensor: np.concatenate([value[:1], 3 * value[1:] + 1]) if getattr(value, "ndim", 0) > 1 else value
        for tensor, value in built.evaluation_feed.items()
    }
    with tf.Session(graph=built.graph) as session:
        if built.init is not None:
            session.run(built.init)
        one, two = (session.run(built.evaluate, feed)[0] for feed in (built.evaluation_feed, others))
    return not np.allclose(one, two, rtol=1e-3, atol=1e-5)
