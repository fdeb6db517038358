"""Writes the corpus for the audit: small graphs as old TensorFlow releases and their libraries made them.

    python2.7 scripts/record_audit_graphs.py OUTDIR
    python2.7 scripts/record_audit_graphs.py OUTDIR --only 'contrib_*' 'ckpt_*'
    tar -cJf tests/reference/audit.tar.xz -C OUTDIR .

20 MB, packed 0.7 MB. One run per environment, all into the same OUTDIR:

    Python 2.7, tensorflow 0.12.1, numpy 1.11.2
    Python 2.7, tensorflow 1.4.1
    Python 2.7, tensorflow 1.15.0, dm-sonnet 1.36, tensorflow-probability 0.8.0, tensorpack 0.9.8

Every graph is written as OUTDIR/<release>_<name>.meta (frozen graphs as .pb, checkpoints and SavedModels as folders).
OUTDIR/expected.json says of each what an audit should find; another environment's entries are kept:

    train_op   the name to give to the audit as the train op, or null
    num_steps  the number of steps to give to it, or null
    findings   [rule, severity] pairs, as a set
    may        pairs that are not wrong to find, but need not be found (few graphs)
    undecided  rules that an audit may call undecided, too (few graphs): instead of the finding, or with no finding
    layers     names of the layers, or null where no name is the only right one
    why        one sentence

What is expected is thought, not computed. But where a graph can be run it is: what `ran` calls the moving statistics is
looked at before and after the train op and the evaluation, and if that contradicts the findings, nothing is written.
"""

# ruff: noqa: B905, E402, F811, UP031  (Python 2.7; the functions of the cases have no names of their own)

from __future__ import print_function  # noqa: UP010

import argparse
import fnmatch
import json
import os
import re
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow.python.training import moving_averages

tf.logging.set_verbosity(tf.logging.ERROR)

RELEASE = tf.__version__
VERSION = tuple(int(part) for part in RELEASE.split(".")[:2])

slim = tf.contrib.slim
contrib_batch_norm = tf.contrib.layers.batch_norm

E, W, N = "error", "warning", "note"
NEVER_RUN = ["updates-never-run", E]
NO_UPDATES = ["no-updates", E]
IN_EVALUATION = ["updates-in-evaluation", E]
WRONG = ["wrong-statistics", E]
WRONG_WARNING = ["wrong-statistics", W]
UNSHARED = ["unshared-towers", E]
TRAINABLE = ["trainable-statistics", E]
NOT_SAVED = ["statistics-not-saved", E]
UNTOUCHED = ["statistics-untouched", E]
BIAS = ["cancelled-bias", N]
UNUSED = ["unused-parameter", N]
SLOW = ["slow-decay", W]
DUPLICATE = ["duplicate-updates", W]
TINY = ["tiny-batch", W]
MIXED = ["mixed-variance", W]

CASES = []  # (name, since, until, findings, layers, why, options, function)


def case(name, findings, layers, why, since=(0, 12), until=(9, 9), **options):
    """Registers a graph. The function builds it in the default graph and returns what `main` is to know about it.

    Options: train_op (a name, for the audit), num_steps, may, undecided,
    cond_v2 (If and While with functions in the graph).
    """

    def register(function):
        CASES.append((name, since, until, findings, layers, why, options, function))
        return function

    return register


# Pieces of networks.


def vector_input(batch=None):
    return tf.placeholder(tf.float32, [batch, 5], name="x"), tf.placeholder(tf.int32, [batch], name="y")


def image_input(batch=None):
    return tf.placeholder(tf.float32, [batch, 4, 4, 2], name="x"), tf.placeholder(tf.int32, [batch], name="y")


def dense(x, units, name, bias=False):
    with tf.variable_scope(name):
        w = tf.get_variable("w", [x.get_shape()[-1].value, units], initializer=tf.random_normal_initializer(stddev=0.3))
        h = tf.matmul(x, w)
        if bias:
            h = tf.nn.bias_add(h, tf.get_variable("b", [units], initializer=tf.constant_initializer(0.0)))
        return h


def conv(x, channels, name, bias=False):
    with tf.variable_scope(name):
        shape = [3, 3, x.get_shape()[-1].value, channels]
        w = tf.get_variable("w", shape, initializer=tf.random_normal_initializer(stddev=0.3))
        h = tf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME")
        if bias:
            h = tf.nn.bias_add(h, tf.get_variable("b", [channels], initializer=tf.constant_initializer(0.0)))
        return h


def network(x, norm, reuse=None, bias=False, scope="net"):
    """One hidden layer with a batch norm (named bn), dense or convolutional as the input is."""
    with tf.variable_scope(scope, reuse=reuse):
        if len(x.get_shape()) == 2:
            h = tf.nn.relu(norm(dense(x, 4, "hidden", bias=bias), "bn"))
        else:
            h = tf.nn.relu(norm(conv(x, 4, "hidden", bias=bias), "bn"))
            h = tf.reshape(h, [-1, 64])  # a mean over pixels has a larger gradient
        return dense(h, 3, "logits")


def cross_entropy(logits, y):
    # The sum, not the mean: half of its gradient's nodes.
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))


def sgd(**options):
    return tf.train.GradientDescentOptimizer(0.01, **options)


def contrib(training, **options):
    options.setdefault("decay", 0.9)
    return lambda h, name: contrib_batch_norm(h, is_training=training, scope=name, **options)


def layers(training, **options):
    options.setdefault("momentum", 0.9)
    return lambda h, name: tf.layers.batch_normalization(h, training=training, name=name, **options)


def update_ops(scope=None):
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)


def minimize(loss, updates, optimizer=None, **options):
    """The ways in which people run the updates, or do not. Returns what they then give to sess.run."""
    optimizer = optimizer or sgd()
    if updates == "not run":
        return optimizer.minimize(loss, **options)
    if updates == "control dependencies":
        with tf.control_dependencies(update_ops()):
            return optimizer.minimize(loss, **options)
    if updates == "group":
        return tf.group(optimizer.minimize(loss, **options), *update_ops(), name="train")
    if updates == "identity":  # with_dependencies on the loss that is reported, after the step
        step = optimizer.minimize(loss, **options)
        with tf.control_dependencies([step] + update_ops()):
            return tf.identity(loss, name="train")
    if updates == "existing op":  # the dependencies are given to nothing: the op was made before
        step = optimizer.minimize(loss, **options)
        with tf.control_dependencies(update_ops()):
            step = step  # noqa: PLW0127
        return step
    if updates == "barrier":  # the pattern of contrib.layers' docstring
        barrier = tf.group(*update_ops())
        with tf.control_dependencies([barrier]):
            return optimizer.minimize(tf.identity(loss), **options)
    raise ValueError(updates)


def ran(train=None, evaluate=None, statistics=r"moving_(mean|variance)(_\d+)?:0$", skip=None, saver=None, **more):
    """What is to be run and looked at. more: a dict for expected.json to override."""
    return dict(train=train, evaluate=evaluate, statistics=statistics, skip=skip, saver=saver, more=more)


def one_tower(norm, updates, image=False, batch=None, bias=False, **options):
    x, y = (image_input if image else vector_input)(batch)
    logits = network(x, norm, bias=bias)
    return ran(minimize(cross_entropy(logits, y), updates, **options), logits)


def two_towers(train_norm, evaluation_norm, updates, image=False, **options):
    """The updates are collected before the evaluation tower is built, as in two calls of one function."""
    x, y = (image_input if image else vector_input)()
    train = minimize(cross_entropy(network(x, train_norm), y), updates, **options)
    with tf.name_scope("evaluation"):
        logits = network(x, evaluation_norm, reuse=True)
    return ran(train, tf.argmax(logits, 1))


def phase():
    return tf.placeholder(tf.bool, [], name="is_training")


# tf.contrib.layers.batch_norm

NET = ["net/bn"]

for _tag, _image, _options in [
    ("", False, {}),
    ("_image", True, {"scale": True}),
    ("_fused", True, {"fused": True}),
]:
    _full = _tag != "_image"

    @case("contrib%s_control_dependencies" % _tag, [], NET, "UPDATE_OPS are control dependencies of the train op")
    def _(image=_image, options=_options):
        return one_tower(contrib(True, **options), "control dependencies", image)

    @case("contrib%s_not_run" % _tag, [NEVER_RUN], NET, "UPDATE_OPS are in the collection and nothing runs them")
    def _(image=_image, options=_options):
        return one_tower(contrib(True, **options), "not run", image)

    if _full:

        @case("contrib%s_placeholder" % _tag, [], NET, "is_training is fed, the updates run with the train op")
        def _(image=_image, options=_options):
            return one_tower(contrib(phase(), **options), "control dependencies", image)

        @case("contrib%s_placeholder_not_run" % _tag, [NEVER_RUN], NET, "is_training is fed, but no update is run")
        def _(image=_image, options=_options):
            return one_tower(contrib(phase(), **options), "not run", image)

        @case("contrib%s_towers" % _tag, [], NET, "A training tower with updates, an evaluation tower that reuses it")
        def _(image=_image, options=_options):
            towers = contrib(True, **options), contrib(False, **options)
            return two_towers(towers[0], towers[1], "control dependencies", image)


@case("contrib_group", [], NET, "The train op is a group around TRAIN_OP's op and the updates; it is not named")
def _():
    return one_tower(contrib(True), "group")


@case("contrib_group_named", [], NET, "The group is named as the train op", train_op="train")
def _():
    return one_tower(contrib(True), "group")


@case(
    "contrib_group_inner_named",
    [NEVER_RUN],
    NET,
    "There is a group with the updates, but the op that is named is the optimizer's inside it",
    train_op="GradientDescent",
)
def _():
    result = one_tower(contrib(True), "group")
    result["train"] = tf.get_default_graph().get_operation_by_name("GradientDescent")
    return result


@case("contrib_identity", [], NET, "The loss that is fetched depends on the step and on the updates", train_op="train")
def _():
    return one_tower(contrib(True), "identity")


@case("contrib_existing_op", [NEVER_RUN], NET, "control_dependencies around an op that exists already does nothing")
def _():
    return one_tower(contrib(True), "existing op")


@case("contrib_barrier", [], NET, "Loss and optimizer behind a barrier of the updates")
def _():
    return one_tower(contrib(True), "barrier")


@case(
    "contrib_barrier_loss_only",
    [NEVER_RUN],
    NET,
    "Only the loss depends on the updates, and no gradient needs the loss's value: the train op alone never runs them "
    "(whoever fetches the loss, too, is saved by that)",
    undecided=["updates-never-run"],
)
def _():
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib(True)), y)
    with tf.control_dependencies([tf.group(*update_ops())]):
        loss = tf.identity(loss, name="total_loss")
    return ran(sgd().minimize(loss))


