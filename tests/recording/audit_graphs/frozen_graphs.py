"""Frozen graphs and SavedModels, exported with is_training True or False."""

import os
import shutil

import numpy as np
import tensorflow as tf

from tests.recording.audit_graphs.by_hand import r2rt_norm
from tests.recording.audit_graphs.cases import (
    UNTOUCHED,
    WRONG,
    WRONG_WARNING,
    case,
    saved_as_graph_def,
    saved_in_folder,
)
from tests.recording.audit_graphs.files import write_message
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    conv,
    cross_entropy,
    dense,
    image_input,
    layers_norm,
    minimize,
    network,
    phase,
    resource_variables,
    sgd,
    update_ops,
    variable,
    vector_input,
)
from tests.recording.audit_graphs.sessions import depends_on_batch

LAYERS = (1, 4)


def rows(image, batch=6):
    return np.random.RandomState(2).normal(0.5, 2.0, [batch, 4, 4, 2] if image else [batch, 5]).astype(np.float32)


def moved(sess):
    """Gives all variables values that a training may have given them."""
    random = np.random.RandomState(3)
    for v in tf.global_variables():
        if v.dtype.base_dtype == tf.float32:
            value = random.uniform(0.5, 1.5, v.get_shape().as_list())
            sess.run(v.initializer, {v.initializer.inputs[1]: value.astype(np.float32)})


def rewritten(graph_def, rewrite):
    """What TensorFlow's own tools make of a frozen graph."""
    if rewrite is None:
        return graph_def
    if rewrite == "optimize_for_inference":
        from tensorflow.python.tools.optimize_for_inference_lib import optimize_for_inference

        return optimize_for_inference(graph_def, ["x"], ["output"], tf.float32.as_datatype_enum)
    if rewrite == "remove_training_nodes":
        return tf.graph_util.remove_training_nodes(graph_def, ["output"])
    if rewrite == "without shapes":
        for node in graph_def.node:
            node.attr.pop("_output_shapes", None)
        return graph_def
    from tensorflow.tools.graph_transforms import TransformGraph

    return TransformGraph(graph_def, ["x"], ["output"], [rewrite])


def frozen_network(norm, on_batch, image=False, rewrite=None, batch=None, build=None, shapes=False):
    """A network for inference, frozen. on_batch: whether a row depends on the rest of its batch."""

    def make(path):
        x, _ = (image_input if image else vector_input)(batch)
        logits = (build or network)(x, norm)
        tf.identity(logits, name="output")
        graph = tf.get_default_graph()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer(), {t: v for t, v in _phases(True).items()})
            moved(sess)
            definition = graph.as_graph_def(add_shapes=shapes)
            constants = tf.graph_util.convert_variables_to_constants(sess, definition, ["output"])
        constants = rewritten(constants, rewrite)
        with tf.Graph().as_default(), tf.Session() as sess:
            x, output = tf.import_graph_def(constants, return_elements=["x:0", "output:0"], name="")
            given = _phases(False)
            given[x] = rows(image)
            if batch is None and depends_on_batch(sess, output, given) != on_batch:
                raise AssertionError("a row depends on the others: %s" % (not on_batch))
        write_message(path, constants)

    return saved_as_graph_def(make)


def _phases(training):
    """What is fed to a phase, if there is one."""
    return {
        op.outputs[0]: training
        for op in tf.get_default_graph().get_operations()
        if op.type == "Placeholder" and op.outputs[0].dtype == tf.bool
    }


FUSED = dict(image=True, fused=True)


def _bad(name, since=(0, 12), **given):
    return case(WRONG, name="frozen_graph_" + name, since=since, given=given, layers=None)


