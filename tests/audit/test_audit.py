"""The audit, from its specification: graphs that break a rule, and near-identical ones that do not.

What a case expects is proved in a session where that is cheap: the moving statistics do or do not move when the train
op runs once, and when the evaluation runs.
"""

import functools
import itertools
import json
import random
import resource as process_resource
import runpy
import signal
import sys
import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

import bn_graph
from bn_graph import NOTEBOOK, PAGE, SCRIPT, InputError, build_graph
from bn_graph.audit.audit import audit_graph
from bn_graph.mnist import Splits
from bn_graph.tf1 import tf, tf_slim
from tests.audit import networks as audit_graphs
from tests.audit.networks import (
    INPUTS,
    LAYERS,
    UNITS,
    Built,
    check_form,
    control_flow,
    moved,
    network,
    new_graph,
    statistics,
)
from tests.helpers import run
from tests.paths import PACKAGED, ROOT

NEVER_RUN = ("updates-never-run", "error")
NO_UPDATES = ("no-updates", "error")
IN_EVALUATION = ("updates-in-evaluation", "error")
WRONG = ("wrong-statistics", "error")
SUSPECT = ("wrong-statistics", "warning")
UNSHARED = ("unshared-towers", "error")
TRAINABLE = ("trainable-statistics", "error")
NOT_SAVED = ("statistics-not-saved", "error")
UNTOUCHED = ("statistics-untouched", "error")
BIAS = ("cancelled-bias", "note")
UNUSED = ("unused-parameter", "note")
SLOW = ("slow-decay", "warning")
DUPLICATE = ("duplicate-updates", "warning")
TINY = ("tiny-batch", "warning")
MIXED = ("mixed-variance", "warning")


def kinds(report):
    """The rules that the report finds broken, with their severities."""
    return {(finding.rule, finding.severity) for finding in report.findings}


def errors(report):
    return [finding for finding in report.findings if finding.severity == "error"]


def names_of(graph_def):
    names = {node.name for node in graph_def.node}
    for function in graph_def.library.function:
        names.update(node.name for node in function.node_def)
    return names


def audit(built):
    """The report on a built graph, its form checked."""
    report = audit_graph(built.graph, **built.arguments)
    check_form(report, names_of(built.graph.as_graph_def()))
    return report


# --------------------------------------------------------------------------------------------------------------------
# Graphs that `network` cannot say


def inputs(batch=16, units=INPUTS, name="X"):
    X = tf.placeholder(tf.float32, [batch, units], name=name)
    return X, {X: np.random.RandomState(3).randn(batch or 16, units)}


def dense(x, units=UNITS, scope="dense", reuse=None):
    with tf.variable_scope(scope, reuse=reuse):
        return tf.matmul(x, tf.get_variable("w", [x.shape.as_list()[-1], units]))


def norm(x, is_training=True, scope="bn", reuse=None, collections=tf.GraphKeys.UPDATE_OPS, **options):
    options = {"decay": 0.9, **options}
    return tf_slim.batch_norm(
        x, is_training=is_training, scope=scope, reuse=reuse, updates_collections=collections, **options
    )


def collected():
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS)


def minimize(loss, updates=(), **arguments):
    with tf.control_dependencies(list(updates)):
        return tf.train.GradientDescentOptimizer(0.01).minimize(loss, **arguments)


def done(graph, train=None, feed=None, evaluate=None, evaluation_feed=None, **arguments):
    init = tf.global_variables_initializer()
    return Built(graph, arguments, train, feed or {}, evaluate, evaluation_feed or {}, init)


def two_layers(read):
    """Two layers; UPDATE_OPS is read `read` ("between" them or at the "end")."""
    with new_graph() as graph:
        X, feed = inputs()
        first = tf.nn.relu(norm(dense(X), scope="bn1"))
        updates = collected()
        second = norm(dense(first, scope="dense2"), scope="bn2")
        updates = updates if read == "between" else collected()
        return done(graph, minimize(tf.reduce_mean(second**2), updates), feed)


def some_updates(which):
    """Only the updates of which `which` is part of the name are run."""
    with new_graph() as graph:
        X, feed = inputs()
        x = norm(dense(X), scope="bn", fused=False)
        moving = [statistic.op.name for statistic in tf.get_collection(tf.GraphKeys.MOVING_AVERAGE_VARIABLES)]
        moving = moving or ["bn/moving_mean", "bn/moving_variance"]
        updates = dict(zip(moving, collected(), strict=True))
        updates = [op for name, op in updates.items() if which in name]
        return done(graph, minimize(tf.reduce_mean(x**2), updates), feed)


def other_collection(read):
    """Updates in a collection of one's own, which is read or not."""
    with new_graph() as graph:
        X, feed = inputs()
        x = norm(dense(X), collections=["my_updates"])
        return done(
            graph, minimize(tf.reduce_mean(x**2), tf.get_collection("my_updates") if read else collected()), feed
        )


def updates_of_one_scope(scope):
    """get_collection(UPDATE_OPS, scope) with the right scope, or with one in which there is nothing."""
    with new_graph() as graph:
        X, feed = inputs()
        with tf.variable_scope("tower"):
            x = norm(dense(X))
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)
        return done(graph, minimize(tf.reduce_mean(x**2), updates), feed)


def no_updates(updated):
    """A layer by hand that nobody ever updates, with a Saver and an evaluation tower; or with an update."""
    with new_graph() as graph:
        X, feed = inputs()
        V, evaluation_feed = inputs(name="V")
        mean = tf.get_variable("bn/moving_mean", [UNITS], initializer=tf.zeros_initializer(), trainable=False)
        variance = tf.get_variable("bn/moving_variance", [UNITS], initializer=tf.ones_initializer(), trainable=False)
        beta = tf.get_variable("bn/beta", [UNITS], initializer=tf.zeros_initializer())
        gamma = tf.get_variable("bn/gamma", [UNITS], initializer=tf.ones_initializer())
        hidden = dense(X)
        batch_mean, batch_variance = tf.nn.moments(hidden, [0])
        output = tf.nn.batch_normalization(hidden, batch_mean, batch_variance, beta, gamma, 1e-3)
        valid = tf.nn.batch_normalization(dense(V, reuse=True), mean, variance, beta, gamma, 1e-3)
        updates = []
        if updated:
            updates = [
                tf.assign(mean, 0.9 * mean + 0.1 * batch_mean),
                tf.assign(variance, 0.9 * variance + 0.1 * batch_variance),
            ]
        train_op = minimize(tf.reduce_mean(output**2), updates)
        tf.train.Saver()
        return done(graph, train_op, feed, valid, evaluation_feed)


def ema_of_the_thread(where, version=2, resource=True, decay=0.5):
    """The answer that everybody copies (ExponentialMovingAverage and tf.cond), its ema.apply inside tf.cond or not."""
    with new_graph(version, resource) as graph:
        X, feed = inputs()
        is_training = tf.placeholder(tf.bool, [], name="phase_train")
        hidden = dense(X)
        with tf.variable_scope("bn"):
            beta = tf.get_variable("beta", [UNITS], initializer=tf.zeros_initializer())
            gamma = tf.get_variable("gamma", [UNITS], initializer=tf.ones_initializer())
            batch_mean, batch_variance = tf.nn.moments(hidden, [0], name="moments")
            average = tf.train.ExponentialMovingAverage(decay)
            if where in ("outside", "dropped"):
                apply_op = average.apply([batch_mean, batch_variance])

            def with_update():
                if where == "dropped":
                    return tf.identity(batch_mean), tf.identity(batch_variance)
                update = apply_op if where == "outside" else average.apply([batch_mean, batch_variance])
                with tf.control_dependencies([update]):
                    return tf.identity(batch_mean), tf.identity(batch_variance)

            mean, variance = tf.cond(
                is_training, with_update, lambda: (average.average(batch_mean), average.average(batch_variance))
            )
            output = tf.nn.batch_normalization(hidden, mean, variance, beta, gamma, 1e-3)
        train_op = minimize(tf.reduce_mean(output**2))
        return done(graph, train_op, {**feed, is_training: True}, output, {**feed, is_training: False})


def update_branch(branch, version=1):
    """One tower; the update is in one branch of is_training, the batch's statistics are in the True one."""
    with new_graph(version) as graph:
        X, feed = inputs()
        is_training = tf.placeholder(tf.bool, [], name="is_training")
        hidden = dense(X)
        with tf.variable_scope("bn"):
            beta = tf.get_variable("beta", [UNITS], initializer=tf.zeros_initializer())
            mean = tf.get_variable("moving_mean", [UNITS], initializer=tf.zeros_initializer(), trainable=False)
            variance = tf.get_variable("moving_variance", [UNITS], initializer=tf.ones_initializer(), trainable=False)
            batch = tf.nn.moments(hidden, [0])
            used = tf.cond(is_training, lambda: tuple(batch), lambda: (tf.identity(mean), tf.identity(variance)))
            output = tf.nn.batch_normalization(hidden, used[0], used[1], beta, None, 1e-3)

            def update():
                one = tf.assign_sub(mean, 0.1 * (mean - batch[0]))
                other = tf.assign_sub(variance, 0.1 * (variance - batch[1]))
                with tf.control_dependencies([one, other]):
                    return tf.identity(output)

            if branch == "both":
                output = update()
            else:
                branches = [update, lambda: tf.identity(output)]
                output = tf.cond(is_training, *(branches if branch == "training" else reversed(branches)))
        train_op = minimize(tf.reduce_mean(output**2))
        return done(graph, train_op, {**feed, is_training: True}, output, {**feed, is_training: False})


def dropped(version, resource=True, kept=False):
    """Assignments made in the training branch, on which nothing there depends; or on which its result depends."""
    with new_graph(version, resource) as graph:
        X, feed = inputs()
        is_training = tf.placeholder(tf.bool, [], name="is_training")
        hidden = dense(X)
        with tf.variable_scope("bn"):
            beta = tf.get_variable("beta", [UNITS], initializer=tf.zeros_initializer())
            mean = tf.get_variable("moving_mean", [UNITS], initializer=tf.zeros_initializer(), trainable=False)
            variance = tf.get_variable("moving_variance", [UNITS], initializer=tf.ones_initializer(), trainable=False)

            def training():
                batch = tf.nn.moments(hidden, [0])
                ops = [tf.assign_sub(one, 0.1 * (one - b)) for one, b in zip((mean, variance), batch, strict=True)]
                with tf.control_dependencies(ops if kept else []):
                    return tf.nn.batch_normalization(hidden, batch[0], batch[1], beta, None, 1e-3)

            output = tf.cond(
                is_training, training, lambda: tf.nn.batch_normalization(hidden, mean, variance, beta, None, 1e-3)
            )
        train_op = minimize(tf.reduce_mean(output**2))
        return done(graph, train_op, {**feed, is_training: True}, output, {**feed, is_training: False})


def gan(updates="both"):
    """Two optimizers, a discriminator that is applied twice, and a sampler that evaluates the generator."""
    with new_graph() as graph:
        X, feed = inputs()
        z = tf.placeholder(tf.float32, [16, 4], name="z")
        feed = {**feed, z: np.random.RandomState(4).randn(16, 4)}

        def generator(is_training, reuse):
            with tf.variable_scope("generator", reuse=reuse):
                return dense(tf.nn.relu(norm(dense(z, 8), is_training, fused=False)), INPUTS, "out")

        def discriminator(x, reuse):
            with tf.variable_scope("discriminator", reuse=reuse):
                return dense(tf.nn.relu(norm(dense(x, 8))), 1, "out")

        fake = generator(True, None)
        real_logits, fake_logits = discriminator(X, None), discriminator(fake, True)
        sample = generator(False, True)
        variables = tf.trainable_variables
        d_updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, "discriminator")
        g_updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, "generator")
        assert len(d_updates) == 4 and len(g_updates) == 2
        d_op = minimize(
            tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits)),
            d_updates,
            var_list=variables("discriminator"),
        )
        g_op = minimize(
            tf.reduce_mean(tf.nn.softplus(-fake_logits)),
            g_updates if updates == "both" else [],
            var_list=variables("generator"),
        )
        return done(graph, [d_op, g_op], feed, sample, feed)


def dqn(stop=True):
    """A target network with statistics of its own behind a StopGradient, copied from the online network's."""
    with new_graph() as graph:
        X, feed = inputs()
        N, next_feed = inputs(name="N")

        def q(x, scope, is_training, reuse=None):
            with tf.variable_scope(scope, reuse=reuse):
                return dense(tf.nn.relu(norm(dense(x), is_training)), 3, "out")

        online = q(X, "online", True)
        target = q(N, "target", False)
        best = tf.reduce_max(tf.stop_gradient(target) if stop else target, 1)
        acting = q(X, "online", False, True)
        loss = tf.reduce_mean((tf.reduce_max(online, 1) - best) ** 2)
        train_op = minimize(loss, collected(), var_list=tf.trainable_variables("online"))
        pairs = zip(tf.global_variables("target"), tf.global_variables("online"), strict=True)
        tf.group(*[tf.assign(one, other) for one, other in pairs], name="copy")
        return done(graph, train_op, {**feed, **next_feed}, acting, feed)


