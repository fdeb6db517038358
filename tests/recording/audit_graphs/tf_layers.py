"""tf.layers.batch_normalization, and resource variables."""

import tensorflow as tf

from tests.recording.audit_graphs.by_hand import by_hand, r2rt_norm
from tests.recording.audit_graphs.cases import (
    BIAS,
    NEVER_RUN,
    NOT_SAVED,
    TINY,
    UNSHARED,
    WRONG,
    WRONG_WARNING,
    built,
    case,
)
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    cross_entropy,
    dense,
    image_input,
    layers_norm,
    minimize,
    network,
    one_tower,
    phase,
    resource_variables,
    sgd,
    two_towers,
    update_ops,
    vector_input,
)


def fed_layers(updates, image=False, **options):
    return one_tower(layers_norm(phase(), **options), updates, image)


FUSED = dict(image=True, fused=True)
DECOMPOSED = dict(image=True, fused=False)


@case(since=(1, 4))
@case(since=(1, 4), name="layers_fused", given=FUSED)
@case(since=(1, 4), name="layers_decomposed", given=DECOMPOSED)
def layers(image=False, **options):
    """tf.layers, training=True, updates run."""
    return one_tower(layers_norm(True, **options), "control dependencies", image)


@case(NEVER_RUN, since=(1, 4))
@case(NEVER_RUN, since=(1, 4), name="layers_fused_not_run", given=FUSED)
@case(NEVER_RUN, since=(1, 4), name="layers_decomposed_not_run", given=DECOMPOSED)
def layers_not_run(image=False, **options):
    """tf.layers, training=True, updates not run."""
    return one_tower(layers_norm(True, **options), "not run", image)


@case(since=(1, 4))
@case(since=(1, 4), name="layers_fused_placeholder", given=FUSED)
@case(since=(1, 4), name="layers_decomposed_placeholder", given=DECOMPOSED)
def layers_placeholder(**options):
    """tf.layers, training is fed, updates run."""
    return fed_layers("control dependencies", **options)


@case(NEVER_RUN, since=(1, 4))
@case(NEVER_RUN, since=(1, 4), name="layers_fused_placeholder_not_run", given=FUSED)
@case(NEVER_RUN, since=(1, 4), name="layers_decomposed_placeholder_not_run", given=DECOMPOSED)
def layers_placeholder_not_run(**options):
    """tf.layers, training is fed, not run."""
    return fed_layers("not run", **options)


@case(since=(1, 15), cond_v2=True)
@case(since=(1, 15), cond_v2=True, name="layers_fused_placeholder_cond_v2", given=FUSED)
@case(since=(1, 15), cond_v2=True, name="layers_decomposed_placeholder_cond_v2", given=DECOMPOSED)
@resource_variables
def layers_placeholder_cond_v2(**options):
    """The same with If and function bodies."""
    return fed_layers("control dependencies", **options)


@case(NEVER_RUN, since=(1, 15), cond_v2=True)
@case(NEVER_RUN, since=(1, 15), cond_v2=True, name="layers_fused_placeholder_cond_v2_not_run", given=FUSED)
@case(NEVER_RUN, since=(1, 15), cond_v2=True, name="layers_decomposed_placeholder_cond_v2_not_run", given=DECOMPOSED)
@resource_variables
def layers_placeholder_cond_v2_not_run(**options):
    """If and function bodies, updates not run."""
    return fed_layers("not run", **options)


@case(since=(1, 4))
def layers_group():
    """tf.layers, a group that is not named."""
    return one_tower(layers_norm(True), "group")


@case(since=(1, 4))
@resource_variables
def resource():
    """Resource variables."""
    return one_tower(layers_norm(True), "control dependencies")


@case(NEVER_RUN, since=(1, 4))
@resource_variables
def resource_not_run():
    """Resource variables."""
    return one_tower(layers_norm(True), "not run")


@case(since=(1, 4))
@resource_variables
def resource_fused():
    """Resource variables, fused."""
    return one_tower(layers_norm(True, fused=True), "control dependencies", image=True)


@case(since=(1, 4))
@resource_variables
def resource_placeholder():
    """Resource variables, training is fed."""
    return fed_layers("control dependencies")


@case(NEVER_RUN, since=(1, 4))
@resource_variables
def resource_placeholder_not_run():
    """Resource variables, training is fed."""
    return fed_layers("not run")


@case(since=(1, 4))
@resource_variables
def resource_contrib_in_place():
    """Resource variables, contrib, in place."""
    return one_tower(contrib_norm(True, updates_collections=None), "not run")._replace(evaluate=None)


@case(since=(1, 4))
@resource_variables
def resource_contrib_placeholder():
    """Resource variables, contrib, is_training is fed."""
    return one_tower(contrib_norm(phase()), "control dependencies")