@_bad("true", library="contrib")
@_bad("true_scale", library="contrib", scale=True)
@_bad("true_scale_only", library="contrib", scale=True, center=False)
@_bad("true_neither", library="contrib", center=False)
@_bad("true_fused", library="contrib", **FUSED)
@_bad("true_fused_scale", library="contrib", scale=True, **FUSED)
@_bad("true_fused_neither", library="contrib", center=False, **FUSED)
@_bad("true_image", library="contrib", image=True, fused=False, scale=True)
@_bad("true_layers", LAYERS, library="layers")
@_bad("true_layers_fused", LAYERS, library="layers", **FUSED)
@_bad("true_layers_no_scale", LAYERS, library="layers", scale=False, **FUSED)
@_bad("true_layers_neither", LAYERS, library="layers", scale=False, center=False)
@_bad("true_shapes", library="contrib", shapes=True, **FUSED)
@_bad("true_optimized", LAYERS, library="layers", rewrite="optimize_for_inference")
@_bad("true_optimized_fused", LAYERS, library="layers", rewrite="optimize_for_inference", **FUSED)
@_bad("true_removed_nodes", LAYERS, library="layers", rewrite="remove_training_nodes")
@_bad("true_folded", (1, 15), library="layers", rewrite="fold_constants(ignore_errors=true)", **FUSED)
@_bad("true_fold_batch_norms", (1, 15), library="layers", rewrite="fold_batch_norms", **FUSED)
@_bad("true_quantized", (1, 15), library="layers", rewrite="quantize_weights", image=True, fused=False)
def frozen_graph_true(library, image=False, rewrite=None, shapes=False, **options):
    """Frozen with is_training=True: a prediction depends on the rest of its batch."""
    norm = {"contrib": contrib_norm, "layers": layers_norm}[library](True, **options)
    return frozen_network(norm, True, image, rewrite, shapes=shapes)


@case(WRONG, name="frozen_graph_true_resource", since=LAYERS, given=dict(fused=False), layers=None)
@case(WRONG, name="frozen_graph_true_resource_fused", since=LAYERS, given=dict(fused=True, image=True), layers=None)
@resource_variables
def frozen_graph_true_resource(image=False, **options):
    """Frozen with is_training=True, from resource variables."""
    return frozen_network(layers_norm(True, **options), True, image)


def hand_norm(moments, gamma=True, beta=True, root="rsqrt"):
    """Batch statistics alone, in the spellings of blogs."""

    def norm(h, name):
        with tf.variable_scope(name):
            axes = list(range(len(h.get_shape()) - 1))
            size = h.get_shape()[-1:]
            if moments == "moments":
                mean, var = tf.nn.moments(h, axes)
            elif moments == "keep_dims":
                mean, var = tf.nn.moments(h, axes, keep_dims=True)
            else:
                mean = tf.reduce_mean(h, axes)
                var = tf.reduce_mean(tf.square(h - mean), axes)
            if root == "library":
                out = tf.nn.batch_normalization(h, mean, var, None, None, 1e-3)
            elif root == "sqrt":
                out = (h - mean) / tf.sqrt(var + 1e-3)
            elif root == "pow":
                out = (h - mean) / tf.pow(var + 1e-3, 0.5)
            else:
                out = (h - mean) * tf.rsqrt(var + 1e-3)
            if gamma:
                out = out * variable("gamma", 1.0, size)
            return out + variable("beta", 0.0, size) if beta else out

    return norm


@_bad("hand", moments="moments")
@_bad("hand_sqrt", moments="mean", root="sqrt")
@_bad("hand_pow", moments="keep_dims", root="pow")
@_bad("hand_library", moments="moments", root="library", gamma=False, beta=False)
@_bad("hand_neither", moments="mean", gamma=False, beta=False, root="sqrt")
@_bad("hand_gamma", moments="keep_dims", beta=False, image=True)
@_bad("hand_beta", moments="mean", gamma=False, image=True)
def frozen_graph_hand(image=False, **options):
    """A batch norm by hand that knows nothing but its batch, frozen."""
    return frozen_network(hand_norm(**options), True, image)


def _good(name, since=(0, 12), **given):
    return case(name="frozen_graph_" + name, since=since, given=given, doubts=[], layers=None)


