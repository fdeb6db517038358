"""Networks that follow another one: target networks, teachers, averaged copies."""

from bn_graph.tf1 import tf
from tests.audit.cases.case import Case, clean
from tests.audit.findings import NEVER_RUN, NOT_COPIED
from tests.audit.networks import new_graph
from tests.audit.pieces import collected, dense, done, inputs, minimize, norm

ALWAYS = {"wrong-statistics"}


def network(x, scope, is_training, reuse=None, **options):
    with tf.variable_scope(scope, reuse=reuse):
        return dense(tf.nn.relu(norm(dense(x), is_training, reuse=reuse, **options)), 3, "out")


def follow(how, which):
    """The op that lets the copy follow. which: the list of variables that somebody asked for."""
    lists = {
        "all": tf.global_variables,
        "trainable": tf.trainable_variables,
        "model": tf.model_variables,
    }
    if which == "mean":
        pairs = [pair for pair in zip(tf.global_variables("target"), tf.global_variables("online"), strict=True)]
        pairs = [(target, online) for target, online in pairs if "variance" not in target.name]
    else:
        pairs = list(zip(lists[which]("target"), lists[which]("online"), strict=True))
    if how == "loop":
        return [tf.assign(target, online) for target, online in pairs]
    if how == "method":
        return tf.group(*(target.assign(online) for target, online in pairs))
    if how == "soft":
        return tf.group(*(target.assign(0.1 * online + 0.9 * target) for target, online in pairs))
    if how == "difference":
        return tf.group(*(target.assign_add(0.1 * (online - target)) for target, online in pairs))
    if how == "subtract":
        return [tf.assign_sub(target, (target - online) * 0.1) for target, online in pairs]
    if how == "fed rate":
        tau = tf.placeholder_with_default(0.1, [], name="tau")
        return tf.group(*(target.assign(tau * online + (1 - tau) * target) for target, online in pairs))
    if how == "scheduled rate":
        step = tf.cast(tf.train.get_or_create_global_step(), tf.float32)
        tau = tf.minimum(0.99, (1.0 + step) / (10.0 + step))
        return tf.group(*(target.assign(tau * target + (1 - tau) * online) for target, online in pairs))
    assert how == "now and then"
    due = tf.equal(tf.train.get_or_create_global_step() % 1, 0)
    return tf.cond(due, lambda: tf.group(*(tf.assign(one, other) for one, other in pairs)), tf.no_op)


def q_learning(how, which, updates=True, target=False, acting=True, version=2, resource=True, **options):
    with new_graph(version, resource) as graph:
        X, feed = inputs()
        N, more = inputs(name="N")
        q = network(X, "online", True, **options)
        ops = collected() if updates else []
        goal = tf.reduce_max(network(N, "target", target, **options), 1)
        loss = tf.reduce_mean((tf.reduce_max(q, 1) - tf.stop_gradient(goal)) ** 2)
        step = minimize(loss, ops, var_list=tf.trainable_variables("online"))
        copy = None
        if how:
            with tf.control_dependencies([step]):
                copy = follow(how, which)
        evaluate = network(X, "online", False, True, **options) if acting else None
        return done(graph, [step, copy] if how else step, {**feed, **more}, evaluate, feed)


def teacher(which, updates=True):
    """Mean teacher: the averaged network is evaluated."""
    with new_graph() as graph:
        X, feed = inputs()
        student = network(X, "online", True)
        ops = collected() if updates else []
        taught = network(X, "target", False)
        loss = tf.reduce_mean(student**2) + tf.reduce_mean((student - tf.stop_gradient(taught)) ** 2)
        step = minimize(loss, ops, var_list=tf.trainable_variables("online"))
        with tf.control_dependencies([step]):
            train = tf.group(follow("soft", which))
        return done(graph, train, feed, taught, feed)


def averaged(which):
    """tf.train.ExponentialMovingAverage, and an evaluation tower that gets the averages."""
    with new_graph() as graph:
        X, feed = inputs()
        output = network(X, "online", True)
        step = minimize(tf.reduce_mean(output**2), collected())
        average = tf.train.ExponentialMovingAverage(0.9)
        with tf.control_dependencies([step]):
            train = average.apply(tf.trainable_variables() if which == "trainable" else tf.model_variables())

        def getter(getter, *arguments, **options):
            value = getter(*arguments, **options)
            shadow = average.average(value)
            return value if shadow is None else shadow

        with tf.variable_scope(tf.get_variable_scope(), custom_getter=getter):
            valid = network(X, "online", False, True)
        return done(graph, train, feed, valid, feed)


HOW = ("loop", "method", "soft", "difference", "subtract", "fed rate", "scheduled rate", "now and then")
TARGET = dict(layer="target/bn", still={"target/bn"})

CASES = [
    *[Case(f"copied, what is trainable: {how}", lambda how=how: q_learning(how, "trainable"), {NOT_COPIED}, **TARGET)
      for how in HOW],
    *[clean(f"copied, everything: {how}", lambda how=how: q_learning(how, "all"), still=set()) for how in HOW],
    Case("copied, what is trainable: references",
         lambda: q_learning("soft", "trainable", version=1, resource=False), {NOT_COPIED}, **TARGET),
    Case("copied, what is trainable: now and then, v1",
         lambda: q_learning("now and then", "trainable", version=1, resource=False), {NOT_COPIED}, **TARGET),
    Case("copied, what is trainable: not fused",
         lambda: q_learning("soft", "trainable", fused=False), {NOT_COPIED}, **TARGET),
    Case("copied, what is trainable: no center", lambda: q_learning("soft", "trainable", center=False), {NOT_COPIED},
         **TARGET),
    Case("copied, all but the variance", lambda: q_learning("soft", "mean"), {NOT_COPIED}, layer="target/bn",
         still=set()),
    Case("copied, what is trainable, and no updates", lambda: q_learning("soft", "trainable", updates=False),
         {NOT_COPIED, NEVER_RUN}, layer=("target/bn", "online/bn"), still={"target/bn", "online/bn"}),
    clean("copied, everything: references", lambda: q_learning("soft", "all", version=1, resource=False), still=set()),
    clean("copied, everything: model variables", lambda: q_learning("soft", "model"), still=set()),
    clean("copied, everything: not fused", lambda: q_learning("soft", "all", fused=False), still=set()),
    clean("copied, on its batch", lambda: q_learning("soft", "trainable", target=True), still={"target/bn"}),
    clean("copied, on its batch, nobody acts", lambda: q_learning("soft", "trainable", target=True, acting=False),
          still={"target/bn"}, doubts=ALWAYS),
    clean("not copied at all: another teacher", lambda: q_learning(None, None), still={"target/bn"}),
    Case("teacher, what is trainable", lambda: teacher("trainable"), {NOT_COPIED}, **TARGET),
    clean("teacher, everything", lambda: teacher("all"), still=set(), doubts=set()),
    clean("averages of what is trainable", lambda: averaged("trainable"), doubts=set()),
    clean("averages of everything", lambda: averaged("all"), doubts=set(), session=False),
]  # fmt: skip