@case("contrib_collected_too_early", [NEVER_RUN], NET, "UPDATE_OPS are read before the network exists: an empty list")
def _():
    x, y = vector_input()
    updates = update_ops()
    loss = cross_entropy(network(x, contrib(True)), y)
    with tf.control_dependencies(updates):
        return ran(sgd().minimize(loss))


@case("slim_create_train_op", [], NET, "slim.learning.create_train_op runs UPDATE_OPS")
def _():
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib(True)), y)
    return ran(slim.learning.create_train_op(loss, sgd()))


@case("slim_create_train_op_without", [NEVER_RUN], NET, "create_train_op is told to run no updates")
def _():
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib(True)), y)
    return ran(slim.learning.create_train_op(loss, sgd(), update_ops=[]))


@case("contrib_in_place", [], NET, "updates_collections=None: the output itself depends on the updates")
def _():
    return dict(one_tower(contrib(True, updates_collections=None), "not run"), evaluate=None)


@case("contrib_in_place_placeholder", [], NET, "In place, and is_training is fed")
def _():
    return one_tower(contrib(phase(), updates_collections=None), "not run")


@case("contrib_in_place_towers", [], NET, "In place in the training tower, moving statistics in the evaluation tower")
def _():
    return two_towers(contrib(True, updates_collections=None), contrib(False, updates_collections=None), "not run")


@case(
    "contrib_in_place_evaluation_true",
    [WRONG, IN_EVALUATION],
    NET,
    "The evaluation tower says is_training=True: batch statistics, and each evaluation updates",
)
def _():
    return two_towers(contrib(True, updates_collections=None), contrib(True, updates_collections=None), "not run")


@case(
    "contrib_evaluation_true",
    [WRONG, DUPLICATE],
    NET,
    "The evaluation tower says is_training=True; its updates are in the collection, too (run by nobody here)",
)
def _():
    return two_towers(contrib(True), contrib(True), "control dependencies")


@case(
    "contrib_evaluation_true_updates_run",
    [WRONG, DUPLICATE],
    NET,
    "The evaluation tower says is_training=True, and the train op runs its updates as well",
)
def _():
    x, y = vector_input()
    z = tf.placeholder(tf.float32, [None, 5], name="valid_x")
    loss = cross_entropy(network(x, contrib(True)), y)
    logits = network(z, contrib(True), reuse=True)
    return ran(minimize(loss, "control dependencies"), logits)


@case(
    "contrib_evaluation_default_names",
    [UNSHARED],
    ["BatchNorm", "BatchNorm_1"],
    "Without scope and reuse the evaluation tower gets BatchNorm_1, whose statistics nothing updates",
)
def _():
    x, y = vector_input()

    def tower(training, reuse):
        with tf.variable_scope("net", reuse=reuse):
            h = dense(x, 4, "hidden")
        h = contrib_batch_norm(h, is_training=training)
        with tf.variable_scope("net", reuse=reuse):
            return dense(h, 3, "logits")

    train = minimize(cross_entropy(tower(True, None), y), "control dependencies")
    return ran(train, tower(False, True), skip="BatchNorm_1")


@case(
    "contrib_evaluation_not_reused",
    [UNSHARED],
    ["net/bn", "net_1/bn"],
    "The whole network is built twice, in net and in net_1: the evaluation has weights and statistics of its own",
)
def _():
    x, y = vector_input()
    train = minimize(cross_entropy(network(x, contrib(True)), y), "control dependencies")
    return ran(train, network(x, contrib(False), scope="net_1"), skip="net_1")


@case("contrib_frozen", [WRONG], NET, "is_training=False in the only tower, and beta is trained")
def _():
    return one_tower(contrib(False), "not run")


@case("contrib_frozen_fixed", [WRONG_WARNING], NET, "is_training=False and trainable=False: fine-tuning, on purpose")
def _():
    return one_tower(contrib(False, trainable=False), "not run")


@case("contrib_frozen_var_list", [WRONG_WARNING], NET, "is_training=False, and only the last layer is trained")
def _():
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib(False)), y)
    last = [v for v in tf.trainable_variables() if v.op.name.startswith("net/logits")]
    return ran(sgd().minimize(loss, var_list=last), skip="")


@case("contrib_bias", [BIAS], NET, "The layer in front has a bias, which the batch mean takes away")
def _():
    return one_tower(contrib(True), "control dependencies", bias=True)


@case("contrib_conv_bias", [BIAS], NET, "The convolution in front has a bias, which the batch mean takes away")
def _():
    return one_tower(contrib(True, fused=True), "control dependencies", image=True, bias=True)


@case("contrib_frozen_bias", [WRONG_WARNING], NET, "A bias before a frozen batch norm is not cancelled: no note")
def _():
    return one_tower(contrib(False, trainable=False), "not run", bias=True)


@case("contrib_decay_inverted", [SLOW], NET, "decay=0.01 is 1 - decay")
def _():
    return one_tower(contrib(True, decay=0.01), "control dependencies")


@case("contrib_decay_1000_steps", [SLOW], NET, "0.999**1000 = 0.37 of the initial values are left", num_steps=1000)
def _():
    return one_tower(contrib(True, decay=0.999), "control dependencies")


@case("contrib_decay_9000_steps", [], NET, "0.999**9000 = 0.0001", num_steps=9000)
def _():
    return one_tower(contrib(True, decay=0.999), "control dependencies")


@case("contrib_batch_of_1", [TINY], NET, "The batch is one example: its own mean is subtracted")
def _():
    return one_tower(contrib(True), "control dependencies", batch=1)


@case("contrib_batch_of_4", [TINY], NET, "Four values per channel", since=(1, 15))
def _():
    return one_tower(contrib(True), "control dependencies", batch=4)


@case("contrib_batch_of_16", [], NET, "Sixteen values per channel")
def _():
    return one_tower(contrib(True), "control dependencies", batch=16)


@case("contrib_images_of_4", [], NET, "Four images of 4 x 4: 64 values per channel", since=(1, 15))
def _():
    return one_tower(contrib(True, fused=True), "control dependencies", image=True, batch=4)


@case(
    "contrib_mixed",
    [MIXED],
    NET,
    "Trained fused (Bessel's correction in the update), evaluated decomposed: harmless "
    "with large batches; two definitions of one number only if both towers update",
)
def _():
    x, y = image_input()
    train = minimize(cross_entropy(network(x, contrib(True, fused=True)), y), "control dependencies")
    return ran(train, network(x, contrib(False, fused=False), reuse=True))


@case("contrib_mixed_training", [MIXED], NET, "Two training uses of one layer, fused and decomposed, both update")
def _():
    x, y = image_input()
    a = network(x, contrib(True, fused=True))
    b = network(x[:, ::-1], contrib(True, fused=False), reuse=True)
    return ran(minimize(cross_entropy(a, y) + cross_entropy(b, y), "control dependencies"))


@case("contrib_zero_debias", [], NET, "zero_debias_moving_mean=True: biased and local_step variables", since=(1, 0))
def _():
    return one_tower(contrib(True, zero_debias_moving_mean=True), "control dependencies")


@case("contrib_renorm", [], NET, "Batch renormalisation", since=(1, 4))
def _():
    return one_tower(contrib(True, renorm=True), "control dependencies")


@case("contrib_weights", [], NET, "batch_weights: weighted moments")
def _():
    weights = tf.placeholder(tf.float32, [None], name="weights")
    return one_tower(contrib(True, batch_weights=weights), "control dependencies")


@case("contrib_nchw", [], NET, "Channels first, fused (not run: there is no such kernel on a CPU)")
def _():
    x, y = image_input()
    with tf.variable_scope("net"):
        h = tf.transpose(conv(x, 4, "hidden"), [0, 3, 1, 2])
        h = contrib(True, fused=True, data_format="NCHW")(h, "bn")
        logits = dense(tf.reduce_mean(h, [2, 3]), 3, "logits")
    minimize(cross_entropy(logits, y), "control dependencies")


@case("contrib_duplicate", [DUPLICATE], NET, "The update ops are in UPDATE_OPS twice")
def _():
    x, y = vector_input()
    logits = network(x, contrib(True))
    for op in list(update_ops()):
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, op)
    return ran(minimize(cross_entropy(logits, y), "control dependencies"))


@case("contrib_inference", [], NET, "A graph for inference, with a saver for everything")
def _():
    x, _ = vector_input()
    return ran(evaluate=network(x, contrib(False)), saver=tf.train.Saver())


@case("contrib_inference_not_saved", [NOT_SAVED], NET, "A graph for inference that restores no statistics")
def _():
    x, _ = vector_input()
    return ran(evaluate=network(x, contrib(False)), saver=tf.train.Saver(tf.trainable_variables()))


@case(
    "contrib_inference_true",
    [],
    NET,
    "Inference with is_training=True: nothing to report by the rules, for there is "
    "no training in the graph; a person would suspect it",
    may=[WRONG, WRONG_WARNING],
)
def _():
    x, _ = vector_input()
    return ran(evaluate=network(x, contrib(True)), saver=tf.train.Saver())


# Savers


@case("saver_all", [], NET, "A Saver for all variables")
def _():
    result = one_tower(contrib(True), "control dependencies")
    result["saver"] = tf.train.Saver()
    return result


@case("saver_trainable", [NOT_SAVED], NET, "A Saver for tf.trainable_variables(): without the moving statistics")
def _():
    result = one_tower(contrib(True), "control dependencies")
    result["saver"] = tf.train.Saver(tf.trainable_variables())
    return result


@case("saver_filtered", [], NET, "A Saver for the trainable variables and what is called moving_*")
def _():
    result = one_tower(contrib(True), "control dependencies")
    moving = [v for v in tf.global_variables() if "moving_mean" in v.name or "moving_variance" in v.name]
    result["saver"] = tf.train.Saver(tf.trainable_variables() + moving)
    return result


@case("saver_filtered_mean_only", [NOT_SAVED], NET, "A Saver for the trainable variables and moving_mean, by mistake")
def _():
    result = one_tower(contrib(True), "control dependencies")
    moving = [v for v in tf.global_variables() if "moving_mean" in v.name]
    result["saver"] = tf.train.Saver(tf.trainable_variables() + moving)
    return result


@case("saver_warm_start", [], NET, "One Saver restores the trained weights of another model, another saves everything")
def _():
    result = one_tower(contrib(True), "control dependencies")
    tf.train.Saver([v for v in tf.trainable_variables() if "hidden" in v.name], name="warm_start")
    result["saver"] = tf.train.Saver()
    return result


# Several towers, optimizers, and so on.


def average_gradients(towers):
    return [(tf.add_n([g for g, _ in pairs]) / len(pairs), pairs[0][1]) for pairs in zip(*towers)]


