"""tf.keras in graph mode."""

import functools

import tensorflow as tf

from tests.recording.audit_graphs.cases import BIAS, NEVER_RUN, NO_UPDATES, WRONG, WRONG_WARNING, built, case
from tests.recording.audit_graphs.networks import cross_entropy, minimize, sgd, vector_input

keras_case = functools.partial(case, layers=["bn"], since=(1, 15))


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
    assert model.train_function.updates_op.control_inputs
    return built()


@keras_case()
def keras_compiled():
    """Model.compile: Keras runs the updates."""
    return compiled()


@keras_case()
def keras_compiled_image():
    """Model.compile, fused."""
    return compiled(image=True)


@keras_case(BIAS)
def keras_compiled_bias():
    """Model.compile, Dense with its default bias."""
    return compiled(bias=True)


@keras_case(cond_v2=True)
def keras_compiled_cond_v2():
    """Model.compile, If with function bodies."""
    return compiled(image=True)


@keras_case(NEVER_RUN, may=[WRONG, WRONG_WARNING, NO_UPDATES])
def keras_not_trainable():
    """trainable=False on a layer, before TF 2: it still takes batch statistics in training, and its updates are dropped
    (keras#9214).
    """
    return compiled(trainable=False)


def session_loop(updates, **options):
    model = keras_model(**options)
    y = tf.placeholder(tf.int32, [None], name="y")
    with tf.control_dependencies(model.updates if updates else []):
        train = sgd().minimize(cross_entropy(model.outputs[0], y))
    return built(train, statistics=r"bn/moving_(mean|variance):0")


@keras_case(may=[WRONG_WARNING])
def keras_loop():
    """A loop with sess.run, model.updates are run. Right only if keras_learning_phase is fed: without, the moving
    statistics are trained with and not updated.
    """
    return session_loop(True)


@keras_case(NEVER_RUN)
def keras_loop_not_run():
    """A loop with sess.run, layer.updates are not run."""
    return session_loop(False)


@keras_case(NEVER_RUN)
def keras_loop_not_run_image():
    """A loop with sess.run, fused, layer.updates are not run."""
    return session_loop(False, image=True)


@keras_case()
def keras_loop_training():
    """training=True in the call, model.updates are run."""
    return session_loop(True, training=True)


@keras_case(NEVER_RUN)
def keras_loop_training_not_run():
    """training=True in the call, updates are not run."""
    return session_loop(False, training=True)


@keras_case(WRONG)
def keras_loop_frozen():
    """training=False in the call; gamma and beta are trained."""
    return session_loop(False, training=False)


@keras_case(NEVER_RUN)
def keras_update_ops_collection():
    """UPDATE_OPS are run, but Keras layers put nothing there."""
    model = keras_model()
    y = tf.placeholder(tf.int32, [None], name="y")
    train = minimize(cross_entropy(model.outputs[0], y), "control dependencies")
    return built(train, statistics=r"bn/moving_(mean|variance):0")


@keras_case()
def keras_function():
    """A Keras layer with training=True inside of a tf.function, in a graph."""
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

    return built(sgd().minimize(cross_entropy(forward(x), y)), statistics=r"moving_(mean|variance)(_\d)?:0")
