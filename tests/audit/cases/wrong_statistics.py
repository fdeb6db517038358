"""Training on the moving statistics, evaluating on the batch's, and evaluation towers with statistics of their own."""

import pytest

from bn_graph.tf1 import tf
from tests.audit.cases.case import Case, clean
from tests.audit.findings import DUPLICATE, IN_EVALUATION, NEVER_RUN, SUSPECT, UNSHARED, WRONG
from tests.audit.networks import network, new_graph
from tests.audit.pieces import collected, dense, done, inputs, minimize, norm


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


def siamese():
    """One layer on two inputs in training: four updates of two variables, all right."""
    with new_graph() as graph:
        X, feed = inputs()
        Y, other = inputs(name="Y")
        one, two = norm(dense(X)), norm(dense(Y, reuse=True), reuse=True)
        train_op = minimize(tf.reduce_mean((one - two) ** 2), collected())
        return done(graph, train_op, {**feed, **other})


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


CASES = [
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
    Case("keras_learning_phase", lambda: network(train=("default", False, "keras_learning_phase")), {SUSPECT},
         marks=(pytest.mark.keras,)),
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
]  # fmt: skip
