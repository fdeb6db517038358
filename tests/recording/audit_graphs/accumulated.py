"""Gradients that are added up in variables over several batches, and applied then."""

import tensorflow as tf

from tests.recording.audit_graphs.cases import NEVER_RUN, built, case
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    cross_entropy,
    layers_norm,
    network,
    resource_variables,
    sgd,
    update_ops,
    vector_input,
)

LAYERS = (1, 4)


def zeros_like(v):
    return tf.Variable(tf.zeros(v.get_shape().as_list()), trainable=False, name="sum")


def model(library="contrib", evaluated=True, **options):
    norm = {"contrib": contrib_norm, "layers": layers_norm}[library]
    x, y = vector_input()
    loss = cross_entropy(network(x, norm(True, **options)), y)
    collected = update_ops()
    evaluate = network(x, norm(False, **options), reuse=True) if evaluated else None
    return loss, collected, evaluate


def lists(updates="accumulate", add="assign_add", mean="divide", clip=None, optimizer="sgd", **options):
    """The recipe of most answers: a zero op, an op that adds, an op that applies."""
    loss, collected, evaluate = model(**options)
    made = {
        "sgd": sgd,
        "adam": lambda: tf.train.AdamOptimizer(0.01),
        "momentum": lambda: tf.train.MomentumOptimizer(0.01, 0.9),
    }[optimizer]()
    variables = tf.trainable_variables()
    sums = [zeros_like(v) for v in variables]
    tf.group(*[s.assign(tf.zeros_like(s)) for s in sums], name="zero")

    def adding():
        pairs = made.compute_gradients(loss, variables)
        if add == "assign_add":
            return [s.assign_add(g) for s, (g, _) in zip(sums, pairs)]
        if add == "assign":
            return [s.assign(s + g) for s, (g, _) in zip(sums, pairs)]
        return [tf.assign_add(s, g / 4.0) for s, (g, _) in zip(sums, pairs)]

    if updates == "accumulate":
        with tf.control_dependencies(collected):
            accumulate = tf.group(*adding(), name="accumulate")
    elif updates == "group":
        accumulate = tf.group(*(adding() + collected), name="accumulate")
    else:
        accumulate = tf.group(*adding(), name="accumulate")
    gradients = [s / 4.0 for s in sums] if mean == "divide" else [s * 0.25 for s in sums] if mean == "times" else sums
    if clip == "global norm":
        gradients, _ = tf.clip_by_global_norm(gradients, 5.0)
    elif clip == "value":
        gradients = [tf.clip_by_value(g, -1.0, 1.0) for g in gradients]
    elif clip == "norm":
        gradients = [tf.clip_by_norm(g, 5.0) for g in gradients]
    elif clip == "flat":
        flat = tf.concat([tf.reshape(g, [-1]) for g in gradients], 0)
        flat = flat / tf.maximum(tf.norm(flat), 1.0)
        parts = tf.split(flat, [v.get_shape().num_elements() for v in variables])
        gradients = [tf.reshape(part, v.get_shape()) for part, v in zip(parts, variables)]
    pairs = [(s if mean == "read" else g, v) for s, g, v in zip(sums, gradients, variables)]
    if updates == "apply":
        with tf.control_dependencies(collected):
            apply_op = made.apply_gradients(pairs)
    else:
        apply_op = made.apply_gradients(pairs)
    return built([accumulate, apply_op], evaluate, on_batch=None if evaluate is None else False)


def _good(name, since=(0, 12), **given):
    return case(name="accumulated_" + name, since=since, given=given, doubts=[])


@_good("lists")
@_good("assign", add="assign")
@_good("added_mean", add="mean", mean=None)
@_good("times", mean="times")
@_good("sums", mean=None)
@_good("group", updates="group")
@_good("with_apply", updates="apply")
@_good("adam", optimizer="adam")
@_good("momentum", optimizer="momentum")
@_good("global_norm", clip="global norm")
@_good("clipped_value", clip="value")
@_good("clipped_norm", clip="norm")
@_good("flat", LAYERS, clip="flat")
@_good("layers", LAYERS, library="layers")
@_good("layers_adam", LAYERS, library="layers", optimizer="adam", clip="global norm")
@_good("scale", scale=True)
def accumulated_lists(**options):
    """The update ops run with each accumulating step, or with each step that applies."""
    return lists(**options)


@_good("resource", LAYERS, library="layers")
@_good("resource_clipped", LAYERS, library="layers", clip="value")
@_good("resource_with_apply", LAYERS, library="layers", updates="apply")
@resource_variables
def accumulated_resource(**options):
    """The update ops run with each accumulating step: resource variables."""
    return lists(**options)