def multi_gpu(updates_of):
    x, y = vector_input(batch=32)
    gradients = []
    optimizer = sgd()
    for i, (part, labels) in enumerate([(x[:16], y[:16]), (x[16:], y[16:])]):
        with tf.name_scope("tower_%d" % i) as scope:
            loss = cross_entropy(network(part, contrib(True), reuse=True if i else None), labels)
            gradients.append(optimizer.compute_gradients(loss))
            if updates_of == "each":
                updates = update_ops()
            elif updates_of == "first" and i == 0:
                updates = update_ops(scope)
            elif updates_of == "wrong scope":
                updates = update_ops("towers_0")
    apply_op = optimizer.apply_gradients(average_gradients(gradients))
    return ran(tf.group(apply_op, *updates, name="train"))


@case("multi_gpu", [], NET, "Two towers, the updates of both")
def _():
    return multi_gpu("each")


@case("multi_gpu_first", [], NET, "Two towers, the updates of the first: as in Inception's and tensorpack's code")
def _():
    return multi_gpu("first")


@case("multi_gpu_wrong_scope", [NEVER_RUN], NET, "The updates of a scope that does not exist: none")
def _():
    return multi_gpu("wrong scope")


def gan(generator_updates, discriminator_updates):
    real = tf.placeholder(tf.float32, [None, 4], name="real")
    z = tf.placeholder(tf.float32, [None, 3], name="z")
    with tf.variable_scope("generator"):
        fake = dense(tf.nn.relu(contrib(True)(dense(z, 4, "hidden"), "bn")), 4, "out")

    def discriminator(x, reuse):
        with tf.variable_scope("discriminator", reuse=reuse):
            return dense(tf.nn.relu(contrib(True)(dense(x, 4, "hidden"), "bn")), 1, "out")

    d_real, d_fake = discriminator(real, None), discriminator(fake, True)
    d_loss = tf.reduce_mean(tf.nn.softplus(-d_real)) + tf.reduce_mean(tf.nn.softplus(d_fake))
    g_loss = tf.reduce_mean(tf.nn.softplus(-d_fake))
    variables = tf.trainable_variables()
    d_vars = [v for v in variables if v.name.startswith("discriminator")]
    g_vars = [v for v in variables if v.name.startswith("generator")]
    with tf.control_dependencies(update_ops("discriminator") if discriminator_updates else []):
        d_step = sgd(name="d_optimizer").minimize(d_loss, var_list=d_vars)
    with tf.control_dependencies(update_ops("generator") if generator_updates else []):
        g_step = sgd(name="g_optimizer").minimize(g_loss, var_list=g_vars)
    with tf.variable_scope("generator", reuse=True):
        sample = dense(tf.nn.relu(contrib(False)(dense(z, 4, "hidden"), "bn")), 4, "out")
    return ran([d_step, g_step], sample)


GAN = ["discriminator/bn", "generator/bn"]


@case("gan", [], GAN, "Each optimizer runs the updates of its network; the discriminator sees real and fake data")
def _():
    return gan(True, True)


@case("gan_generator_not_run", [NEVER_RUN], GAN, "The generator's updates are run by neither optimizer")
def _():
    return gan(False, True)


@case("gan_not_run", [NEVER_RUN], GAN, "Nobody runs any updates")
def _():
    return gan(False, False)


def weights_average(updates, statistics_too=False):
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib(True)), y)
    with tf.control_dependencies(update_ops() if updates else []):
        step = sgd().minimize(loss)
    ema = tf.train.ExponentialMovingAverage(0.99)
    variables = tf.trainable_variables()
    if statistics_too:
        variables += [v for v in tf.global_variables() if "moving_" in v.name]
    with tf.control_dependencies([step]):
        return ran(ema.apply(variables))


@case("ema_of_weights", [], NET, "An average of the weights, of beta too, follows the optimizer; the updates run")
def _():
    return weights_average(True)


@case("ema_of_weights_not_run", [NEVER_RUN], NET, "The average of beta is no update of the moving statistics")
def _():
    return weights_average(False)


@case(
    "ema_of_statistics_not_run",
    [NEVER_RUN],
    NET,
    "An average of the moving statistics reads them, and updates its own copy; the statistics stay at 0 and 1",
)
def _():
    return weights_average(False, True)


def accumulated_gradients(updates):
    x, y = vector_input()
    optimizer = sgd()
    loss = cross_entropy(network(x, contrib(True)), y)
    pairs = optimizer.compute_gradients(loss)
    with tf.variable_scope("accumulated"):
        sums = [tf.Variable(tf.zeros_like(v.initialized_value()), trainable=False) for _, v in pairs]
    with tf.control_dependencies(update_ops() if updates else []):
        accumulate = tf.group(*[s.assign_add(g) for s, (g, _) in zip(sums, pairs)], name="accumulate")
    optimizer.apply_gradients([(s / 4.0, v) for s, (_, v) in zip(sums, pairs)], name="step")
    tf.group(*[s.assign(tf.zeros_like(s)) for s in sums], name="reset")
    return ran(accumulate)


@case(
    "accumulated_gradients",
    [],
    NET,
    "The accumulating op runs the updates; what the optimizer applies comes out of "
    "variables, so that no batch norm is among its ancestors",
    undecided=["updates-never-run"],
)
def _():
    return accumulated_gradients(True)


@case(
    "accumulated_gradients_not_run",
    [NEVER_RUN],
    NET,
    "The same without updates. An audit that cannot see through the "
    "accumulating variables may call it undecided; silence would be wrong",
    undecided=["updates-never-run"],
)
def _():
    return accumulated_gradients(False)


def sync_replicas(updates):
    x, y = vector_input()
    step = tf.Variable(0, trainable=False, name="global_step")
    loss = cross_entropy(network(x, contrib(True)), y)
    optimizer = tf.train.SyncReplicasOptimizer(sgd(), replicas_to_aggregate=1, total_num_replicas=1)
    with tf.control_dependencies(update_ops() if updates else []):
        train = optimizer.minimize(loss, global_step=step)
    optimizer.get_chief_queue_runner()
    return dict(ran(), more={"train_op": train.op.name if hasattr(train, "op") else train.name})


@case(
    "sync_replicas",
    [],
    NET,
    "SyncReplicasOptimizer: gradients go through accumulators, the updates are run",
    since=(1, 4),
)
def _():
    return sync_replicas(True)


@case(
    "sync_replicas_not_run",
    [NEVER_RUN],
    NET,
    "SyncReplicasOptimizer, and the updates are not run",
    since=(1, 4),
    undecided=["updates-never-run"],
)
def _():
    return sync_replicas(False)


@case("clipped_gradients", [], NET, "compute_gradients, clip_by_global_norm, apply_gradients, Adam, with the updates")
def _():
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib(True)), y)
    optimizer = tf.train.AdamOptimizer(0.01)
    with tf.control_dependencies(update_ops()):
        gradients, variables = zip(*optimizer.compute_gradients(loss))
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
        return ran(optimizer.apply_gradients(zip(gradients, variables)))


@case(
    "clipped_gradients_not_run", [NEVER_RUN], NET, "compute_gradients, clip_by_global_norm, apply_gradients, no updates"
)
def _():
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib(True)), y)
    optimizer = tf.train.AdamOptimizer(0.01)
    gradients, variables = zip(*optimizer.compute_gradients(loss))
    return ran(optimizer.apply_gradients(zip(tf.clip_by_global_norm(gradients, 1.0)[0], variables)))


@case(
    "compute_gradients_only",
    [],
    NET,
    "The control dependencies are around compute_gradients alone: that is enough, for the gradients' ops carry them",
)
def _():
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib(True)), y)
    with tf.control_dependencies(update_ops()):
        pairs = sgd().compute_gradients(loss)
    return ran(sgd().apply_gradients(pairs))


@case(
    "gradients_by_hand",
    [],
    NET,
    "No optimizer: assign_sub of the gradients, with the updates: nothing wrong",
    undecided=["updates-never-run"],
)
def _():
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib(True)), y)
    variables = tf.trainable_variables()
    steps = [tf.assign_sub(v, 0.1 * g) for v, g in zip(variables, tf.gradients(loss, variables))]
    return ran(tf.group(*(steps + update_ops()), name="train"))


@case(
    "gradients_by_hand_named",
    [NEVER_RUN],
    NET,
    "No optimizer op; the train op is named, and does not run the updates",
    train_op="train",
)
def _():
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib(True)), y)
    variables = tf.trainable_variables()
    steps = [tf.assign_sub(v, 0.1 * g) for v, g in zip(variables, tf.gradients(loss, variables))]
    return ran(tf.group(*steps, name="train"))


def target_network(updates, target_training=False):
    state = tf.placeholder(tf.float32, [None, 5], name="state")
    after = tf.placeholder(tf.float32, [None, 5], name="next_state")
    action = tf.placeholder(tf.int32, [None], name="action")
    reward = tf.placeholder(tf.float32, [None], name="reward")
    q = network(state, contrib(True), scope="online")
    target = network(after, contrib(target_training), scope="target")
    goal = tf.stop_gradient(reward + 0.9 * tf.reduce_max(target, 1))
    loss = tf.reduce_mean(tf.square(goal - tf.reduce_sum(q * tf.one_hot(action, 3), 1)))
    with tf.control_dependencies(update_ops("online") if updates else []):
        train = sgd().minimize(loss, var_list=[v for v in tf.trainable_variables() if v.name.startswith("online")])
    online, copies = [[v for v in tf.global_variables() if v.name.startswith(s)] for s in ("online", "target")]
    tf.group(*[c.assign(v) for c, v in zip(copies, online)], name="copy_to_target")
    return ran(train, skip="target")


DQN = ["online/bn", "target/bn"]


@case("target_network", [], DQN, "A target network behind stop_gradient; all its variables are copies")
def _():
    return target_network(True)


@case("target_network_not_run", [NEVER_RUN], DQN, "The online network's updates are not run")
def _():
    return target_network(False)


# What is no batch norm.


def handmade_layer_norm(h, name):
    with tf.variable_scope(name):
        gamma = tf.get_variable("gamma", h.get_shape()[-1:], initializer=tf.constant_initializer(1.0))
        beta = tf.get_variable("beta", h.get_shape()[-1:], initializer=tf.constant_initializer(0.0))
        mean, variance = tf.nn.moments(h, [len(h.get_shape()) - 1], keep_dims=True)
        return (h - mean) * tf.rsqrt(variance + 1e-6) * gamma + beta


def handmade_instance_norm(h, name):
    with tf.variable_scope(name):
        gamma = tf.get_variable("gamma", h.get_shape()[-1:], initializer=tf.constant_initializer(1.0))
        beta = tf.get_variable("beta", h.get_shape()[-1:], initializer=tf.constant_initializer(0.0))
        mean, variance = tf.nn.moments(h, [1, 2], keep_dims=True)
        return tf.nn.batch_normalization(h, mean, variance, beta, gamma, 1e-5)


