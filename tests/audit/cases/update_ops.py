"""Updates that the train op never runs, that nobody ever makes, and that evaluating runs."""

import numpy as np

from bn_graph.tf1 import tf
from tests.audit.cases.case import BOTH, Case, clean
from tests.audit.findings import DUPLICATE, IN_EVALUATION, NEVER_RUN, NO_UPDATES, ONE_TOWER, UNSHARED, WRONG
from tests.audit.networks import INPUTS, UNITS, network, new_graph
from tests.audit.pieces import collected, convolution, dense, done, inputs, minimize, norm


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


def evaluation_first():
    with new_graph() as graph:
        X, feed = inputs()
        valid = norm(dense(X), False, scale=True)
        output = norm(dense(X, reuse=True), True, reuse=True, scale=True)
        return done(graph, minimize(tf.reduce_mean(output**2), collected()), feed, valid, feed)


def two_train_ops(second):
    """Two train ops in TRAIN_OP; the layer's updates belong to the first, or to none."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X))
        loss = tf.reduce_mean(output**2)
        one = minimize(loss, collected() if second == "with" else [])
        two = minimize(tf.reduce_mean(dense(X, 2, "aside") ** 2))
        return done(graph, [one, two], feed)


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
    clean("run: towers in parallel, the first's updates", data_parallel, optional=(DUPLICATE, ONE_TOWER)),
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
    # loops
    clean("while loop, in place, v2", lambda: loops(False)),
    clean("while loop, in place, v1", lambda: loops(False, 1)),
    Case("while loop, not run, v2", lambda: loops(True), {NEVER_RUN}),
    Case("while loop, not run, v1", lambda: loops(True, 1), {NEVER_RUN}),
    clean("every tenth step, v1", every_tenth_step),
    clean("every tenth step, v2", lambda: every_tenth_step(2)),
]  # fmt: skip
