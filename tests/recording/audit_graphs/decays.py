"""How the decay of an update is chosen: by cond, by where, by arithmetic, by a schedule."""

import tensorflow as tf

from tests.recording.audit_graphs.by_hand import POP
from tests.recording.audit_graphs.cases import IN_EVALUATION, NEVER_RUN, SLOW, WRONG_WARNING, built, case
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    cross_entropy,
    layers_norm,
    minimize,
    network,
    one_tower,
    phase,
    resource_variables,
    sgd,
    variable,
    vector_input,
)

LAYERS = (1, 4)
IMAGE = dict(image=True)
ALWAYS = ["wrong-statistics"]  # undecided: nothing evaluates


def fed(norm, updates="control dependencies", on_batch=False, **options):
    """One tower that is fed its phase. (Functions of If take resource variables alone.)"""
    return one_tower(norm, updates, **options)._replace(on_batch=on_batch)


def number_as_phase():
    return tf.cast(tf.placeholder(tf.int32, [], name="mode"), tf.bool)


PHASES = {
    "not": lambda: tf.logical_not(tf.placeholder_with_default(False, [], name="is_test")),
    "equal": lambda: tf.equal(tf.placeholder(tf.int32, [], name="mode"), 0),
    "less": lambda: tf.less(tf.placeholder(tf.int32, [], name="mode"), 1),
    "and": lambda: tf.logical_and(phase(), tf.constant(True)),
    "plain": phase,
}


@case(doubts=[], name="decay_contrib_fused", given=dict(fused=True, image=True))
@case(doubts=[], name="decay_contrib", given=dict(fused=False, image=True))
@case(doubts=[], name="decay_contrib_0.99", given=dict(fused=True, image=True, decay=0.99))
@case(doubts=[], name="decay_contrib_scale", given=dict(fused=True, image=True, scale=True))
@case(doubts=[], name="decay_contrib_no_center", given=dict(fused=False, image=False, center=False, scale=True))
@case(doubts=[], name="decay_contrib_equal", given=dict(fused=True, image=True, kind="equal"))
@case(doubts=[], name="decay_contrib_less", given=dict(fused=True, image=True, kind="less"))
@case(doubts=[], name="decay_contrib_and", given=dict(fused=True, image=True, kind="and"))
@case(doubts=[], name="decay_contrib_nested_scopes", given=dict(fused=True, image=True, updates_collections="updates"))
@case(doubts=[], name="decay_contrib_fused_v2", since=(1, 15), cond_v2=True, given=dict(fused=True, image=True))
@case(doubts=[], name="decay_contrib_v2", since=(1, 15), cond_v2=True, given=dict(fused=False, resource=True))
def decay_contrib(image=False, kind="plain", updates_collections=tf.GraphKeys.UPDATE_OPS, resource=False, **options):
    """contrib.layers.batch_norm, whose decay or update hangs on is_training, is right."""
    if resource:
        tf.get_variable_scope().set_use_resource(True)
    norm = contrib_norm(PHASES[kind](), updates_collections=updates_collections, **options)
    if updates_collections == tf.GraphKeys.UPDATE_OPS:
        return fed(norm, image=image)
    x, y = vector_input() if not image else _images()
    logits = network(x, norm)
    with tf.control_dependencies(tf.get_collection(updates_collections)):
        return built(sgd().minimize(cross_entropy(logits, y)), logits, on_batch=False)


def _images():
    return tf.placeholder(tf.float32, [None, 4, 4, 2], name="x"), tf.placeholder(tf.int32, [None], name="y")


@case(NEVER_RUN, name="decay_contrib_fused_not_run", given=dict(fused=True, image=True))
@case(NEVER_RUN, name="decay_contrib_fused_not_run_v2", since=(1, 15), cond_v2=True, given=dict(fused=True, image=True))
def decay_contrib_not_run(image=False, **options):
    """contrib.layers.batch_norm with a placeholder, whose updates nobody runs."""
    return fed(contrib_norm(phase(), **options), "not run", image=image)


@case(SLOW, name="decay_contrib_fused_inverted", given=dict(fused=True, image=True))
@case(SLOW, name="decay_contrib_inverted_v2", since=(1, 15), cond_v2=True, given=dict(fused=True, image=True))
def decay_contrib_inverted(image=False, **options):
    """decay=0.01 with a placeholder: little more than the last batch."""
    return fed(contrib_norm(phase(), decay=0.01, **options), image=image)