def handmade_group_norm(h, name):
    with tf.variable_scope(name):
        gamma = tf.get_variable("gamma", [1, 1, 1, 4], initializer=tf.constant_initializer(1.0))
        beta = tf.get_variable("beta", [1, 1, 1, 4], initializer=tf.constant_initializer(0.0))
        g = tf.reshape(h, [-1, 4, 4, 2, 2])
        mean, variance = tf.nn.moments(g, [1, 2, 4], keep_dims=True)
        return tf.reshape((g - mean) / tf.sqrt(variance + 1e-5), [-1, 4, 4, 4]) * gamma + beta


@case("layer_norm", [], [], "Layer norm: every example has its own mean")
def _():
    return dict(one_tower(handmade_layer_norm, "not run"), skip="")


@case("layer_norm_contrib", [], [], "tf.contrib.layers.layer_norm")
def _():
    return dict(one_tower(lambda h, name: tf.contrib.layers.layer_norm(h, scope=name), "not run", image=True), skip="")


@case("instance_norm", [], [], "Instance norm through tf.nn.batch_normalization")
def _():
    return dict(one_tower(handmade_instance_norm, "not run", image=True), skip="")


@case("instance_norm_contrib", [], [], "tf.contrib.layers.instance_norm", since=(1, 4))
def _():
    return dict(
        one_tower(lambda h, name: tf.contrib.layers.instance_norm(h, scope=name), "not run", image=True), skip=""
    )


@case("group_norm", [], [], "Group norm, with reshapes")
def _():
    return dict(one_tower(handmade_group_norm, "not run", image=True), skip="")


@case("other_normalizers", [], [], "l2_normalize, weight norm, constants for the input, an RMSProp written by hand")
def _():
    x, y = vector_input()
    x = (x - tf.constant([0.1, 0.2, 0.3, 0.4, 0.5])) / tf.constant([1.0, 2.0, 3.0, 4.0, 5.0])
    with tf.variable_scope("net"):
        v = tf.get_variable("v", [5, 4], initializer=tf.random_normal_initializer())
        g = tf.get_variable("g", [4], initializer=tf.constant_initializer(1.0))
        h = tf.matmul(x, v * (g * tf.rsqrt(tf.reduce_sum(tf.square(v), 0))))
        h = tf.nn.l2_normalize(h, 1)
        logits = dense(h, 3, "logits")
    loss = cross_entropy(logits, y)
    steps = []
    for v in tf.trainable_variables():
        gradient = tf.gradients(loss, v)[0]
        square = tf.Variable(tf.ones_like(v.initialized_value()), trainable=False)
        mean = tf.Variable(tf.zeros_like(v.initialized_value()), trainable=False)
        square = tf.assign(square, 0.9 * square + 0.1 * tf.square(gradient))
        mean = tf.assign(mean, 0.9 * mean + 0.1 * gradient)
        steps.append(tf.assign_sub(v, 0.01 * mean / tf.sqrt(square + 1e-8)))
    return ran(tf.group(*steps, name="train"), skip="")


@case(
    "running_observation_filter",
    [],
    [],
    "Reinforcement learning's filter of observations: running sums that the "
    "program feeds, no batch norm; nothing here is wrong",
)
def _():
    x, y = vector_input()
    with tf.variable_scope("filter"):
        total = tf.get_variable("runningsum", [5], initializer=tf.constant_initializer(0.0), trainable=False)
        squares = tf.get_variable("runningsumsq", [5], initializer=tf.constant_initializer(1e-2), trainable=False)
        count = tf.get_variable("count", [], initializer=tf.constant_initializer(1e-2), trainable=False)
        mean = total / count
        std = tf.sqrt(tf.maximum(squares / count - tf.square(mean), 1e-2))
        new = tf.placeholder(tf.float32, [5], name="new")
        tf.group(tf.assign_add(total, new), tf.assign_add(squares, new * new), tf.assign_add(count, 1.0), name="update")
    x = tf.clip_by_value((x - mean) / std, -5.0, 5.0)
    with tf.variable_scope("net"):
        logits = dense(x, 3, "logits")
    return ran(sgd().minimize(cross_entropy(logits, y)), logits, skip="")


@case("adam_only", [], [], "No normalisation at all, and Adam's moments")
def _():
    x, y = vector_input()
    return ran(tf.train.AdamOptimizer().minimize(cross_entropy(dense(x, 3, "logits"), y)), skip="")


# Layers written by hand, as blogs and answers have them.


def variable(name, initial, shape, **options):
    return tf.get_variable(name, shape, initializer=tf.constant_initializer(initial), **options)


def r2rt(training, decay=0.9, dependencies=True, trainable=False, gamma_used=True, inverted=False, sqrt=False):
    """https://r2rt.com/implementing-batch-normalization-in-tensorflow.html, batch_norm_wrapper, with names."""

    def norm(h, name):
        with tf.variable_scope(name):
            size = h.get_shape()[-1:]
            gamma, beta = variable("gamma", 1.0, size), variable("beta", 0.0, size)
            pop_mean = variable("pop_mean", 0.0, size, trainable=trainable)
            pop_var = variable("pop_var", 1.0, size, trainable=trainable)

            def finish(mean, var):
                if sqrt:
                    out = (h - mean) / tf.sqrt(var + 1e-3)
                    return gamma * out + beta if gamma_used else out + beta
                return tf.nn.batch_normalization(h, mean, var, beta, gamma if gamma_used else None, 1e-3)

            if not training:
                return finish(pop_mean, pop_var)
            mean, var = tf.nn.moments(h, list(range(len(h.get_shape()) - 1)))
            keep, take = (1 - decay, decay) if inverted else (decay, 1 - decay)
            train_mean = tf.assign(pop_mean, pop_mean * keep + mean * take)
            train_var = tf.assign(pop_var, pop_var * keep + var * take)
            with tf.control_dependencies([train_mean, train_var] if dependencies else []):
                return finish(mean, var)

    return norm


POP = r"pop_(mean|var):0$"


def by_hand(norm, evaluation=None, statistics=POP, **options):
    if evaluation is None:
        result = one_tower(norm, "not run", **options)
        result["evaluate"] = None
    else:
        result = two_towers(norm, evaluation, "not run", **options)
    return dict(result, statistics=statistics)


@case("r2rt", [], NET, "R2RT's batch_norm_wrapper, training graph")
def _():
    return by_hand(r2rt(True))


@case("r2rt_towers", [], NET, "R2RT's batch_norm_wrapper, training and evaluation in one graph")
def _():
    return by_hand(r2rt(True), r2rt(False))


@case("r2rt_image_towers", [], NET, "R2RT's batch_norm_wrapper on images")
def _():
    return by_hand(r2rt(True), r2rt(False), image=True)


@case("r2rt_not_run", [NEVER_RUN], NET, "The same without control_dependencies: the assignments are never run")
def _():
    return by_hand(r2rt(True, dependencies=False), r2rt(False))


@case("r2rt_trainable", [TRAINABLE], NET, "pop_mean and pop_var without trainable=False; no gradient reaches them")
def _():
    return by_hand(r2rt(True, trainable=True), r2rt(False, trainable=True))


@case("r2rt_frozen_trainable", [TRAINABLE, WRONG], NET, "Trained with its statistics, which the optimizer moves")
def _():
    return dict(by_hand(r2rt(False, trainable=True)), statistics="^$")


@case("r2rt_inverted", [SLOW], NET, "decay and 1 - decay exchanged: 0.1 is kept")
def _():
    return by_hand(r2rt(True, inverted=True), r2rt(False))


@case("r2rt_evaluation_true", [WRONG, IN_EVALUATION], NET, "The evaluation tower is built with is_training=True")
def _():
    return by_hand(r2rt(True), r2rt(True))


@case("r2rt_gamma_unused", [UNUSED], NET, "gamma exists and is not used")
def _():
    return by_hand(r2rt(True, gamma_used=False), r2rt(False, gamma_used=False))


@case("r2rt_bias", [BIAS], NET, "A bias before it")
def _():
    return by_hand(r2rt(True), bias=True)


@case("r2rt_unnamed", [], None, "As published: Variable_1, Variable_2 and so on, no scope to name the layer after")
def _():
    x, y = vector_input()
    w = tf.Variable(tf.random_normal([5, 4]))
    h = tf.matmul(x, w)
    scale, beta = tf.Variable(tf.ones([4])), tf.Variable(tf.zeros([4]))
    pop_mean = tf.Variable(tf.zeros([4]), trainable=False)
    pop_var = tf.Variable(tf.ones([4]), trainable=False)
    mean, var = tf.nn.moments(h, [0])
    train_mean = tf.assign(pop_mean, pop_mean * 0.9 + mean * (1 - 0.9))
    train_var = tf.assign(pop_var, pop_var * 0.9 + var * (1 - 0.9))
    with tf.control_dependencies([train_mean, train_var]):
        h = tf.nn.batch_normalization(h, mean, var, beta, scale, 1e-3)
    return ran(sgd().minimize(cross_entropy(dense(h, 3, "logits"), y)), statistics=r"Variable_[34]:0")


@case("sqrt_towers", [], NET, "(x - mean) / sqrt(variance + eps) spelled out")
def _():
    return by_hand(r2rt(True, sqrt=True), r2rt(False, sqrt=True))


@case("sqrt_not_run", [NEVER_RUN], NET, "(x - mean) / sqrt(variance + eps), the assignments are never run")
def _():
    return by_hand(r2rt(True, sqrt=True, dependencies=False), r2rt(False, sqrt=True))


@case(
    "sqrt_frozen", [WRONG], NET, "(x - mean) / sqrt(variance + eps), trained with the moving statistics, gamma as well"
)
def _():
    return dict(by_hand(r2rt(False, sqrt=True)), statistics="^$")


@case("by_hand_no_updates", [NO_UPDATES], NET, "Somebody forgot the assignments altogether")
def _():
    def norm(training):
        def norm(h, name):
            with tf.variable_scope(name):
                gamma, beta = variable("gamma", 1.0, [4]), variable("beta", 0.0, [4])
                mean = variable("moving_mean", 0.0, [4], trainable=False)
                var = variable("moving_var", 1.0, [4], trainable=False)
                if training:
                    mean, var = tf.nn.moments(h, [0])
                return tf.nn.batch_normalization(h, mean, var, beta, gamma, 1e-3)

        return norm

    return by_hand(norm(True), norm(False), statistics=r"bn/moving_(mean|var):0")


@case("by_hand_no_statistics", [], NET, "Batch norm that never had moving statistics (as in first GAN code)")
def _():
    def norm(h, name):
        with tf.variable_scope(name):
            gamma, beta = variable("gamma", 1.0, [4]), variable("beta", 0.0, [4])
            mean, var = tf.nn.moments(h, [0])
            return tf.nn.batch_normalization(h, mean, var, beta, gamma, 1e-3)

    return dict(by_hand(norm), skip="")