def _bad(name, since=(0, 12), **given):
    return case(NEVER_RUN, name="accumulated_not_run_" + name, since=since, given=dict(updates=None, **given))


@_bad("lists")
@_bad("assign", add="assign")
@_bad("times", mean="times")
@_bad("clipped", clip="global norm")
@_bad("flat", LAYERS, clip="flat")
@_bad("layers", LAYERS, library="layers")
@_bad("adam", optimizer="adam")
def accumulated_not_run(**options):
    """Neither the accumulating op nor the step runs the update ops."""
    return lists(**options)


@_bad("resource", LAYERS, library="layers")
@resource_variables
def accumulated_not_run_resource(**options):
    """Neither the accumulating op nor the step runs the update ops: resource variables."""
    return lists(**options)


def every(updates, how="cond", library="contrib"):
    """One op does both: it applies each fourth time."""
    loss, collected, evaluate = model(library)
    optimizer = sgd()
    variables = tf.trainable_variables()
    sums = [zeros_like(v) for v in variables]
    count = tf.Variable(0, trainable=False, name="count")
    with tf.control_dependencies(collected if updates else []):
        gradients = tf.gradients(loss, variables)
        adds = [s.assign_add(g) for s, g in zip(sums, gradients)] + [count.assign_add(1)]
    with tf.control_dependencies(adds):

        def apply_and_reset():
            step = optimizer.apply_gradients([(s / 4.0, v) for s, v in zip(sums, variables)])
            with tf.control_dependencies([step]):
                return tf.group(*[s.assign(tf.zeros_like(s)) for s in sums])

        if how == "cond":
            train = tf.cond(tf.equal(tf.mod(count, 4), 0), apply_and_reset, tf.no_op)
        else:  # a step every time, with gradients that are 0 but for each fourth time
            due = tf.cast(tf.equal(tf.mod(count, 4), 0), tf.float32)
            step = optimizer.apply_gradients([(s * due / 4.0, v) for s, v in zip(sums, variables)])
            with tf.control_dependencies([step]):
                train = tf.group(*[s.assign(s * (1.0 - due)) for s in sums])
    return built(train, evaluate, on_batch=False)


@case(name="accumulated_cond", given=dict(how="cond"), doubts=[])
@case(name="accumulated_cond_layers", given=dict(how="cond", library="layers"), since=LAYERS, doubts=[])
@case(name="accumulated_mask", given=dict(how="mask"), doubts=[])
def accumulated_every(**options):
    """One op accumulates and, each fourth time, applies."""
    return every(True, **options)


@case(name="accumulated_cond_v2", since=(1, 15), cond_v2=True, doubts=[], given=dict(how="cond"))
@resource_variables
def accumulated_every_v2(**options):
    """One op accumulates and, each fourth time, applies: If with functions."""
    return every(True, library="layers", **options)


@case(NEVER_RUN, name="accumulated_cond_not_run", given=dict(how="cond"))
@case(NEVER_RUN, name="accumulated_mask_not_run", given=dict(how="mask"))
@case(NEVER_RUN, name="accumulated_cond_layers_not_run", given=dict(how="cond", library="layers"), since=LAYERS)
def accumulated_every_not_run(**options):
    """One op accumulates and, each fourth time, applies; it runs no update ops."""
    return every(False, **options)


def accumulators(updates):
    """tf.ConditionalAccumulator."""
    loss, collected, evaluate = model()
    optimizer = sgd()
    with tf.control_dependencies(collected if updates else []):
        pairs = optimizer.compute_gradients(loss)
    kept = [tf.ConditionalAccumulator(tf.float32, v.get_shape()) for _, v in pairs]
    step = tf.Variable(0, trainable=False, name="global_step", dtype=tf.int64)
    push = tf.group(*[a.apply_grad(g, step) for a, (g, _) in zip(kept, pairs)])
    with tf.control_dependencies([push]):
        apply_op = optimizer.apply_gradients([(a.take_grad(1), v) for a, (_, v) in zip(kept, pairs)], step)
    return built(apply_op, evaluate, on_batch=False)


@case(name="accumulated_accumulators", doubts=[])
def accumulated_accumulators():
    """Gradients wait in tf.ConditionalAccumulator; the update ops run with them."""
    return accumulators(True)


@case(NEVER_RUN, name="accumulated_accumulators_not_run")
def accumulated_accumulators_not_run():
    """Gradients wait in tf.ConditionalAccumulator; nobody runs the update ops."""
    return accumulators(False)


@case(name="accumulated_named", doubts=[], train_op="accumulate")
def accumulated_named():
    """The accumulating op is named as the train op."""
    result = lists()
    return result._replace(train=result.train[0])
