"""Dropout in front of a batch norm, and towers that read different data."""

import tensorflow as tf

from tests.recording.audit_graphs.cases import BIAS, DROPOUT, ONE_TOWER, built, case
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    conv,
    cross_entropy,
    dense,
    image_input,
    layers_norm,
    minimize,
    phase,
    sgd,
    slim,
    update_ops,
    vector_input,
)
from tests.recording.audit_graphs.towers import average_gradients

LAYERS = (1, 4)


def dropped(x, kind, training):
    if kind == "nn":
        return tf.nn.dropout(x, 0.5)
    if kind == "rate":
        return tf.nn.dropout(x, rate=0.5)
    if kind == "keep_prob":
        return tf.nn.dropout(x, tf.placeholder_with_default(0.5, [], name="keep_prob"))
    if kind == "fed keep_prob":
        return tf.nn.dropout(x, tf.placeholder(tf.float32, [], name="keep_prob"))
    if kind == "noise shape":
        return tf.nn.dropout(x, 0.5, noise_shape=[1, 4])
    if kind == "slim":
        return slim.dropout(x, 0.5, is_training=training)
    if kind == "contrib":
        return tf.contrib.layers.dropout(x, 0.5, is_training=training)
    if kind == "layers":
        return tf.layers.dropout(x, 0.5, training=training)
    if kind == "keras":
        return tf.keras.layers.Dropout(0.5)(x, training=training)
    if kind == "spatial":
        return tf.keras.layers.SpatialDropout2D(0.5)(x, training=training)
    if kind == "alpha":
        return tf.contrib.nn.alpha_dropout(x, 0.5)
    if kind == "gaussian":
        return tf.keras.layers.GaussianDropout(0.5)(x, training=training)
    if kind == "by hand":
        mask = tf.cast(tf.random_uniform(tf.shape(x)) < 0.5, tf.float32)
        return x * mask / 0.5
    if kind == "cond":
        return tf.cond(training, lambda: tf.nn.dropout(x, 0.5), lambda: x)
    if kind == "noise":  # no dropout: noise that is added
        return x + tf.random_normal(tf.shape(x), stddev=0.1)
    if kind == "scaled":  # by one random number for each row: augmentation, or WGAN-GP's interpolation
        return x * tf.random_uniform([tf.shape(x)[0], 1], 0.5, 1.5)
    if kind == "interpolated":
        part = tf.random_uniform([tf.shape(x)[0], 1])
        return part * x + (1.0 - part) * (x + 1.0)
    if kind == "flipped":  # or not, all at once
        flip = tf.random_uniform([]) < 0.5
        return tf.cond(flip, lambda: -x, lambda: x)
    if kind == "chosen":
        flip = tf.cast(tf.random_uniform([]) < 0.5, tf.float32)
        return flip * x - (1.0 - flip) * x
    if kind == "none":
        return x
    raise ValueError(kind)


def drop_network(x, kind, training, between, library="contrib", reuse=None):
    norm = {"contrib": contrib_norm, "layers": layers_norm}[library]
    with tf.variable_scope("net", reuse=reuse):
        image = len(x.get_shape()) == 4
        h = tf.nn.relu(conv(x, 4, "first") if image else dense(x, 4, "first"))
        if between == "behind":  # behind the batch norm
            h = dense(h, 4, "hidden")
            return dense(dropped(tf.nn.relu(norm(training)(h, "bn")), kind, training), 3, "logits")
        h = dropped(h, kind, training)
        if between == "dense":
            h = dense(h, 4, "hidden")
        elif between == "bias":
            h = dense(h, 4, "hidden", bias=True)
        elif between == "conv":
            h = conv(h, 4, "hidden")
        elif between == "relu":
            h = tf.nn.relu(dense(h, 4, "hidden"))
        elif between == "max_pool":
            h = conv(tf.nn.max_pool(h, [1, 2, 2, 1], [1, 2, 2, 1], "SAME"), 4, "hidden")
        elif between == "avg_pool":
            h = conv(tf.nn.avg_pool(h, [1, 2, 2, 1], [1, 2, 2, 1], "SAME"), 4, "hidden")
        elif between == "flatten":
            h = dense(tf.reshape(h, [-1, 64]), 4, "hidden")
        elif between == "concat":  # DenseNet
            h = tf.concat([h, tf.nn.relu(h)], len(h.get_shape()) - 1)
        elif between == "residual":
            h = h + dense(x, 4, "shortcut")
        h = norm(training)(h, "bn")
        h = tf.nn.relu(h)
        if len(h.get_shape()) == 4:
            h = tf.reduce_mean(h, [1, 2])
        return dense(h, 3, "logits")


