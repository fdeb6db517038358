"""Programs with one fault each, built with a fix: with none they have the fault, and else they follow its words.

Each is a function (library, fix) or (fix), which returns a `Built`.
"""

import re

from bn_graph.tf1 import tf
from tests.audit.advice.libraries import collected, slim
from tests.audit.networks import INPUTS, UNITS, new_graph
from tests.audit.pieces import dense, done, inputs, minimize


def square(x):
    return tf.reduce_mean(tf.square(tf.nn.relu(x) - 0.5))


# Layers of libraries.


def frozen_in_training(library, fix):
    """The training tower normalises by the moving statistics."""
    with new_graph() as graph:
        X, feed = inputs()
        norm, h = library.norm(), dense(X)
        x = norm(h, False, **fix.options)
        valid = norm(h, False, reuse=True)
        return done(graph, fix.train(square(x), model=norm, x=h), feed, valid, feed)


def batch_in_evaluation(library, fix):
    """The evaluation tower normalises by its batch."""
    with new_graph() as graph:
        X, feed = inputs()
        V, evaluation_feed = inputs(name="V")
        norm, h = library.norm(), dense(X)
        x = norm(h, True)
        updates = library.updates(norm, h)
        valid = norm(dense(V, reuse=True), True, reuse=True, **fix.options)
        return done(graph, minimize(square(x), updates), feed, valid, evaluation_feed)


def updates_in_evaluation(library, fix):
    """As `batch_in_evaluation`, and the updates are in place."""
    with new_graph() as graph:
        X, feed = inputs()
        V, evaluation_feed = inputs(name="V")
        norm = library.norm()
        x = norm(dense(X), True, updates_collections=None)
        valid = norm(dense(V, reuse=True), True, reuse=True, **{"updates_collections": None, **fix.options})
        return done(graph, minimize(square(x)), feed, valid, evaluation_feed)


def unshared(library, fix):
    """The evaluation tower has a scope of its own."""
    with new_graph() as graph:
        X, feed = inputs()
        V, evaluation_feed = inputs(name="V")
        norm, h = library.norm(), dense(X)
        x = norm(h, True, "bn")
        updates = library.updates(norm, h)
        options = {name: "bn" if name in ("scope", "name") else value for name, value in fix.options.items()}
        shared = "bn" if "made once" in fix.text else "bn_1"
        valid = norm(dense(V, reuse=True), False, **{"scope": shared, **options})
        return done(graph, minimize(square(x), updates), feed, valid, evaluation_feed)


def slow(decay, num_steps=None):
    """A decay that does not suit the number of steps."""

    def program(library, fix):
        with new_graph() as graph:
            X, feed = inputs()
            norm, h = library.norm(), dense(X)
            x = norm(h, True, **{library.decay: decay, **fix.options})
            steps = {"num_steps": num_steps} if num_steps else {}
            return done(graph, minimize(square(x), library.updates(norm, h)), feed, **steps)

    return program


def mixed(library, fix):
    """Fused in training, decomposed in evaluation."""
    with new_graph() as graph:
        X = tf.placeholder(tf.float32, [16, 4, 4, 3])
        norm = library.norm()
        x = norm(X, True, **{"fused": True, **fix.options})
        updates = library.updates(norm, X)
        valid = norm(X, False, reuse=True, **{"fused": False, **fix.options})
        return done(graph, minimize(square(x), updates), evaluate=valid)


def frozen_part(library, fix):
    """Only the head is trained, and the statistics in front of it move."""
    with new_graph() as graph:
        X, feed = inputs()
        norm, h = library.norm(), dense(X)
        x = norm(h, True, **fix.options)
        updates = library.updates(norm, h)
        head = tf.get_variable("head", [UNITS, 3])
        loss = square(tf.matmul(tf.nn.relu(x), head))
        return done(graph, minimize(loss, updates, var_list=[head]), feed)


def tiny(library, fix):
    """A batch of four rows."""
    batch = int(re.search(r"\[(\d+), \.\.\.\]", fix.text)[1]) if fix else 4
    with new_graph() as graph:
        X, feed = inputs(batch)
        norm, h = library.norm(), dense(X)
        x = norm(h, True)
        return done(graph, minimize(square(x), library.updates(norm, h)), feed)