@case(doubts=[], since=LAYERS, name="decay_layers_fused", given=dict(fused=True, image=True))
@case(doubts=[], since=LAYERS, name="decay_layers", given=dict(fused=False))
@case(doubts=[], since=LAYERS, name="decay_layers_not", given=dict(fused=True, image=True, kind="not"), undecided=[])
@case(doubts=[], since=LAYERS, name="decay_layers_equal", given=dict(fused=True, image=True, kind="equal"))
@case(doubts=[], since=LAYERS, name="decay_layers_no_scale", given=dict(fused=True, image=True, scale=False))
@case(doubts=[], since=LAYERS, name="decay_layers_no_center", given=dict(fused=False, center=False))
@case(doubts=[], since=LAYERS, name="decay_layers_renorm", given=dict(renorm=True))
@case(doubts=[], since=(1, 15), cond_v2=True, name="decay_layers_fused_v2", given=dict(fused=True, image=True))
@case(doubts=[], since=(1, 15), cond_v2=True, name="decay_layers_v2", given=dict(fused=False, resource=True))
@case(doubts=[], since=(1, 15), cond_v2=True, name="decay_layers_renorm_v2", given=dict(renorm=True, resource=True))
def decay_layers(image=False, kind="plain", resource=False, **options):
    """tf.layers.batch_normalization, whose momentum is chosen by smart_cond, is right."""
    if resource:
        tf.get_variable_scope().set_use_resource(True)
    if kind == "not":
        training = tf.logical_not(tf.placeholder(tf.bool, [], name="is_test"))
        x, y = _images()
        logits = network(x, layers_norm(training, **options))
        return built(minimize(cross_entropy(logits, y), "control dependencies"), statistics=None)
    return fed(layers_norm(PHASES[kind](), **options), image=image)


@case(NEVER_RUN, since=LAYERS, name="decay_layers_fused_not_run", given=dict(fused=True, image=True))
@case(NEVER_RUN, since=(1, 15), cond_v2=True, name="decay_layers_not_run_v2", given=dict(fused=True, image=True))
def decay_layers_not_run(image=False, **options):
    """tf.layers.batch_normalization with a placeholder, whose updates nobody runs."""
    return fed(layers_norm(phase(), **options), "not run", image=image)


@case(doubts=[], since=LAYERS, name="decay_layers_fused_resource", given=dict(fused=True, image=True))
@case(doubts=[], since=LAYERS, name="decay_layers_resource", given=dict(fused=False))
@resource_variables
def decay_layers_resource(image=False, **options):
    """Resource variables, and momentum chosen by smart_cond."""
    return fed(layers_norm(phase(), **options), image=image)


@case(doubts=[], name="decay_contrib_fused_resource", given=dict(fused=True, image=True), since=LAYERS)
@resource_variables
def decay_contrib_resource(image=False, **options):
    """Resource variables in contrib.layers.batch_norm."""
    return fed(contrib_norm(phase(), **options), image=image)


def chosen_by_hand(how, swapped=False, in_place=False):
    """The statistics are chosen by cond. The decay is 1 while it evaluates, in several spellings."""
    training = phase()

    def decay_of():
        keep, move = (0.9, 1.0) if swapped else (1.0, 0.9)
        number = tf.cast(training, tf.float32)
        return {
            "cond": lambda: tf.cond(training, lambda: tf.constant(move), lambda: tf.constant(keep)),
            "cond not": lambda: tf.cond(tf.logical_not(training), lambda: tf.constant(keep), lambda: tf.constant(move)),
            "where": lambda: (tf.where if hasattr(tf, "where") and LAYERS <= _version() else tf.select)(
                training, tf.constant(move), tf.constant(keep)
            ),
            "product": lambda: keep + (move - keep) * number,
            "blend": lambda: number * move + (1.0 - number) * keep,
            "rate": lambda: 1.0 - tf.cond(training, lambda: tf.constant(1 - move), lambda: tf.constant(1 - keep)),
            "schedule": lambda: tf.cond(
                training,
                lambda: tf.minimum(0.9, (1.0 + _step()) / (10.0 + _step())),
                lambda: tf.constant(1.0),
            ),
        }[how]()

    def norm(h, name):
        with tf.variable_scope(name):
            size = h.get_shape()[-1:]
            gamma, beta = variable("gamma", 1.0, size), variable("beta", 0.0, size)
            pop_mean = variable("pop_mean", 0.0, size, trainable=False)
            pop_var = variable("pop_var", 1.0, size, trainable=False)
            mean, var = tf.nn.moments(h, [0])
            used = tf.cond(training, lambda: (mean, var), lambda: (tf.identity(pop_mean), tf.identity(pop_var)))
            decay = decay_of()
            updates = [p.assign(p * decay + b * (1.0 - decay)) for p, b in ((pop_mean, mean), (pop_var, var))]
            if in_place:
                with tf.control_dependencies(updates):
                    return tf.nn.batch_normalization(h, used[0], used[1], beta, gamma, 1e-3)
            for update in updates:
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
            return tf.nn.batch_normalization(h, used[0], used[1], beta, gamma, 1e-3)

    x, y = vector_input()
    logits = network(x, norm)
    return built(minimize(cross_entropy(logits, y), "control dependencies"), logits, statistics=POP, on_batch=False)