def dropping(kind, between=None, image=False, fed=False, library="contrib"):
    x, y = (image_input if image else vector_input)()
    training = phase() if fed else True
    logits = drop_network(x, kind, training, between, library)
    collected = update_ops()
    if not fed:
        evaluate = drop_network(x, "none", False, between, library, reuse=True)
    else:
        evaluate = logits
    with tf.control_dependencies(collected):
        return built(sgd().minimize(cross_entropy(logits, y)), evaluate)


def _drop(name, since=(0, 12), findings=(DROPOUT,), cond_v2=False, **given):
    return case(*findings, name="dropout_" + name, since=since, given=given, cond_v2=cond_v2)


@_drop("nn", kind="nn")
@_drop("nn_dense", kind="nn", between="dense")
@_drop("nn_bias", kind="nn", between="bias", findings=(DROPOUT, BIAS))
@_drop("nn_conv", kind="nn", between="conv", image=True)
@_drop("nn_image", kind="nn", image=True)
@_drop("nn_flatten", kind="nn", between="flatten", image=True)
@_drop("nn_avg_pool", kind="nn", between="avg_pool", image=True)
@_drop("keep_prob", kind="keep_prob", between="dense")
@_drop("fed_keep_prob", kind="keep_prob", between="dense", fed=True)
@_drop("noise_shape", kind="noise shape")
@_drop("rate", since=(1, 13), kind="rate", between="dense")
@_drop("slim", kind="slim", between="dense")
@_drop("slim_fed", kind="slim", between="dense", fed=True)
@_drop("contrib_fed", kind="contrib", between="conv", image=True, fed=True)
@_drop("layers", LAYERS, kind="layers", between="dense", library="layers")
@_drop("layers_fed", LAYERS, kind="layers", between="dense", library="layers", fed=True)
@_drop("layers_fed_conv", LAYERS, kind="layers", between="conv", library="layers", fed=True, image=True)
@_drop("keras", (1, 8), kind="keras", between="dense", library="layers")
@_drop("keras_fed", (1, 8), kind="keras", between="dense", library="layers", fed=True)
@_drop("spatial", (1, 8), kind="spatial", between="conv", image=True)
@_drop("alpha", LAYERS, kind="alpha", between="dense")
@_drop("by_hand", kind="by hand", between="dense")
@_drop("cond", kind="cond", between="dense", fed=True)
@_drop("nn_max_pool", kind="nn", between="max_pool", image=True)
@_drop("nn_residual", kind="nn", between="residual")
@_drop("nn_concat", (1, 0), kind="nn", between="concat", image=True)
def dropout(**options):
    """Dropout right before the layer, or before the linear layer in front of it."""
    return dropping(**options)


def _kept(name, since=(0, 12), **given):
    return case(name="dropout_" + name, since=since, given=given, doubts=[])


@_kept("none", kind="none", between="dense")
@_kept("behind", kind="nn", between="behind")
@_kept("behind_fed", kind="keep_prob", between="behind", fed=True)
@_kept("behind_layers", LAYERS, kind="layers", between="behind", library="layers", fed=True)
@_kept("noise", kind="noise", between="dense")
@_kept("scaled", kind="scaled", between="dense")
@_kept("interpolated", kind="interpolated", between="dense")
@_kept("flipped", kind="flipped", between="dense")
@_kept("chosen", kind="chosen", between="dense")
def dropout_kept(**options):
    """Dropout behind the last batch norm, or none."""
    return dropping(**options)


@case(name="dropout_relu", given=dict(kind="nn", between="relu"), may=[DROPOUT])
def dropout_far(**options):
    """An activation stands between: the variance shifts less."""
    return dropping(**options)