def gradient_accumulation():
    """Gradients are added up in variables by one op and applied by another. Both are the training."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X))
        optimizer = tf.train.GradientDescentOptimizer(0.01)
        gradients = optimizer.compute_gradients(tf.reduce_mean(output**2))
        sums = [tf.Variable(tf.zeros(v.shape.as_list()), trainable=False, name="sum") for _, v in gradients]
        with tf.control_dependencies(collected()):
            add = tf.group(*[tf.assign_add(one, g) for one, (g, _) in zip(sums, gradients, strict=True)])
        apply_op = optimizer.apply_gradients([(one, v) for one, (_, v) in zip(sums, gradients, strict=True)])
        valid = norm(dense(X, reuse=True), False, reuse=True)
        return done(graph, [add, apply_op], feed, valid, feed)


def by_hand(updates, named):
    """Gradients that no optimizer op applies."""
    with new_graph() as graph:
        X, feed = inputs()
        loss = tf.reduce_mean(norm(dense(X)) ** 2)
        variables = tf.trainable_variables()
        with tf.control_dependencies(collected() if updates else []):
            steps = [tf.assign_sub(v, 0.01 * g) for v, g in zip(variables, tf.gradients(loss, variables), strict=True)]
        train_op = tf.group(*steps, name="my_step")
        return done(graph, train_op, feed, **({"train_op": "my_step"} if named else {}))


def siamese():
    """One layer on two inputs in training: four updates of two variables, all right."""
    with new_graph() as graph:
        X, feed = inputs()
        Y, other = inputs(name="Y")
        one, two = norm(dense(X)), norm(dense(Y, reuse=True), reuse=True)
        train_op = minimize(tf.reduce_mean((one - two) ** 2), collected())
        return done(graph, train_op, {**feed, **other})


def data_parallel(towers=2, updates_of="first"):
    """Towers on parts of the batch, gradients averaged, the updates of the first tower run (or of none)."""
    with new_graph() as graph:
        X, feed = inputs(32)
        optimizer = tf.train.GradientDescentOptimizer(0.01)
        gradients = []
        for tower, part in enumerate(tf.split(X, towers)):
            with tf.name_scope(f"tower_{tower}"):
                reuse = tower > 0 or None
                loss = tf.reduce_mean(norm(dense(part, reuse=reuse), reuse=reuse) ** 2)
                gradients.append(optimizer.compute_gradients(loss))
        mean = [(tf.reduce_mean(tf.stack([g for g, _ in one]), 0), one[0][1]) for one in zip(*gradients, strict=True)]
        updates = {"first": collected()[:2], "none": [], "all": collected()}[updates_of]
        with tf.control_dependencies(updates):
            train_op = optimizer.apply_gradients(mean)
        return done(graph, train_op, feed)


def transfer(trained):
    """A frozen backbone under a new head, the head trained alone, or the backbone's beta too."""
    with new_graph() as graph:
        X, feed = inputs()
        with tf.variable_scope("backbone"):
            features = tf.nn.relu(norm(dense(X), False))
        output = dense(features, 3, "head")
        variables = tf.trainable_variables("head") if trained == "head" else None
        train_op = minimize(tf.reduce_mean(output**2), collected(), var_list=variables)
        return done(graph, train_op, feed)


def stopped_backbone():
    """Features of a frozen backbone behind a StopGradient."""
    with new_graph() as graph:
        X, feed = inputs()
        with tf.variable_scope("backbone"):
            features = tf.stop_gradient(tf.nn.relu(norm(dense(X), False)))
        return done(graph, minimize(tf.reduce_mean(norm(dense(features, 8, "head")) ** 2), collected()), feed)


def attack():
    """Gradients of an evaluation tower with respect to its input: an adversarial example, no training."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X))
        valid = norm(dense(X, reuse=True), False, reuse=True)
        train_op = minimize(tf.reduce_mean(output**2), collected())
        direction = tf.sign(tf.gradients(tf.reduce_mean(valid**2), X)[0])
        return done(graph, train_op, feed, direction, feed)


def other_norms(kind):
    """Normalisations that are no batch normalisation, in training and in evaluation."""
    with new_graph() as graph:
        X, feed = inputs()
        V, evaluation_feed = inputs(name="V")
        with tf.variable_scope("other", reuse=tf.AUTO_REUSE):
            h, valid = other_norm(kind, X), other_norm(kind, V)
        return done(graph, minimize(tf.reduce_mean(h**2)), feed, valid, evaluation_feed)


def other_norm(kind, X):
    with tf.variable_scope("dense"):
        w = tf.get_variable("w", [INPUTS, 8])
    if kind == "weights":  # weight standardisation
        mean, variance = tf.nn.moments(w, [0], keepdims=True)
        gain = tf.get_variable("gain", [8], initializer=tf.ones_initializer())
        return tf.matmul(X, gain * (w - mean) * tf.rsqrt(variance + 1e-4))
    if kind == "weight norm":
        return tf.matmul(X, w * tf.rsqrt(tf.reduce_sum(w**2, [0]) + 1e-4) * tf.get_variable("g", [8]))
    if kind == "rows":  # each row of the input by itself
        mean, variance = tf.nn.moments(X, [1], keepdims=True)
        return tf.matmul((X - mean) / tf.maximum(tf.sqrt(variance), 1e-2), w)
    if kind == "constants":
        return tf.matmul((X - np.float32(0.5)) / np.float32(0.3), w)
    if kind == "constants per column":
        mean, deviation = np.arange(INPUTS, dtype=np.float32), np.ones(INPUTS, np.float32)
        return tf.matmul((X - mean) / deviation, w)
    h = tf.matmul(X, w)
    beta = tf.get_variable("beta", [8], initializer=tf.zeros_initializer())
    gamma = tf.get_variable("gamma", [8], initializer=tf.ones_initializer())
    if kind == "layer":
        mean, variance = tf.nn.moments(h, [1], keepdims=True)
        return tf.nn.batch_normalization(h, mean, variance, beta, gamma, 1e-6)
    if kind == "layer, last axis":
        mean, variance = tf.nn.moments(h, [-1], keepdims=True)
        return (h - mean) / tf.sqrt(variance + 1e-6) * gamma + beta
    if kind == "slim layer":
        return tf_slim.layer_norm(h, scope="ln")
    if kind == "instance":
        h = tf.reshape(h, [4, 2, 2, 8])
        mean, variance = tf.nn.moments(h, [1, 2], keepdims=True)
        return (h - mean) * tf.rsqrt(variance + 1e-5) * gamma
    if kind == "slim instance":
        return tf_slim.instance_norm(tf.reshape(h, [4, 2, 2, 8]), scope="in")
    if kind == "group":
        h = tf.reshape(h, [4, 4, 2, 4])
        mean, variance = tf.nn.moments(h, [1, 3], keepdims=True)
        return (h - mean) / tf.sqrt(variance + 1e-5) * tf.reshape(gamma, [2, 4])
    if kind == "slim group":
        return tf_slim.group_norm(tf.reshape(h, [4, 2, 2, 8]), groups=2, scope="gn")
    if kind == "l2":
        return tf.nn.l2_normalize(h, 1)
    assert kind == "root mean square"
    return h * tf.rsqrt(tf.reduce_mean(h**2, [-1], keepdims=True) + 1e-8) * gamma


OTHER_NORMS = (
    "weights",
    "weight norm",
    "rows",
    "constants",
    "constants per column",
    "layer",
    "layer, last axis",
    "slim layer",
    "instance",
    "slim instance",
    "group",
    "slim group",
    "l2",
    "root mean square",
)


def selected(guarded):
    """The statistics chosen by tf.where. The update is always run; guarded, it moves nothing in evaluation."""
    with new_graph() as graph:
        X, feed = inputs()
        is_training = tf.placeholder(tf.bool, [], name="is_training")
        hidden = dense(X)
        with tf.variable_scope("bn"):
            beta = tf.get_variable("beta", [UNITS], initializer=tf.zeros_initializer())
            mean = tf.get_variable("moving_mean", [UNITS], initializer=tf.zeros_initializer(), trainable=False)
            variance = tf.get_variable("moving_variance", [UNITS], initializer=tf.ones_initializer(), trainable=False)
            batch = tf.nn.moments(hidden, [0])
            decay = tf.where(is_training, 0.9, 1.0) if guarded == "decay" else 0.9
            ops = []
            for moving, value in zip((mean, variance), batch, strict=True):
                new = moving * decay + value * (1 - decay)
                ops.append(tf.assign(moving, tf.where(is_training, new, moving) if guarded == "value" else new))
            used = [tf.where(is_training, *pair) for pair in zip(batch, (mean, variance), strict=True)]
            with tf.control_dependencies(ops):
                output = tf.nn.batch_normalization(hidden, used[0], used[1], beta, None, 1e-3)
        train_op = minimize(tf.reduce_mean(output**2))
        return done(graph, train_op, {**feed, is_training: True}, output, {**feed, is_training: False})


def synchronised(run=True):
    """Two towers that share the mean of their moments."""
    with new_graph() as graph:
        X, feed = inputs(32)
        parts = [dense(part, reuse=tf.AUTO_REUSE) for part in tf.split(X, 2)]
        with tf.variable_scope("bn"):
            beta = tf.get_variable("beta", [UNITS], initializer=tf.zeros_initializer())
            mean = tf.get_variable("moving_mean", [UNITS], initializer=tf.zeros_initializer(), trainable=False)
            variance = tf.get_variable("moving_variance", [UNITS], initializer=tf.ones_initializer(), trainable=False)
            means = [tf.reduce_mean(part, 0) for part in parts]
            squares = [tf.reduce_mean(part**2, 0) for part in parts]
            batch_mean = tf.add_n(means) / 2
            batch_variance = tf.add_n(squares) / 2 - batch_mean**2
            outputs = [tf.nn.batch_normalization(part, batch_mean, batch_variance, beta, None, 1e-3) for part in parts]
            updates = [
                tf.assign_sub(mean, 0.1 * (mean - batch_mean)),
                tf.assign_sub(variance, 0.1 * (variance - batch_variance)),
            ]
            valid = tf.nn.batch_normalization(parts[0], mean, variance, beta, None, 1e-3)
        train_op = minimize(tf.reduce_mean(tf.concat(outputs, 0) ** 2), updates if run else [])
        return done(graph, train_op, feed, valid, feed)


def domains():
    """Statistics of their own for each of two domains, both trained and both evaluated."""
    with new_graph() as graph:
        X, feed = inputs()
        h = dense(X)
        outputs = [norm(h, True, f"bn_{domain}") for domain in "ab"]
        valids = [norm(h, False, f"bn_{domain}", True) for domain in "ab"]
        train_op = minimize(tf.add_n([tf.reduce_mean(one**2) for one in outputs]), collected())
        return done(graph, train_op, feed, valids, feed)


def replicas(updates):
    """SyncReplicasOptimizer: gradients go through accumulators and queues."""
    with new_graph(resource=False) as graph:
        X, feed = inputs()
        output = norm(dense(X))
        valid = norm(dense(X, reuse=True), False, reuse=True)
        step = tf.train.get_or_create_global_step()
        optimizer = tf.train.SyncReplicasOptimizer(tf.train.GradientDescentOptimizer(0.1), 1, 1)
        with tf.control_dependencies(collected() if updates else []):
            train_op = optimizer.minimize(tf.reduce_mean(output**2), global_step=step)
        return done(graph, train_op, feed, valid, feed)


def clipped(kind):
    """Gradients that are scaled, or clipped too, before they are applied."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X))
        valid = norm(dense(X, reuse=True), False, reuse=True)
        optimizer = tf.train.AdamOptimizer(0.01)
        gradients, variables = zip(*optimizer.compute_gradients(tf.reduce_mean(output**2) * 128.0), strict=True)
        gradients = [one / 128.0 for one in gradients]
        if kind == "norm":
            gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
        with tf.control_dependencies(collected()):
            train_op = optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))
        return done(graph, train_op, feed, valid, feed)


def rmsprop_by_hand():
    """An optimizer written by hand: averages of squared gradients, roots and quotients, and no layer."""
    with new_graph() as graph:
        X, feed = inputs()
        loss = tf.reduce_mean(dense(X) ** 2)
        steps = []
        for variable in tf.trainable_variables():
            (gradient,) = tf.gradients(loss, variable)
            zeros = tf.zeros(variable.shape.as_list())
            first, second = (tf.Variable(zeros, trainable=False, name=name) for name in ("moving_mean", "moving_var"))
            m, v = tf.assign(first, 0.9 * first + 0.1 * gradient), tf.assign(second, 0.9 * second + 0.1 * gradient**2)
            steps.append(tf.assign_sub(variable, 0.01 * (gradient - m) / (tf.sqrt(v - m**2 + 1e-6) + 1e-8)))
        return done(graph, tf.group(*steps), feed)