@case(since=(1, 4))
@resource_variables
def resource_towers():
    """Resource variables, two towers."""
    return two_towers(layers_norm(True), layers_norm(False), "control dependencies")


@case(since=(1, 4))
@resource_variables
def resource_r2rt():
    """Resource variables, R2RT's wrapper."""
    return by_hand(r2rt_norm(True), r2rt_norm(False))


@case(NEVER_RUN, since=(1, 4))
@resource_variables
def resource_r2rt_not_run():
    """Resource variables, R2RT's wrapper without dependencies."""
    return by_hand(r2rt_norm(True, dependencies=False), r2rt_norm(False))


@case(NOT_SAVED, since=(1, 4))
@resource_variables
def resource_saver_trainable():
    """Resource variables, a Saver for the trainable ones."""
    return one_tower(layers_norm(True), "control dependencies")._replace(saver=tf.train.Saver(tf.trainable_variables()))


@case(BIAS, since=(1, 4))
def layers_bias():
    """A convolution with bias before it."""
    x, y = image_input()
    with tf.variable_scope("net"):
        h = tf.layers.conv2d(x, 4, 3, name="hidden")
        h = tf.nn.relu(tf.layers.batch_normalization(h, training=True, momentum=0.9, name="bn"))
        logits = tf.layers.dense(tf.layers.flatten(h), 3, name="logits")
    return built(minimize(cross_entropy(logits, y), "control dependencies"))


@case(since=(1, 4))
def layers_bias_after_activation():
    """The bias is before the relu, batch norm after it: not cancelled."""
    x, y = vector_input()
    with tf.variable_scope("net"):
        h = tf.layers.dense(x, 4, activation=tf.nn.relu, name="hidden")
        h = tf.layers.batch_normalization(h, training=True, momentum=0.9, name="bn")
        logits = tf.layers.dense(h, 3, name="logits")
    return built(minimize(cross_entropy(logits, y), "control dependencies"))


@case(WRONG, since=(1, 4))
def layers_forgot_training():
    """training is forgotten (False by default), in the training graph."""
    x, y = vector_input()
    with tf.variable_scope("net"):
        h = tf.layers.batch_normalization(dense(x, 4, "hidden"), name="bn")
        logits = dense(tf.nn.relu(h), 3, "logits")
    return built(minimize(cross_entropy(logits, y), "control dependencies"))


@case(WRONG_WARNING, since=(1, 4))
def layers_default_false():
    """placeholder_with_default(False)."""
    return one_tower(layers_norm(tf.placeholder_with_default(False, [], name="training")), "control dependencies")


@case(WRONG_WARNING, since=(1, 4))
def layers_default_true():
    """placeholder_with_default(True), fused."""
    training = tf.placeholder_with_default(True, [], name="training")
    return one_tower(layers_norm(training, fused=True), "control dependencies", image=True)


@case(UNSHARED, layers=["batch_normalization", "batch_normalization_1"], since=(1, 4))
def layers_default_names():
    """Evaluation tower without a name: batch_normalization_1."""
    x, y = vector_input()

    def tower(training, reuse):
        with tf.variable_scope("net", reuse=reuse):
            h = dense(x, 4, "hidden")
        h = tf.layers.batch_normalization(h, training=training, momentum=0.9)
        with tf.variable_scope("net", reuse=reuse):
            return dense(h, 3, "logits")

    train = minimize(cross_entropy(tower(True, None), y), "control dependencies")
    return built(train, tower(False, True), skip="batch_normalization_1")


@case(may=[TINY], since=(1, 15))
def layers_virtual_batches():
    """virtual_batch_size: ghost batch norm."""
    return one_tower(layers_norm(True, virtual_batch_size=4, fused=False), "control dependencies", batch=8)


@case(since=(1, 4))
def layers_renorm():
    """Batch renormalisation."""
    return one_tower(layers_norm(True, renorm=True), "control dependencies")


@case(since=(1, 15))
def layers_half():
    """Half precision, fused."""
    return one_tower(
        lambda h, name: tf.cast(layers_norm(True, fused=True)(tf.cast(h, tf.float16), name), tf.float32),
        "control dependencies",
        True,
    )


def two_scopes(scopes):
    x, _ = vector_input()
    h = tf.nn.relu(network(x, layers_norm(True), scope="encoder"))
    out = network(h, layers_norm(True), scope="decoder")
    with tf.control_dependencies([op for scope in scopes for op in update_ops(scope)]):
        return built(sgd().minimize(tf.reduce_mean(tf.square(out))))


@case(layers=["decoder/bn", "encoder/bn"], since=(1, 4))
def layers_updates_of_scope():
    """Updates collected per scope, both run."""
    return two_scopes(["encoder", "decoder"])


@case(NEVER_RUN, layers=["decoder/bn", "encoder/bn"], since=(1, 4))
def layers_updates_of_one_scope():
    """Only the encoder's are run."""
    return two_scopes(["encoder"])
