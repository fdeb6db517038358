"""A trained network under a new head: where its statistics come from, and whether they stay as they were."""

import os
import shutil
import tempfile

import numpy as np
import tensorflow as tf

from tests.recording.audit_graphs.cases import FROZEN, NEVER_RUN, WRONG, WRONG_WARNING, built, case
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    cross_entropy,
    dense,
    layers_norm,
    minimize,
    phase,
    resource_variables,
    sgd,
    slim,
    variable,
    vector_input,
)

try:
    from tensorflow.python.training.warm_starting_util import warm_start
except ImportError:
    warm_start = None

LAYERS = (1, 4)
BACKBONE = ["backbone/bn"]


def backbone(x, norm, scope="backbone", reuse=None):
    with tf.variable_scope(scope, reuse=reuse):
        return tf.nn.relu(norm(dense(x, 4, "hidden"), "bn"))


def checkpoint(norm, scope="backbone"):
    """A checkpoint of a trained backbone: its prefix."""
    folder = tempfile.mkdtemp()
    with tf.Graph().as_default(), tf.Session() as sess:
        backbone(tf.placeholder(tf.float32, [None, 5]), norm, scope)
        sess.run(tf.global_variables_initializer())
        for v in tf.global_variables():
            sess.run(v.assign_add(tf.random_uniform(v.get_shape(), seed=5)))
        return tf.train.Saver().save(sess, os.path.join(folder, "model.ckpt"))


def of_backbone():
    return [v for v in tf.global_variables() if v.name.startswith("backbone/")]


def restore(how, prefix):
    """How people give a network the values of a checkpoint."""
    if how == "init_from_checkpoint scope":
        tf.train.init_from_checkpoint(prefix, {"backbone/": "backbone/"})
    elif how == "init_from_checkpoint variables":
        tf.train.init_from_checkpoint(prefix, {v.op.name: v for v in of_backbone()})
    elif how == "init_from_checkpoint other names":
        tf.train.init_from_checkpoint(prefix, {"pretrained/": "backbone/"})
    elif how == "contrib init_from_checkpoint":
        tf.contrib.framework.init_from_checkpoint(prefix, {"backbone/": "backbone/"})
    elif how == "assign_from_checkpoint_fn":
        slim.assign_from_checkpoint_fn(prefix, of_backbone())
    elif how == "assign_from_checkpoint":
        slim.assign_from_checkpoint(prefix, of_backbone())
    elif how == "second saver":
        tf.train.Saver(of_backbone(), name="pretrained")
    elif how == "only saver":  # all but the head; made before the program's own, which is in another process
        tf.train.Saver(of_backbone())
    elif how == "but the head":
        tf.train.Saver([v for v in tf.global_variables() if not v.name.startswith("head")])
    elif how == "reader":
        reader = tf.train.NewCheckpointReader(prefix)
        tf.group(*[v.assign(reader.get_tensor(v.op.name)) for v in of_backbone()], name="load_pretrained")
    elif how == "placeholders":
        for v in of_backbone():
            v.assign(tf.placeholder(tf.float32, v.get_shape(), name="value"))
    elif how == "warm start":
        warm_start(prefix, vars_to_warm_start=["backbone.*"])
    elif how == "warm start of what is trained":  # a plain string is asked of the trainable variables alone
        warm_start(prefix, vars_to_warm_start="backbone.*")


def tuned(how, library="contrib", training=False, saver="after", variables="all", **options):
    """Head and backbone are trained. saver: when the program's own Saver is made: after, before or never."""
    norm = {"contrib": contrib_norm, "layers": layers_norm}[library](training, **options)
    kept = {"contrib": contrib_norm, "layers": layers_norm}[library](False, **options)
    prefix = checkpoint(kept, "pretrained" if how == "init_from_checkpoint other names" else "backbone")
    x, y = vector_input()
    features = backbone(x, norm)
    logits = dense(features, 3, "head")
    if how is not None:
        restore(how, prefix)
    var_list = [v for v in tf.trainable_variables() if variables == "all" or v.name.startswith("head")]
    train = minimize(cross_entropy(logits, y), "control dependencies", var_list=var_list)
    saver = tf.train.Saver() if saver == "after" else None
    shutil.rmtree(os.path.dirname(prefix))
    return built(train, logits, saver=saver, statistics=None)