def running_inputs():
    """Inputs normalised by running statistics, which the training itself moves on."""
    with new_graph() as graph:
        X, feed = inputs()
        mean = tf.get_variable("running/mean", [INPUTS], initializer=tf.zeros_initializer(), trainable=False)
        variance = tf.get_variable("running/var", [INPUTS], initializer=tf.ones_initializer(), trainable=False)
        batch = tf.nn.moments(X, [0])
        h = dense((X - mean) / tf.sqrt(variance + 1e-8))
        updates = [tf.assign_sub(one, 0.01 * (one - b)) for one, b in zip((mean, variance), batch, strict=True)]
        return done(graph, minimize(tf.reduce_mean(h**2), updates), feed)


def halves(kind):
    """Half precision around the layer."""
    with new_graph() as graph:
        X, feed = inputs()
        h = tf.cast(dense(X), tf.float16)

        def layer(is_training, reuse):
            if kind == "fused":
                four = tf.reshape(h, [-1, 1, 1, UNITS])
                return tf.cast(norm(four, is_training, reuse=reuse, fused=True), tf.float32)
            return norm(tf.cast(h, tf.float32), is_training, reuse=reuse, fused=False)

        output, valid = layer(True, None), layer(False, True)
        return done(graph, minimize(tf.reduce_mean(output**2), collected()), feed, valid, feed)


def evaluation_of_two_layers(second):
    """Two layers; is_training of the second one in the evaluation tower."""
    with new_graph() as graph:
        X, feed = inputs()

        def tower(flags, reuse=None):
            h = tf.nn.relu(norm(dense(X, reuse=reuse), flags[0], "bn1", reuse))
            return norm(dense(h, scope="dense2", reuse=reuse), flags[1], "bn2", reuse)

        output = tower((True, True))
        updates = collected()
        valid = tower((False, second), True)
        return done(graph, minimize(tf.reduce_mean(output**2), updates), feed, valid, feed)


def grouped_and_forgotten():
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X))
        tf.group(*collected(), name="update")
        return done(graph, minimize(tf.reduce_mean(output**2)), feed)


def inner_op_named():
    """The updates are grouped with the train op, and the user runs (and names) the inner one."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X))
        train_op = minimize(tf.reduce_mean(output**2))
        tf.group(train_op, *collected())
        return done(graph, train_op, feed, train_op=train_op)


def recomputed():
    """Custom gradients and tf.py_func around the layer's neighbours."""
    with new_graph() as graph:
        X, feed = inputs()

        @tf.custom_gradient
        def square(x):
            return x**2, lambda upstream: upstream * 2 * x

        output = square(norm(square(dense(X))))
        valid = square(norm(square(dense(X, reuse=True)), False, reuse=True))
        return done(graph, minimize(tf.reduce_mean(output), collected()), feed, valid, feed)


def renormalised():
    """Batch renormalisation, as far as it can be written here: batch statistics, corrected towards the moving ones."""
    with new_graph() as graph:
        X, feed = inputs()
        h = dense(X)
        with tf.variable_scope("bn"):
            beta = tf.get_variable("beta", [UNITS], initializer=tf.zeros_initializer())
            mean = tf.get_variable("moving_mean", [UNITS], initializer=tf.zeros_initializer(), trainable=False)
            variance = tf.get_variable("moving_variance", [UNITS], initializer=tf.ones_initializer(), trainable=False)
            batch = tf.nn.moments(h, [0])
            r = tf.stop_gradient(tf.clip_by_value(tf.sqrt(batch[1] + 1e-3) / tf.sqrt(variance + 1e-3), 0.5, 2.0))
            d = tf.stop_gradient(tf.clip_by_value((batch[0] - mean) / tf.sqrt(variance + 1e-3), -1.0, 1.0))
            output = tf.nn.batch_normalization(h, batch[0], batch[1], d, r, 1e-3) + beta
            valid = tf.nn.batch_normalization(h, mean, variance, beta, None, 1e-3)
            updates = [tf.assign_sub(one, 0.1 * (one - b)) for one, b in zip((mean, variance), batch, strict=True)]
        return done(graph, minimize(tf.reduce_mean(output**2), updates), feed, valid, feed)


def loss_that_waits(fetched):
    """The loss depends on the updates, and its gradient does not: they run only where the loss is run as well."""
    with new_graph() as graph:
        X, feed = inputs()
        loss = tf.reduce_mean(norm(dense(X)) ** 2)
        with tf.control_dependencies(collected()):
            loss = tf.identity(loss, name="total_loss")
        train_op = minimize(loss)
        if fetched:
            with tf.control_dependencies([train_op]):
                train_op = tf.identity(loss, name="train_tensor")
        return done(graph, train_op, feed, train_op=train_op)


def loss_before_the_updates():
    """As `loss_that_waits`, but the loss is computed from what waits for the updates."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X))
        with tf.control_dependencies(collected()):
            output = tf.identity(output)
        return done(graph, minimize(tf.reduce_mean(output**2)), feed)


def one_placeholder_for_two_towers():
    with new_graph() as graph:
        X, feed = inputs()
        V, evaluation_feed = inputs(name="V")
        is_training = tf.placeholder(tf.bool, [], name="is_training")
        output = norm(dense(X), is_training)
        updates = collected()
        valid = norm(dense(V, reuse=True), is_training, reuse=True)
        train_op = minimize(tf.reduce_mean(output**2), updates)
        return done(graph, train_op, {**feed, is_training: True}, valid, {**evaluation_feed, is_training: False})


def constant_conditions(valid, version):
    """tf.cond of constants, which nobody folded."""
    with new_graph(version) as graph:
        X, feed = inputs()
        output = LAYERS["hand"](dense(X), tf.constant(True), "bn", None, True)
        evaluate = LAYERS["hand"](dense(X, reuse=True), tf.constant(valid), "bn", True, True)
        return done(graph, minimize(tf.reduce_mean(output**2)), feed, evaluate, feed)


def averaged_weights_in_evaluation():
    """The evaluation tower reads averages of the weights, of beta and gamma too, and the layer's own statistics."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X), scale=True)
        average = tf.train.ExponentialMovingAverage(0.99)
        step = minimize(tf.reduce_mean(output**2), collected())
        with tf.control_dependencies([step]):
            train_op = average.apply(tf.trainable_variables())

        def averaged(getter, name, *arguments, **options):
            variable = getter(name, *arguments, **options)
            shadow = average.average(variable)
            return variable if shadow is None else shadow

        with tf.variable_scope(tf.get_variable_scope(), custom_getter=averaged, reuse=True):
            h = tf.matmul(X, tf.get_variable("dense/w"))
            beta, gamma = tf.get_variable("bn/beta"), tf.get_variable("bn/gamma")
            mean, variance = tf.get_variable("bn/moving_mean"), tf.get_variable("bn/moving_variance")
            valid, *_ = tf.nn.fused_batch_norm(
                tf.reshape(h, [-1, 1, 1, UNITS]), gamma, beta, mean, variance, epsilon=1e-3, is_training=False
            )
        return done(graph, train_op, feed, valid, feed, train_op=train_op)


def weight_averages():
    """Averages of the weights (beta too) beside a correct layer: not the layer's statistics."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X), scale=True)
        valid = norm(dense(X, reuse=True), False, reuse=True, scale=True)
        step = minimize(tf.reduce_mean(output**2), collected())
        average = tf.train.ExponentialMovingAverage(0.99)
        with tf.control_dependencies([step]):
            train_op = average.apply(tf.trainable_variables())
        return done(graph, train_op, feed, valid, feed, train_op=train_op)


def loops(collect, version=2):
    """The layer in a while loop, its updates in place or not run."""
    with new_graph(version) as graph:
        X, feed = inputs()
        w = tf.get_variable("w", [INPUTS, INPUTS])
        norm(tf.matmul(X, w), False, fused=False)  # so that the variables exist before the loop

        def body(i, h):
            h = tf.matmul(h, w)
            h = norm(h, True, reuse=True, collections=["ignored"] if collect else None, fused=False)
            return i + 1, tf.nn.relu(h)

        _, output = tf.while_loop(lambda i, _: i < 3, body, (0, X))
        return done(graph, minimize(tf.reduce_mean(output**2)), feed)


def every_tenth_step(version=1):
    """Updates under a condition of the user's own: legal."""
    with new_graph(version) as graph:
        X, feed = inputs()
        hidden = dense(X)
        output = norm(hidden, collections=["ignored"], fused=False)
        mean, variance = (v for v in tf.global_variables() if "moving" in v.op.name)
        batch = tf.nn.moments(hidden, [0])
        step = tf.train.get_or_create_global_step()

        def update():
            one, other = (
                tf.assign_sub(mean, 0.1 * (mean - batch[0])),
                tf.assign_sub(variance, 0.1 * (variance - batch[1])),
            )
            with tf.control_dependencies([one, other]):
                return tf.constant(True)

        now = tf.cond(tf.equal(tf.floormod(step, 10), 0), update, lambda: tf.constant(False))
        train_op = minimize(tf.reduce_mean(output**2), [now], global_step=step)
        return done(graph, train_op, feed)


def predicate(kind):
    """is_training in other words, in one tower that is right."""
    with new_graph() as graph:
        X, feed = inputs()
        if kind == "not":
            told = tf.placeholder(tf.bool, [], name="is_test")
            is_training, on, off = tf.logical_not(told), {told: False}, {told: True}
        elif kind == "equal":
            told = tf.placeholder(tf.string, [], name="mode")
            is_training, on, off = tf.equal(told, "train"), {told: "train"}, {told: "eval"}
        elif kind == "variable":
            told = tf.get_variable("phase", initializer=True, trainable=False, dtype=tf.bool)
            told = tf.convert_to_tensor(told)
            is_training, on, off = told, {told: True}, {told: False}
        elif kind == "less":
            told = tf.placeholder(tf.int32, [], name="mode")
            is_training, on, off = tf.less(told, 1), {told: 0}, {told: 1}
        output = norm(dense(X), is_training, fused=False)
        train_op = minimize(tf.reduce_mean(output**2), collected())
        return done(graph, train_op, {**feed, **on}, output, {**feed, **off})


def saver(which):
    """A Saver of all variables, of the trainable ones, or of both kinds."""
    lists = {
        "all": [None],
        "trainable": [tf.trainable_variables],
        "both": [tf.trainable_variables, None],
        "model": [tf_slim.get_model_variables],
        "with the step": [lambda: [*tf.trainable_variables(), tf.train.get_or_create_global_step()]],
        "named": [lambda: {"else/" + v.op.name: v for v in tf.global_variables()}],
    }[which]

    def after():
        for one in lists:
            tf.train.Saver(var_list=one and one())

    return network(train=True, valid=False, after=after)


def saver_arguments(**arguments):
    def after():
        tf.train.Saver(**arguments)

    return network(train=True, valid=False, after=after)


def trainable(*names, **options):
    """The layer's variables created before it, those in `names` in TRAINABLE_VARIABLES."""

    def before():
        for name, value in (("moving_mean", 0), ("moving_variance", 1)):
            start = tf.constant_initializer(value)
            tf.get_variable(f"bn/{name}", [UNITS], initializer=start, trainable=name in names)
        tf.get_variable("bn/beta", [UNITS], initializer=tf.zeros_initializer())

    return network("auto", before=before, **options)


def auto(x, is_training, scope, reuse, in_place, decay=0.9, **options):
    del reuse
    return audit_graphs.slim(x, is_training, scope, tf.AUTO_REUSE, in_place, decay, **options)


LAYERS["auto"] = auto


def existing(name):
    """Called before the towers: the layer's `name` exists already."""

    def before():
        tf.get_variable(f"bn/{name}", [UNITS], initializer=tf.ones_initializer())

    return before