@_good("false", library="contrib")
@_good("false_scale", library="contrib", scale=True)
@_good("false_neither", library="contrib", center=False)
@_good("false_fused", library="contrib", **FUSED)
@_good("false_image", library="contrib", image=True, fused=False, scale=True)
@_good("false_layers", LAYERS, library="layers")
@_good("false_layers_fused", LAYERS, library="layers", **FUSED)
@_good("false_layers_no_scale", LAYERS, library="layers", scale=False, **FUSED)
@_good("false_shapes", library="contrib", shapes=True, **FUSED)
@_good("false_optimized", LAYERS, library="layers", rewrite="optimize_for_inference")
@_good("false_optimized_fused", LAYERS, library="layers", rewrite="optimize_for_inference", **FUSED)
@_good("false_removed_nodes", LAYERS, library="layers", rewrite="remove_training_nodes")
@_good("false_folded", (1, 15), library="layers", rewrite="fold_constants(ignore_errors=true)", **FUSED)
@_good("false_fold_batch_norms", (1, 15), library="layers", rewrite="fold_batch_norms", **FUSED)
@_good("false_fold_decomposed", (1, 15), library="layers", rewrite="fold_batch_norms", image=True, fused=False)
@_good("false_quantized", (1, 15), library="layers", rewrite="quantize_weights", image=True, fused=False)
def frozen_graph_false(library, image=False, rewrite=None, shapes=False, **options):
    """Frozen with is_training=False."""
    norm = {"contrib": contrib_norm, "layers": layers_norm}[library](False, **options)
    return frozen_network(norm, False, image, rewrite, shapes=shapes)


@case(name="frozen_graph_false_hand", doubts=[], layers=None)
def frozen_graph_false_hand():
    """A batch norm by hand, frozen with is_training=False."""
    return frozen_network(r2rt_norm(False), False)


@case(name="frozen_graph_phase", doubts=[], given=dict(fused=False), layers=None)
@case(name="frozen_graph_phase_fused", doubts=[], given=dict(image=True, fused=True), layers=None)
@case(
    name="frozen_graph_phase_layers",
    doubts=[],
    given=dict(image=True, fused=True, library="layers"),
    since=LAYERS,
    layers=None,
)
def frozen_graph_phase(library="contrib", image=False, **options):
    """Frozen with a placeholder for the phase, which whoever predicts has to feed."""
    norm = {"contrib": contrib_norm, "layers": layers_norm}[library](phase(), **options)
    return frozen_network(norm, False, image)


@case(WRONG_WARNING, name="frozen_graph_default_true", given=dict(default=True), layers=None)
@case(WRONG_WARNING, name="frozen_graph_default_true_fused", given=dict(default=True, image=True), layers=None)
@case(name="frozen_graph_default_false", doubts=[], given=dict(default=False), layers=None)
@case(name="frozen_graph_default_false_fused", doubts=[], given=dict(default=False, image=True), layers=None)
def frozen_graph_default(default, image=False):
    """Frozen with placeholder_with_default: what is not fed normalises by its batch, or by the moving statistics."""
    training = tf.placeholder_with_default(default, [], name="is_training")
    return frozen_network(contrib_norm(training, fused=image), default, image)


@case(WRONG, name="frozen_graph_constant_true", given=dict(value=True), layers=None)
@case(name="frozen_graph_constant_false", doubts=[], given=dict(value=False), layers=None)
def frozen_graph_constant(value):
    """Frozen with is_training=tf.constant(...)."""
    return frozen_network(contrib_norm(tf.constant(value, name="training"), fused=False), value)


# What is no batch norm, in a frozen graph.


def other_norm(kind):
    def norm(h, name):
        with tf.variable_scope(name):
            size = h.get_shape()[-1:]
            gamma, beta = variable("gamma", 1.0, size), variable("beta", 0.0, size)
            rank = len(h.get_shape())
            if kind == "instance":
                mean, var = tf.nn.moments(h, [1, 2], keep_dims=True)
                return tf.nn.batch_normalization(h, mean, var, beta, gamma, 1e-5)
            if kind == "layer":
                mean, var = tf.nn.moments(h, list(range(1, rank)), keep_dims=True)
                return tf.nn.batch_normalization(h, mean, var, beta, gamma, 1e-6)
            if kind == "contrib layer":
                return tf.contrib.layers.layer_norm(h, scope="ln")
            if kind == "last axis":
                mean = tf.reduce_mean(h, [-1], keep_dims=True)
                var = tf.reduce_mean(tf.square(h - mean), [-1], keep_dims=True)
                return (h - mean) * tf.rsqrt(var + 1e-6) * gamma + beta
            if kind == "last axis by number":
                mean = tf.reduce_mean(h, rank - 1, keep_dims=True)
                return (h - mean) / (tf.sqrt(tf.reduce_mean(tf.square(h - mean), rank - 1, keep_dims=True)) + 1e-6)
            if kind == "group":
                parts = tf.reshape(h, [-1, 4, 4, 2, 2])
                mean, var = tf.nn.moments(parts, [1, 2, 4], keep_dims=True)
                return tf.reshape((parts - mean) / tf.sqrt(var + 1e-5), [-1, 4, 4, 4]) * gamma + beta
            if kind == "l2":
                return tf.nn.l2_normalize(h, 1)
            assert kind == "pixel"
            return h * tf.rsqrt(tf.reduce_mean(tf.square(h), 3, keep_dims=True) + 1e-8)

    return norm