def phase_train(style, decay=0.9):
    """https://stackoverflow.com/a/34634291 and what became of it when copied."""
    training = phase()

    def norm(h, name):
        with tf.variable_scope(name):
            size = h.get_shape()[-1:]
            beta, gamma = variable("beta", 0.0, size), variable("gamma", 1.0, size)
            mean, var = tf.nn.moments(h, list(range(len(h.get_shape()) - 1)), name="moments")
            ema = tf.train.ExponentialMovingAverage(decay=decay)
            if style in ("outside", "no dependency", "no identity", "average inside"):
                apply_op = ema.apply([mean, var])

            def update():
                if style in ("correct", "swapped", "nothing inside"):
                    dependency = [ema.apply([mean, var])]
                elif style == "no dependency":
                    dependency = []
                else:
                    dependency = [apply_op]
                if style == "average inside":
                    dependency = []
                with tf.control_dependencies(dependency):
                    if style == "no identity":
                        return mean, var
                    return tf.identity(mean), tf.identity(var)

            def average():
                return ema.average(mean), ema.average(var)

            if style == "swapped":
                # The update has to be built first: it makes the averages.
                statistics = tf.cond(tf.logical_not(training), average_last(update), average_first(ema, mean, var))
            else:
                statistics = tf.cond(training, update, average)
            return tf.nn.batch_normalization(h, statistics[0], statistics[1], beta, gamma, 1e-3)

    return norm


def average_last(update):
    return update


def average_first(ema, mean, var):
    return lambda: (ema.average(mean), ema.average(var))


EMA = r"moments/.*ExponentialMovingAverage:0$"


def phase_network(style, decay=0.9, image=False, updates="not run"):
    x, y = (image_input if image else vector_input)()
    logits = network(x, phase_train(style, decay))
    return ran(minimize(cross_entropy(logits, y), updates), logits, statistics=EMA)


@case("phase_train", [], NET, "ema.apply inside of tf.cond, with decay 0.5, as in the answer")
def _():
    return phase_network("correct", 0.5, image=True)


@case("phase_train_vector", [], NET, "ema.apply inside of tf.cond")
def _():
    return phase_network("correct")


@case(
    "phase_train_outside", [IN_EVALUATION], NET, "ema.apply outside of tf.cond: it runs whenever the output is fetched"
)
def _():
    return phase_network("outside")


@case("phase_train_no_dependency", [NEVER_RUN], NET, "ema.apply's op is used by nobody")
def _():
    return phase_network("no dependency")


@case("phase_train_no_identity", [NEVER_RUN], NET, "Inside of control_dependencies nothing is made (no identity)")
def _():
    return phase_network("no identity")


@case(
    "phase_train_swapped",
    [IN_EVALUATION],
    NET,
    "The branches are exchanged: it trains with averages and updates while it evaluates",
    may=[WRONG],
    since=(1, 4),
)
def _():
    result = phase_network("swapped")
    return dict(result, statistics="^$")


@case("phase_train_inverted", [SLOW], NET, "ExponentialMovingAverage(decay=0.1), thought of as 1 - decay")
def _():
    return phase_network("correct", 0.1)


@case("ema_collected", [], NET, "ema.apply's op in UPDATE_OPS, run with the train op; evaluation takes the average")
def _():
    return ema_towers(True)


@case("ema_collected_not_run", [NEVER_RUN], NET, "ema.apply's op in UPDATE_OPS, which nobody runs")
def _():
    return ema_towers(False)


def ema_towers(run):
    x, y = vector_input()
    ema = tf.train.ExponentialMovingAverage(0.9)
    kept = {}

    def norm(training):
        def norm(h, name):
            with tf.variable_scope(name):
                gamma, beta = variable("gamma", 1.0, [4]), variable("beta", 0.0, [4])
                if training:
                    kept["moments"] = tf.nn.moments(h, [0])
                    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, ema.apply(list(kept["moments"])))
                    mean, var = kept["moments"]
                else:
                    mean, var = [ema.average(m) for m in kept["moments"]]
                return tf.nn.batch_normalization(h, mean, var, beta, gamma, 1e-3)

        return norm

    train = minimize(cross_entropy(network(x, norm(True)), y), "control dependencies" if run else "not run")
    return ran(train, network(x, norm(False), reuse=True), statistics=EMA)


def with_default(default):
    training = tf.placeholder_with_default(default, [], name="is_training")
    return one_tower(contrib(training), "control dependencies")


@case(
    "contrib_default_true", [WRONG_WARNING], NET, "placeholder_with_default(True): an evaluation that does not feed it"
)
def _():
    return with_default(True)


@case(
    "contrib_default_false", [WRONG_WARNING], NET, "placeholder_with_default(False): a training that does not feed it"
)
def _():
    return with_default(False)


@case("contrib_mode", [], NET, "is_training is computed: mode == 'train'")
def _():
    mode = tf.placeholder(tf.int32, [], name="mode")
    return one_tower(contrib(tf.equal(mode, 0)), "control dependencies")


@case("contrib_switch_variable", [], NET, "is_training is a variable, which the program assigns")
def _():
    return one_tower(contrib(tf.Variable(True, trainable=False, name="switch")), "control dependencies")


@case("estimator_train", [], NET, "An Estimator's training graph: global step, one tower, a saver")
def _():
    x, y = vector_input(16)
    step = slim.get_or_create_global_step()
    train = minimize(cross_entropy(network(x, contrib(True)), y), "control dependencies", global_step=step)
    return ran(train, saver=tf.train.Saver(sharded=True, max_to_keep=5))


# The whole layer in a tf.cond, as in https://stackoverflow.com/a/33950177


def cond_wrapper(**options):
    training = phase()

    def norm(h, name):
        return tf.cond(
            training,
            lambda: contrib_batch_norm(h, is_training=True, scope=name, decay=0.9, **options),
            lambda: contrib_batch_norm(h, is_training=False, scope=name, reuse=True, decay=0.9, **options),
        )

    return norm


@case("cond_wrapper", [], NET, "tf.cond around two batch norms, the first in place")
def _():
    return one_tower(cond_wrapper(updates_collections=None), "not run")


@case("cond_wrapper_not_run", [NEVER_RUN], NET, "The same with the default collection: the updates hang on nothing")
def _():
    return one_tower(cond_wrapper(), "not run")


@case(
    "cond_wrapper_cond_v2",
    [],
    NET,
    "tf.cond with function bodies around two batch norms, the first in place",
    since=(1, 15),
    cond_v2=True,
)
def _():
    return with_resources(lambda: one_tower(cond_wrapper(updates_collections=None), "not run"))


@case(
    "updates_group_apart",
    [],
    NET,
    "A group of the updates that nothing in the graph runs: the program may fetch it "
    "beside the train op. By the rules an error; a note would be fairer",
    may=[NEVER_RUN],
    undecided=["updates-never-run"],
)
def _():
    result = one_tower(contrib(True), "not run")
    tf.group(*update_ops(), name="extra_update_ops")
    return dict(result, skip="")


@case("constant_false", [WRONG], NET, "is_training=tf.constant(False)")
def _():
    return one_tower(contrib(tf.constant(False)), "not run")


@case("siamese", [], NET, "One network on two inputs, both train it, both update")
def _():
    a, b = tf.placeholder(tf.float32, [None, 5], name="a"), tf.placeholder(tf.float32, [None, 5], name="b")
    a, b = network(a, contrib(True)), network(b, contrib(True), reuse=True)
    return ran(minimize(tf.reduce_mean(tf.square(a - b)), "control dependencies"), statistics="moving_")


@case(
    "other_batch_statistics", [], [], "Statistics of a batch that are no batch norm: advantages, targets, one per image"
)
def _():
    x, y = image_input()
    size = 4.0 * 4.0 * 2.0
    mean, variance = tf.nn.moments(x, [1, 2, 3], keep_dims=True)
    x = (x - mean) / tf.maximum(tf.sqrt(variance), 1.0 / np.sqrt(size).astype(np.float32))
    advantage = tf.placeholder(tf.float32, [None], name="advantage")
    mean, variance = tf.nn.moments(advantage, [0])
    advantage = (advantage - mean) / (tf.sqrt(variance) + 1e-8)
    with tf.variable_scope("net"):
        logits = dense(tf.reduce_mean(conv(x, 4, "hidden"), [1, 2]), 3, "logits")
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    return ran(sgd().minimize(tf.reduce_mean(advantage * loss)), skip="")


@case(
    "other_moving_averages",
    [],
    [],
    "Averages that are no statistics of a batch norm: of the loss, of class centers, and a spectral norm's vector",
)
def _():
    x, y = vector_input()
    with tf.variable_scope("net"):
        w = tf.get_variable("w", [5, 4], initializer=tf.random_normal_initializer())
        u = tf.get_variable("u", [1, 4], initializer=tf.random_normal_initializer(), trainable=False)
        v = tf.nn.l2_normalize(tf.matmul(u, tf.transpose(w)), 1)
        new_u = tf.nn.l2_normalize(tf.matmul(v, w), 1)
        sigma = tf.matmul(tf.matmul(v, w), tf.transpose(new_u))
        with tf.control_dependencies([u.assign(new_u)]):
            h = tf.matmul(x, w / sigma)
        logits = dense(tf.nn.relu(h), 3, "logits")
        centers = variable("centers", 0.0, [3, 3], trainable=False)
    mine = tf.gather(centers, y)
    loss = cross_entropy(logits, y) + 0.1 * tf.reduce_mean(tf.square(logits - mine))
    ema = tf.train.ExponentialMovingAverage(0.9)
    with tf.control_dependencies([sgd().minimize(loss), tf.scatter_sub(centers, y, 0.5 * (mine - logits))]):
        return ran(ema.apply([loss]), skip="")


# Checkpoints, frozen graphs.


def feeds(batch=8, training=True):
    """Something for every placeholder without a default."""
    random = np.random.RandomState(1)
    out = {}
    for op in tf.get_default_graph().get_operations():
        if op.name == "keras_learning_phase":
            out[op.outputs[0]] = training
        if op.type not in ("Placeholder", "PlaceholderV2"):
            continue
        tensor = op.outputs[0]
        if tensor.dtype.base_dtype == tf.resource:
            continue
        shape = [batch if d is None else d for d in (tensor.get_shape().as_list() if tensor.get_shape().ndims else [])]
        if tensor.dtype.base_dtype == tf.bool:
            out[tensor] = training
        elif tensor.dtype.is_integer:
            out[tensor] = np.zeros(shape, np.int64) if op.name == "mode" else random.randint(0, 3, shape)
            if op.name == "mode" and not training:
                out[tensor] = np.ones(shape, np.int64)
        else:
            out[tensor] = random.normal(0.5, 2.0, shape)
    return out