def optimised_statistics(listed):
    """A frozen layer whose moving mean is given to the optimizer."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X), False, trainable=False, center=False, fused=False)
        variables = tf.trainable_variables()
        if listed:
            variables = variables + [v for v in tf.global_variables() if v.op.name == "bn/moving_mean"]
        return done(graph, minimize(tf.reduce_mean(output**2), var_list=variables), feed)


def convolution(batch=16, size=4, fused=None, data_format="NHWC", bias=False, is_training=True, collections=None):
    with new_graph() as graph:
        shape = [batch, size, size, 3] if data_format == "NHWC" else [batch, 3, size, size]
        X = tf.placeholder(tf.float32, shape, name="X")
        h = X
        if data_format == "NHWC":
            h = tf.nn.conv2d(X, tf.get_variable("kernel", [1, 1, 3, UNITS]), 1, "SAME")
            if bias:
                h = tf.nn.bias_add(h, tf.get_variable("bias", [UNITS]))
        h = norm(
            h, is_training, collections=collections or tf.GraphKeys.UPDATE_OPS, fused=fused, data_format=data_format
        )
        train_op = minimize(tf.reduce_mean(h**2), collected())
        return done(graph, train_op, {X: np.ones([4 if n is None else n for n in shape])})


def listed_twice(twice):
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X))
        if twice:
            for op in collected():
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, op)
        return done(graph, minimize(tf.reduce_mean(output**2), collected()), feed)


def decay_tensor():
    """A decay that the graph computes: nothing can be said."""
    with new_graph() as graph:
        X, feed = inputs()
        decay = tf.minimum(0.99, tf.cast(tf.train.get_or_create_global_step() + 1, tf.float32) / 100)
        output = norm(dense(X), decay=decay, fused=False)
        return done(graph, minimize(tf.reduce_mean(output**2), collected()), feed)


def unshared(kind):
    """Two towers whose moving statistics are, or are not, the same."""
    with new_graph() as graph:
        X, feed = inputs()
        V, evaluation_feed = inputs(name="V")
        if kind == "default scope":  # weights shared, batch_norm not
            train = norm(dense(X), True, None)
            valid = norm(dense(V, reuse=True), False, None)
        elif kind == "named scope":
            train = norm(dense(X), True, "hidden")
            valid = norm(dense(V, reuse=True), False, "hidden_1")
        elif kind == "layer and weights":  # nothing shared: hidden, hidden_1 by variable_scope's default_name

            def layer(x, is_training):
                with tf.variable_scope(None, "hidden"):
                    return norm(dense(x), is_training)

            train, valid = layer(X, True), layer(V, False)
        elif kind == "default scope, reused":
            with tf.variable_scope("net") as scope:
                train = norm(dense(X), True)
            with tf.variable_scope(scope, reuse=True):
                valid = norm(dense(V), False)
        elif kind == "another network":  # of another size, with a name of its own
            train = norm(dense(X), True, "student")
            valid = norm(dense(V, 7, "other"), False, "teacher")
        elif kind == "copied":  # statistics of its own, which a copy op keeps equal
            train = norm(dense(X), True, "hidden")
            valid = norm(dense(V, reuse=True), False, "copy")
            pairs = zip(tf.global_variables("copy"), tf.global_variables("hidden"), strict=True)
            tf.group(*[tf.assign(one, other) for one, other in pairs], name="copy_over")
        train_op = minimize(tf.reduce_mean(train**2), collected())
        return done(graph, train_op, feed, valid, evaluation_feed)


def evaluation_first():
    with new_graph() as graph:
        X, feed = inputs()
        valid = norm(dense(X), False, scale=True)
        output = norm(dense(X, reuse=True), True, reuse=True, scale=True)
        return done(graph, minimize(tf.reduce_mean(output**2), collected()), feed, valid, feed)


def observations():
    """Inputs normalised by running statistics that another op moves: no layer that trains."""
    with new_graph() as graph:
        X, feed = inputs()
        mean = tf.get_variable("observations/mean", [INPUTS], initializer=tf.zeros_initializer(), trainable=False)
        variance = tf.get_variable("observations/var", [INPUTS], initializer=tf.ones_initializer(), trainable=False)
        new = [tf.placeholder(tf.float32, [INPUTS]) for _ in range(2)]
        tf.group(tf.assign(mean, new[0]), tf.assign(variance, new[1]), name="set_observations")
        h = (X - mean) / tf.sqrt(variance + 1e-8)
        return done(graph, minimize(tf.reduce_mean(dense(h) ** 2)), feed)


def two_train_ops(second):
    """Two train ops in TRAIN_OP; the layer's updates belong to the first, or to none."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X))
        loss = tf.reduce_mean(output**2)
        one = minimize(loss, collected() if second == "with" else [])
        two = minimize(tf.reduce_mean(dense(X, 2, "aside") ** 2))
        return done(graph, [one, two], feed)


def inference(saved=None):
    """A graph without training."""
    with new_graph() as graph:
        X, feed = inputs()
        valid = norm(dense(X), False)
        if saved:
            tf.train.Saver(tf.trainable_variables() if saved == "trainable" else None)
        return done(graph, evaluate=valid, evaluation_feed=feed)


def keras3(updates):
    """The installed Keras in a graph: its updates are in no collection."""
    with new_graph() as graph:
        X, feed = inputs()
        layer = tf.keras.layers.BatchNormalization(name="bn", momentum=0.9)
        output = layer(dense(X), training=True)
        valid = layer(dense(X, reuse=True), training=False)
        ops = [op for op in graph.get_operations() if op.type == "AssignVariableOp" and op.name.startswith("bn_")]
        train_op = minimize(tf.reduce_mean(output**2), ops if updates else [])
        return done(graph, train_op, feed, valid, feed)


# --------------------------------------------------------------------------------------------------------------------
# The rules


@dataclass(eq=False)
class Case:
    name: str
    build: Any
    expected: set  # of (rule, severity): all that is found, and nothing else
    optional: tuple = ()  # (rule, severity): what may be found besides; the specification leaves it open
    layer: Any = "bn"  # of all findings that are expected; a tuple: one of these; None: whatever it is called
    still: Any = None  # layers whose statistics a training step leaves as they are, proved in a session; None: by rule
    session: bool = True  # whether it can be run

    def __str__(self):
        return self.name

    @functools.cached_property
    def built(self):
        return self.build()


def clean(name, build, **more):
    return Case(name, build, set(), **more)


