"""Checkpoints, frozen graphs and SavedModels: the values tell whether the statistics moved."""

import os

import tensorflow as tf

from tests.recording.audit_graphs.cases import (
    NEVER_RUN,
    NOT_SAVED,
    UNTOUCHED,
    case,
    saved_as_graph_def,
    saved_in_folder,
)
from tests.recording.audit_graphs.files import write_message, write_meta_graph
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    cross_entropy,
    image_input,
    layers_norm,
    minimize,
    network,
    vector_input,
)
from tests.recording.audit_graphs.sessions import feeds

V1, V2 = tf.train.SaverDef.V1, tf.train.SaverDef.V2


def checkpoint(updates, variables="all", version=V2, steps=5, meta=True, norm=contrib_norm):
    """Trains a few steps and saves."""

    def make(folder):
        x, y = vector_input()
        step = tf.Variable(0, trainable=False, name="global_step")
        loss = cross_entropy(network(x, norm(True)), y)
        train = minimize(loss, updates, global_step=step)
        var_list = tf.trainable_variables() + [step] if variables == "trainable" else None
        saver = tf.train.Saver(var_list, write_version=version)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for _ in range(steps):
                sess.run(train, feeds())
            path = saver.save(sess, os.path.join(folder, "model.ckpt"), global_step=step, write_meta_graph=False)
        if meta:
            write_meta_graph(path + ".meta", saver)
        text = open(os.path.join(folder, "checkpoint")).read()
        with open(os.path.join(folder, "checkpoint"), "w") as f:
            f.write(text.replace(folder + "/", ""))
        return os.path.basename(path)

    return saved_in_folder(make)


@case(name="ckpt_v1_trained", given=dict(version=V1))
@case(name="ckpt_v2_trained", given=dict(version=V2))
def ckpt_trained(version):
    """Five steps with updates, everything saved."""
    return checkpoint("control dependencies", version=version)


@case(NEVER_RUN, UNTOUCHED, name="ckpt_v1_untouched", given=dict(version=V1))
@case(NEVER_RUN, UNTOUCHED, name="ckpt_v2_untouched", given=dict(version=V2))
def ckpt_untouched(version):
    """Five steps without updates: still 0 and 1."""
    return checkpoint("not run", version=version)


@case(NOT_SAVED)
def ckpt_not_saved():
    """Five steps with updates, saved without the statistics."""
    return checkpoint("control dependencies", "trainable")


@case(UNTOUCHED)
def ckpt_alone_untouched():
    """The same without a .meta: the values alone tell."""
    return checkpoint("not run", meta=False)


@case()
def ckpt_alone_trained():
    """A checkpoint without a .meta."""
    return checkpoint("control dependencies", meta=False)


@case()
def ckpt_step_0():
    """Saved before the first step: 0 and 1 are what they should be (undecided, no finding)."""
    return checkpoint("control dependencies", steps=0)


def frozen_graph(updates, image=False, norm=contrib_norm, **options):
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
        write_message(path, constants)

    return saved_as_graph_def(make)


@case()
def frozen():
    """A frozen graph: the statistics are constants."""
    return frozen_graph("control dependencies")


@case(UNTOUCHED)
def frozen_untouched():
    """A frozen graph whose statistics are constants 0 and 1."""
    return frozen_graph("not run")


@case()
def frozen_fused():
    """A frozen graph, fused."""
    return frozen_graph("control dependencies", True, fused=True)


@case(UNTOUCHED)
def frozen_fused_untouched():
    """A frozen graph, fused, whose statistics are 0 and 1."""
    return frozen_graph("not run", True, fused=True)


def saved_model(updates):
    """updates: None: of a graph for inference, with statistics as after training elsewhere."""

    def make(folder):
        x, y = vector_input()
        if updates is None:
            logits, train = network(x, layers_norm(False)), tf.no_op()
        else:
            train = minimize(cross_entropy(network(x, layers_norm(True)), y), updates)
            logits = network(x, layers_norm(False), reuse=True)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for _ in range(3):
                sess.run(train, feeds())
            if updates is None:
                for v in tf.global_variables():
                    if "moving_" in v.name:
                        sess.run(v.assign_add(tf.random_uniform(v.get_shape())))
            tf.saved_model.simple_save(sess, os.path.join(folder, "model"), {"x": x}, {"logits": logits})
        return "model"

    return saved_in_folder(make)


@case(since=(1, 15))
def savedmodel_training():
    """simple_save of a graph with a training and an evaluation tower."""
    return saved_model("control dependencies")


@case(since=(1, 15))
def savedmodel_inference():
    """simple_save of a graph for inference."""
    return saved_model(None)


@case(NEVER_RUN, UNTOUCHED, since=(1, 15))
def savedmodel_untouched():
    """simple_save after training without updates."""
    return saved_model("not run")
