"""Who decides between the batch's statistics and the moving ones: nobody, a variable, what is computed from some."""

from bn_graph.tf1 import tf
from tests.audit.cases.case import Case, clean
from tests.audit.findings import IN_EVALUATION, NEVER_RUN, SLOW, SUSPECT, WRONG
from tests.audit.networks import LAYERS, UNITS, network, new_graph
from tests.audit.pieces import collected, dense, done, inputs, minimize

ALWAYS = {"wrong-statistics"}


def switch(kind, layer="slim", version=2, resource=True, updates=True, initial=False):
    """A variable decides, or what is computed from variables."""
    with new_graph(version, resource) as graph:
        X, feed = inputs()
        if kind in ("number", "step", "sum"):
            state = tf.get_variable("phase", initializer=tf.constant(0), trainable=False, dtype=tf.int32)
        else:
            state = tf.get_variable("phase", initializer=tf.constant(initial), trainable=False, dtype=tf.bool)
        if kind == "assigned":
            tf.assign(state, True, name="to_training"), tf.assign(state, False, name="to_evaluation")
        is_training = {
            "plain": lambda: tf.convert_to_tensor(state),
            "assigned": lambda: tf.convert_to_tensor(state),
            "identity": lambda: tf.identity(state),
            "not": lambda: tf.logical_not(state),
            "and": lambda: tf.logical_and(state, tf.constant(True)),
            "cast": lambda: tf.cast(tf.cast(state, tf.float32), tf.bool),
            "number": lambda: tf.equal(state, 1),
            "step": lambda: tf.less(tf.math.floormod(state, 10), 9),
            "sum": lambda: tf.greater(state + 1, 0),
        }[kind]()
        output = LAYERS[layer](dense(X), is_training, "bn", None, False)
        return done(graph, minimize(tf.reduce_mean(output**2), collected() if updates else []), feed, output, feed)


def one_tower(layer, updates, towers=1, evaluated=False, image=False):
    """One tower, or several, always on the batch."""
    with new_graph() as graph:
        X, feed = inputs()
        losses = []
        for tower in range(towers):
            h = LAYERS[layer](dense(X, reuse=tower > 0), True, "bn", tower > 0, updates == "in_place")
            losses.append(tf.reduce_mean(h**2))
        ops = collected()
        valid = LAYERS[layer](dense(X, reuse=True), False, "bn", True, False) if evaluated else None
        train = minimize(tf.add_n(losses), ops if updates == "collected" else [])
        return done(graph, train, feed, valid, feed)


def moments_alone(parameters):
    """A layer that knows nothing but its batch."""
    with new_graph() as graph:
        X, feed = inputs()
        h = dense(X)
        mean, variance = tf.nn.moments(h, [0])
        h = (h - mean) / tf.sqrt(variance + 1e-3)
        if parameters:
            h = h * tf.get_variable("bn/gamma", [UNITS]) + tf.get_variable("bn/beta", [UNITS])
        return done(graph, minimize(tf.reduce_mean(dense(h, 3, "out") ** 2)), feed)