BOTH = dict(train=True, valid=False)
CASES = [
    # updates-never-run
    Case("never run: two towers", lambda: network(**BOTH, updates="collected"), {NEVER_RUN}),
    Case("never run: the train op is named", lambda: network(**BOTH, updates="collected", named=True), {NEVER_RUN}),
    Case("never run: no collection", lambda: network(**BOTH, updates="collected", collection=False), {NEVER_RUN}),
    Case("never run: Adam", lambda: network(**BOTH, updates="collected", optimizer="adam"), {NEVER_RUN}),
    Case("never run: Momentum", lambda: network(**BOTH, updates="collected", optimizer="momentum"), {NEVER_RUN}),
    Case("never run: no evaluation tower", lambda: network(updates="collected"), {NEVER_RUN}),
    Case("never run: RMSProp, references", lambda: network(
        **BOTH, updates="collected", resource=False, optimizer=lambda: tf.train.RMSPropOptimizer(0.01)), {NEVER_RUN}),
    clean("run: two towers", lambda: network(**BOTH)),
    clean("run: the train op is named", lambda: network(**BOTH, named=True)),
    clean("run: no collection", lambda: network(**BOTH, collection=False)),
    clean("run: Adam", lambda: network(**BOTH, optimizer="adam")),
    clean("run: Momentum, references", lambda: network(**BOTH, optimizer="momentum", resource=False)),
    clean("run: no evaluation tower", lambda: network()),
    clean("run: grouped with the train op", lambda: network(**BOTH, updates="group")),
    clean("run: grouped and named", lambda: network(**BOTH, updates="group", named=True)),
    clean("run: grouped, no collection", lambda: network(**BOTH, updates="group", collection=False)),
    clean("run: with the loss", lambda: network(**BOTH, updates="loss")),
    clean("run: create_train_op", lambda: network(**BOTH, updates="create_train_op")),
    clean("run: create_train_op and named", lambda: network(**BOTH, updates="create_train_op", named=True)),
    clean("run: in place", lambda: network(**BOTH, updates="in_place")),
    clean("run: collection read before the evaluation tower", lambda: network(**BOTH, updates="early")),
    clean("run: evaluation tower built first", evaluation_first),
    Case("never run: collection read between two layers", lambda: two_layers("between"), {NEVER_RUN}, layer="bn2"),
    clean("run: collection read at the end", lambda: two_layers("end")),
    Case("never run: only the mean is updated", lambda: some_updates("mean"), {NEVER_RUN}, still=()),
    Case("never run: only the variance is updated", lambda: some_updates("variance"), {NEVER_RUN}, still=()),
    clean("run: both are updated", lambda: some_updates("")),
    Case("never run: a collection of one's own, not read", lambda: other_collection(False), {NEVER_RUN}),
    clean("run: a collection of one's own, read", lambda: other_collection(True)),
    Case("never run: another scope's updates", lambda: updates_of_one_scope("towers"), {NEVER_RUN}, layer="tower/bn"),
    clean("run: this scope's updates", lambda: updates_of_one_scope("tower")),
    Case("never run: conv, plain UPDATE_OPS", lambda: convolution(collections=["ignored"]), {NEVER_RUN}),
    clean("run: conv, plain UPDATE_OPS", convolution),
    clean("run: conv, not fused", lambda: convolution(fused=False)),
    clean("run: conv, NCHW", lambda: convolution(fused=False, data_format="NCHW"), session=False),
    Case("never run: one train op of two", lambda: two_train_ops("without"), {NEVER_RUN}),
    clean("run: one train op of two", lambda: two_train_ops("with")),
    Case("never run: the generator's", lambda: gan("discriminator"), {NEVER_RUN}, layer="generator/bn",
         optional=(DUPLICATE,)),
    clean("run: generator and discriminator", gan, optional=(DUPLICATE,)),
    Case("never run: towers in parallel", lambda: data_parallel(updates_of="none"), {NEVER_RUN}, optional=(DUPLICATE,)),
    clean("run: towers in parallel, the first's updates", data_parallel, optional=(DUPLICATE,)),
    clean("run: towers in parallel, all updates", lambda: data_parallel(updates_of="all"), optional=(DUPLICATE,)),
    Case("never run: by hand, named", lambda: by_hand(False, True), {NEVER_RUN}),
    clean("run: by hand, named", lambda: by_hand(True, True)),
    Case("never run: ema.apply dropped, v1", lambda: ema_of_the_thread("dropped", 1, False), {NEVER_RUN}, layer=None),
    Case("never run: assigned and dropped in the branch, v1", lambda: dropped(1), {NEVER_RUN}),
    Case("never run: assigned and dropped in the branch, v1, references", lambda: dropped(1, False), {NEVER_RUN}),
    Case("never run: assigned and dropped in the branch, v2", lambda: dropped(2), {NEVER_RUN}),
    clean("run: assigned and awaited in the branch, v1", lambda: dropped(1, kept=True)),
    clean("run: assigned and awaited in the branch, v1, references", lambda: dropped(1, False, kept=True)),
    clean("run: assigned and awaited in the branch, v2", lambda: dropped(2, kept=True)),
    # no-updates
    Case("no updates: by hand", lambda: no_updates(False), {NO_UPDATES}, optional=(UNSHARED,)),
    clean("updates: by hand", lambda: no_updates(True)),
    # updates-in-evaluation
    Case("in evaluation: True in place", lambda: network(train=True, valid=True, updates="in_place"),
         {WRONG, IN_EVALUATION}),
    Case("in evaluation: True in place, by hand", lambda: network("hand", train=True, valid=True, updates="in_place"),
         {WRONG, IN_EVALUATION}),
    Case("in evaluation: ema.apply outside cond, v1", lambda: ema_of_the_thread("outside", 1, False), {IN_EVALUATION},
         layer=None),
    Case("in evaluation: ema.apply outside cond, v2", lambda: ema_of_the_thread("outside", 2), {IN_EVALUATION},
         layer=None),
    clean("training only: ema.apply inside cond, v1", lambda: ema_of_the_thread("inside", 1, False), layer=None),
    clean("training only: ema.apply inside cond, v2", lambda: ema_of_the_thread("inside", 2), layer=None),
    clean("training only: ema.apply inside cond, v1, resource", lambda: ema_of_the_thread("inside", 1), layer=None),
    Case("in evaluation: in the other branch, v1", lambda: update_branch("evaluation"), {IN_EVALUATION},
         optional=(NEVER_RUN,), still={"bn"}),
    Case("in evaluation: in the other branch, v2", lambda: update_branch("evaluation", 2), {IN_EVALUATION},
         optional=(NEVER_RUN,), still={"bn"}),
    Case("in evaluation: under no condition, v1", lambda: update_branch("both"), {IN_EVALUATION}),
    Case("in evaluation: under no condition, v2", lambda: update_branch("both", 2), {IN_EVALUATION}),
    clean("training only: in the training branch, v1", lambda: update_branch("training")),
    clean("training only: in the training branch, v2", lambda: update_branch("training", 2)),
    clean("training only: in place, placeholder", lambda: network(train="placeholder", updates="in_place")),
    clean("training only: in place, placeholder, v1", lambda: network(
        train="placeholder", updates="in_place", version=1, resource=False)),
    # wrong-statistics
    Case("wrong: True in evaluation, not run", lambda: network(train=True, valid=True, updates="early"), {WRONG},
         optional=(DUPLICATE,)),
    Case("wrong: True in evaluation, run", lambda: network(train=True, valid=True), {WRONG, DUPLICATE},
         optional=(IN_EVALUATION,)),
    Case("wrong: False in training, beta trained", lambda: network(train=False, valid=False), {WRONG}, still={"bn"}),
    Case("wrong: False in training, no evaluation", lambda: network(train=False), {WRONG}, still={"bn"}),
    Case("wrong: False in training, by hand", lambda: network("hand", train=False, valid=False), {WRONG}, still={"bn"}),
    Case("wrong: the two exchanged", lambda: network(train=False, valid=True, updates="early"), {WRONG},
         optional=(DUPLICATE, NEVER_RUN), still={"bn"}),
    Case("frozen on purpose", lambda: network(train=False, valid=False, trainable=False), {SUSPECT}, still={"bn"}),
    Case("frozen backbone, head trained", lambda: transfer("head"), {SUSPECT}, layer="backbone/bn",
         still={"backbone/bn"}),
    Case("frozen backbone, all trained", lambda: transfer("all"), {WRONG}, layer="backbone/bn",
         still={"backbone/bn"}),
    clean("frozen backbone behind a StopGradient", stopped_backbone, still={"backbone/bn"}),
    Case("default True", lambda: network(train=("default", True)), {SUSPECT}),
    Case("default False", lambda: network(train=("default", False)), {SUSPECT}),
    Case("default False, v1", lambda: network(train=("default", False), version=1, resource=False), {SUSPECT}),
    Case("default True, by hand", lambda: network("hand", train=("default", True), updates="in_place"), {SUSPECT}),
    Case("default True, chosen from two outputs", lambda: network("tensorpack", train=("default", True)), {SUSPECT}),
    clean("keras_learning_phase", lambda: network(train=("default", False, "keras_learning_phase"))),
    clean("placeholder", lambda: network(train="placeholder")),
    clean("placeholder, v1", lambda: network(train="placeholder", version=1, resource=False)),
    clean("is_training said as not is_test", lambda: predicate("not")),
    clean("is_training said by a string", lambda: predicate("equal")),
    clean("is_training said by a number", lambda: predicate("less")),
    clean("is_training a variable", lambda: predicate("variable"), optional=(SUSPECT,)),
    clean("target network", dqn, still={"target/bn"}),
    clean("adversarial example", attack),
    clean("gradients added up", gradient_accumulation),
    clean("one layer on two inputs", siamese, optional=(DUPLICATE,)),
    clean("weight averages", weight_averages),
    # unshared-towers
    Case("unshared: default scope", lambda: unshared("default scope"), {UNSHARED}, layer=("BatchNorm", "BatchNorm_1"),
         still={"BatchNorm_1"}),
    Case("unshared: named scope", lambda: unshared("named scope"), {UNSHARED}, layer=("hidden", "hidden_1"),
         still={"hidden_1"}),
    Case("unshared: nothing shared", lambda: unshared("layer and weights"), {UNSHARED},
         layer=("hidden/bn", "hidden_1/bn"), still={"hidden_1/bn"}),
    clean("shared: default scope, reused", lambda: unshared("default scope, reused")),
    clean("another network", lambda: unshared("another network"), still={"teacher"}),
    clean("a copy that is copied over", lambda: unshared("copied"), still={"copy"}),
    # trainable-statistics
    Case("trainable: moving_mean", lambda: trainable("moving_mean", **BOTH), {TRAINABLE}),
    Case("trainable: moving_variance", lambda: trainable("moving_variance", **BOTH), {TRAINABLE}),
    Case("trainable: both", lambda: trainable("moving_mean", "moving_variance", **BOTH), {TRAINABLE}),
    clean("trainable: none", lambda: trainable(**BOTH)),
    Case("trainable: given to the optimizer", lambda: optimised_statistics(True), {TRAINABLE}, still=(),
         optional=(SUSPECT, WRONG), session=False),
    Case("trainable: not given to the optimizer", lambda: optimised_statistics(False), {SUSPECT}, still={"bn"}),
    # statistics-not-saved
    Case("not saved: trainable variables", lambda: saver("trainable"), {NOT_SAVED}),
    Case("not saved: trainable variables and the step", lambda: saver("with the step"), {NOT_SAVED}),
    clean("saved: all", lambda: saver("all")),
    clean("saved: all, beside a partial Saver", lambda: saver("both")),
    clean("saved: model variables", lambda: saver("model")),
    clean("saved: under other names", lambda: saver("named")),
    clean("saved: sharded", lambda: saver_arguments(sharded=True)),
    clean("saved: V1", lambda: saver_arguments(write_version=tf.train.SaverDef.V1)),
    clean("no Saver", lambda: network(**BOTH)),
    Case("not saved: inference graph", lambda: inference("trainable"), {NOT_SAVED}),
    clean("saved: inference graph", lambda: inference("all")),
    clean("inference graph", inference),
    # notes
    Case("bias", lambda: network(**BOTH, bias="before"), {BIAS}),
    Case("bias, by hand", lambda: network("hand", **BOTH, bias="before"), {BIAS}),
    Case("bias, placeholder", lambda: network("slim_unfused", train="placeholder", bias="before"), {BIAS}),
    Case("bias, conv", lambda: convolution(bias=True), {BIAS}),
    clean("bias before the ReLU", lambda: network(**BOTH, bias="relu")),
    Case("bias, frozen", lambda: network(train=False, valid=False, bias="before", trainable=False), {SUSPECT},
         still={"bn"}),
    Case("unused gamma", lambda: network(**BOTH, before=existing("gamma")), {UNUSED}),
    Case("unused gamma, by hand", lambda: network("ema", **BOTH, scale=False), {UNUSED}),
    Case("unused beta", lambda: network(**BOTH, before=existing("beta"), center=False), {UNUSED}),
    clean("used gamma", lambda: network(**BOTH, scale=True)),
    clean("used gamma, by hand", lambda: network("ema", **BOTH)),
    clean("no gamma", lambda: network("hand", **BOTH, scale=False)),
    clean("no beta", lambda: network(**BOTH, center=False)),
    # slow-decay
    Case("slow: 0.999, 100 steps", lambda: network(**BOTH, decay=0.999, arguments={"num_steps": 100}), {SLOW}),
    Case("slow: 0.9, 43 steps", lambda: network(**BOTH, decay=0.9, arguments={"num_steps": 43}), {SLOW}),
    clean("not slow: 0.9, 44 steps", lambda: network(**BOTH, decay=0.9, arguments={"num_steps": 44})),
    clean("not slow: 0.999, 10000 steps", lambda: network(**BOTH, decay=0.999, arguments={"num_steps": 10000})),
    clean("not slow: 0.999, unknown steps", lambda: network(**BOTH, decay=0.999)),
    Case("1 - decay", lambda: network(**BOTH, decay=0.1), {SLOW}),
    Case("1 - decay, not fused", lambda: network("slim_unfused", **BOTH, decay=0.01), {SLOW}),
    Case("1 - decay, placeholder", lambda: network(train="placeholder", decay=0.1), {SLOW}),
    Case("1 - decay, placeholder, v1", lambda: network(train="placeholder", decay=0.1, version=1), {SLOW}),
    Case("decay 1", lambda: network(**BOTH, decay=1.0), {SLOW}, session=False),
    clean("decay 0.5", lambda: network(**BOTH, decay=0.5)),
    clean("decay computed", decay_tensor, session=False),
    *[
        Case(f"1 - decay: {write}", lambda write=write: network("hand", **BOTH, decay=0.1, write=write), {SLOW})
        for write in ("r2rt", "assign_sub", "assign_add", "difference", "scalar_last")
    ],
    *[
        clean(f"decay, by hand: {write}", lambda write=write: network("hand", **BOTH, write=write))
        for write in ("r2rt", "assign_sub", "assign_add", "difference", "scalar_last")
    ],
    Case("1 - decay: ExponentialMovingAverage", lambda: ema_of_the_thread("inside", 1, False, decay=0.1), {SLOW},
         layer=None),
    # duplicate-updates
    Case("collection has each update twice", lambda: listed_twice(True), {DUPLICATE}),
    clean("collection has each update once", lambda: listed_twice(False)),
    # tiny-batch
    Case("batch of one", lambda: network(**BOTH, batch=1), {TINY}),
    Case("batch of four", lambda: network(**BOTH, batch=4), {TINY}),
    Case("batch of seven, by hand", lambda: network("hand", **BOTH, batch=7), {TINY}),
    clean("batch of eight", lambda: network(**BOTH, batch=8)),
    clean("batch unknown", lambda: network(**BOTH, batch=None)),
    clean("evaluation batch of one", lambda: network(**BOTH, valid_batch=1)),
    Case("one picture", lambda: convolution(batch=1), {TINY}),
    clean("two pictures", lambda: convolution(batch=2)),
    Case("four pictures of one pixel", lambda: convolution(batch=4, size=1), {TINY}),
    Case("four pictures of one pixel, not fused", lambda: convolution(batch=4, size=1, fused=False), {TINY}),
    clean("pictures unknown", lambda: convolution(batch=None)),
    # mixed-variance
    Case("fused in training", lambda: network("slim_list", valid_layer="slim_unfused", **BOTH), {MIXED}),
    Case("fused in evaluation", lambda: network("slim_unfused", valid_layer="slim_list", **BOTH), {MIXED}),
    clean("fused in both", lambda: network("slim_list", **BOTH)),
    clean("fused in neither", lambda: network("slim_unfused", **BOTH)),
    # no layer
    *[clean(f"no batch norm: {kind}", lambda kind=kind: other_norms(kind)) for kind in OTHER_NORMS],
    clean("no batch norm: an optimizer by hand", rmsprop_by_hand, optional=(SUSPECT,)),
    clean("no batch norm: running inputs", running_inputs, optional=(SUSPECT,)),
    clean("observations", observations, optional=(SUSPECT,), session=False),
    # other ways to write what is right
    Case("never run: the loss waits, its gradient does not", lambda: loss_that_waits(False), {NEVER_RUN}),
    clean("run: the loss waits and is run", lambda: loss_that_waits(True)),
    clean("run: the loss is computed from what waits", loss_before_the_updates),
    clean("one placeholder for two towers", one_placeholder_for_two_towers, optional=(DUPLICATE,)),
    clean("constant conditions, v1", lambda: constant_conditions(False, 1)),
    clean("constant conditions, v2", lambda: constant_conditions(False, 2)),
    Case("constant conditions, True in evaluation, v1", lambda: constant_conditions(True, 1), {WRONG, IN_EVALUATION}),
    Case("constant conditions, True in evaluation, v2", lambda: constant_conditions(True, 2), {WRONG, IN_EVALUATION}),
    clean("averaged weights in evaluation", averaged_weights_in_evaluation),
    clean("where: the value is guarded", lambda: selected("value")),
    clean("where: the decay is guarded", lambda: selected("decay")),
    Case("where: nothing is guarded", lambda: selected(None), {IN_EVALUATION}),
    clean("moments of two towers", synchronised),
    Case("moments of two towers, not run", lambda: synchronised(False), {NEVER_RUN}),
    clean("two domains", domains),
    clean("replicas", lambda: replicas(True), session=False),
    Case("replicas, not run", lambda: replicas(False), {NEVER_RUN}, session=False),
    clean("gradients clipped by norm", lambda: clipped("norm")),
    clean("gradients scaled", lambda: clipped("scale")),
    clean("half precision, fused", lambda: halves("fused")),
    clean("half precision, not fused", lambda: halves("cast")),
    clean("custom gradients", recomputed),
    clean("batch renormalisation", renormalised),
    clean("two layers evaluated", lambda: evaluation_of_two_layers(False)),
    Case("wrong: the second layer in evaluation", lambda: evaluation_of_two_layers(True), {WRONG}, layer="bn2",
         optional=(DUPLICATE,)),
    clean("grouped, perhaps run beside the train op", grouped_and_forgotten, optional=(NEVER_RUN,), still={"bn"}),
    Case("never run: the inner op is named", inner_op_named, {NEVER_RUN}),
    # loops
    clean("while loop, in place, v2", lambda: loops(False)),
    clean("while loop, in place, v1", lambda: loops(False, 1)),
    Case("while loop, not run, v2", lambda: loops(True), {NEVER_RUN}),
    Case("while loop, not run, v1", lambda: loops(True, 1), {NEVER_RUN}),
    clean("every tenth step, v1", every_tenth_step),
    clean("every tenth step, v2", lambda: every_tenth_step(2)),
]  # fmt: skip
assert len({case.name for case in CASES}) == len(CASES)


def step_of(built):
    """The layers whose statistics one training step leaves as they are, and whether evaluating moves any."""
    stepped, evaluated = moved(built)
    by_layer = {}
    for name in statistics(built.graph):
        layer = name.removesuffix("/EMA").rpartition("/")[0]
        by_layer[layer] = by_layer.get(layer, False) or name in stepped
    return {layer for layer, moves in by_layer.items() if not moves}, bool(evaluated)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule_and_its_near_identical_opposite(case):
    built = case.built
    report = audit(built)
    found = kinds(report)
    assert case.expected <= found <= case.expected | set(case.optional), str(report)
    if case.layer is not None:
        accepted = (case.layer,) if isinstance(case.layer, str) else case.layer
        for finding in report.findings:
            if (finding.rule, finding.severity) in case.expected:
                assert finding.layer in accepted, finding


def about_updates(case):
    """Whether a session can say more of a case than of the others."""
    other = (
        "bias",
        "unused",
        "used",
        "no ",
        "slow",
        "not slow",
        "decay",
        "1 -",
        "collection has",
        "batch",
        "evaluation b",
    )
    other += ("one picture", "two pictures", "four pictures", "pictures", "fused", "saved", "not saved", "inference")
    return case.session and not case.name.startswith(other)