@case(name="dropout_off_in_training", layers=None, may=[DROPOUT])
def dropout_off():
    """slim.dropout with is_training=False is no dropout at all."""
    x, y = vector_input()
    h = slim.dropout(dense(x, 4, "hidden"), 0.5, is_training=False)
    logits = dense(tf.nn.relu(contrib_norm(True)(h, "bn")), 3, "logits")
    return built(minimize(cross_entropy(logits, y), "control dependencies"))


# Several GPUs.


def towers(sources, updates, library="contrib", count=2, evaluated=True, split="slice"):
    """sources: one batch that is split, a batch for each tower, or a queue for each."""
    norm = {"contrib": contrib_norm, "layers": layers_norm}[library]

    def network(x, training, reuse):
        with tf.variable_scope("net", reuse=reuse):
            return dense(tf.nn.relu(norm(training)(dense(x, 4, "hidden"), "bn")), 3, "logits")

    if sources == "one":
        x, y = vector_input(batch=16 * count)
        if split == "split":
            batches = list(zip(tf.split(x, count), tf.split(y, count)))
        else:
            batches = [(x[16 * i : 16 * i + 16], y[16 * i : 16 * i + 16]) for i in range(count)]
    elif sources == "placeholders":
        batches = [
            (tf.placeholder(tf.float32, [16, 5], name="x%d" % i), tf.placeholder(tf.int32, [16], name="y%d" % i))
            for i in range(count)
        ]
    elif sources == "iterator":
        dataset = tf.data.Dataset.from_tensors((tf.ones([16, 5]), tf.zeros([16], tf.int32))).repeat()
        iterator = dataset.make_one_shot_iterator()
        batches = [iterator.get_next() for _ in range(count)]
    else:
        batches = []
        for i in range(count):
            dataset = tf.data.Dataset.from_tensors((tf.ones([16, 5]) * (i + 1), tf.zeros([16], tf.int32))).repeat()
            batches.append(dataset.make_one_shot_iterator().get_next())
    gradients, optimizer, kept = [], sgd(), []
    for i, (x, y) in enumerate(batches):
        with tf.name_scope("tower_%d" % i) as scope:
            gradients.append(optimizer.compute_gradients(cross_entropy(network(x, True, True if i else None), y)))
            if i == 0 or updates == "all":
                kept = update_ops(None if updates == "all" else scope)
            if i and updates == "last":
                kept = update_ops(scope)
    evaluate = network(batches[0][0], False, True) if evaluated else None
    apply_op = optimizer.apply_gradients(average_gradients(gradients))
    return built(tf.group(apply_op, *kept, name="train"), evaluate)


@case(name="gpus_one_batch_first", given=dict(sources="one", updates="first"), doubts=[])
@case(name="gpus_one_batch_all", given=dict(sources="one", updates="all"), doubts=[])
@case(name="gpus_one_batch_split", given=dict(sources="one", updates="first", split="split"), doubts=[], since=(1, 0))
@case(name="gpus_four_first", given=dict(sources="one", updates="first", count=4), doubts=[])
@case(name="gpus_layers_first", given=dict(sources="one", updates="first", library="layers"), doubts=[], since=LAYERS)
@case(name="gpus_iterator_first", given=dict(sources="iterator", updates="first"), doubts=[], since=LAYERS)
@case(name="gpus_placeholders_all", given=dict(sources="placeholders", updates="all"), doubts=[])
@case(name="gpus_iterators_all", given=dict(sources="iterators", updates="all"), doubts=[], since=LAYERS)
def gpus(**options):
    """Towers that see parts of one batch, or whose updates all run."""
    return towers(**options)


@case(ONE_TOWER, name="gpus_placeholders_first", given=dict(sources="placeholders", updates="first"))
@case(ONE_TOWER, name="gpus_placeholders_last", given=dict(sources="placeholders", updates="last"))
@case(ONE_TOWER, name="gpus_iterators_first", given=dict(sources="iterators", updates="first"), since=LAYERS)
@case(ONE_TOWER, name="gpus_four_placeholders", given=dict(sources="placeholders", updates="first", count=4))
@case(ONE_TOWER, name="gpus_layers_placeholders", given=dict(sources="placeholders", updates="first", library="layers"),
      since=LAYERS)  # fmt: skip
def gpus_of_one(**options):
    """Each tower reads data of its own, and the updates of one run."""
    return towers(**options)