def chosen_decay(how, swapped=False):
    """The update always runs, and its decay is 1 where nothing is to move."""
    with new_graph() as graph:
        X, feed = inputs()
        is_training = tf.placeholder(tf.bool, [], name="is_training")
        hidden = dense(X)
        keep, move = (0.9, 1.0) if swapped else (1.0, 0.9)
        number = tf.cast(is_training, tf.float32)
        decay = {
            "cond": lambda: tf.cond(is_training, lambda: move, lambda: keep),
            "cond of not": lambda: tf.cond(tf.logical_not(is_training), lambda: keep, lambda: move),
            "where": lambda: tf.where(is_training, move, keep),
            "where of not": lambda: tf.where(tf.logical_not(is_training), keep, move),
            "product": lambda: keep + (move - keep) * number,
            "blend": lambda: number * move + (1 - number) * keep,
            "complement": lambda: 1.0 - tf.cond(is_training, lambda: 1.0 - move, lambda: 1.0 - keep),
            "not as a number": lambda: move + (keep - move) * tf.cast(tf.logical_not(is_training), tf.float32),
        }[how]()
        with tf.variable_scope("bn"):
            beta = tf.get_variable("beta", [UNITS], initializer=tf.zeros_initializer())
            mean = tf.get_variable("moving_mean", [UNITS], initializer=tf.zeros_initializer(), trainable=False)
            variance = tf.get_variable("moving_variance", [UNITS], initializer=tf.ones_initializer(), trainable=False)
            batch = tf.nn.moments(hidden, [0])
            kept = tf.convert_to_tensor(mean), tf.convert_to_tensor(variance)
            used = tf.cond(is_training, lambda: batch, lambda: kept)
            pairs = zip((mean, variance), batch, strict=True)
            ops = [tf.assign(moving, moving * decay + value * (1 - decay)) for moving, value in pairs]
            with tf.control_dependencies(ops):
                output = tf.nn.batch_normalization(hidden, used[0], used[1], beta, None, 1e-3)
        train = minimize(tf.reduce_mean(output**2))
        return done(graph, train, {**feed, is_training: True}, output, {**feed, is_training: False})


KINDS = ("plain", "assigned", "identity", "not", "and", "cast", "number", "step", "sum")
DECAYS = ("cond", "cond of not", "where", "where of not", "product", "blend", "complement", "not as a number")
UNRUN = dict(session=False)

CASES = [
    *[clean(f"phase: a variable, {kind}", lambda kind=kind: switch(kind), doubts=ALWAYS, **UNRUN) for kind in KINDS],
    *[clean(f"phase: a variable, {kind}, v1", lambda kind=kind: switch(kind, "slim_unfused", 1, False), doubts=ALWAYS,
            **UNRUN) for kind in KINDS],
    *[clean(f"phase: a variable, in {layer}", lambda layer=layer: switch("plain", layer), doubts=ALWAYS, **UNRUN)
      for layer in ("hand", "fused_v3", "tensorpack", "sonnet")],
    clean("phase: a variable that is True at first", lambda: switch("plain", initial=True), doubts=ALWAYS, **UNRUN),
    Case("phase: a variable, and no updates", lambda: switch("plain", updates=False), {NEVER_RUN}, doubts=ALWAYS,
         **UNRUN),
    *[clean(f"always on the batch: {layer}", lambda layer=layer: one_tower(layer, "collected"), doubts=ALWAYS)
      for layer in LAYERS],
    clean("always on the batch, in place", lambda: one_tower("slim", "in_place"), doubts=ALWAYS),
    clean("always on the batch, two towers", lambda: one_tower("slim", "collected", 2), doubts=ALWAYS),
    clean("always on the batch, evaluated otherwise", lambda: one_tower("slim", "collected", evaluated=True),
          doubts=set(), on_batch=False),
    Case("always on the batch, not run", lambda: one_tower("slim", None), {NEVER_RUN}, doubts=ALWAYS),
    Case("evaluated on the batch", lambda: network(train=True, valid=True, updates="early"), {WRONG},
         optional=(("duplicate-updates", "warning"),), doubts=set(), on_batch=True),
    clean("moments alone", lambda: moments_alone(True), doubts={"no-updates"}),
    clean("moments alone, without parameters", lambda: moments_alone(False)),
    *[clean(f"decay chosen by {how}", lambda how=how: chosen_decay(how), doubts=set(), on_batch=False)
      for how in DECAYS],
    *[Case(f"decay chosen by {how}, swapped", lambda how=how: chosen_decay(how, True), {SLOW, IN_EVALUATION}, **UNRUN)
      for how in DECAYS],
    Case("phase: a placeholder that is False by default", lambda: network(train=("default", False)), {SUSPECT}),
]  # fmt: skip