@pytest.mark.parametrize("case", [case for case in CASES if about_updates(case)], ids=str)
def test_what_the_cases_expect_is_what_a_session_does(case):
    built = case.built
    still, evaluation_moves = step_of(built)
    if built.train is not None:
        accepted = (case.layer,) if isinstance(case.layer, str) else case.layer
        if case.still is not None:
            assert still == set(case.still)
        elif {NEVER_RUN, NO_UPDATES} & case.expected:
            assert still and (accepted is None or still <= set(accepted))
        else:
            assert not still
    assert evaluation_moves == (IN_EVALUATION in case.expected)


VARIANTS = {
    "towers": dict(train=True, valid=False),
    "placeholder, v1, references": dict(train="placeholder", version=1, resource=False),
    "placeholder, v2": dict(train="placeholder", version=2),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("layer", [name for name in LAYERS if name != "auto"])
def test_every_kind_of_layer_says_whether_its_updates_run(layer, variant):
    expected = {"control_dependencies": set(), "collected": {NEVER_RUN}, "in_place": set()}
    thorough = layer in ("slim", "hand", "fused_v3")
    for updates in expected if thorough else random.Random(layer + variant).sample(list(expected), 2):
        built = network(layer, updates=updates, **VARIANTS[variant])
        report = audit(built)
        assert kinds(report) == expected[updates], (updates, str(report))
        assert len(report.layers) == 1
        assert {finding.layer for finding in report.findings} <= {"bn"}
        if thorough:
            assert step_of(built) == ({"bn"} if updates == "collected" else set(), False)


def random_network(draw):
    """Arguments of `network`, at random."""
    train = draw.choice([True, True, False, "placeholder", "placeholder", ("default", True), ("default", False)])
    version = draw.choice([1, 2])
    return dict(
        layer=draw.choice([name for name in LAYERS if name != "auto"]),
        train=train,
        valid=draw.choice([None, False, False, False, True]) if isinstance(train, bool) else None,
        updates=draw.choice(
            ["control_dependencies", "collected", "in_place", "group", "loss", "create_train_op", "early"]
        ),
        version=version,
        resource=draw.random() < 0.5 or version == 2 and not isinstance(train, bool),
        optimizer=draw.choice(["sgd", "adam", "momentum"]),
        named=draw.random() < 0.3,
        collection=draw.random() < 0.8,
        bias=draw.choice([None, "before", "relu"]),
    )


@pytest.mark.parametrize("seed", range(12))
def test_a_random_network_is_judged_as_the_session_judges_it(seed):
    arguments = random_network(random.Random(seed))
    built = network(**arguments)
    report = audit(built)
    found = kinds(report)
    still, evaluation_moves = step_of(built)
    train, valid = arguments["train"], arguments["valid"]
    if train is not False:
        assert (NEVER_RUN in found) == bool(still), arguments
    if evaluation_moves or valid is not True:
        assert (IN_EVALUATION in found) == evaluation_moves, arguments
    assert (WRONG in found) == (train is False or valid is True), arguments
    assert (SUSPECT in found) == isinstance(train, tuple), arguments
    assert (BIAS in found) == (arguments["bias"] == "before" and train is not False) or valid is True, arguments
    rest = found - {NEVER_RUN, IN_EVALUATION, WRONG, SUSPECT, BIAS}
    assert not rest or valid is True and rest == {DUPLICATE}, arguments


def test_gradients_that_no_optimizer_applies_are_judged_rightly_or_undecided():
    """An op that assigns to the weights may be taken for the train op; who does not should ask for its name."""
    for updates, right in ((False, {NEVER_RUN}), (True, set())):
        report = audit(by_hand(updates, False))
        if kinds(report) != right or not updates and not kinds(report):
            assert not report.findings
            assert any("train op" in one["message"] for one in report.to_json()["undecided"])


def test_a_graph_def_without_collections_says_the_same():
    for layer, (updates, expected) in itertools.product(
        ("slim", "hand"), (("group", set()), ("control_dependencies", set()), ("collected", {NEVER_RUN}))
    ):
        built = network(layer, updates=updates, **BOTH)
        report = audit_graph(built.graph.as_graph_def())
        check_form(report, names_of(built.graph.as_graph_def()))
        assert kinds(report) == expected


def test_the_loss_may_be_named():
    built = by_hand(False, False)
    loss = next(op.name for op in built.graph.get_operations() if op.type == "Mean" and not op.name.startswith("bn"))
    report = audit_graph(built.graph, train_op="my_step", loss=loss)
    check_form(report)
    assert kinds(report) == {NEVER_RUN}
    assert not errors(audit_graph(network(**BOTH).graph, loss="loss:0"))


@pytest.mark.parametrize("form", ["operation", "tensor", "name", "tensor name"])
def test_a_train_op_is_named_in_any_form(form):
    built = by_hand(False, False)
    with built.graph.as_default(), tf.control_dependencies([built.graph.get_operation_by_name("my_step")]):
        tensor = tf.identity(1.0, name="my_tensor")
    train_op = {"operation": built.train, "tensor": tensor, "name": "my_step", "tensor name": "my_tensor:0"}[form]
    assert kinds(audit_graph(built.graph, train_op=train_op)) == {NEVER_RUN}


def test_an_unknown_train_op_is_an_input_error():
    built = network()
    for arguments in (dict(train_op="nowhere"), dict(loss="nowhere"), dict(train_op="")):
        with pytest.raises(InputError) as raised:
            audit_graph(built.graph, **arguments)
        assert "\n" not in str(raised.value)
    for steps in (-1, "many"):
        with pytest.raises((InputError, TypeError)):
            audit_graph(built.graph, num_steps=steps)


def test_what_is_no_graph_is_an_input_error(tmp_path):
    for graph in (None, 3, object(), tmp_path / "nothing.meta", str(tmp_path), ""):
        with pytest.raises((InputError, TypeError)):
            audit_graph(graph)


def test_it_is_public():
    assert bn_graph.audit_graph is audit_graph and "audit_graph" in dir(bn_graph)


def test_an_empty_graph_has_no_layer_and_no_finding():
    for graph in (tf.Graph(), tf.GraphDef(), tf.MetaGraphDef()):
        report = audit_graph(graph)
        assert report.findings == () and report.layers == ()
        check_form(report)


# --------------------------------------------------------------------------------------------------------------------
# Keras, where the installed version has it


@pytest.mark.parametrize("updates", [False, True])
def test_keras_in_a_graph(updates):
    built = keras3(updates)
    report = audit(built)
    assert kinds(report) == (set() if updates else {NEVER_RUN})
    assert step_of(built)[0] == (set() if updates else {"bn"})


@pytest.mark.parametrize("updates", [False, True])
def test_legacy_keras_in_a_graph(updates):
    keras = pytest.importorskip("tf_keras")
    with new_graph() as graph:
        layer = keras.layers.BatchNormalization(name="bn", momentum=0.9)
        x = keras.Input([INPUTS], name="X")
        model = keras.Model(x, keras.layers.Dense(3)(layer(x)))
        train_op = minimize(tf.reduce_mean(model.output**2), model.updates if updates else [])
        phase = graph.get_tensor_by_name("keras_learning_phase:0")
        feed = {x: np.random.RandomState(5).randn(16, INPUTS)}
        built = done(graph, train_op, {**feed, phase: True}, model.output, feed)
    report = audit(built)
    assert kinds(report) == (set() if updates else {NEVER_RUN})
    assert step_of(built)[0] == (set() if updates else {"bn"})


@pytest.mark.parametrize("updates", [False, True])
def test_tf_layers_in_a_graph(updates):
    batch_normalization = pytest.importorskip("tf_keras.src.legacy_tf_layers.normalization").batch_normalization
    with new_graph() as graph:
        X, feed = inputs()
        is_training = tf.placeholder(tf.bool, [], name="is_training")
        output = batch_normalization(dense(X), training=is_training, momentum=0.9, name="bn")
        train_op = minimize(tf.reduce_mean(output**2), collected() if updates else [])
        built = done(graph, train_op, {**feed, is_training: True}, output, {**feed, is_training: False})
    report = audit(built)
    assert kinds(report) == (set() if updates else {NEVER_RUN})
    assert step_of(built) == (set() if updates else {"bn"}, False)


# --------------------------------------------------------------------------------------------------------------------
# Graphs that nobody here wrote: the tutorial, TF 0.12.1, tf_slim.nets


@pytest.fixture(scope="module")
def splits():
    draw = np.random.RandomState(6)

    def rows(n):
        return draw.rand(n, 784).astype(np.float32), np.eye(10, dtype=np.float32)[draw.randint(10, size=n)]

    (train_X, train_y), (valid_X, valid_y), (test_X, test_y) = rows(100), rows(20), rows(20)
    nobody = np.arange(0)
    return Splits(train_X, train_y, valid_X, valid_y, test_X, test_y, nobody, nobody, nobody, "stratified", "fake")


TUTORIALS = list(
    itertools.product((PAGE, SCRIPT, NOTEBOOK), ("control_dependencies", "in_place", "collected"), ("bool",))
)
TUTORIALS += [(PAGE, "collected", "placeholder"), (SCRIPT, "in_place", "placeholder")]
TUTORIALS += [(NOTEBOOK, "control_dependencies", "placeholder")]


@pytest.mark.parametrize("edition, updates, is_training", TUTORIALS, ids=lambda one: getattr(one, "edition", one))
def test_the_tutorial(splits, edition, updates, is_training):
    config = replace(edition, updates=updates, is_training=is_training, seed=1, hidden_size=16)
    tutorial = build_graph(config, splits)
    report = audit_graph(tutorial.graph, num_steps=1000)
    check_form(report, names_of(tutorial.graph.as_graph_def()))
    expected = {BIAS} | ({NEVER_RUN} if updates == "collected" else set()) | ({UNUSED} if not config.scale else set())
    found = {(finding.rule, finding.severity, finding.layer) for finding in report.findings}
    assert found == {(*kind, layer) for kind in expected for layer in ("hidden_layer", "output_layer")}
    assert len(report.layers) == 2
    assert kinds(audit_graph(tutorial.graph, train_op=tutorial.train_op, num_steps=20)) == expected | {SLOW}


@pytest.mark.parametrize("name", ["page", "page_control_dependencies", "script", "notebook"])
def test_what_tf_0_12_1_recorded(name):
    path = PACKAGED / "graph" / f"{name}.meta"
    report = audit_graph(path)
    meta = tf.MetaGraphDef.FromString(path.read_bytes())
    check_form(report, names_of(meta.graph_def))
    expected = {BIAS} | ({NEVER_RUN} if name == "page" else set()) | ({UNUSED} if name != "notebook" else set())
    found = {(finding.rule, finding.severity, finding.layer) for finding in report.findings}
    assert found == {(*kind, layer) for kind in expected for layer in ("hidden_layer", "output_layer")}


def normalized(is_training=True):
    return tf_slim.arg_scope(
        [tf_slim.conv2d, tf_slim.fully_connected],
        normalizer_fn=tf_slim.batch_norm,
        normalizer_params={"is_training": is_training, "decay": 0.9},
    )


def nets():
    """Name to: the network of 8 pictures, their size, and the scope in which batch norm is there."""
    from tf_slim.nets import alexnet, inception, overfeat, resnet_utils, resnet_v1, resnet_v2, vgg

    def residual():
        return tf_slim.arg_scope(resnet_utils.resnet_arg_scope(batch_norm_decay=0.9))

    return {
        "alexnet": (lambda x: alexnet.alexnet_v2(x, 10, spatial_squeeze=False), 231, normalized),
        "overfeat": (lambda x: overfeat.overfeat(x, 10, spatial_squeeze=False), 231, normalized),
        "vgg_a": (lambda x: vgg.vgg_a(x, 10, spatial_squeeze=False), 224, normalized),
        "inception_v1": (lambda x: inception.inception_v1(x, 10), 224, normalized),
        "inception_v2": (lambda x: inception.inception_v2(x, 10, depth_multiplier=0.1), 224, normalized),
        "inception_v3": (lambda x: inception.inception_v3(x, 10, depth_multiplier=0.1), 299, normalized),
        "resnet_v1_50": (lambda x: resnet_v1.resnet_v1_50(x, 10), 32, residual),
        "resnet_v2_50": (lambda x: resnet_v2.resnet_v2_50(x, 10), 32, residual),
    }


NETS = ("alexnet", "overfeat", "vgg_a", "inception_v1", "inception_v2", "inception_v3", "resnet_v1_50", "resnet_v2_50")


@pytest.mark.parametrize("name", NETS)
def test_the_networks_of_tf_slim(name):
    build, size, scope = nets()[name]
    with tf.Graph().as_default() as graph:
        with scope():
            logits, ends = build(tf.zeros([8, size, size, 3]))
            loss = sum(tf.reduce_mean(one**2) for one in (logits, ends.get("AuxLogits", logits)))
        layers = {v.op.name.rpartition("/")[0] for v in tf.global_variables() if v.op.name.endswith("moving_mean")}
        minimized = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        report = audit_graph(graph)
        assert {(one.rule, one.severity, one.layer) for one in report.findings} == {(*NEVER_RUN, one) for one in layers}
        assert len(report.layers) == len(layers) > 5
        if name in ("alexnet", "inception_v1", "resnet_v2_50"):  # one of each kind: gradients take their time
            train_op = tf_slim.learning.create_train_op(loss, tf.train.GradientDescentOptimizer(0.1))
        else:
            train_op = tf.group(minimized, *collected())
        assert audit_graph(graph, train_op=train_op).findings == ()


def test_a_head_that_is_not_in_the_loss():
    """Inception 3's auxiliary head, when nobody asks for it: nothing trains it, and nothing evaluates with it."""
    with new_graph() as graph:
        X, feed = inputs()
        trunk = norm(dense(X), scope="trunk")
        norm(dense(trunk, scope="aside"), scope="head")
        train_op = minimize(tf.reduce_mean(trunk**2), collected())
        assert not errors(audit(done(graph, train_op, feed)))


def test_a_network_of_tf_slim_with_an_evaluation_tower():
    from tf_slim.nets import alexnet

    with tf.Graph().as_default() as graph:
        X = tf.placeholder(tf.float32, [8, 231, 231, 3])
        outputs = []
        for is_training in (True, False):
            with tf.variable_scope(tf.get_variable_scope(), reuse=not is_training), normalized(is_training):
                outputs.append(alexnet.alexnet_v2(X, 10, is_training=is_training, spatial_squeeze=False)[0])
        tf_slim.learning.create_train_op(tf.reduce_mean(outputs[0] ** 2), tf.train.GradientDescentOptimizer(0.1))
        report = audit_graph(graph)
        assert report.findings == () and len(report.layers) == 7


@pytest.mark.parametrize("name", ["alexnet", "overfeat", "vgg_a"])
def test_networks_without_batch_norm(name):
    build, size, _ = nets()[name]
    with tf.Graph().as_default() as graph:
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(build(tf.zeros([8, size, size, 3]))[0] ** 2))
    report = audit_graph(graph)
    assert report.findings == () and report.layers == ()


