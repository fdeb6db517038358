"""One tower that is always on its batch, and phases that are variables: what a graph alone does not decide."""

import tensorflow as tf

from tests.recording.audit_graphs.by_hand import r2rt_norm
from tests.recording.audit_graphs.cases import NEVER_RUN, built, case
from tests.recording.audit_graphs.frozen_graphs import hand_norm
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    cross_entropy,
    dense,
    image_input,
    layers_norm,
    minimize,
    network,
    resource_variables,
    sgd,
    update_ops,
    vector_input,
)

LAYERS = (1, 4)
ALWAYS = ["wrong-statistics"]
MISSING = ["no-updates"]


def norm_of(library, training, **options):
    return {"contrib": contrib_norm, "layers": layers_norm, "hand": r2rt_norm}[library](training, **options)


def single(
    library="contrib", updates="control dependencies", image=False, towers=1, predict=None, optimizer=None, **options
):
    x, y = (image_input if image else vector_input)()
    losses = []
    for tower in range(towers):
        logits = network(x, norm_of(library, True, **options), reuse=True if tower else None)
        losses.append(cross_entropy(logits, y))
    if predict == "softmax":
        logits = tf.nn.softmax(logits, name="prediction")
    elif predict == "accuracy":
        right = tf.equal(tf.cast(tf.argmax(logits, 1), tf.int32), y)
        tf.reduce_mean(tf.cast(right, tf.float32), name="accuracy")
    train = minimize(tf.add_n(losses), updates, optimizer and optimizer())
    return built(train, None, statistics=r"(moving_(mean|variance)|pop_(mean|var)):0$")


def _always(name, since=(0, 12), doubts=ALWAYS, **given):
    return case(name="always_" + name, since=since, given=given, doubts=doubts)


@_always("contrib")
@_always("contrib_fused", image=True, fused=True)
@_always("contrib_in_place", updates="not run", updates_collections=None)
@_always("contrib_softmax", predict="softmax")
@_always("contrib_accuracy", predict="accuracy")
@_always("contrib_group", updates="group")
@_always("contrib_adam", optimizer=lambda: tf.train.AdamOptimizer(0.01))
@_always("layers", LAYERS, library="layers")
@_always("layers_fused", LAYERS, library="layers", image=True, fused=True)
@_always("layers_accuracy", LAYERS, library="layers", predict="accuracy")
@_always("hand", library="hand", updates="not run")
@_always("two_towers", towers=2)
def always(**options):
    """One tower, or several, always on the batch, and nothing reads the moving statistics: wrong if it is evaluated."""
    return single(**options)


@_always("layers_resource", LAYERS, library="layers")
@resource_variables
def always_resource(**options):
    """One tower, always on its batch: resource variables."""
    return single(**options)


@_always("moments", doubts=MISSING, moments="moments")
@_always("moments_sqrt", doubts=MISSING, moments="mean", root="sqrt")
@_always("moments_image", doubts=MISSING, moments="moments", image=True)
@_always("moments_beta", doubts=MISSING, moments="keep_dims", gamma=False)
def always_moments(image=False, **options):
    """A batch norm by hand that knows nothing but its batch, in training."""
    x, y = (image_input if image else vector_input)()
    logits = network(x, hand_norm(**options))
    return built(minimize(cross_entropy(logits, y), "not run"), statistics=None)


@case(NEVER_RUN, name="always_not_run", given=dict(updates="not run"))
@case(NEVER_RUN, name="always_not_run_layers", given=dict(updates="not run", library="layers"), since=LAYERS)
def always_not_run(**options):
    """One tower, always on its batch, whose updates nobody runs."""
    return single(**options)


def with_evaluation(training):
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    collected = update_ops()
    logits = network(x, contrib_norm(training), reuse=True)
    with tf.control_dependencies(collected):
        return built(sgd().minimize(loss), logits, on_batch=training)


@case(name="always_evaluated", doubts=[])
def always_evaluated():
    """The tower that evaluates is on the moving statistics."""
    return with_evaluation(False)


