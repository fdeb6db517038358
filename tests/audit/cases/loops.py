"""Update ops in the bodies of loops: waited for inside, outside, or by nobody."""

from bn_graph.tf1 import tf
from tests.audit.cases.case import Case, clean
from tests.audit.findings import IN_LOOP, NEVER_RUN
from tests.audit.networks import INPUTS, new_graph
from tests.audit.pieces import collected, done, inputs, minimize, norm

ALWAYS = {"wrong-statistics"}


def step(h, w, is_training, reuse, updates):
    before = set(collected())
    h = tf.tanh(norm(tf.matmul(h, w), is_training, reuse=reuse, fused=False))
    if updates == "inside":
        with tf.control_dependencies([op for op in collected() if op not in before]):
            h = tf.identity(h)
    return h


def unrolled(kind, x, is_training, reuse, updates):
    with tf.variable_scope("net", reuse=reuse):
        w = tf.get_variable("w", [INPUTS, INPUTS])

        def one(h):
            return step(h, w, is_training, reuse, updates)

        if kind == "while":
            return tf.while_loop(lambda i, h: i < 3, lambda i, h: (i + 1, one(h)), [0, x])[1]
        if kind == "nested":

            def outer(i, h):
                return i + 1, tf.while_loop(lambda j, h: j < 2, lambda j, h: (j + 1, one(h)), [0, h])[1]

            return tf.while_loop(lambda i, h: i < 2, outer, [0, x])[1]
        if kind == "scan":
            return tf.scan(lambda h, _: one(h), tf.range(3), initializer=x)[-1]
        if kind == "foldl":
            return tf.foldl(lambda h, _: one(h), tf.range(3), initializer=x)
        assert kind == "map"
        return tf.reduce_mean(tf.map_fn(one, tf.stack([x, x + 1.0])), 0)


def loop(kind, updates, evaluated=False, resource=True, version=1, wired="control dependencies"):
    """updates: waited for inside or outside of the loop, or by nobody."""
    with new_graph(version, resource) as graph:
        X, feed = inputs()
        output = unrolled(kind, X, True, None, updates)
        ops = collected() if updates == "outside" else []
        valid = unrolled(kind, X, False, True, None) if evaluated else None
        loss = tf.reduce_mean(output**2)
        if wired == "group":
            train = tf.group(minimize(loss), *ops)
        elif wired == "barrier":
            train = minimize(loss, [tf.group(*ops)])
        elif wired == "loss":
            with tf.control_dependencies(ops):
                train = minimize(tf.identity(loss))
        else:
            train = minimize(loss, ops)
        return done(graph, train, feed, valid, feed)


KINDS = ("while", "scan", "foldl", "map")
CASES = [
    *[Case(f"updates in {kind}, waited for outside", lambda kind=kind: loop(kind, "outside"), {IN_LOOP},
           layer="net/bn", session=False) for kind in KINDS],
    *[Case(f"updates in while, waited for outside by {wired}",
           lambda wired=wired: loop("while", "outside", wired=wired), {IN_LOOP}, layer="net/bn", session=False)
      for wired in ("group", "barrier", "loss")],
    Case("updates in while, waited for outside, references", lambda: loop("while", "outside", resource=False),
         {IN_LOOP}, layer="net/bn", session=False),
    Case("updates in while, waited for outside, evaluated", lambda: loop("while", "outside", True), {IN_LOOP},
         layer="net/bn", session=False),
    *[clean(f"updates in {kind}, waited for inside, v{version}",
            lambda kind=kind, version=version: loop(kind, "inside", version=version), doubts=ALWAYS)
      for kind in (*KINDS, "nested") for version in (1, 2)],
    *[clean(f"updates in {kind}, waited for inside, evaluated, v{version}",
            lambda kind=kind, version=version: loop(kind, "inside", True, version=version), doubts=set())
      for kind in ("while", "map") for version in (1, 2)],
    *[Case(f"updates in {kind}, waited for by nobody", lambda kind=kind: loop(kind, None), {NEVER_RUN}, layer="net/bn")
      for kind in (*KINDS, "nested")],
    *[Case(f"updates in {kind}, waited for by nobody, v2", lambda kind=kind: loop(kind, None, version=2), {NEVER_RUN},
           layer="net/bn") for kind in KINDS],
]  # fmt: skip