def checkpoint(updates, variables="all", version=None, steps=5, meta=True, norm=contrib):
    """Trains a few steps and saves. Returns what is to be written instead of a .meta."""

    def make(folder):
        x, y = vector_input()
        step = tf.Variable(0, trainable=False, name="global_step")
        loss = cross_entropy(network(x, norm(True)), y)
        train = minimize(loss, updates, global_step=step)
        var_list = tf.trainable_variables() + [step] if variables == "trainable" else None
        saver = tf.train.Saver(var_list, write_version=version or tf.train.SaverDef.V2)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for _ in range(steps):
                sess.run(train, feeds())
            path = saver.save(sess, os.path.join(folder, "model.ckpt"), global_step=step, write_meta_graph=False)
        if meta:
            write_meta(path + ".meta", saver)
        text = open(os.path.join(folder, "checkpoint")).read()
        with open(os.path.join(folder, "checkpoint"), "w") as f:
            f.write(text.replace(folder + "/", ""))
        return os.path.basename(path)

    return {"folder": make}


V1, V2 = tf.train.SaverDef.V1, tf.train.SaverDef.V2

for _v, _version in [("v1", V1), ("v2", V2)]:

    @case("ckpt_%s_trained" % _v, [], NET, "Five steps with updates, everything saved")
    def _(version=_version):
        return checkpoint("control dependencies", version=version)

    @case("ckpt_%s_untouched" % _v, [NEVER_RUN, UNTOUCHED], NET, "Five steps without updates: still 0 and 1")
    def _(version=_version):
        return checkpoint("not run", version=version)


@case("ckpt_not_saved", [NOT_SAVED], NET, "Five steps with updates, saved without the statistics")
def _():
    return checkpoint("control dependencies", "trainable")


@case("ckpt_alone_untouched", [UNTOUCHED], NET, "The same without a .meta: the values alone tell")
def _():
    return checkpoint("not run", meta=False)


@case("ckpt_alone_trained", [], NET, "A checkpoint without a .meta")
def _():
    return checkpoint("control dependencies", meta=False)


@case("ckpt_step_0", [], NET, "Saved before the first step: 0 and 1 are what they should be (undecided, no finding)")
def _():
    return checkpoint("control dependencies", steps=0)


def frozen_graph(updates, image=False, norm=contrib, **options):
    def make(path):
        x, y = (image_input if image else vector_input)()
        train = minimize(cross_entropy(network(x, norm(True, **options)), y), updates)
        tf.identity(network(x, norm(False, **options), reuse=True), name="output")
        graph = tf.get_default_graph()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for _ in range(5):
                sess.run(train, feeds())
            constants = tf.graph_util.convert_variables_to_constants(sess, graph.as_graph_def(), ["output"])
        with open(path, "wb") as f:
            f.write(constants.SerializeToString())

    return {"pb": make}


@case("frozen", [], NET, "A frozen graph: the statistics are constants")
def _():
    return frozen_graph("control dependencies")


@case("frozen_untouched", [UNTOUCHED], NET, "A frozen graph whose statistics are constants 0 and 1")
def _():
    return frozen_graph("not run")


@case("frozen_fused", [], NET, "A frozen graph, fused")
def _():
    return frozen_graph("control dependencies", True, fused=True)


@case("frozen_fused_untouched", [UNTOUCHED], NET, "A frozen graph, fused, whose statistics are 0 and 1")
def _():
    return frozen_graph("not run", True, fused=True)


# tf.layers, tf.keras, functions, loops


def layers_placeholder(updates, image=False, **options):
    return one_tower(layers(phase(), **options), updates, image)


for _tag, _image, _options in [
    ("", False, {}),
    ("_fused", True, {"fused": True}),
    ("_decomposed", True, {"fused": False}),
]:

    @case("layers%s" % _tag, [], NET, "tf.layers, training=True, updates run", since=(1, 4))
    def _(image=_image, options=_options):
        return one_tower(layers(True, **options), "control dependencies", image)

    @case("layers%s_not_run" % _tag, [NEVER_RUN], NET, "tf.layers, training=True, updates not run", since=(1, 4))
    def _(image=_image, options=_options):
        return one_tower(layers(True, **options), "not run", image)

    @case("layers%s_placeholder" % _tag, [], NET, "tf.layers, training is fed, updates run", since=(1, 4))
    def _(image=_image, options=_options):
        return layers_placeholder("control dependencies", image, **options)

    @case("layers%s_placeholder_not_run" % _tag, [NEVER_RUN], NET, "tf.layers, training is fed, not run", since=(1, 4))
    def _(image=_image, options=_options):
        return layers_placeholder("not run", image, **options)

    @case(
        "layers%s_placeholder_cond_v2" % _tag,
        [],
        NET,
        "The same with If and function bodies",
        cond_v2=True,
        since=(1, 15),
    )
    def _(image=_image, options=_options):
        return with_resources(lambda: layers_placeholder("control dependencies", image, **options))

    @case(
        "layers%s_placeholder_cond_v2_not_run" % _tag,
        [NEVER_RUN],
        NET,
        "If and function bodies, updates not run",
        cond_v2=True,
        since=(1, 15),
    )
    def _(image=_image, options=_options):
        return with_resources(lambda: layers_placeholder("not run", image, **options))


@case("layers_group", [], NET, "tf.layers, a group that is not named", since=(1, 4))
def _():
    return one_tower(layers(True), "group")


def with_resources(function):
    with tf.variable_scope(tf.get_variable_scope(), use_resource=True):
        return function()


def resource_case(name, findings, why, function):
    @case(name, findings, NET, why, since=(1, 4))
    def _():
        return with_resources(function)


resource_case("resource", [], "Resource variables", lambda: one_tower(layers(True), "control dependencies"))
resource_case("resource_not_run", [NEVER_RUN], "Resource variables", lambda: one_tower(layers(True), "not run"))
resource_case(
    "resource_fused",
    [],
    "Resource variables, fused",
    lambda: one_tower(layers(True, fused=True), "control dependencies", image=True),
)
resource_case(
    "resource_placeholder",
    [],
    "Resource variables, training is fed",
    lambda: layers_placeholder("control dependencies"),
)
resource_case(
    "resource_placeholder_not_run",
    [NEVER_RUN],
    "Resource variables, training is fed",
    lambda: layers_placeholder("not run"),
)
resource_case(
    "resource_contrib_in_place",
    [],
    "Resource variables, contrib, in place",
    lambda: dict(one_tower(contrib(True, updates_collections=None), "not run"), evaluate=None),
)
resource_case(
    "resource_contrib_placeholder",
    [],
    "Resource variables, contrib, is_training is fed",
    lambda: one_tower(contrib(phase()), "control dependencies"),
)
resource_case(
    "resource_towers",
    [],
    "Resource variables, two towers",
    lambda: two_towers(layers(True), layers(False), "control dependencies"),
)
resource_case("resource_r2rt", [], "Resource variables, R2RT's wrapper", lambda: by_hand(r2rt(True), r2rt(False)))
resource_case(
    "resource_r2rt_not_run",
    [NEVER_RUN],
    "Resource variables, R2RT's wrapper without dependencies",
    lambda: by_hand(r2rt(True, dependencies=False), r2rt(False)),
)
resource_case(
    "resource_saver_trainable",
    [NOT_SAVED],
    "Resource variables, a Saver for the trainable ones",
    lambda: dict(one_tower(layers(True), "control dependencies"), saver=tf.train.Saver(tf.trainable_variables())),
)


@case("layers_bias", [BIAS], NET, "A convolution with bias before it", since=(1, 4))
def _():
    x, y = image_input()
    with tf.variable_scope("net"):
        h = tf.layers.conv2d(x, 4, 3, name="hidden")
        h = tf.nn.relu(tf.layers.batch_normalization(h, training=True, momentum=0.9, name="bn"))
        logits = tf.layers.dense(tf.layers.flatten(h), 3, name="logits")
    return ran(minimize(cross_entropy(logits, y), "control dependencies"))


@case(
    "layers_bias_after_activation",
    [],
    NET,
    "The bias is before the relu, batch norm after it: not cancelled",
    since=(1, 4),
)
def _():
    x, y = vector_input()
    with tf.variable_scope("net"):
        h = tf.layers.dense(x, 4, activation=tf.nn.relu, name="hidden")
        h = tf.layers.batch_normalization(h, training=True, momentum=0.9, name="bn")
        logits = tf.layers.dense(h, 3, name="logits")
    return ran(minimize(cross_entropy(logits, y), "control dependencies"))


@case(
    "layers_forgot_training",
    [WRONG],
    NET,
    "training is forgotten (False by default), in the training graph",
    since=(1, 4),
)
def _():
    x, y = vector_input()
    with tf.variable_scope("net"):
        h = tf.layers.batch_normalization(dense(x, 4, "hidden"), name="bn")
        logits = dense(tf.nn.relu(h), 3, "logits")
    return ran(minimize(cross_entropy(logits, y), "control dependencies"))


@case("layers_default_false", [WRONG_WARNING], NET, "placeholder_with_default(False)", since=(1, 4))
def _():
    return one_tower(layers(tf.placeholder_with_default(False, [], name="training")), "control dependencies")


@case("layers_default_true", [WRONG_WARNING], NET, "placeholder_with_default(True), fused", since=(1, 4))
def _():
    training = tf.placeholder_with_default(True, [], name="training")
    return one_tower(layers(training, fused=True), "control dependencies", image=True)


@case(
    "layers_default_names",
    [UNSHARED],
    ["batch_normalization", "batch_normalization_1"],
    "Evaluation tower without a name: batch_normalization_1",
    since=(1, 4),
)
def _():
    x, y = vector_input()

    def tower(training, reuse):
        with tf.variable_scope("net", reuse=reuse):
            h = dense(x, 4, "hidden")
        h = tf.layers.batch_normalization(h, training=training, momentum=0.9)
        with tf.variable_scope("net", reuse=reuse):
            return dense(h, 3, "logits")

    train = minimize(cross_entropy(tower(True, None), y), "control dependencies")
    return ran(train, tower(False, True), skip="batch_normalization_1")


@case("layers_virtual_batches", [], NET, "virtual_batch_size: ghost batch norm", may=[TINY], since=(1, 15))
def _():
    return one_tower(layers(True, virtual_batch_size=4, fused=False), "control dependencies", batch=8)


@case("layers_renorm", [], NET, "Batch renormalisation", since=(1, 4))
def _():
    return one_tower(layers(True, renorm=True), "control dependencies")


@case("layers_half", [], NET, "Half precision, fused", since=(1, 15))
def _():
    return one_tower(
        lambda h, name: tf.cast(layers(True, fused=True)(tf.cast(h, tf.float16), name), tf.float32),
        "control dependencies",
        True,
    )


@case(
    "layers_updates_of_scope", [], ["decoder/bn", "encoder/bn"], "Updates collected per scope, both run", since=(1, 4)
)
def _():
    return two_scopes(["encoder", "decoder"])