@case(name="frozen_graph_instance_norm", given=dict(kind="instance", image=True), layers=[], doubts=[])
@case(name="frozen_graph_layer_norm", given=dict(kind="layer"), layers=[], doubts=[])
@case(name="frozen_graph_layer_norm_image", given=dict(kind="layer", image=True), layers=[], doubts=[])
@case(name="frozen_graph_contrib_layer_norm", given=dict(kind="contrib layer", image=True), layers=[], doubts=[])
@case(name="frozen_graph_last_axis", given=dict(kind="last axis"), layers=[], doubts=[])
@case(name="frozen_graph_last_axis_by_number", given=dict(kind="last axis by number", image=True), layers=[], doubts=[])
@case(name="frozen_graph_group_norm", given=dict(kind="group", image=True), layers=[], doubts=[])
@case(name="frozen_graph_l2", given=dict(kind="l2"), layers=[], doubts=[])
@case(name="frozen_graph_pixel_norm", given=dict(kind="pixel", image=True), layers=[], doubts=[])
def frozen_graph_other(kind, image=False):
    """Another normalisation, frozen: each row by itself."""
    return frozen_network(other_norm(kind), False, image)


def standardized(kind):
    """Pictures that are standardised one by one before they become a batch."""

    def build(x, norm):
        del norm
        if kind == "per_image_standardization":
            x = tf.map_fn(tf.image.per_image_standardization, x)
        elif kind == "by hand":

            def one(picture):
                mean, var = tf.nn.moments(picture, [0, 1, 2])
                return (picture - mean) / tf.sqrt(var + 1e-6)

            x = tf.map_fn(one, x)
        elif kind == "whole":  # all of one row, and no channel by itself
            x = tf.map_fn(lambda p: (p - tf.reduce_mean(p)) / tf.sqrt(tf.reduce_mean(tf.square(p)) + 1e-6), x)
        h = conv(x, 4, "hidden")
        return dense(tf.reshape(h, [-1, 64]), 3, "logits")

    return build


@case(
    name="frozen_graph_standardized", given=dict(kind="per_image_standardization"), layers=None, doubts=[], since=LAYERS
)
@case(name="frozen_graph_standardized_by_hand", given=dict(kind="by hand"), layers=None, doubts=[], since=LAYERS)
@case(name="frozen_graph_standardized_whole", given=dict(kind="whole"), layers=None, doubts=[], since=LAYERS)
def frozen_graph_standardized(kind):
    """Each picture is standardised by itself, in a map over the batch."""
    return frozen_network(None, False, True, build=standardized(kind))


@case(name="frozen_graph_one_picture", undecided=["wrong-statistics"], layers=None)
def frozen_graph_one_picture():
    """pix2pix: one picture at a time, normalised by itself, in training as well."""
    return frozen_network(contrib_norm(True, fused=True), True, True, batch=1)


# Frozen with its training ops, or pruned of nothing.


def mixed(second):
    """Two layers, of which the second one was forgotten."""

    def make(path):
        x, _ = vector_input()
        h = network(x, layers_norm(False), scope="one")
        h = network(h, layers_norm(second), scope="two")
        tf.identity(h, name="output")
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            moved(sess)
            graph_def = tf.get_default_graph().as_graph_def()
            constants = tf.graph_util.convert_variables_to_constants(sess, graph_def, ["output"])
        write_message(path, constants)

    return saved_as_graph_def(make)


