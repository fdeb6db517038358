"""Layers whose result is thrown away, and layers that only look like it."""

import tensorflow as tf

from tests.recording.audit_graphs.by_hand import r2rt_norm
from tests.recording.audit_graphs.cases import BIAS, DEAD, built, case
from tests.recording.audit_graphs.networks import (
    VERSION,
    contrib_batch_norm,
    contrib_norm,
    conv,
    cross_entropy,
    dense,
    image_input,
    layers_norm,
    minimize,
    phase,
    resource_variables,
    sgd,
    update_ops,
    vector_input,
)

LAYERS = (1, 4)
FUSED = dict(image=True, fused=True)


def norm_of(library, training, **options):
    return {"contrib": contrib_norm, "layers": layers_norm, "hand": r2rt_norm}[library](training, **options)


def network(x, norm, use, reuse=None, second=False):
    """use: what is done with the layer's result."""
    with tf.variable_scope("net", reuse=reuse):
        image = len(x.get_shape()) == 4
        h = conv(x, 4, "hidden") if image else dense(x, 4, "hidden")
        if second:
            h = tf.nn.relu(norm(h, "first"))
            h = conv(h, 4, "between") if image else dense(h, 4, "between")
        result = norm(h, "bn")
        if use == "taken":
            h = tf.nn.relu(result)
        elif use == "thrown away":
            h = tf.nn.relu(h)
        elif use == "activated":  # and then thrown away
            tf.nn.relu(result, name="activated")
            h = tf.nn.relu(h)
        elif use == "leaky":
            tf.maximum(0.2 * result, result)
            h = tf.maximum(0.2 * h, h)
        elif use == "dropped out":
            tf.nn.dropout(tf.nn.relu(result), 0.5)
            h = tf.nn.relu(h)
        elif use == "histogram":
            (tf.summary.histogram if VERSION >= (1, 0) or hasattr(tf, "summary") else tf.histogram_summary)(
                "bn", result
            )
            h = tf.nn.relu(h)
        elif use == "shape":
            h = tf.nn.relu(h) + 0.0 * tf.cast(tf.shape(result)[0], tf.float32)
        elif use == "nothing":  # no activation either
            pass
        elif use == "residual":
            h = h + tf.nn.relu(result)
        elif use == "both":
            h = tf.nn.relu(h) + result
        if image:
            h = tf.reshape(h, [-1, 64])
        return dense(h, 3, "logits")


def thrown_away(
    use, library="contrib", image=False, fed=False, tower=True, updates="control dependencies", second=False, **options
):  # fmt: skip
    x, y = (image_input if image else vector_input)()
    training = phase() if fed else True
    logits = network(x, norm_of(library, training, **options), use, second=second)
    loss = cross_entropy(logits, y)
    collected = update_ops()
    evaluate = logits
    if tower and not fed:
        with tf.name_scope("evaluation"):
            evaluate = network(x, norm_of(library, False, **options), use, True, second=second)
    with tf.control_dependencies(collected if updates == "control dependencies" else []):
        train = sgd().minimize(loss)
    return built(train, evaluate, statistics=None, on_batch=False)


def _dead(name, since=(0, 12), layers=("net/bn",), **given):
    given.setdefault("use", "thrown away")
    return case(DEAD, name="unused_" + name, since=since, given=given, layers=layers)


@_dead("contrib")
@_dead("one_tower", tower=False)
@_dead("fed", fed=True)
@_dead("fed_layers", LAYERS, fed=True, library="layers")
@_dead("fused", **FUSED)
@_dead("fused_fed", fed=True, **FUSED)
@_dead("image", image=True, fused=False)
@_dead("layers", LAYERS, library="layers")
@_dead("layers_fused", LAYERS, library="layers", **FUSED)
@_dead("layers_fused_fed", LAYERS, library="layers", fed=True, **FUSED)
@_dead("hand", library="hand")
@_dead("not_run", updates=None)
@_dead("in_place", updates=None, updates_collections=None)
@_dead("scale", scale=True)
@_dead("second", second=True, layers=("net/bn", "net/first"))
@_dead("second_fused", second=True, layers=("net/bn", "net/first"), **FUSED)
@_dead("activated", use="activated")
@_dead("activated_fused", use="activated", **FUSED)
@_dead("activated_leaky", use="leaky")
@_dead("activated_dropout", use="dropped out")
@_dead("activated_layers", LAYERS, use="activated", library="layers")
@_dead("no_activation", use="nothing")
@_dead("histogram", use="histogram")
@_dead("shape", use="shape")
def unused(use, **options):
    """Nothing uses the layer's result: the network goes on with what was put into it."""
    return thrown_away(use, **options)