def _tuned(name, how, since=(0, 12), **given):
    return case(WRONG_WARNING, name="tuned_" + name, since=since, given=dict(how=how, **given), layers=BACKBONE)


@_tuned("scope", "init_from_checkpoint scope", LAYERS)
@_tuned("scope_layers", "init_from_checkpoint scope", LAYERS, library="layers")
@_tuned("scope_no_saver", "init_from_checkpoint scope", LAYERS, saver="never")
@_tuned("variables", "init_from_checkpoint variables", LAYERS)
@_tuned("other_names", "init_from_checkpoint other names", LAYERS, library="layers")
@_tuned("contrib", "contrib init_from_checkpoint", LAYERS)
@_tuned("warm_start", "warm start", (1, 13))
@_tuned("slim_fn", "assign_from_checkpoint_fn")
@_tuned("slim_fn_no_saver", "assign_from_checkpoint_fn", saver="never")
@_tuned("slim_fn_layers", "assign_from_checkpoint_fn", LAYERS, library="layers")
@_tuned("slim_assign", "assign_from_checkpoint")
@_tuned("second_saver", "second saver")
@_tuned("second_saver_layers", "second saver", LAYERS, library="layers")
@_tuned("only_saver", "only saver", saver="never")
@_tuned("but_the_head", "but the head")
@_tuned("but_the_head_only", "but the head", saver="never")
@_tuned("reader", "reader")
@_tuned("placeholders", "placeholders")
@_tuned("scale", "second saver", scale=True)
def tuned_restored(**options):
    """The backbone's statistics come from a checkpoint; gamma and beta are trained on top of them."""
    return tuned(**options)


@_tuned("scope_resource", "init_from_checkpoint scope", LAYERS, library="layers")
@_tuned("slim_fn_resource", "assign_from_checkpoint_fn", LAYERS, library="layers")
@_tuned("reader_resource", "reader", LAYERS, library="layers")
@_tuned("placeholders_resource", "placeholders", LAYERS, library="layers")
@resource_variables
def tuned_resource(**options):
    """The backbone's statistics come from a checkpoint: resource variables."""
    return tuned(**options)


@_tuned("head_alone", "second saver", variables="head")
@_tuned("head_alone_no_checkpoint", None, variables="head")
def tuned_head(**options):
    """The head alone is trained, on a backbone whose statistics stay as they are."""
    return tuned(**options)


def constants(values):
    """Values out of a .npy file, as initial values (VGG and ResNet of 2016)."""
    random = np.random.RandomState(7)

    def norm(h, name):
        with tf.variable_scope(name):
            beta, gamma = variable("beta", 0.1, [4]), variable("gamma", 1.1, [4])
            if values == "numpy":
                mean, var = [random.uniform(0.5, 1.5, [4]).astype(np.float32) for _ in range(2)]
                mean = tf.Variable(mean, trainable=False, name="moving_mean")
                var = tf.Variable(var, trainable=False, name="moving_variance")
            elif values == "constant_initializer":
                mean, var = [
                    tf.get_variable(
                        part,
                        [4],
                        trainable=False,
                        initializer=tf.constant_initializer(random.uniform(0.5, 1.5, [4]).astype(np.float32)),
                    )
                    for part in ("moving_mean", "moving_variance")
                ]
            else:
                mean = variable("moving_mean", 0.0, [4], trainable=False)
                var = variable("moving_variance", 1.0, [4], trainable=False)
            return tf.nn.batch_normalization(h, mean, var, beta, gamma, 1e-3)

    x, y = vector_input()
    logits = dense(backbone(x, norm), 3, "head")
    return built(minimize(cross_entropy(logits, y), "not run"), logits, statistics=None, saver=tf.train.Saver())


@_tuned("numpy", "numpy")
@_tuned("numpy_initializer", "constant_initializer")
def tuned_constants(how):
    """The statistics begin with numbers that a training has made."""
    return constants(how)


@case(WRONG, name="tuned_scratch_hand", layers=BACKBONE)
def tuned_scratch_hand():
    """The same from scratch: the statistics begin with 0 and 1."""
    return constants("scratch")


