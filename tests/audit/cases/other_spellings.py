"""Other ways to write what is right, and mistakes in them."""

from bn_graph.tf1 import tf
from tests.audit.cases.case import Case, clean
from tests.audit.findings import DUPLICATE, IN_EVALUATION, NEVER_RUN, WRONG
from tests.audit.networks import LAYERS, UNITS, new_graph
from tests.audit.pieces import collected, dense, done, inputs, minimize, norm


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


CASES = [
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
]  # fmt: skip