@case(WRONG, name="frozen_graph_second_layer", since=LAYERS, given=dict(second=True), layers=None)
@case(name="frozen_graph_both_layers", doubts=[], since=LAYERS, given=dict(second=False), layers=None)
def frozen_graph_two(second):
    """One layer of two was left on its batch, or none."""
    return mixed(second)


@case(UNTOUCHED, name="frozen_graph_untouched_layers", since=LAYERS, given=dict(library="layers"), layers=None)
@case(UNTOUCHED, name="frozen_graph_untouched_contrib", given=dict(library="contrib"), layers=None)
def frozen_graph_untouched(library):
    """Frozen with is_training=False, and nothing ever moved the statistics."""
    norm = {"contrib": contrib_norm, "layers": layers_norm}[library](False, scale=True)

    def make(path):
        x, _ = vector_input()
        tf.identity(network(x, norm), name="output")
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            graph_def = tf.get_default_graph().as_graph_def()
            write_message(path, tf.graph_util.convert_variables_to_constants(sess, graph_def, ["output"]))

    return saved_as_graph_def(make)


# SavedModels.


def save(sess, folder, inputs, outputs, how):
    export = os.path.join(folder, "model")
    if how == "simple_save":
        tf.saved_model.simple_save(sess, export, inputs, outputs)
        return
    builder = tf.saved_model.builder.SavedModelBuilder(export)
    definition = tf.saved_model.signature_def_utils
    if how == "classify":
        signature = definition.classification_signature_def(
            tf.placeholder(tf.string, [None], name="examples"), None, list(outputs.values())[0]
        )
    else:
        signature = definition.predict_signature_def(inputs, outputs)
    builder.add_meta_graph_and_variables(sess, [tf.saved_model.tag_constants.SERVING], {"serving_default": signature})
    builder.save()


def served(norm, how="builder", trained=False, image=False, norm_of_serving=None, feeds_phase=False):
    """A SavedModel; trained: of a graph that trains, too."""

    def make(folder):
        x, y = (image_input if image else vector_input)()
        logits = network(x, norm)
        train = minimize(cross_entropy(logits, y), "control dependencies") if trained else tf.no_op()
        del train
        if norm_of_serving is not None:
            with tf.name_scope("serving"):
                logits = network(x, norm_of_serving, reuse=True)
        inputs = {"x": x}
        if feeds_phase:
            inputs["is_training"] = tf.get_default_graph().get_tensor_by_name("is_training:0")
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer(), _phases(True))
            moved(sess)
            save(sess, folder, inputs, {"logits": logits}, how)
        return "model"

    return saved_in_folder(make)


@case(WRONG, name="served_true_builder", given=dict(how="builder"), since=LAYERS)
@case(WRONG, name="served_true_simple_save", given=dict(how="simple_save"), since=(1, 12), layers=["net/bn"])
@case(WRONG, name="served_true_fused", given=dict(how="builder", image=True), since=LAYERS)
@case(WRONG, name="served_true_trained", given=dict(how="builder", trained=True), since=LAYERS)
@case(WRONG, name="served_true_trained_fused", given=dict(how="builder", trained=True, image=True), since=LAYERS)
def served_true(image=False, **options):
    """The signature returns what normalises by its batch."""
    return served(layers_norm(True, fused=image), image=image, **options)


@case(doubts=[], name="served_false_builder", given=dict(how="builder"), since=LAYERS)
@case(doubts=[], name="served_false_simple_save", given=dict(how="simple_save"), since=(1, 12), layers=["net/bn"])
@case(doubts=[], name="served_false_fused", given=dict(how="builder", image=True), since=LAYERS)
def served_false(image=False, **options):
    """The signature returns what normalises by the moving statistics."""
    return served(layers_norm(False, fused=image), image=image, **options)


@case(doubts=[], name="served_tower", given=dict(image=False), since=LAYERS)
@case(doubts=[], name="served_tower_fused", given=dict(image=True), since=LAYERS)
def served_tower(image):
    """A training tower, and one for inference, which is served."""
    norms = layers_norm(True, fused=image), layers_norm(False, fused=image)
    return served(norms[0], trained=True, image=image, norm_of_serving=norms[1])