def unused(library, fix):
    """The result of the layer is dropped."""
    with new_graph() as graph:
        X, feed = inputs()
        norm, h = library.norm(), dense(X)
        normalised = norm(h, True, **library.decomposed)
        x = normalised if fix.text.startswith("x = ") else h
        return done(graph, minimize(square(x), library.updates(norm, h)), feed)


def biased(library, fix):
    """The linear layer in front has a bias."""
    with new_graph() as graph:
        X, feed = inputs()
        norm, h = library.norm(), library.dense(X, **fix.options)
        x = norm(h, True)
        return done(graph, minimize(square(x), library.updates(norm, h)), feed)


def dropped_out(library, fix):
    """Dropout right in front of the layer."""
    with new_graph() as graph:
        X, feed = inputs()
        norm = library.norm()
        x = dense(X) if fix else tf.nn.dropout(dense(X), rate=0.5)
        normalised = norm(x, True)
        updates = library.updates(norm, x)
        x = fix.execute(x=normalised, keep_prob=0.5)["x"] if fix else normalised
        return done(graph, minimize(square(x), updates), feed)


def one_tower(library, fix):
    """Two towers with data of their own, and the updates of the first one."""
    with new_graph() as graph:
        X, feed = inputs()
        Z, other = inputs(name="Z")
        norm, h = library.norm(), dense(X)
        losses = [square(norm(h, True))]
        updates = library.updates(norm, h)
        losses.append(square(norm(dense(Z, reuse=True), True, reuse=True)))
        return done(graph, fix.train(tf.add_n(losses), updates), {**feed, **other})


def another_input(library, fix):
    """The updates of another call are run, which wants its own placeholder."""
    with new_graph() as graph:
        X, feed = inputs()
        Z, _ = inputs(name="Z")
        norm, h = library.norm(), dense(X)
        loss = square(norm(h, True))
        first = set(library.updates(norm, h))
        z = dense(Z, reuse=True)
        norm(z, True, reuse=True)
        updates = [op for op in library.updates(norm, z) if op not in first]
        return done(graph, fix.train(loss, updates, model=norm, x=h), feed)


def default_of_is_training(default):
    """is_training need not be fed."""

    def program(library, fix):
        with new_graph() as graph:
            X, feed = inputs()
            norm, h = library.norm(), dense(X)
            is_training = tf.placeholder_with_default(default, [], name="is_training")
            if fix:
                is_training = fix.execute()["is_training"]
            x = norm(h, is_training)
            updates = library.updates(norm, h)
            return done(graph, minimize(square(x), updates), {**feed, is_training: True})

    return program


def unused_gamma(library, fix):
    """gamma is there, and the layer is told not to use it."""
    with new_graph() as graph:
        X, feed = inputs()
        norm, h = library.norm(), dense(X)
        tf.get_variable("bn/gamma", [UNITS], initializer=tf.ones_initializer())
        x = norm(h, True, **{"scale": False, **fix.options}, reuse=tf.AUTO_REUSE)
        return done(graph, minimize(square(x), library.updates(norm, h)), feed)


def in_a_branch(version):
    """The updates are made in a branch, and nothing there waits for them."""

    def program(library, fix):
        with new_graph(version) as graph:
            X, feed = inputs()
            is_training = tf.placeholder(tf.bool, [], name="is_training")
            norm, h = library.norm(), dense(X)
            norm(h, False)  # makes the variables

            def training():
                x = norm(h, True, reuse=True, **fix.options)
                return fix.execute(x=x)["x"] if fix.is_executable else x

            x = tf.cond(is_training, training, lambda: norm(h, False, reuse=True))
            return done(graph, minimize(square(x)), {**feed, is_training: True}, x, {**feed, is_training: False})

    return program


def in_a_loop(version, waited_for=False):
    """The updates are made in the body of a loop, where nothing waits for them, or an op outside does."""

    def program(library, fix):
        with new_graph(version) as graph:
            X, feed = inputs(units=UNITS)
            norm = library.norm()
            valid = norm(X, False)  # makes the variables

            def body(i, h):
                x = norm(h, True, reuse=True, **fix.options)
                return i + 1, fix.execute(x=x)["x"] if fix.is_executable else x

            _, x = tf.while_loop(lambda i, h: i < 3, body, [0, X])
            updates = collected() if waited_for and not fix else []
            return done(graph, minimize(square(x), updates), feed, valid, feed)

    return program