@case(
    "layers_updates_of_one_scope", [NEVER_RUN], ["decoder/bn", "encoder/bn"], "Only the encoder's are run", since=(1, 4)
)
def _():
    return two_scopes(["encoder"])


def two_scopes(scopes):
    x, _ = vector_input()
    h = tf.nn.relu(network(x, layers(True), scope="encoder"))
    out = network(h, layers(True), scope="decoder")
    with tf.control_dependencies([op for scope in scopes for op in update_ops(scope)]):
        return ran(sgd().minimize(tf.reduce_mean(tf.square(out))))


# Loops: moving statistics inside of a while loop, as a decoder has them.


def unrolled(x, norm, reuse, steps=3):
    """A recurrent network whose state is normalised inside of tf.while_loop."""
    with tf.variable_scope("net", reuse=reuse):
        w = tf.get_variable("w", [5, 5], initializer=tf.random_normal_initializer(stddev=0.3))

        def body(i, h):
            return i + 1, tf.tanh(norm(tf.matmul(h, w), "bn"))

        h = tf.while_loop(lambda i, h: i < steps, body, [tf.constant(0), x])[1]
        return dense(h, 3, "logits")


def loop_case(tag, cond_v2, since):
    @case(
        "while%s" % tag,
        [],
        NET,
        "In a loop, in place with resource variables; evaluated with the moving statistics",
        since=since,
        cond_v2=cond_v2,
    )
    def _():
        x, y = vector_input()
        with tf.variable_scope(tf.get_variable_scope(), use_resource=True):
            train = sgd().minimize(cross_entropy(unrolled(x, r2rt(True), None), y))
            return ran(train, unrolled(x, r2rt(False), True), statistics=POP)

    @case(
        "while%s_not_run" % tag,
        [NEVER_RUN],
        NET,
        "In a loop, where the assignments hang on nothing",
        since=since,
        cond_v2=cond_v2,
    )
    def _():
        x, y = vector_input()
        with tf.variable_scope(tf.get_variable_scope(), use_resource=True):
            train = sgd().minimize(cross_entropy(unrolled(x, r2rt(True, dependencies=False), None), y))
            return ran(train, unrolled(x, r2rt(False), True), statistics=POP)

    @case(
        "while%s_inference" % tag,
        [],
        NET,
        "Evaluation in a loop of what was trained outside of it",
        since=since,
        cond_v2=cond_v2,
    )
    def _():
        x, y = vector_input()
        with tf.variable_scope(tf.get_variable_scope(), use_resource=True):
            with tf.variable_scope("net"):
                w = tf.get_variable("w", [5, 5], initializer=tf.random_normal_initializer(stddev=0.3))
                h = tf.tanh(layers(True)(tf.matmul(x, w), "bn"))
                logits = dense(h, 3, "logits")
            train = minimize(cross_entropy(logits, y), "control dependencies")
            return ran(train, unrolled(x, layers(False), True))


loop_case("", False, (1, 4))
loop_case("_v2", True, (1, 15))


@case("while_reference", [], NET, "Evaluation in a loop, reference variables", since=(1, 4))
def _():
    x, y = vector_input()
    with tf.variable_scope("net"):
        w = tf.get_variable("w", [5, 5], initializer=tf.random_normal_initializer(stddev=0.3))
        logits = dense(tf.tanh(contrib(True)(tf.matmul(x, w), "bn")), 3, "logits")
    train = minimize(cross_entropy(logits, y), "control dependencies")
    return ran(train, unrolled(x, contrib(False), True))


# Functions


@case(
    "defun_inference",
    [],
    NET,
    "The evaluation is a Defun that gets statistics, gamma and beta as arguments",
    since=(1, 15),
)
def _():
    from tensorflow.python.framework import function

    @function.Defun(tf.float32, tf.float32, tf.float32, tf.float32, tf.float32)
    def normalize(x, mean, variance, beta, gamma):
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)

    x, y = vector_input()
    train = by_hand_train(x, y)
    with tf.variable_scope("net", reuse=True):
        h = dense(x, 4, "hidden")
        with tf.variable_scope("bn"):
            pieces = [tf.get_variable(n, [4]) for n in ("pop_mean", "pop_var", "beta", "gamma")]
        h = normalize(h, *pieces)
        h.set_shape([None, 4])
        return ran(train, dense(tf.nn.relu(h), 3, "logits"), statistics=POP)


def by_hand_train(x, y):
    return sgd().minimize(cross_entropy(network(x, r2rt(True)), y))


@case(
    "defun_moments", [], NET, "A Defun computes output and moments of a batch; the updates are outside", since=(1, 15)
)
def _():
    return defun_training(True)


@case(
    "defun_moments_not_run",
    [NEVER_RUN],
    NET,
    "A Defun computes output and moments; the updates hang on nothing",
    since=(1, 15),
)
def _():
    return defun_training(False)


def defun_training(run):
    from tensorflow.python.framework import function

    @function.Defun(tf.float32, tf.float32, tf.float32)
    def normalize(x, beta, gamma):
        mean, variance = tf.nn.moments(x, [0])
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3), mean, variance

    def norm(h, name):
        with tf.variable_scope(name):
            gamma, beta = variable("gamma", 1.0, [4]), variable("beta", 0.0, [4])
            pops = variable("pop_mean", 0.0, [4], trainable=False), variable("pop_var", 1.0, [4], trainable=False)
            outputs = normalize(h, beta, gamma)
            outputs[0].set_shape([None, 4])
            for pop, batch in zip(pops, outputs[1:]):
                batch.set_shape([4])
                update = moving_averages.assign_moving_average(pop, batch, 0.9, zero_debias=False)
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
            return outputs[0]

    result = by_hand(norm) if not run else None
    if run:
        x, y = vector_input()
        result = ran(minimize(cross_entropy(network(x, norm), y), "control dependencies"), statistics=POP)
    return result


# tf.keras in graph mode


def keras_model(training=None, bias=False, image=False, trainable=True):
    k = tf.keras.layers
    inputs = tf.keras.Input((4, 4, 2) if image else (5,), name="input")
    if image:
        h = k.Conv2D(4, 3, use_bias=bias, name="hidden")(inputs)
    else:
        h = k.Dense(4, use_bias=bias, name="hidden")(inputs)
    norm = k.BatchNormalization(momentum=0.9, name="bn", trainable=trainable)
    h = norm(h) if training is None else norm(h, training=training)
    h = k.Activation("relu")(h)
    if image:
        h = k.GlobalAveragePooling2D()(h)
    return tf.keras.Model(inputs, k.Dense(3, name="logits")(h))


def compiled(**options):
    model = keras_model(**options)
    model.compile(tf.keras.optimizers.SGD(0.1), "mse")
    model._make_train_function()
    model._make_test_function()
    model._make_predict_function()
    updates = [update for update in model.train_function.updates_op.control_inputs]
    assert updates
    return dict(ran(), model=model)


KERAS = ["bn"]


@case("keras_compiled", [], KERAS, "Model.compile: Keras runs the updates", since=(1, 15))
def _():
    return compiled()


@case("keras_compiled_image", [], KERAS, "Model.compile, fused", since=(1, 15))
def _():
    return compiled(image=True)


@case("keras_compiled_bias", [BIAS], KERAS, "Model.compile, Dense with its default bias", since=(1, 15))
def _():
    return compiled(bias=True)


@case("keras_compiled_cond_v2", [], KERAS, "Model.compile, If with function bodies", cond_v2=True, since=(1, 15))
def _():
    return compiled(image=True)


@case(
    "keras_not_trainable",
    [NEVER_RUN],
    KERAS,
    "trainable=False on a layer, before TF 2: it still takes batch statistics in "
    "training, and its updates are dropped (keras#9214)",
    may=[WRONG, WRONG_WARNING, NO_UPDATES],
    since=(1, 15),
)
def _():
    return compiled(trainable=False)


def keras_loop(updates, **options):
    model = keras_model(**options)
    y = tf.placeholder(tf.int32, [None], name="y")
    with tf.control_dependencies(model.updates if updates else []):
        train = sgd().minimize(cross_entropy(model.outputs[0], y))
    return ran(train, statistics=r"bn/moving_(mean|variance):0")


@case(
    "keras_loop",
    [],
    KERAS,
    "A loop with sess.run, model.updates are run. Right only if keras_learning_phase is fed: "
    "without, the moving statistics are trained with and not updated",
    may=[WRONG_WARNING],
    since=(1, 15),
)
def _():
    return keras_loop(True)


@case("keras_loop_not_run", [NEVER_RUN], KERAS, "A loop with sess.run, layer.updates are not run", since=(1, 15))
def _():
    return keras_loop(False)


@case(
    "keras_loop_not_run_image",
    [NEVER_RUN],
    KERAS,
    "A loop with sess.run, fused, layer.updates are not run",
    since=(1, 15),
)
def _():
    return keras_loop(False, image=True)


@case("keras_loop_training", [], KERAS, "training=True in the call, model.updates are run", since=(1, 15))
def _():
    return keras_loop(True, training=True)


@case(
    "keras_loop_training_not_run", [NEVER_RUN], KERAS, "training=True in the call, updates are not run", since=(1, 15)
)
def _():
    return keras_loop(False, training=True)


@case("keras_loop_frozen", [WRONG], KERAS, "training=False in the call; gamma and beta are trained", since=(1, 15))
def _():
    return keras_loop(False, training=False)


@case(
    "keras_update_ops_collection",
    [NEVER_RUN],
    KERAS,
    "UPDATE_OPS are run, but Keras layers put nothing there",
    since=(1, 15),
)
def _():
    model = keras_model()
    y = tf.placeholder(tf.int32, [None], name="y")
    train = minimize(cross_entropy(model.outputs[0], y), "control dependencies")
    return ran(train, statistics=r"bn/moving_(mean|variance):0")


@case(
    "keras_function", [], KERAS, "A Keras layer with training=True inside of a tf.function, in a graph", since=(1, 15)
)
def _():
    x, y = vector_input()
    k = tf.keras.layers
    hidden = k.Dense(4, use_bias=False, name="hidden")
    norm = k.BatchNormalization(momentum=0.9, name="bn")
    logits = k.Dense(3, name="logits")
    for layer, size in [(hidden, 5), (norm, 4), (logits, 4)]:
        with tf.name_scope(layer.name):
            layer.build([None, size])

    @tf.function
    def forward(x):
        return logits(tf.nn.relu(norm(hidden(x), training=True)))

    return ran(sgd().minimize(cross_entropy(forward(x), y)), statistics=r"moving_(mean|variance)(_\d)?:0")


# Sonnet 1


def sonnet_norm(training, test_local_stats=False, cache=None, **options):
    import sonnet as snt

    options.setdefault("decay_rate", 0.9)
    cache = {} if cache is None else cache

    def norm(h, name):
        if name not in cache:
            cache[name] = snt.BatchNorm(name=name, **options)
        return cache[name](h, is_training=training, test_local_stats=test_local_stats)

    return norm