@case(doubts=[], name="served_phase", since=LAYERS)
def served_phase():
    """The signature takes the phase as an input."""
    return served(layers_norm(phase()), feeds_phase=True)


@case(WRONG_WARNING, name="served_default_true", given=dict(default=True), since=LAYERS)
@case(doubts=[], name="served_default_false", given=dict(default=False), since=LAYERS)
def served_default(default):
    """The phase has a default, which the signature does not take."""
    return served(layers_norm(tf.placeholder_with_default(default, [], name="is_training")))


def several(serving_training, how):
    """MetaGraphs for training and for serving in one SavedModel."""

    def make(folder):
        builder = tf.saved_model.builder.SavedModelBuilder(os.path.join(folder, "model"))
        tags = tf.saved_model.tag_constants
        order = ["train", "serve"] if how == "train first" else ["serve", "train"]
        for place, kind in enumerate(order):
            with tf.Graph().as_default(), tf.Session() as sess:
                x, y = vector_input()
                logits = network(x, layers_norm(True if kind == "train" else serving_training))
                if kind == "train":
                    minimize(cross_entropy(logits, y), "control dependencies")
                sess.run(tf.global_variables_initializer())
                moved(sess)
                signature = tf.saved_model.signature_def_utils.predict_signature_def({"x": x}, {"logits": logits})
                signatures = {"serving_default": signature} if kind == "serve" else None
                if place == 0:
                    tag = [tags.TRAINING if kind == "train" else tags.SERVING]
                    builder.add_meta_graph_and_variables(sess, tag, signatures)
                else:
                    builder.add_meta_graph([tags.TRAINING if kind == "train" else tags.SERVING], signatures)
        builder.save()
        return "model"

    return saved_in_folder(make)


@case(WRONG, name="served_several_true", given=dict(how="train first"), since=LAYERS)
@case(WRONG, name="served_several_true_serve_first", given=dict(how="serve first"), since=LAYERS)
def served_several_true(how):
    """The MetaGraph for serving was built with training=True."""
    return several(True, how)


@case(name="served_several_false", given=dict(how="train first"), doubts=[], since=LAYERS)
@case(name="served_several_false_serve_first", given=dict(how="serve first"), doubts=[], since=LAYERS)
def served_several_false(how):
    """MetaGraphs for training and for serving, as they should be."""
    return several(False, how)


def estimator(training):
    """tf.estimator.Estimator.export_savedmodel. training: of the layer, by mode."""

    def make(folder):
        def model_fn(features, labels, mode):
            logits = network(features["x"], layers_norm(training(mode)))
            if mode == tf.estimator.ModeKeys.PREDICT:
                outputs = {"serving_default": tf.estimator.export.PredictOutput({"logits": logits})}
                return tf.estimator.EstimatorSpec(mode, predictions={"logits": logits}, export_outputs=outputs)
            loss = cross_entropy(logits, labels)
            with tf.control_dependencies(update_ops()):
                step = sgd().minimize(loss, global_step=tf.train.get_global_step())
            return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=step)

        made = tf.estimator.Estimator(model_fn, os.path.join(folder, "run"))
        made.train(
            tf.estimator.inputs.numpy_input_fn({"x": rows(False)}, np.zeros(6, np.int32), 6, shuffle=False), steps=1
        )
        receiver = tf.estimator.export.build_raw_serving_input_receiver_fn(
            {"x": tf.placeholder(tf.float32, [None, 5], name="x")}
        )
        exported = made.export_savedmodel(os.path.join(folder, "export"), receiver)
        os.rename(tf.compat.as_str(exported), os.path.join(folder, "model"))
        for name in ("run", "export"):
            shutil.rmtree(os.path.join(folder, name))
        return "model"

    return saved_in_folder(make)


@case(WRONG, name="served_estimator_true", since=LAYERS)
def served_estimator_true():
    """An Estimator whose model_fn says training=True in every mode."""
    return estimator(lambda mode: True)


@case(name="served_estimator", doubts=[], since=LAYERS)
def served_estimator():
    """An Estimator whose model_fn asks the mode."""
    return estimator(lambda mode: mode == tf.estimator.ModeKeys.TRAIN)