# Layers by hand.


def variables(trainable=False, scope="bn", reuse=None):
    """Those of a layer, by name."""
    start = {"moving_mean": 0.0, "moving_variance": 1.0, "gamma": 1.0, "beta": 0.0}
    with tf.variable_scope(scope, reuse=reuse):
        return {
            name: tf.get_variable(
                name,
                [UNITS],
                initializer=tf.constant_initializer(value),
                trainable=trainable if "moving" in name else True,
            )
            for name, value in start.items()
        }


def normalized(x, mean, variance, parts):
    return tf.nn.batch_normalization(x, mean, variance, parts["beta"], parts["gamma"], 1e-3)


def by_moving(x, parts):
    return normalized(x, parts["moving_mean"], parts["moving_variance"], parts)


def updated(parts, mean, variance, decay=0.9):
    statistics = (parts["moving_mean"], mean), (parts["moving_variance"], variance)
    return [tf.assign(moving, decay * moving + (1 - decay) * value) for moving, value in statistics]


def hand_frozen_in_training(fix):
    with new_graph() as graph:
        X, feed = inputs()
        h, parts = dense(X), variables()
        x = fix.execute(x=h, epsilon=1e-3, **parts)["x"] if fix else by_moving(h, parts)
        return done(graph, minimize(square(x)), feed, by_moving(h, parts), feed)


def hand_batch_in_evaluation(fix):
    with new_graph() as graph:
        X, feed = inputs()
        V, evaluation_feed = inputs(name="V")
        h, parts = dense(X), variables()
        batch = tf.nn.moments(h, [0])
        x = normalized(h, *batch, parts)
        v = dense(V, reuse=True)
        if fix:
            valid = fix.execute(x=v, epsilon=1e-3, **parts)["x"]
        else:
            valid = normalized(v, *tf.nn.moments(v, [0]), parts)
        return done(graph, minimize(square(x), updated(parts, *batch)), feed, valid, evaluation_feed)


def hand_unshared(fix):
    with new_graph() as graph:
        X, feed = inputs()
        V, evaluation_feed = inputs(name="V")
        h, parts = dense(X), variables(scope="bn")
        batch = tf.nn.moments(h, [0])
        x = normalized(h, *batch, parts)
        copy = variables(scope="bn" if fix else "bn_1", reuse=bool(fix) or None)
        if fix:
            copy["moving_mean"] = fix.execute(scope="bn", shape=[UNITS])["moving_mean"]
        valid = by_moving(dense(V, reuse=True), copy)
        return done(graph, minimize(square(x), updated(parts, *batch)), feed, valid, evaluation_feed)


def hand_slow(fix):
    with new_graph() as graph:
        X, feed = inputs()
        h, parts = dense(X), variables()
        batch = tf.nn.moments(h, [0])
        x = normalized(h, *batch, parts)
        decay = fix.execute()["decay"] if fix else 0.1
        return done(graph, minimize(square(x), updated(parts, *batch, decay)), feed)


def hand_without_updates(fix):
    with new_graph() as graph:
        X, feed = inputs()
        h, parts = dense(X), variables()
        x = normalized(h, *tf.nn.moments(h, [0]), parts)
        valid = by_moving(h, parts)
        return done(graph, fix.train(square(x), **parts) if fix else minimize(square(x)), feed, valid, feed)


def hand_without_updates_in_a_branch(version):
    def program(fix):
        with new_graph(version) as graph:
            X, feed = inputs()
            is_training = tf.placeholder(tf.bool, [], name="is_training")
            h, parts = dense(X), variables()

            def training():
                mean, variance = tf.nn.moments(h, [0])
                if fix:
                    names = fix.execute(batch_mean=mean, batch_variance=variance, **parts)
                    mean, variance = names["batch_mean"], names["batch_variance"]
                return mean, variance

            moving = parts["moving_mean"], parts["moving_variance"]
            mean, variance = tf.cond(is_training, training, lambda: tuple(map(tf.identity, moving)))
            x = normalized(h, mean, variance, parts)
            return done(graph, minimize(square(x)), {**feed, is_training: True}, x, {**feed, is_training: False})

    return program