def sonnet_case(name, findings, why, make, **options):
    @case("sonnet_" + name, findings, NET, why, since=(1, 15), **options)
    def _():
        return make()


def sonnet_towers(updates, image=False, evaluation_training=False, test_local_stats=False, **options):
    cache = {}
    return two_towers(
        sonnet_norm(True, cache=cache, **options),
        sonnet_norm(evaluation_training, test_local_stats, cache=cache, **options),
        updates,
        image,
    )


sonnet_case("towers", [], "Sonnet, one module in two towers", lambda: sonnet_towers("control dependencies"))
sonnet_case("towers_not_run", [NEVER_RUN], "Sonnet, updates not run", lambda: sonnet_towers("not run"))
sonnet_case("towers_fused", [], "Sonnet, fused", lambda: sonnet_towers("control dependencies", True, fused=True))
sonnet_case(
    "local_statistics",
    [WRONG],
    "is_training=False, but test_local_stats is True by default: evaluated with batch statistics",
    lambda: sonnet_towers("control dependencies", test_local_stats=True),
)
sonnet_case(
    "placeholder", [], "Sonnet, is_training is fed", lambda: one_tower(sonnet_norm(phase()), "control dependencies")
)
sonnet_case(
    "placeholder_not_run",
    [NEVER_RUN],
    "Sonnet, is_training is fed, updates not run",
    lambda: one_tower(sonnet_norm(phase()), "not run"),
)
sonnet_case(
    "placeholder_fused",
    [],
    "Sonnet, is_training is fed, fused",
    lambda: one_tower(sonnet_norm(phase(), fused=True), "control dependencies", image=True),
)
sonnet_case(
    "placeholder_cond_v2",
    [],
    "Sonnet, is_training is fed, If with function bodies",
    lambda: with_resources(lambda: one_tower(sonnet_norm(phase()), "control dependencies")),
    cond_v2=True,
)
sonnet_case(
    "in_place", [], "Sonnet, update_ops_collection=None", lambda: sonnet_towers("not run", update_ops_collection=None)
)
sonnet_case(
    "in_place_evaluation_true",
    [WRONG, IN_EVALUATION],
    "Sonnet, in place, evaluated with is_training=True",
    lambda: sonnet_towers("not run", evaluation_training=True, update_ops_collection=None),
)
sonnet_case("scale", [], "Sonnet, with gamma", lambda: sonnet_towers("control dependencies", scale=True))


# tensorpack


def tensorpack_tower(x, reuse, train_context, **options):
    from tensorpack.models import BatchNorm
    from tensorpack.tfutils.tower import PredictTowerContext, TrainTowerContext

    def norm(h, name):
        return BatchNorm(name, h, **options)

    with tf.variable_scope(tf.get_variable_scope(), reuse=reuse):
        with TrainTowerContext("") if train_context else PredictTowerContext("inference"):
            return network(x, norm, reuse=reuse)


def tensorpack(updates, image=False, evaluate=True, evaluation=None, **options):
    x, y = (image_input if image else vector_input)()
    train = minimize(cross_entropy(tensorpack_tower(x, None, True, **options), y), updates)
    logits = tensorpack_tower(x, True, False, **(evaluation or {})) if evaluate else None
    return ran(train, logits, statistics="/EMA:0")


def tensorpack_case(name, findings, why, make):
    @case("tensorpack_" + name, findings, NET, why, since=(1, 15))
    def _():
        return make()


tensorpack_case("towers", [], "tensorpack, updates run", lambda: tensorpack("control dependencies"))
tensorpack_case("towers_not_run", [NEVER_RUN], "tensorpack without its RunUpdateOps", lambda: tensorpack("not run"))
tensorpack_case("towers_image", [], "tensorpack, fused", lambda: tensorpack("control dependencies", True))
tensorpack_case("internal", [], "ema_update=internal: in place", lambda: tensorpack("not run", ema_update="internal"))
tensorpack_case(
    "internal_image",
    [],
    "ema_update=internal: in place, fused",
    lambda: tensorpack("not run", True, ema_update="internal"),
)
tensorpack_case(
    "skip",
    [NEVER_RUN],
    "ema_update=skip in the only training tower: the ops exist and are in no collection",
    lambda: tensorpack("control dependencies", ema_update="skip"),
)
tensorpack_case(
    "frozen",
    [WRONG],
    "training=False in the training tower, gamma and beta are trained",
    lambda: tensorpack("control dependencies", True, evaluate=False, training=False),
)
tensorpack_case(
    "evaluation_true",
    [WRONG],
    "training=True in the inference tower; tensorpack collects no updates there",
    lambda: tensorpack("control dependencies", evaluation={"training": True}),
)


# SavedModels


def saved_model(train_too):
    def make(folder):
        x, y = vector_input()
        logits = None
        if train_too:
            train = minimize(cross_entropy(network(x, layers(True)), y), "control dependencies")
            logits = network(x, layers(False), reuse=True)
        else:
            logits, train = network(x, layers(False)), tf.no_op()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for _ in range(3):
                sess.run(train, feeds())
            if not train_too:  # as after training elsewhere
                for v in tf.global_variables():
                    if "moving_" in v.name:
                        sess.run(v.assign_add(tf.random_uniform(v.get_shape())))
            tf.saved_model.simple_save(sess, os.path.join(folder, "model"), {"x": x}, {"logits": logits})
        return "model"

    return {"folder": make}


@case("savedmodel_training", [], NET, "simple_save of a graph with a training and an evaluation tower", since=(1, 15))
def _():
    return saved_model(True)


@case("savedmodel_inference", [], NET, "simple_save of a graph for inference", since=(1, 15))
def _():
    return saved_model(False)


@case("savedmodel_untouched", [NEVER_RUN, UNTOUCHED], NET, "simple_save after training without updates", since=(1, 15))
def _():
    def make(folder):
        x, y = vector_input()
        train = minimize(cross_entropy(network(x, layers(True)), y), "not run")
        logits = network(x, layers(False), reuse=True)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for _ in range(3):
                sess.run(train, feeds())
            tf.saved_model.simple_save(sess, os.path.join(folder, "model"), {"x": x}, {"logits": logits})
        return "model"

    return {"folder": make}


# Writing


def write_meta(path, saver=None, saver_def=None):
    options = {"clear_devices": True}
    if VERSION >= (1, 12):
        options["strip_default_attrs"] = True
    if saver is not None:
        meta = saver.export_meta_graph(**options)
    else:
        meta = tf.train.export_meta_graph(**options)
    # The descriptions of the ops are half of a small file, and the same in each.
    meta.meta_info_def.ClearField("stripped_op_list")
    with open(path, "wb") as f:
        f.write(meta.SerializeToString())


def statistics_of(result):
    skip = result["skip"]
    return [
        v
        for v in tf.global_variables()
        if re.search(result["statistics"], v.name) and not (skip is not None and re.search(skip, v.name))
    ]


def contradiction(result, findings):
    """Runs the graph once; returns what is said about it that is not so."""
    if result["train"] is None and result["evaluate"] is None or result["skip"] == "":
        return None
    rules = [rule for rule, _ in findings]
    watched = statistics_of(result)
    if not watched and result["statistics"] != "^$" and "wrong-statistics" not in rules:
        return "no statistics to watch"
    with tf.Session() as sess:
        # In 0.12 the averages that are made inside of a cond start within it, too: is_training has to be fed.
        sess.run([tf.global_variables_initializer(), tf.local_variables_initializer()], feeds())
        if result["train"] is not None:
            before = sess.run(watched)
            sess.run(result["train"], feeds(training=True))
            after = sess.run(watched)
            still = [v.name for v, b, a in zip(watched, before, after) if np.array_equal(b, a)]
            expected = bool(set(rules) & {"updates-never-run", "no-updates"})
            if "wrong-statistics" in rules and not expected:
                still = []
            if bool(still) != expected:
                return "not updated by the train op: %s" % still
        if result["evaluate"] is not None:
            before = sess.run(watched)
            sess.run(result["evaluate"], feeds(training=False))
            after = sess.run(watched)
            moved = [v.name for v, b, a in zip(watched, before, after) if not np.array_equal(b, a)]
            if bool(moved) != ("updates-in-evaluation" in rules) and result["statistics"] != "^$":
                return "updated by the evaluation: %s" % moved
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("outdir")
    parser.add_argument("--only", nargs="+", default=["*"])
    arguments = parser.parse_args()
    if not os.path.isdir(arguments.outdir):
        os.makedirs(arguments.outdir)
    path = os.path.join(arguments.outdir, "expected.json")
    expected = {}
    if os.path.exists(path):
        with open(path) as f:
            expected = json.load(f)
    failed = 0
    for name, since, until, findings, names, why, options, function in CASES:
        if not since <= VERSION <= until or not any(fnmatch.fnmatch(name, pattern) for pattern in arguments.only):
            continue
        key = "%s_%s" % (RELEASE, name)
        cond_v2 = options.get("cond_v2")
        try:
            if cond_v2:
                tf.enable_control_flow_v2()
            with tf.Graph().as_default():
                tf.set_random_seed(1)
                result = function() or ran()
                if "folder" in result:
                    folder = os.path.join(arguments.outdir, key)
                    shutil.rmtree(folder, ignore_errors=True)
                    os.makedirs(folder)
                    inside = result["folder"](folder)
                    key = key + "/" + inside if inside else key
                    result = ran()
                elif "pb" in result:
                    key += ".pb"
                    result["pb"](os.path.join(arguments.outdir, key))
                    result = ran()
                else:
                    key += ".meta"
                    write_meta(os.path.join(arguments.outdir, key), result["saver"])
                    wrong = contradiction(result, findings)
                    if wrong:
                        os.remove(os.path.join(arguments.outdir, key))
                        raise AssertionError(wrong)
        except Exception as error:
            failed += 1
            print("%-45s FAILED: %s: %s" % (key, type(error).__name__, str(error)[:300].replace("\n", " ")))
            if os.environ.get("TRACE"):
                raise
            continue
        finally:
            if cond_v2:
                tf.disable_control_flow_v2()
        entry = {
            "train_op": options.get("train_op"),
            "num_steps": options.get("num_steps"),
            "findings": sorted(findings),
            "layers": names,
            "why": why,
        }
        for key_of_few in ("may", "undecided"):
            if options.get(key_of_few):
                entry[key_of_few] = sorted(options[key_of_few])
        entry.update(result["more"])
        expected[key] = entry
        full = os.path.join(arguments.outdir, key)
        print("%-55s %s" % (key, os.path.getsize(full) if os.path.isfile(full) else ""))
        sys.stdout.flush()
        with open(path, "w") as f:
            f.write(json.dumps(expected, indent=1, sort_keys=True).replace(" \n", "\n") + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
