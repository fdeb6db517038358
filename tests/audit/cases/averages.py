"""Statistics that reach the evaluation through a second variable."""

from bn_graph.tf1 import tf
from tests.audit.cases.case import Case, clean
from tests.audit.findings import NEVER_RUN
from tests.audit.networks import UNITS, new_graph
from tests.audit.pieces import collected, dense, done, inputs, minimize, norm


def variables(prefix):
    return [
        tf.get_variable(f"{prefix}_{part}", [UNITS], initializer=tf.constant_initializer(value), trainable=False)
        for part, value in (("mean", 0.0), ("variance", 1.0))
    ]


def second(run, spelling="average", order="after", resource=True):
    """The first pair of variables follows the batch, the second one the first."""
    with new_graph(resource=resource) as graph:
        X, feed = inputs()
        h, valid_h = dense(X), dense(X, reuse=True)
        with tf.variable_scope("bn"):
            beta = tf.get_variable("beta", [UNITS], initializer=tf.zeros_initializer())
            gamma = tf.get_variable("gamma", [UNITS], initializer=tf.ones_initializer())
            first, batch = variables("batch"), tf.nn.moments(h, [0])
            sets = [tf.assign(one, value) for one, value in zip(first, batch, strict=True)]
            with tf.control_dependencies(sets if order == "after" else []):
                if spelling == "average":
                    average = tf.train.ExponentialMovingAverage(0.9)
                    ops = [average.apply(first)]
                    kept = [average.average(one) for one in first]
                else:
                    kept = variables("moving")
                    pairs = list(zip(kept, first, strict=True))
                    if spelling == "assign":
                        ops = [tf.assign(slow, 0.9 * slow + 0.1 * fast.read_value()) for slow, fast in pairs]
                    elif spelling == "subtract":
                        ops = [tf.assign_sub(slow, 0.1 * (slow - fast.read_value())) for slow, fast in pairs]
                    elif spelling == "copy":
                        ops = [tf.assign(slow, fast.read_value()) for slow, fast in pairs]
            with tf.control_dependencies(sets):
                batch = [tf.identity(one) for one in batch]
            output = tf.nn.batch_normalization(h, *batch, beta, gamma, 1e-3)
            valid = tf.nn.batch_normalization(valid_h, *kept, beta, gamma, 1e-3)
        return done(graph, minimize(tf.reduce_mean(output**2), ops if run else []), feed, valid, feed)


def of_moving_statistics(updates, averages, evaluation="averages"):
    """ExponentialMovingAverage of a library layer's moving statistics."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X), fused=False)
        step = minimize(tf.reduce_mean(output**2), collected() if updates else [])
        average = tf.train.ExponentialMovingAverage(0.9)
        with tf.control_dependencies([step]):
            both = average.apply(tf.model_variables())
        train = both if averages else step
        if evaluation == "averages":
            with tf.variable_scope("bn", reuse=True):
                beta, mean, variance = (
                    average.average(tf.get_variable(name)) for name in ("beta", "moving_mean", "moving_variance")
                )
            valid = tf.nn.batch_normalization(dense(X, reuse=True), mean, variance, beta, None, 1e-3)
        else:
            valid = norm(dense(X, reuse=True), False, reuse=True, fused=False)
        return done(graph, train, feed, valid, feed, train_op=train)


SPELLINGS = ("average", "assign", "subtract", "copy")
ANY = dict(layer=None, session=False)  # the names of the averages are not those that a session asks about

CASES = [
    *[clean(f"second variable: {one}", lambda one=one: second(True, one), doubts=set(), on_batch=False, **ANY)
      for one in SPELLINGS],
    *[clean(f"second variable: {one}, references", lambda one=one: second(True, one, resource=False), doubts=set(),
            **ANY) for one in SPELLINGS],
    clean("second variable: in any order", lambda: second(True, order="before"), doubts=set(), **ANY),
    *[Case(f"second variable: {one}, not run", lambda one=one: second(False, one), {NEVER_RUN}, **ANY)
      for one in SPELLINGS],
    *[Case(f"second variable: {one}, not run, references", lambda one=one: second(False, one, resource=False),
           {NEVER_RUN}, **ANY) for one in SPELLINGS],
    clean("averages of moving statistics", lambda: of_moving_statistics(True, True), doubts=set(), **ANY),
    clean("averages beside moving statistics", lambda: of_moving_statistics(True, True, "moving"), doubts=set()),
    Case("averages of moving statistics that stay", lambda: of_moving_statistics(False, True), {NEVER_RUN}, **ANY),
    Case("averages of moving statistics, not run", lambda: of_moving_statistics(True, False), {NEVER_RUN}, **ANY),
    Case("averages beside moving statistics that stay", lambda: of_moving_statistics(False, True, "moving"),
         {NEVER_RUN}, session=False),
]  # fmt: skip