def hand_branches(version, fault):
    """fault: "outside": the updates run in evaluation, too. "exchanged": they run in evaluation alone."""

    def program(fix):
        with new_graph(version) as graph:
            X, feed = inputs()
            is_training = tf.placeholder(tf.bool, [], name="is_training")
            h, parts = dense(X), variables()
            batch = tf.nn.moments(h, [0])
            moving = parts["moving_mean"], parts["moving_variance"]
            if fix:
                names = fix.execute(batch_mean=batch[0], batch_variance=batch[1], is_training=is_training, **parts)
                mean, variance = names["mean"], names["variance"]
            elif fault == "outside":
                with tf.control_dependencies(updated(parts, *batch)):
                    taken = tuple(map(tf.identity, batch))
                mean, variance = tf.cond(is_training, lambda: taken, lambda: tuple(map(tf.identity, moving)))
            else:

                def update():
                    with tf.control_dependencies(updated(parts, *batch)):
                        return tuple(map(tf.identity, batch))

                mean, variance = tf.cond(is_training, lambda: tuple(map(tf.identity, moving)), update)
            x = normalized(h, mean, variance, parts)
            return done(graph, minimize(square(x)), {**feed, is_training: True}, x, {**feed, is_training: False})

    return program


def hand_trainable(fix):
    with new_graph() as graph:
        X, feed = inputs()
        h, parts = dense(X), variables(fix.options.get("trainable", True))
        batch = tf.nn.moments(h, [0])
        x = normalized(h, *batch, parts)
        return done(graph, minimize(square(x), updated(parts, *batch)), feed, by_moving(h, parts), feed)


def listed_for_the_optimizer(fix):
    """A frozen layer whose moving mean the optimizer is given."""
    with new_graph() as graph:
        X, feed = inputs()
        h, parts = dense(X), variables()
        loss = square(by_moving(h, parts))
        if fix:
            train_op = fix.execute(loss=loss)["train_op"]
        else:
            train_op = minimize(loss, var_list=[*tf.trainable_variables(), parts["moving_mean"]])
        return done(graph, train_op, feed)


def hand_biased(fix):
    with new_graph() as graph:
        X, feed = inputs()
        parts, weights = variables(), tf.get_variable("weights", [INPUTS, UNITS])
        x = tf.matmul(X, weights) + tf.get_variable("b", [UNITS])
        h = fix.execute(x=X, weights=weights)["x"] if fix else x
        batch = tf.nn.moments(h, [0])
        return done(graph, minimize(square(normalized(h, *batch, parts)), updated(parts, *batch)), feed)


def hand_unused_gamma(fix):
    with new_graph() as graph:
        X, feed = inputs()
        h, parts = dense(X), variables()
        mean, variance = tf.nn.moments(h, [0])
        if fix:
            x = fix.execute(x=h, mean=mean, variance=variance, epsilon=1e-3, **parts)["x"]
        else:
            x = tf.nn.batch_normalization(h, mean, variance, parts["beta"], None, 1e-3)
        return done(graph, minimize(square(x), updated(parts, mean, variance)), feed)


def hand_in_a_loop(version):
    def program(fix):
        with new_graph(version) as graph:
            X, feed = inputs(units=UNITS)
            parts = variables()
            valid = by_moving(X, parts)

            def body(i, h):
                batch = tf.nn.moments(h, [0])
                update_ops = updated(parts, *batch)
                x = normalized(h, *batch, parts)
                return i + 1, fix.execute(x=x, update_ops=update_ops)["x"] if fix else x

            _, x = tf.while_loop(lambda i, h: i < 3, body, [0, X])
            return done(graph, minimize(square(x)), feed, valid, feed)

    return program


# Whole programs.


def target_network(optimizer):
    """The trainable variables are copied into a network that evaluates."""

    def program(fix):
        with new_graph() as graph:
            X, feed = inputs()
            norm = slim()

            def q(scope, is_training):
                with tf.variable_scope(scope):
                    return norm(dense(X), is_training)

            online, target = q("online", True), q("target", False)
            with tf.control_dependencies(collected()):
                step = optimizer(0.01).minimize(square(online), var_list=tf.trainable_variables("online"))
            pairs = zip(tf.trainable_variables("target"), tf.trainable_variables("online"), strict=True)
            copies = [tf.assign(one, other) for one, other in pairs]
            with tf.control_dependencies([step]):
                copies += [fix.execute()["copy"]] if fix else []
            return done(graph, tf.group(step, *copies), feed, target, feed, train_op=step)

    return program