def _scratch(name, since=(0, 12), **given):
    return case(WRONG, name="tuned_scratch_" + name, since=since, given=given, layers=BACKBONE)


@_scratch("contrib")
@_scratch("no_saver", saver="never")
@_scratch("layers", LAYERS, library="layers")
@_scratch("scale", scale=True)
def tuned_scratch(**options):
    """From scratch: gamma and beta are trained on statistics of 0 and 1."""
    return tuned(None, **options)


@_scratch("resource", LAYERS)
@resource_variables
def tuned_scratch_resource():
    """From scratch: resource variables."""
    return tuned(None, library="layers")


@case(WRONG, name="tuned_warm_start_trainable", since=(1, 8), layers=BACKBONE)
def tuned_warm_start_trainable():
    """warm_start of a plain string restores the trainable variables alone, and no statistics."""
    return tuned("warm start of what is trained")


@case(WRONG, name="tuned_weights_alone", layers=BACKBONE)
def tuned_weights_alone():
    """The second Saver restores the weights alone, and no statistics."""
    x, y = vector_input()
    logits = dense(backbone(x, contrib_norm(False)), 3, "head")
    tf.train.Saver([v for v in tf.trainable_variables() if v.name.startswith("backbone")], name="pretrained")
    return built(minimize(cross_entropy(logits, y), "not run"), logits, statistics=None, saver=tf.train.Saver())


@case(WRONG, name="tuned_saver_before_optimizer", layers=BACKBONE)
def tuned_saver_before():
    """A Saver of everything, made before the optimizer's slots, is no second one: from scratch."""
    x, y = vector_input()
    logits = dense(backbone(x, contrib_norm(False)), 3, "head")
    saver = tf.train.Saver()
    train = tf.train.AdamOptimizer(0.01).minimize(cross_entropy(logits, y))
    return built(train, logits, statistics=None, saver=saver)


@case(name="tuned_moving", doubts=["wrong-statistics"], given=dict(how="second saver"), layers=BACKBONE)
@case(
    name="tuned_moving_scope",
    doubts=["wrong-statistics"],
    given=dict(how="init_from_checkpoint scope"),
    since=LAYERS,
    layers=BACKBONE,
)
def tuned_moving(how):
    """Everything is trained further, on the batches and with updates."""
    return tuned(how, training=True)._replace(evaluate=None)


@case(name="tuned_phase", doubts=[], given=dict(how="second saver"), layers=BACKBONE)
def tuned_phase(how):
    """Everything is trained further; the phase is fed."""
    return tuned(how, training=phase())


# A frozen part whose statistics move all the same.


def frozen_part(training, updates="control dependencies", how="var_list", library="contrib", evaluated=True):
    norm = {"contrib": contrib_norm, "layers": layers_norm}[library]
    x, y = vector_input()
    if how == "trainable":
        # Only the layer itself is told; the weights in front are left out of var_list.
        features = backbone(x, norm(training, trainable=False))
    else:
        features = backbone(x, norm(training))
    if how == "stop_gradient":
        features = tf.stop_gradient(features)
    h = tf.nn.relu(norm(True)(dense(features, 4, "between"), "head_bn"))
    loss = cross_entropy(dense(h, 3, "head"), y)
    var_list = None if how == "stop_gradient" else [v for v in tf.trainable_variables() if v.name[:8] != "backbone"]
    if updates == "of the head":
        ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS, "head_bn")
        with tf.control_dependencies(ops):
            train = sgd().minimize(loss, var_list=var_list)
    else:
        train = minimize(loss, updates, var_list=var_list)
    evaluate = None
    if evaluated:
        with tf.variable_scope(tf.get_variable_scope(), reuse=True):
            h = backbone(x, norm(False), reuse=True)
            h = tf.nn.relu(norm(False)(dense(h, 4, "between"), "head_bn"))
            evaluate = dense(h, 3, "head")
    return built(train, evaluate, on_batch=False if evaluated else None)


PARTS = ["backbone/bn", "head_bn"]


