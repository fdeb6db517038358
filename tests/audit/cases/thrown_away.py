"""Layers whose result is thrown away, and layers that only look like it."""

from bn_graph.tf1 import tf
from tests.audit.cases.case import Case, clean
from tests.audit.findings import DEAD
from tests.audit.networks import LAYERS, UNITS, new_graph
from tests.audit.pieces import collected, dense, done, inputs, minimize, norm


def thrown_away(use, layer="slim", training="towers", version=2, resource=True, scope="bn"):
    """use: what is done with the layer's result."""
    with new_graph(version, resource) as graph:
        X, feed = inputs()
        is_training = tf.placeholder(tf.bool, [], name="is_training") if training == "fed" else True

        def tower(is_training, reuse=None):
            h = dense(X, reuse=reuse)
            result = LAYERS[layer](h, is_training, scope, reuse, False)
            if use == "thrown away":
                h = tf.nn.relu(h)
            elif use == "activated":
                tf.nn.relu(result)
                h = tf.nn.relu(h)
            elif use == "leaky":
                tf.nn.leaky_relu(result)
                h = tf.nn.leaky_relu(h)
            elif use == "swish":
                result * tf.sigmoid(result)
                h = h * tf.sigmoid(h)
            elif use == "dropped":
                tf.nn.dropout(tf.nn.relu(result), rate=0.5)
                h = tf.nn.relu(h)
            elif use == "histogram":
                tf.summary.histogram("result", result)
                h = tf.nn.relu(h)
            elif use == "taken":
                h = tf.nn.relu(result)
            elif use == "residual":
                h = h + tf.nn.relu(result)
            elif use == "concatenated":
                h = tf.concat([h, result], 1)
            return dense(h, 3, "out", reuse)

        output = tower(is_training)
        ops = collected()
        valid = tower(False, True) if training == "towers" else output
        return done(graph, minimize(tf.reduce_mean(output**2), ops), feed, valid, feed)


def behind_another(kind):
    """A layer on what another layer normalises as well."""
    with new_graph() as graph:
        X, feed = inputs()
        h = dense(X)
        if kind == "thrown away":
            norm(h, scope="dead")
            output = dense(tf.nn.relu(norm(h, scope="bn")), 3, "out")
            return done(graph, minimize(tf.reduce_mean(output**2), collected()), feed)
        outputs = [norm(h, scope=domain) for domain in ("source", "target")]
        ops = collected()
        valids = [norm(h, False, domain, True) for domain in ("source", "target")]
        train = minimize(tf.add_n([tf.reduce_mean(one**2) for one in outputs]), ops)
        return done(graph, train, feed, valids, feed)


def of_two(which):
    """Two layers, of which the first one's result is thrown away, or none."""
    with new_graph() as graph:
        X, feed = inputs()
        h = dense(X)
        result = norm(h, scope="first")
        h = tf.nn.relu(h if which == "first" else result)
        h = tf.nn.relu(norm(dense(h, UNITS, "second_dense"), scope="second"))
        return done(graph, minimize(tf.reduce_mean(dense(h, 3, "out") ** 2), collected()), feed)


USES = ("thrown away", "activated", "leaky", "swish", "dropped", "histogram")
DEADS = {"fed": dict(training="fed"), "fed, v1": dict(training="fed", version=1, resource=False)}
STILL = dict(session=False)

CASES = [
    *[Case(f"result {use}, and thrown away", lambda use=use: thrown_away(use), {DEAD}, **STILL) for use in USES],
    *[Case(f"result of {layer} thrown away", lambda layer=layer: thrown_away("thrown away", layer), {DEAD}, **STILL)
      for layer in LAYERS if layer not in ("port", "slim")],
    *[Case(f"result of {layer} thrown away, {name}",
           lambda layer=layer, options=options: thrown_away("thrown away", layer, **options), {DEAD}, **STILL)
      for layer in ("slim", "slim_unfused", "hand", "fused_v3", "sonnet")
      for name, options in DEADS.items()],
    *[Case(f"result activated, and thrown away, {name}", lambda options=options: thrown_away("activated", **options),
           {DEAD}, **STILL) for name, options in DEADS.items()],
    *[clean(f"result {use}", lambda use=use: thrown_away(use), doubts=set())
      for use in ("taken", "residual", "concatenated")],
    *[clean(f"result residual, {name}", lambda options=options: thrown_away("residual", **options), doubts=set(),
            **STILL) for name, options in DEADS.items()],
    Case("result of one of two layers on one input thrown away", lambda: behind_another("thrown away"), {DEAD},
         layer="dead", **STILL),
    clean("results of two domains", lambda: behind_another("domains"), doubts=set()),
    Case("result of the first layer thrown away", lambda: of_two("first"), {DEAD}, layer="first", **STILL),
    clean("results of both layers taken", lambda: of_two("neither"), doubts={"wrong-statistics"}),
]  # fmt: skip
