"""Gradients that are added up in variables over several batches, and applied then."""

from bn_graph.tf1 import tf
from tests.audit.cases.case import Case, clean
from tests.audit.findings import NEVER_RUN
from tests.audit.networks import new_graph
from tests.audit.pieces import collected, dense, done, inputs, norm


def recipe(updates, add="assign_add", scale="divide", optimizer=None, version=2, resource=True):
    """Two ops that a program runs. updates: which of them runs the update ops."""
    with new_graph(version, resource) as graph:
        X, feed = inputs()
        output = norm(dense(X))
        ops = collected()
        made = optimizer() if optimizer else tf.train.GradientDescentOptimizer(0.01)
        variables = tf.trainable_variables()
        sums = [tf.Variable(tf.zeros(v.shape.as_list()), trainable=False, name="sum") for v in variables]
        tf.group(*(one.assign(tf.zeros_like(one)) for one in sums), name="zero")
        gradients = tf.gradients(tf.reduce_mean(output**2), variables)
        with tf.control_dependencies(ops if updates == "adding" else []):
            adding = {
                "assign_add": lambda: [one.assign_add(g) for one, g in zip(sums, gradients, strict=True)],
                "assign": lambda: [one.assign(one + g) for one, g in zip(sums, gradients, strict=True)],
                "mean": lambda: [one.assign_add(g / 4.0) for one, g in zip(sums, gradients, strict=True)],
            }[add]()
            if updates == "adding":
                adding = [tf.group(*adding)]
        add_op = tf.group(*adding, *(ops if updates == "group" else []))
        with tf.control_dependencies(ops if updates == "applying" else []):
            apply_op = made.apply_gradients(list(zip(scaled(sums, scale), variables, strict=True)))
        valid = norm(dense(X, reuse=True), False, reuse=True)
        return done(graph, [add_op, apply_op], feed, valid, feed)


def scaled(sums, how):
    if how == "divide":
        return [one / 4.0 for one in sums]
    if how == "multiply":
        return [0.25 * tf.convert_to_tensor(one) for one in sums]
    if how == "read":
        return [tf.identity(one) for one in sums]
    if how == "by norm":
        return tf.clip_by_global_norm([tf.convert_to_tensor(one) for one in sums], 1.0)[0]
    if how == "by value":
        return [tf.clip_by_value(one, -1.0, 1.0) for one in sums]
    assert how == "flat"
    flat = tf.concat([tf.reshape(one, [-1]) for one in sums], 0)
    flat /= tf.maximum(tf.norm(flat), 1.0)
    parts = tf.split(flat, [one.shape.num_elements() for one in sums])
    return [tf.reshape(part, one.shape) for part, one in zip(parts, sums, strict=True)]


def one_op(updates, how, version=2):
    """One op adds up, and each second time applies."""
    with new_graph(version, version == 2) as graph:
        X, feed = inputs()
        output = norm(dense(X))
        ops = collected()
        made = tf.train.GradientDescentOptimizer(0.01)
        variables = tf.trainable_variables()
        sums = [tf.Variable(tf.zeros(v.shape.as_list()), trainable=False, name="sum") for v in variables]
        count = tf.Variable(0, trainable=False, name="count")
        gradients = tf.gradients(tf.reduce_mean(output**2), variables)
        with tf.control_dependencies(ops if updates else []):
            adding = [one.assign_add(g) for one, g in zip(sums, gradients, strict=True)] + [count.assign_add(1)]
        with tf.control_dependencies(adding):

            def apply_and_reset():
                step = made.apply_gradients([(one / 2.0, v) for one, v in zip(sums, variables, strict=True)])
                with tf.control_dependencies([step]):
                    return tf.group(*(one.assign(tf.zeros_like(one)) for one in sums))

            if how == "cond":
                train = tf.cond(tf.equal(count % 2, 0), apply_and_reset, tf.no_op)
            else:
                due = tf.cast(tf.equal(count % 2, 0), tf.float32)
                train = made.apply_gradients([(one * due / 2.0, v) for one, v in zip(sums, variables, strict=True)])
                with tf.control_dependencies([train]):
                    train = tf.group(*(one.assign(one * (1.0 - due)) for one in sums))
        valid = norm(dense(X, reuse=True), False, reuse=True)
        return done(graph, train, feed, valid, feed)


SCALES = ("divide", "multiply", "read", "by norm", "by value", "flat")

CASES = [
    *[clean(f"gradients added up, updates with {who}", lambda who=who: recipe(who), doubts=set())
      for who in ("adding", "applying", "group")],
    *[clean(f"gradients added up, {how}", lambda how=how: recipe("adding", scale=how), doubts=set()) for how in SCALES],
    *[Case(f"gradients added up, {how}, not run", lambda how=how: recipe(None, scale=how), {NEVER_RUN})
      for how in SCALES],
    *[clean(f"gradients added up by {add}", lambda add=add: recipe("adding", add), doubts=set())
      for add in ("assign", "mean")],
    clean("gradients added up, references", lambda: recipe("adding", version=1, resource=False), doubts=set()),
    clean("gradients added up, Adam", lambda: recipe("adding", optimizer=lambda: tf.train.AdamOptimizer(0.01))),
    Case("gradients added up, Adam, not run",
         lambda: recipe(None, optimizer=lambda: tf.train.AdamOptimizer(0.01)), {NEVER_RUN}),
    *[clean(f"gradients added up in one op: {how}, v{version}",
            lambda how=how, version=version: one_op(True, how, version), doubts=set())
      for how in ("cond", "mask") for version in (1, 2)],
    *[Case(f"gradients added up in one op: {how}, v{version}, not run",
           lambda how=how, version=version: one_op(False, how, version), {NEVER_RUN})
      for how in ("cond", "mask") for version in (1, 2)],
]  # fmt: skip