@case(FROZEN, name="frozen_part_moves", given=dict(how="var_list"), layers=PARTS)
@case(FROZEN, name="frozen_part_moves_layers", given=dict(how="var_list", library="layers"), since=LAYERS, layers=PARTS)
@case(FROZEN, name="frozen_part_moves_stopped", given=dict(how="stop_gradient"), layers=PARTS)
@case(
    FROZEN,
    name="frozen_part_moves_stopped_layers",
    given=dict(how="stop_gradient", library="layers"),
    since=LAYERS,
    layers=PARTS,
)
@case(FROZEN, name="frozen_part_moves_trainable", given=dict(how="trainable"), layers=PARTS)
@case(FROZEN, name="frozen_part_moves_group", given=dict(how="var_list", updates="group"), layers=PARTS)
def frozen_part_moves(**options):
    """Nobody trains the backbone, and each step moves its statistics."""
    return frozen_part(True, **options)


@case(FROZEN, name="frozen_part_moves_resource", given=dict(how="var_list"), since=LAYERS, layers=PARTS)
@resource_variables
def frozen_part_resource(**options):
    """Nobody trains the backbone, and each step moves its statistics: resource variables."""
    return frozen_part(True, library="layers", **options)


@case(WRONG_WARNING, name="frozen_part_stays", given=dict(how="var_list"), layers=PARTS)
@case(WRONG_WARNING, name="frozen_part_stays_trainable", given=dict(how="trainable"), layers=PARTS)
@case(name="frozen_part_stays_stopped", given=dict(how="stop_gradient"), doubts=[], layers=PARTS)
def frozen_part_stays(**options):
    """The backbone normalises by its moving statistics, which stay."""
    return frozen_part(False, **options)._replace(skip="backbone")


@case(NEVER_RUN, name="frozen_part_not_trainable_layers", since=(1, 8), layers=PARTS)
def frozen_part_not_trainable_layers():
    """trainable=False in tf.layers: on its batch, and its updates are put nowhere."""
    return frozen_part(True, how="trainable", library="layers")


def adversarial(collected_by):
    """Two steps, each of which moves the averages of the network that it trains, or of both."""
    real = tf.placeholder(tf.float32, [None, 4], name="real")
    z = tf.placeholder(tf.float32, [None, 3], name="z")
    with tf.variable_scope("generator"):
        fake = dense(tf.nn.relu(contrib_norm(True)(dense(z, 4, "hidden"), "bn")), 4, "out")

    def discriminator(x, reuse):
        with tf.variable_scope("discriminator", reuse=reuse):
            return dense(tf.nn.relu(contrib_norm(True)(dense(x, 4, "hidden"), "bn")), 1, "out")

    d_real, d_fake = discriminator(real, None), discriminator(fake, True)
    d_loss = tf.reduce_mean(tf.nn.softplus(-d_real)) + tf.reduce_mean(tf.nn.softplus(d_fake))
    g_loss = tf.reduce_mean(tf.nn.softplus(-d_fake))
    steps = []
    for name, loss in (("discriminator", d_loss), ("generator", g_loss)):
        var_list = [v for v in tf.trainable_variables() if v.name.startswith(name)]
        scope = name if collected_by == "network" else None
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)):
            steps.append(sgd(name=name + "_step").minimize(loss, var_list=var_list))
    with tf.variable_scope("generator", reuse=True):
        sample = dense(tf.nn.relu(contrib_norm(False)(dense(z, 4, "hidden"), "bn")), 4, "out")
    return built(steps, sample, on_batch=False)


@case(name="frozen_part_gan", given=dict(collected_by="network"), layers=["discriminator/bn", "generator/bn"])
@case(name="frozen_part_gan_all", given=dict(collected_by="all"), layers=["discriminator/bn", "generator/bn"])
def frozen_part_gan(collected_by):
    """A GAN: what one step leaves alone, the other one trains."""
    return adversarial(collected_by)


@case(name="frozen_part_gan_one_named", given=dict(collected_by="network"), layers=["discriminator/bn", "generator/bn"],
      train_op="generator_step")  # fmt: skip
@case(name="frozen_part_gan_all_one_named", given=dict(collected_by="all"), layers=["discriminator/bn", "generator/bn"],
      train_op="generator_step")  # fmt: skip
def frozen_part_gan_named(collected_by):
    """The generator's step alone is named; the discriminator is trained by another one."""
    result = adversarial(collected_by)
    return result._replace(train=result.train[1], skip="discriminator" if collected_by == "network" else None)