def _version():
    return tuple(int(part) for part in tf.__version__.split(".")[:2])


def _step():
    return tf.cast(tf.Variable(3, trainable=False, name="step"), tf.float32)


@case(doubts=[], name="decay_hand_cond", given=dict(how="cond"))
@case(doubts=[], name="decay_hand_cond_in_place", given=dict(how="cond", in_place=True))
@case(doubts=[], name="decay_hand_cond_not", given=dict(how="cond not"))
@case(doubts=[], name="decay_hand_where", given=dict(how="where"), since=LAYERS)
@case(doubts=[], name="decay_hand_where_in_place", given=dict(how="where", in_place=True), since=LAYERS)
@case(doubts=[], name="decay_hand_product", given=dict(how="product"))
@case(doubts=[], name="decay_hand_product_in_place", given=dict(how="product", in_place=True))
@case(doubts=[], name="decay_hand_blend", given=dict(how="blend"))
@case(doubts=[], name="decay_hand_rate", given=dict(how="rate"))
@case(doubts=[], name="decay_hand_schedule", given=dict(how="schedule"))
@case(doubts=[], name="decay_hand_cond_v2", given=dict(how="cond"), since=(1, 15), cond_v2=True)
@case(doubts=[], name="decay_hand_rate_v2", given=dict(how="rate"), since=(1, 15), cond_v2=True)
def decay_hand(**options):
    """A decay by hand that is 1 where it evaluates, so that nothing moves then, is right."""
    return chosen_by_hand(**options)


@case(SLOW, IN_EVALUATION, name="decay_hand_swapped", given=dict(how="cond", in_place=True, swapped=True))
@case(
    SLOW,
    IN_EVALUATION,
    name="decay_hand_swapped_where",
    given=dict(how="where", in_place=True, swapped=True),
    since=LAYERS,
)
@case(SLOW, IN_EVALUATION, name="decay_hand_swapped_product", given=dict(how="product", in_place=True, swapped=True))
def decay_hand_swapped(**options):
    """The branches of the decay are exchanged: it moves nothing in training, and averages what it evaluates."""
    return chosen_by_hand(**options)._replace(statistics=None)


@case(doubts=[], name="decay_exponential", given=dict(kind="exponential"))
@case(doubts=[], name="decay_piecewise", given=dict(kind="piecewise"), since=LAYERS)
@case(doubts=[], name="decay_placeholder", given=dict(kind="placeholder"))
@case(doubts=[], name="decay_pointnet", given=dict(kind="pointnet"))
def decay_schedule(kind):
    """A decay that a schedule of the global step computes is right."""
    step = tf.Variable(0, trainable=False, name="global_step")
    decay = {
        "exponential": lambda: 1.0 - tf.train.exponential_decay(0.5, step, 10, 0.5, staircase=True),
        "piecewise": lambda: tf.train.piecewise_constant(step, [10, 20], [0.5, 0.9, 0.99]),
        "placeholder": lambda: tf.placeholder_with_default(0.9, [], name="bn_decay"),
        "pointnet": lambda: tf.minimum(0.99, 1 - tf.train.exponential_decay(0.5, step * 16, 40, 0.5)),
    }[kind]()
    training = phase()

    def norm(h, name):
        with tf.variable_scope(name):
            size = h.get_shape()[-1:]
            beta, gamma = variable("beta", 0.0, size), variable("gamma", 1.0, size)
            mean, var = tf.nn.moments(h, [0], name="moments")
            ema = tf.train.ExponentialMovingAverage(decay=decay)
            apply_op = tf.cond(training, lambda: ema.apply([mean, var]), lambda: tf.no_op())

            def update():
                with tf.control_dependencies([apply_op]):
                    return tf.identity(mean), tf.identity(var)

            used = tf.cond(training, update, lambda: (ema.average(mean), ema.average(var)))
            return tf.nn.batch_normalization(h, used[0], used[1], beta, gamma, 1e-3)

    x, y = vector_input()
    logits = network(x, norm)
    train = sgd().minimize(cross_entropy(logits, y), global_step=step)
    return built(train, logits, statistics="ExponentialMovingAverage:0$", on_batch=False)


@case(WRONG_WARNING, name="decay_default_false", given=dict(default=False), since=LAYERS)
@case(WRONG_WARNING, name="decay_default_true", given=dict(default=True), since=LAYERS)
def decay_default(default):
    """tf.layers fused with placeholder_with_default: a forgotten feed is likely."""
    training = tf.placeholder_with_default(default, [], name="is_training")
    x, y = _images()
    logits = network(x, layers_norm(training, fused=True))
    return built(minimize(cross_entropy(logits, y), "control dependencies"), logits, statistics=None)