# --------------------------------------------------------------------------------------------------------------------
# Checkpoints, SavedModels, frozen graphs


def saved(built, folder, steps=3, meta=True, **saver_arguments):
    """Trains some steps and saves; the checkpoint's prefix."""
    with built.graph.as_default():
        if saver_arguments.get("var_list") == "trainable":
            saver_arguments["var_list"] = tf.trainable_variables()
        saver = tf.train.Saver(**saver_arguments)
        with tf.Session() as session:
            session.run(built.init)
            for _ in range(steps):
                session.run(built.train, built.feed)
            return saver.save(session, str(folder / "model.ckpt"), write_meta_graph=meta, write_state=False)


@pytest.mark.parametrize("version", [tf.train.SaverDef.V1, tf.train.SaverDef.V2], ids=["V1", "V2"])
@pytest.mark.parametrize("layer", ["slim", "hand", "tensorpack", "sonnet"])
def test_checkpoints(layer, version, tmp_path):
    for updates, meta, expected in (
        ("control_dependencies", True, set()),
        ("control_dependencies", False, set()),
        ("collected", True, {NEVER_RUN, UNTOUCHED}),
        ("collected", False, {UNTOUCHED}),
    ):
        folder = tmp_path / f"{updates}{meta}"
        folder.mkdir()
        path = saved(network(layer, updates=updates, **BOTH), folder, meta=meta, write_version=version)
        for spelling in (path, folder / "model.ckpt"):
            report = audit_graph(spelling)
            check_form(report)
            assert kinds(report) == expected, (updates, meta, str(report))
            assert {finding.layer for finding in report.findings} <= {"bn"}


def test_a_checkpoint_without_its_statistics(tmp_path):
    report = audit_graph(saved(network(**BOTH), tmp_path, var_list="trainable"))
    check_form(report)
    assert kinds(report) == {NOT_SAVED}


def test_a_checkpoint_of_two_layers_of_which_one_is_untouched(tmp_path):
    path = saved(two_layers("between"), tmp_path)
    report = audit_graph(path)
    assert {(one.rule, one.layer) for one in report.findings} == {
        ("updates-never-run", "bn2"),
        ("statistics-untouched", "bn2"),
    }
    for file in tmp_path.glob("*.meta"):
        file.unlink()
    assert {(one.rule, one.layer) for one in audit_graph(path).findings} == {("statistics-untouched", "bn2")}


def test_a_checkpoint_before_the_first_step(tmp_path):
    built = network(**BOTH, updates="create_train_op")
    path = saved(built, tmp_path, steps=0)
    report = audit_graph(path)
    check_form(report)
    assert report.findings == ()
    assert [(one["rule"], one["layer"]) for one in report.to_json()["undecided"]] == [("statistics-untouched", "bn")]
    assert audit_graph(saved(built, tmp_path, steps=1)).findings == ()


def test_a_checkpoint_whose_mean_is_still_0_and_whose_variance_is_not_1(tmp_path):
    built = network(**BOTH)
    next_feed = {key: np.zeros_like(value) for key, value in built.feed.items()}
    built.feed = next_feed  # the batch's mean is 0, its variance too: the moving variance leaves 1
    assert audit_graph(saved(built, tmp_path)).findings == ()


def test_the_checkpoints_graph_is_audited_too(tmp_path):
    path = saved(network(train=True, valid=True, updates="early"), tmp_path)
    assert WRONG in kinds(audit_graph(path))


@pytest.mark.parametrize("updates", ["control_dependencies", "collected"])
def test_saved_models(updates, tmp_path):
    built = network(**BOTH, updates=updates)
    with built.graph.as_default(), tf.Session() as session:
        session.run(built.init)
        session.run(built.train, built.feed)
        (x,) = built.evaluation_feed
        tf.saved_model.simple_save(session, str(tmp_path / "saved"), {"x": x}, {"y": built.evaluate})
    report = audit_graph(tmp_path / "saved")
    check_form(report)
    assert kinds(report) - {NEVER_RUN} == ({UNTOUCHED} if updates == "collected" else set())
    assert (NEVER_RUN in kinds(report)) == (updates == "collected")


@pytest.mark.parametrize("layer", ["slim", "slim_unfused", "hand", "tensorpack"])
@pytest.mark.parametrize("updates", ["control_dependencies", "collected"])
def test_frozen_graphs(layer, updates, tmp_path):
    built = network(layer, **BOTH, updates=updates)
    with built.graph.as_default(), tf.Session() as session:
        session.run(built.init)
        session.run(built.train, built.feed)
        constant = tf.graph_util.convert_variables_to_constants(
            session, built.graph.as_graph_def(), [built.evaluate.op.name]
        )
    (tmp_path / "frozen.pb").write_bytes(constant.SerializeToString())
    report = audit_graph(tmp_path / "frozen.pb")
    check_form(report, names_of(constant))
    assert kinds(report) == ({UNTOUCHED} if updates == "collected" else set())
    assert {finding.layer for finding in report.findings} <= {"bn"}
    assert report.to_json() == audit_graph(constant).to_json()


# --------------------------------------------------------------------------------------------------------------------
# Properties


PROPERTIES = {
    "clean": lambda: network("slim_unfused", **BOTH),
    "never run": lambda: network("slim", train="placeholder", version=1, resource=False, updates="collected"),
    "never run, v2": lambda: network("slim", train="placeholder", updates="collected", bias="before"),
    "wrong": lambda: network("hand", train=True, valid=True, updates="in_place"),
    "frozen": lambda: network("slim_unfused", train=False, valid=False),
    "unshared": lambda: unshared("named scope"),
    "no updates": lambda: no_updates(False),
    "other branch": lambda: update_branch("evaluation"),
    "notes": lambda: network("ema", **BOTH, scale=False, bias="before", decay=0.1),
    "mixed": lambda: network("slim_list", valid_layer="slim_unfused", **BOTH),
    "trainable": lambda: trainable("moving_mean", **BOTH),
}


@pytest.fixture(scope="module", params=PROPERTIES)
def known(request):
    """A graph, its MetaGraphDef, the train op's name, and the report."""
    built = PROPERTIES[request.param]()
    with built.graph.as_default():
        meta = tf.train.export_meta_graph(clear_devices=False)
    return built, meta, built.train.name, audit_graph(built.graph)


def broken(report, prefix=""):
    """The findings, without the texts and the collections' own."""
    return {
        (one.rule, one.severity, one.layer.removeprefix(prefix))
        for one in report.findings
        if one.rule != "trainable-statistics"
    }


def test_the_same_from_every_form(known, tmp_path):
    built, meta, train_op, report = known
    (tmp_path / "graph.meta").write_bytes(meta.SerializeToString())
    for one in (meta, tmp_path / "graph.meta", str(tmp_path / "graph.meta")):
        assert audit_graph(one).to_json() == report.to_json()
    definition = built.graph.as_graph_def(add_shapes=True)
    (tmp_path / "graph.pb").write_bytes(definition.SerializeToString())
    (tmp_path / "graph.pbtxt").write_text(text_format.MessageToString(definition))
    alone = audit_graph(definition, train_op=train_op)
    assert broken(alone) == broken(report)
    assert len(alone.layers) == len(report.layers)
    for name in ("graph.pb", "graph.pbtxt"):
        assert audit_graph(tmp_path / name, train_op=train_op).to_json() == alone.to_json()


def test_the_order_of_the_nodes_does_not_matter(known):
    _, meta, _, report = known
    for seed in range(3):
        shuffled = tf.MetaGraphDef()
        shuffled.CopyFrom(meta)
        for repeated in (shuffled.graph_def.node, shuffled.graph_def.library.function):
            order = list(repeated)
            random.Random(seed).shuffle(order)
            del repeated[:]
            repeated.extend(order)
        assert audit_graph(shuffled).to_json() == report.to_json()


def test_a_prefix_changes_the_names_and_nothing_else(known):
    built, _, train_op, report = known
    with control_flow(2), tf.Graph().as_default() as graph:
        tf.import_graph_def(built.graph.as_graph_def(add_shapes=True), name="pre/fix")
    prefixed = audit_graph(graph, train_op=f"pre/fix/{train_op}")
    check_form(prefixed, names_of(graph.as_graph_def()))
    assert broken(prefixed, "pre/fix/") == broken(report)
    assert all(finding.layer.startswith("pre/fix") for finding in prefixed.findings)


def test_unrelated_nodes_change_nothing(known):
    _, meta, _, report = known
    with tf.Graph().as_default() as other:
        X, _ = inputs(name="another_input")
        dense(X, scope="another")
        tf.cond(tf.placeholder(tf.bool, name="another_condition"), lambda: tf.zeros([3]), lambda: tf.ones([3]))
        tf.nn.moments(X, [0], name="another_moment")
    more = tf.MetaGraphDef()
    more.CopyFrom(meta)
    names = names_of(meta.graph_def)
    more.graph_def.node.extend(node for node in other.as_graph_def().node if node.name not in names)
    more.graph_def.library.function.extend(other.as_graph_def().library.function)
    assert audit_graph(more).to_json() == report.to_json()


def test_a_round_trip_through_import_meta_graph_changes_nothing(known):
    _, meta, _, report = known
    with tf.Graph().as_default() as graph:
        tf.train.import_meta_graph(meta)
    assert broken(audit_graph(graph)) == broken(report)


def test_the_audit_changes_nothing(known):
    built, meta, _, report = known
    before = built.graph.as_graph_def().SerializeToString(deterministic=True)
    collections = {key: list(built.graph.get_collection(key)) for key in built.graph.get_all_collection_keys()}
    text = meta.SerializeToString(deterministic=True)
    assert audit_graph(built.graph).to_json() == audit_graph(meta).to_json() == report.to_json()
    assert built.graph.as_graph_def().SerializeToString(deterministic=True) == before
    assert {key: list(built.graph.get_collection(key)) for key in built.graph.get_all_collection_keys()} == collections
    assert meta.SerializeToString(deterministic=True) == text


def test_custom_ops_are_no_obstacle():
    built = network(**BOTH, updates="collected")
    definition = built.graph.as_graph_def()
    node = definition.node.add()
    node.name, node.op = "mine", "AnOpOfMyOwn"
    node.input.extend(["X", "^w"])
    relu = next(node for node in definition.node if node.op == "Relu")
    relu.op = "MyOwnRelu"
    relu.attr["my_attr"].func.name = "nowhere"
    assert kinds(audit_graph(definition)) == {NEVER_RUN}


# --------------------------------------------------------------------------------------------------------------------
# The command


SCRIPT_PATH = ROOT / "scripts" / "audit_graph.py"