@_dead("layers_resource", LAYERS, library="layers")
@_dead("fed_resource", LAYERS, library="layers", fed=True)
@_dead("fused_resource", LAYERS, library="layers", **FUSED)
@resource_variables
def unused_resource(use, **options):
    """Nothing uses the layer's result: resource variables."""
    return thrown_away(use, **options)


@case(DEAD, name="unused_fed_v2", since=(1, 15), cond_v2=True, given=dict(library="layers", fed=True))
@case(DEAD, name="unused_fused_fed_v2", since=(1, 15), cond_v2=True, given=dict(library="layers", fed=True, **FUSED))
@resource_variables
def unused_v2(**options):
    """Nothing uses the layer's result: If with functions."""
    return thrown_away("thrown away", **options)


def _used(name, since=(0, 12), layers=("net/bn",), **given):
    return case(name="used_" + name, since=since, given=given, layers=layers, doubts=[])


@_used("taken", use="taken")
@_used("taken_fused", use="taken", **FUSED)
@_used("residual", use="residual")
@_used("residual_fused", use="residual", **FUSED)
@_used("residual_fed", use="residual", fed=True)
@_used("both", use="both")
@_used("both_layers", LAYERS, use="both", library="layers")
@_used("second", use="residual", second=True, layers=("net/bn", "net/first"))
def used(use, **options):
    """The result is taken, be it beside what was put into the layer."""
    return thrown_away(use, **options)


@case(BIAS, DEAD, name="unused_slim_conv", layers=None)
def unused_slim_conv():
    """A slim convolution, whose activation nobody asked batch norm for: relu(conv), and batch norm for nothing."""
    x, y = image_input()
    h = conv(x, 4, "hidden", bias=True)
    contrib_batch_norm(h, is_training=True, decay=0.9, scope="dead")
    h = tf.nn.relu(contrib_norm(True)(h, "bn"))
    logits = dense(tf.reshape(h, [-1, 64]), 3, "logits")
    return built(minimize(cross_entropy(logits, y), "control dependencies"), statistics=None)


@case(name="used_two_outputs", layers=["net/bn", "side"], doubts=[])
def used_two_outputs():
    """A side branch that no loss looks at, and that is fetched for its own sake: no result is thrown away."""
    x, y = vector_input()
    with tf.variable_scope("net"):
        h = tf.nn.relu(contrib_norm(True)(dense(x, 4, "hidden"), "bn"))
        logits = dense(h, 3, "logits")
    collected = update_ops()
    side = contrib_norm(False)(dense(h, 4, "side_hidden"), "side")
    dense(tf.nn.relu(side), 2, "side_logits")
    with tf.variable_scope("net", reuse=True):
        h = tf.nn.relu(contrib_norm(False)(dense(x, 4, "hidden"), "bn"))
        evaluate = dense(h, 3, "logits")
    with tf.control_dependencies(collected):
        return built(sgd().minimize(cross_entropy(logits, y)), evaluate, skip="side")


@case(name="used_last_layer", layers=["last"], doubts=[])
def used_last_layer():
    """The layer is the last one, and its result the prediction, in a tower beside the one that trains."""
    x, y = vector_input()
    h = dense(x, 3, "hidden")
    logits = contrib_norm(True)(h, "last")
    collected = update_ops()
    evaluate = contrib_batch_norm(h, is_training=False, decay=0.9, scope="last", reuse=True)
    with tf.control_dependencies(collected):
        return built(sgd().minimize(cross_entropy(logits, y)), evaluate, on_batch=False)


@case(name="used_domains", layers=["source", "target"], doubts=["wrong-statistics"])
def used_domains():
    """One input, normalised for two domains; the losses of both are trained."""
    x, y = vector_input()
    h = dense(x, 4, "hidden")
    one, two = contrib_norm(True)(h, "source"), contrib_norm(True)(h, "target")
    with tf.variable_scope("out") as scope:
        first = dense(one, 3, "logits")
        scope.reuse_variables()
        second = dense(two, 3, "logits")
    return built(minimize(cross_entropy(first, y) + cross_entropy(second, y), "control dependencies"))


@case(DEAD, name="unused_inference", given=dict(library="contrib"))
@case(DEAD, name="unused_inference_layers", given=dict(library="layers"), since=LAYERS)
def unused_inference(library):
    """A graph for inference that throws the layer's result away."""
    x, _ = vector_input()
    return built(evaluate=network(x, norm_of(library, False), "thrown away"), saver=tf.train.Saver())