def gan(sampled):
    z = tf.placeholder(tf.float32, [None, 3], name="z")
    real = tf.placeholder(tf.float32, [None, 4], name="real")

    def generator(z, training, reuse=None):
        with tf.variable_scope("generator", reuse=reuse):
            return dense(tf.nn.relu(contrib_norm(training)(dense(z, 4, "hidden"), "bn")), 4, "out")

    def discriminator(x, reuse=None):
        with tf.variable_scope("discriminator", reuse=reuse):
            return dense(tf.nn.relu(dense(x, 4, "hidden")), 1, "out")

    fake = generator(z, True)
    collected = update_ops()
    on_real, on_fake = discriminator(real), discriminator(fake, True)
    d_loss = tf.reduce_mean(tf.nn.softplus(-on_real)) + tf.reduce_mean(tf.nn.softplus(on_fake))
    g_loss = tf.reduce_mean(tf.nn.softplus(-on_fake))
    variables = tf.trainable_variables()
    d_step = sgd().minimize(d_loss, var_list=[v for v in variables if v.name.startswith("d")])
    with tf.control_dependencies(collected):
        g_step = sgd().minimize(g_loss, var_list=[v for v in variables if v.name.startswith("g")])
    if sampled is None:
        return built([d_step, g_step])
    return built([d_step, g_step], generator(z, sampled, True), on_batch=sampled)


@case(name="always_gan", given=dict(sampled=None), doubts=ALWAYS, layers=["generator/bn"])
@case(name="always_gan_sampled", given=dict(sampled=False), doubts=[], layers=["generator/bn"])
def always_gan(sampled):
    """A GAN, which draws from the tower that it trains, or from one on the moving statistics."""
    return gan(sampled)


# A phase that is a variable.


def switch(kind="plain", library="contrib", initial=False, assigned=True, image=False, local=False, **options):
    x, y = (image_input if image else vector_input)()
    collections = [tf.GraphKeys.LOCAL_VARIABLES] if local else None
    if kind in ("number", "step"):
        state = tf.Variable(
            0 if kind == "step" else int(initial), trainable=False, name="phase", collections=collections
        )
    else:
        state = tf.get_variable(
            "is_test" if kind == "not" else "is_training",
            initializer=tf.constant(initial),
            trainable=False,
            collections=collections,
        )
    training = {
        "plain": lambda: state,
        "read": lambda: tf.identity(state),
        "tensor": lambda: tf.convert_to_tensor(state),
        "not": lambda: tf.logical_not(state),
        "number": lambda: tf.equal(state, 1),
        "cast": lambda: tf.cast(tf.cast(state, tf.int32), tf.bool),
        "step": lambda: tf.less(tf.mod(state, 10), 9),
        "and": lambda: tf.logical_and(state, tf.constant(True)),
    }[kind]()
    if assigned and kind not in ("number", "step"):
        tf.assign(state, True, name="to_training")
        tf.assign(state, False, name="to_evaluation")
    logits = network(x, norm_of(library, training, **options))
    return built(minimize(cross_entropy(logits, y), "control dependencies"), logits, statistics=None)


def _switch(name, since=(0, 12), **given):
    return case(name="switch_" + name, since=since, given=given, doubts=ALWAYS)


@_switch("plain")
@_switch("plain_true", initial=True)
@_switch("not_assigned", assigned=False)
@_switch("not_assigned_true", assigned=False, initial=True)
@_switch("fused", image=True, fused=True)
@_switch("read", kind="read")
@_switch("tensor", kind="tensor")
@_switch("not", kind="not")
@_switch("and", kind="and")
@_switch("cast", kind="cast")
@_switch("number", kind="number")
@_switch("step", kind="step")
@_switch("local", local=True)
@_switch("layers", LAYERS, library="layers")
@_switch("layers_fused", LAYERS, library="layers", image=True, fused=True)
@_switch("layers_step", LAYERS, library="layers", kind="step")
def switch_variable(**options):
    """A variable decides between the batch's statistics and the moving ones."""
    return switch(**options)


@_switch("resource", LAYERS, library="layers")
@_switch("resource_fused", LAYERS, library="layers", image=True, fused=True)
@_switch("resource_number", LAYERS, library="layers", kind="number")
@_switch("resource_tensor", LAYERS, library="layers", kind="tensor")
@resource_variables
def switch_resource(**options):
    """A variable decides between the batch's statistics and the moving ones: resource variables."""
    return switch(**options)


@case(name="switch_v2", since=(1, 15), cond_v2=True, doubts=ALWAYS, given=dict(library="layers"))
@case(name="switch_v2_number", since=(1, 15), cond_v2=True, doubts=ALWAYS, given=dict(library="layers", kind="number"))
@resource_variables
def switch_v2(**options):
    """A variable decides between the batch's statistics and the moving ones: If with functions."""
    return switch(**options)


@case(NEVER_RUN, name="switch_not_run", doubts=ALWAYS)
def switch_not_run():
    """A variable decides, and nobody runs the updates."""
    x, y = vector_input()
    state = tf.get_variable("is_training", initializer=tf.constant(False), trainable=False)
    logits = network(x, contrib_norm(state))
    return built(minimize(cross_entropy(logits, y), "not run"), logits, statistics=None)