@pytest.fixture
def command(monkeypatch, capfd):
    """Runs the command in this process: its exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT_PATH), *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit:
            runpy.run_path(str(SCRIPT_PATH), run_name="__main__")
        captured = capfd.readouterr()
        return exit.value.code or 0, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def metas(tmp_path_factory):
    """Name to a .meta file."""
    folder = tmp_path_factory.mktemp("metas")
    builders = {
        "clean": lambda: network(**BOTH),
        "error": lambda: network(**BOTH, updates="collected"),
        "warning": lambda: network(**BOTH, decay=0.1),
        "note": lambda: network(**BOTH, bias="before"),
        "hand": lambda: by_hand(False, False),
    }
    for name, build in builders.items():
        built = build()
        with built.graph.as_default():
            tf.train.export_meta_graph(str(folder / f"{name}.meta"))
    return folder


def test_the_exit_codes(command, metas):
    for name, code in (("clean", 0), ("note", 0), ("warning", 1), ("error", 1)):
        returned, out, err = command(metas / f"{name}.meta")
        assert (returned, err) == (code, "")
        assert out.strip()
    assert "updates-never-run" in out and "bn" in out
    returned, out, _ = command(metas / "clean.meta", "--num-steps", "10")
    assert returned == 1 and "slow-decay" in out
    assert command(metas / "hand.meta", "--train-op", "my_step")[0] == 1


def test_json(command, metas):
    for name, arguments in (("clean", []), ("note", []), ("error", ["--num-steps", "10"]), ("hand", [])):
        code, out, err = command(metas / f"{name}.meta", "--json", *arguments)
        found = json.loads(out)
        steps = dict(num_steps=10) if arguments else {}
        assert found == audit_graph(metas / f"{name}.meta", **steps).to_json()
        assert code == any(one["severity"] != "note" for one in found["findings"]) and err == ""


def test_the_unknown_train_op(command, metas):
    for arguments in (["--train-op", "nowhere"], ["--loss", "nowhere"]):
        code, out, err = command(metas / "clean.meta", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "nowhere" in err
    assert "GradientDescent" in command(metas / "clean.meta", "--train-op", "nowhere")[2]


def unreadable(folder, metas):
    """Name to a path that is no graph."""
    good = (metas / "error.meta").read_bytes()
    picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde" + bytes(range(256))
    contents = {"empty": b"", "text": b"The quick brown fox.\n" * 9, "truncated": good[: len(good) // 2 + 1]}
    contents.update(picture=picture, one_byte=b"\n", zeros=bytes(1000), claim=b"\x0a\xff\xff\xff\xff\x07abc")
    paths = {"missing": folder / "missing.meta", "missing prefix": folder / "model.ckpt-7"}
    for name, content in contents.items():
        for suffix in (".meta", ".pb", ".pbtxt", ".ckpt"):
            if content or suffix != ".pbtxt":
                paths[name + suffix] = folder / (name + suffix)
                paths[name + suffix].write_bytes(content)
    for name in ("directory", "directory with rubbish", "directory with an empty model"):
        paths[name] = folder / name
        paths[name].mkdir()
    (paths["directory with rubbish"] / "notes.txt").write_text("nothing")
    (paths["directory with an empty model"] / "saved_model.pb").write_bytes(b"")
    (folder / "broken.index").write_bytes(b"rubbish")
    (folder / "broken.data-00000-of-00001").write_bytes(b"rubbish")
    paths["broken checkpoint"] = folder / "broken"
    (folder / "graph.pbtxt").write_text('node { name: "a" op: "Const" ')
    paths["truncated text"] = folder / "graph.pbtxt"
    return paths


def test_what_cannot_be_read_is_one_clear_line(command, metas, tmp_path):
    for name, path in unreadable(tmp_path, metas).items():
        code, out, err = command(path)
        assert (code, out, err.count("\n")) == (2, "", 1), (name, code, out, err)
        assert path.name in err and "Traceback" not in err, (name, err)
        with pytest.raises(InputError):
            audit_graph(path)


def test_a_path_through_a_file_is_one_clear_line(command, metas):
    """As is a file without permission; but who runs tests may be allowed everything."""
    for name in ("graph.meta", "graph.pb", "saved_model.pb", "model.ckpt"):
        code, out, err = command(metas / "clean.meta" / name)
        assert (code, out, err.count("\n")) == (2, "", 1) and name in err


def test_help_names_every_option(command):
    code, out, _ = command("--help")
    assert code == 0 and all(option in out for option in ("--train-op", "--loss", "--num-steps", "--json"))


def test_the_command_in_a_process_of_its_own(metas, tmp_path):
    """No line of TensorFlow on stderr."""
    process = run(sys.executable, SCRIPT_PATH, metas / "error.meta", "--json", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (1, "")
    assert json.loads(process.stdout)["findings"][0]["rule"] == "updates-never-run"


# --------------------------------------------------------------------------------------------------------------------
# Malformed input. (More of it: test_fuzz.py.)


class Hang(BaseException):
    """An audit that takes too long. Not an Exception, so that nobody catches it."""


@pytest.fixture
def within():
    """Calls a function; raises Hang where it takes longer than so many seconds."""
    assert threading.current_thread() is threading.main_thread()

    def ring(*_):
        raise Hang

    def call(seconds, function, *arguments, **options):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return function(*arguments, **options)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, ring)
    yield call
    signal.signal(signal.SIGALRM, before)


def survives(within, graph, **arguments):
    """Whether the audit reports (True) or raises InputError (False). Whatever else it does fails the test."""
    try:
        report = within(20, audit_graph, graph, **arguments)
        check_form(report)
        return True
    except InputError as error:
        assert str(error).strip() and "\n" not in str(error).strip()
        return False


def function_def(name, calls):
    function = tf.GraphDef().library.function.add()
    function.signature.name = name
    function.signature.input_arg.add(name="x", type=1)
    function.signature.output_arg.add(name="y", type=1)
    last = "x"
    for index, (op, attrs) in enumerate(calls):
        node = function.node_def.add(name=f"call_{index}", op=op)
        node.input.append(last)
        for key, value in attrs.items():
            node.attr[key].func.name = value
        last = f"call_{index}:output:0"
    function.ret["y"] = last
    return function


def chain(op, length, start="X"):
    definition = network("hand", **BOTH).graph.as_graph_def()
    last = start
    for index in range(length):
        node = definition.node.add(name=f"link_{index}", op=op)
        node.input.append(last)
        node.attr["T"].type = 1
        last = node.name
    return definition, last


def deep_chain():
    """The training hangs at the end of 100 000 nodes."""
    definition, last = chain("Identity", 100_000)
    for node in definition.node:
        if node.op == "MatMul" and node.input[0] == "X":
            node.input[0] = last
    return definition


def deep_control_chain():
    definition, _ = chain("NoOp", 0)
    for index in range(100_000):
        node = definition.node.add(name=f"link_{index}", op="NoOp")
        node.input.append(f"^link_{index - 1}" if index else "^X")
    next(node for node in definition.node if node.op == "MatMul").input.append("^link_99999")
    return definition


def wide():
    """One node with 100 000 inputs, many times over the same ones."""
    definition, _ = chain("Identity", 1000)
    node = definition.node.add(name="wide", op="AddN")
    node.input.extend(f"link_{index % 1000}" for index in range(100_000))
    next(node for node in definition.node if node.op == "MatMul").input[0] = "wide"
    return definition


def calls(functions, first="f0", op=None):
    definition, _ = chain("Identity", 0)
    definition.library.function.extend(functions)
    node = definition.node.add(name="call", op=op or first)
    node.input.append("X")
    if op:
        node.attr["f"].func.name = first
    next(node for node in definition.node if node.op == "MatMul").input[0] = "call"
    return definition


def branches(functions):
    definition, _ = chain("Identity", 0)
    definition.library.function.extend(functions)
    node = definition.node.add(name="call", op="If")
    node.input.extend(["X", "X"])
    node.attr["then_branch"].func.name = node.attr["else_branch"].func.name = functions[0].signature.name
    next(node for node in definition.node if node.op == "MatMul").input[0] = "call"
    return definition


def diamonds():
    """2^2000 paths."""
    definition, _ = chain("Identity", 0)
    last = "X"
    for index in range(2000):
        for side in ("a", "b"):
            definition.node.add(name=f"{side}{index}", op="Identity").input.append(last)
        join = definition.node.add(name=f"join_{index}", op="Add")
        join.input.extend([f"a{index}", f"b{index}"])
        last = join.name
    next(node for node in definition.node if node.op == "MatMul").input[0] = last
    return definition


def complete():
    """Each of 700 nodes depends on all others, itself too."""
    definition, _ = chain("Identity", 0)
    names = [f"node_{index}" for index in range(700)]
    for name in names:
        definition.node.add(name=name, op="Mul").input.extend(names)
    next(node for node in definition.node if node.op == "MatMul").input[0] = "node_0"
    return definition


def nested_names():
    definition, _ = chain("Identity", 0)
    definition.node.add(name="/".join("a" * 100_000), op="VariableV2")
    return definition


def huge_constants():
    definition = network("slim_unfused", **BOTH).graph.as_graph_def()
    for node in definition.node:
        if node.op == "Const":
            del node.attr["value"].tensor.tensor_shape.dim[:]
            for _ in range(3):
                node.attr["value"].tensor.tensor_shape.dim.add(size=2**30)
    return definition


def switches(op):
    """A thousand conditions, one in another."""
    definition, _ = chain("Identity", 0)
    definition.node.add(name="condition", op="Placeholder").attr["dtype"].type = 10
    last = "X"
    for index in range(1000):
        definition.node.add(name=f"switch_{index}", op="Switch").input.extend([last, "condition"])
        last = f"switch_{index}:1"
    for index in range(1000):
        merge = definition.node.add(name=f"merge_{index}", op=op)
        merge.input.extend([last, f"switch_{999 - index}"])
        last = merge.name
    next(node for node in definition.node if node.op == "MatMul").input[0] = last
    return definition


def every_name_the_same():
    definition = network("slim", **BOTH).graph.as_graph_def()
    for node in definition.node:
        node.name = "w"
    return definition


def ring_of_loops():
    definition = network("slim", **BOTH).graph.as_graph_def()
    names = [node.name for node in definition.node]
    for node, name in zip(definition.node, names[1:] + names[:1], strict=True):
        node.input.append(name)
        node.input.append("^" + name)
    return definition


MONSTERS = {
    "deep chain": deep_chain,
    "deep control chain": deep_control_chain,
    "wide": wide,
    "diamonds": diamonds,
    "complete": complete,
    "a function that calls itself": lambda: calls([function_def("f0", [("f0", {})])]),
    "a function that calls itself, PartitionedCall": lambda: calls(
        [function_def("f0", [("PartitionedCall", {"f": "f0"})])], op="PartitionedCall"
    ),
    "two functions that call each other": lambda: calls(
        [function_def("f0", [("f1", {})]), function_def("f1", [("f0", {})])]
    ),
    "functions that double": lambda: calls(
        [function_def(f"f{i}", [(f"f{i + 1}", {})] * 2) for i in range(60)] + [function_def("f60", [("Identity", {})])]
    ),
    "branches that double": lambda: branches(
        [
            function_def(f"f{i}", [("If", {"then_branch": f"f{i + 1}", "else_branch": f"f{i + 1}"})] * 2)
            for i in range(60)
        ]
    ),
    "functions a thousand deep": lambda: calls([function_def(f"f{i}", [(f"f{i + 1}", {})]) for i in range(1000)]),
    "a name a hundred thousand deep": nested_names,
    "huge constants": huge_constants,
    "a thousand conditions": lambda: switches("Merge"),
    "a thousand conditions that never meet": lambda: switches("Add"),
    "every name the same": every_name_the_same,
    "ring of loops": ring_of_loops,
}


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "x" * 100_000])
def test_a_name_from_a_file_stays_on_one_line(name, within):
    for mistake in ("twice", "no input", "unknown input"):
        definition = network("slim", **BOTH).graph.as_graph_def()
        for _ in range(1 + (mistake == "twice")):
            node = definition.node.add(name=name, op="ReadVariableOp")
            node.input.extend({"twice": ["w"], "no input": [], "unknown input": [name + "?"]}[mistake])
        try:
            within(20, audit_graph, definition)
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) < 1000


@pytest.mark.parametrize("monster", MONSTERS)
def test_monsters(monster, within):
    definition = MONSTERS[monster]()
    before = process_resource.getrusage(process_resource.RUSAGE_SELF).ru_maxrss
    survives(within, definition)
    after = process_resource.getrusage(process_resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 1_000_000  # kilobytes


def test_a_deep_chain_hides_nothing():
    assert kinds(audit_graph(deep_chain())) == set()


def test_a_function_body_that_is_called_60_times_deep_is_still_found_out(within):
    built = network("slim", train="placeholder", updates="collected")
    definition = built.graph.as_graph_def()
    definition.library.function.extend(
        [function_def(f"f{i}", [(f"f{i + 1}", {})] * 2) for i in range(60)] + [function_def("f60", [("Identity", {})])]
    )
    assert kinds(within(20, audit_graph, definition)) == {NEVER_RUN}
