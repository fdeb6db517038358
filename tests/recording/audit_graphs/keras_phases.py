"""Keras in graph mode: whose updates run, who feeds the learning phase, and what a model is called on."""

import tensorflow as tf

try:
    from tensorflow.python.keras import backend
except ImportError:
    backend = None

from tests.recording.audit_graphs.cases import (
    ANOTHER_INPUT,
    DEAD,
    NEVER_RUN,
    WRONG,
    WRONG_WARNING,
    built,
    case,
)
from tests.recording.audit_graphs.networks import VERSION, cross_entropy, sgd

KERAS = (1, 12)
MOVING = r"moving_(mean|variance)(_\d)?:0$"


def keras_case(*findings, **options):
    return case(*findings, **dict(dict(layers=None, since=KERAS), **options))


def layers(image=False):
    k = tf.keras.layers
    first = k.Conv2D(4, 3, use_bias=False, name="hidden") if image else k.Dense(4, use_bias=False, name="hidden")
    return [first, k.BatchNormalization(momentum=0.9, name="bn"), k.Activation("relu")] + (
        [k.GlobalAveragePooling2D()] if image else []
    ) + [k.Dense(3, name="logits")]  # fmt: skip


def sequential(image=False):
    model = tf.keras.Sequential()
    for place, layer in enumerate(layers(image)):
        if place == 0:
            layer = (
                tf.keras.layers.Conv2D(4, 3, use_bias=False, name="hidden", input_shape=(4, 4, 2))
                if image
                else tf.keras.layers.Dense(4, use_bias=False, name="hidden", input_shape=(5,))
            )
        model.add(layer)
    return model


def functional(image=False, training=None, tensor=None):
    shape = (4, 4, 2) if image else (5,)
    inputs = tf.keras.layers.Input(shape, name="input") if tensor is None else tf.keras.layers.Input(tensor=tensor)
    h = inputs
    for layer in layers(image):
        if layer.name == "bn" and training is not None:
            h = layer(h, training=training)
        else:
            h = layer(h)
    return tf.keras.Model(inputs, h)


def inputs(image=False):
    x = tf.placeholder(tf.float32, [None, 4, 4, 2] if image else [None, 5], name="x")
    return x, tf.placeholder(tf.int32, [None], name="y")


def trained(model, x, y, updates, logits, optimizer=None):
    """A tf.train optimizer on what a model returns. updates: whose update ops it waits for."""
    ops = {
        "none": lambda: [],
        "model": lambda: model.updates,
        "of x": lambda: model.get_updates_for(x),
        "of None": lambda: model.get_updates_for(None),
        "layers": lambda: [op for layer in model.layers for op in layer.updates],
        "of inputs": lambda: model.get_updates_for(model.inputs),
        "collection": lambda: tf.get_collection(tf.GraphKeys.UPDATE_OPS),
        "both": lambda: model.updates + list(model.get_updates_for(x)),
    }[updates]()
    with tf.control_dependencies(list(ops)):
        train = (optimizer or sgd()).minimize(cross_entropy(logits, y))
    return train


# The model's own placeholder, which the program feeds.


def own_input(updates, make=functional, image=False, **options):
    model = make(image, **options)
    y = tf.placeholder(tf.int32, [None], name="y")
    logits = model.outputs[0]
    return built(trained(model, model.inputs[0], y, updates, logits), logits, statistics=MOVING)


def _phase(*findings, **options):
    """A default False that nobody need feed."""
    return keras_case(*(list(findings) + [WRONG_WARNING]), **options)


@_phase(name="kerasgraph_model_updates", given=dict(updates="model"))
@_phase(name="kerasgraph_model_updates_image", given=dict(updates="model", image=True))
@_phase(name="kerasgraph_model_updates_sequential", given=dict(updates="model", make=sequential))
@_phase(name="kerasgraph_layer_updates", given=dict(updates="layers"))
@_phase(name="kerasgraph_updates_for", given=dict(updates="of inputs"))
def kerasgraph_phase(**options):
    """The right updates run, and the learning phase, False by default, has to be fed in each step."""
    return own_input(**options)


@keras_case(NEVER_RUN, name="kerasgraph_none", given=dict(updates="none"))
@keras_case(NEVER_RUN, name="kerasgraph_collection", given=dict(updates="collection"))
@keras_case(NEVER_RUN, name="kerasgraph_collection_image", given=dict(updates="collection", image=True))
@keras_case(NEVER_RUN, name="kerasgraph_collection_sequential", given=dict(updates="collection", make=sequential))
@keras_case(NEVER_RUN, name="kerasgraph_updates_for_none", given=dict(updates="of None"))
def kerasgraph_not_run(**options):
    """UPDATE_OPS are run or nothing is: Keras puts its updates elsewhere."""
    return own_input(**options)


if VERSION == (1, 8):

    @_phase(name="kerascollected", given=dict(updates="collection"), since=(1, 8))
    @_phase(name="kerascollected_image", given=dict(updates="collection", image=True), since=(1, 8))
    @_phase(name="kerascollected_sequential", given=dict(updates="collection", make=sequential), since=(1, 8))
    def kerascollected(**options):
        """Keras of TensorFlow 1.8 did put its updates into UPDATE_OPS."""
        return own_input(**options)


@keras_case(name="kerasgraph_true", given=dict(updates="model"))
@keras_case(name="kerasgraph_true_image", given=dict(updates="model", image=True))
@keras_case(name="kerasgraph_true_layers", given=dict(updates="layers"))
def kerasgraph_true(**options):
    """training=True in the call, and the model's own updates."""
    return own_input(training=True, **options)._replace(evaluate=None)


@keras_case(NEVER_RUN, name="kerasgraph_true_none", given=dict(updates="none"))
@keras_case(NEVER_RUN, name="kerasgraph_true_collection", given=dict(updates="collection", image=True))
def kerasgraph_true_not_run(**options):
    """training=True in the call, and nobody runs the updates."""
    return own_input(training=True, **options)._replace(evaluate=None)


@keras_case(WRONG, name="kerasgraph_false", given=dict(updates="model"))
def kerasgraph_false(**options):
    """training=False in the call: gamma and beta are trained on statistics of 0 and 1."""
    return own_input(training=False, **options)


# A model that is called on another tensor than its own placeholder.


def called(updates, make=functional, image=False, evaluated=False, **options):
    model = make(image)
    x, y = inputs(image)
    logits = model(x, **options)
    train = trained(model, x, y, updates, logits)
    evaluate = None
    if evaluated:
        evaluate = model(x, training=False)
    return built(train, evaluate if evaluated else None, statistics=MOVING, unfed="input")


@keras_case(ANOTHER_INPUT, WRONG_WARNING, name="kerascalled_model", given=dict(updates="model"))
@keras_case(ANOTHER_INPUT, WRONG_WARNING, name="kerascalled_model_image", given=dict(updates="model", image=True))
@keras_case(ANOTHER_INPUT, WRONG_WARNING, name="kerascalled_layers", given=dict(updates="layers"))
@keras_case(ANOTHER_INPUT, WRONG_WARNING, name="kerascalled_sequential", given=dict(updates="model", make=sequential))
@keras_case(ANOTHER_INPUT, WRONG_WARNING, name="kerascalled_both", given=dict(updates="both"))
def kerascalled_wrong(**options):
    """model.updates of the model's own placeholder: the step asks for a value of it."""
    return called(**options)


@_phase(name="kerascalled_for_x", given=dict(updates="of x"), since=(1, 14))
@_phase(name="kerascalled_for_x_image", given=dict(updates="of x", image=True), since=(1, 14))
@_phase(name="kerascalled_for_x_sequential", given=dict(updates="of x", make=sequential), since=(1, 14))
def kerascalled_for_x(**options):
    """get_updates_for(x): the updates of what is trained on."""
    return called(**options)


@keras_case(NEVER_RUN, name="kerascalled_none", given=dict(updates="none"))
@keras_case(NEVER_RUN, name="kerascalled_collection", given=dict(updates="collection"))
def kerascalled_not_run(**options):
    """Called on another tensor, and nobody runs any updates."""
    return called(**options)


@keras_case(name="kerascalled_true_for_x", given=dict(updates="of x", training=True, evaluated=True), since=(1, 14))
@keras_case(
    name="kerascalled_true_for_x_image",
    given=dict(updates="of x", training=True, evaluated=True, image=True),
    since=(1, 14),
)
def kerascalled_true(**options):
    """Called with training=True and again with False, and the updates of the first call run."""
    return called(**options)


@keras_case(NEVER_RUN, name="kerascalled_true_none", given=dict(updates="none", training=True, evaluated=True))
def kerascalled_true_none(**options):
    """Called with training=True and again with False, and no updates run."""
    return called(**options)


@_phase(name="kerascalled_input_tensor", given=dict(updates="model"))
@_phase(name="kerascalled_input_tensor_image", given=dict(updates="model", image=True))
def kerascalled_input_tensor(updates, image=False):
    """Input(tensor=x): the model's own input is what it trains on, and model.updates are right."""
    x, y = inputs(image)
    model = functional(image, tensor=x)
    logits = model.outputs[0]
    return built(trained(model, x, y, updates, logits), logits, statistics=MOVING, unfed="input")


@keras_case(DEAD, WRONG_WARNING, name="kerascalled_dead", may=[NEVER_RUN, DEAD])
def kerascalled_dead():
    """The result of one of two layers is thrown away."""
    x, y = inputs()
    k = tf.keras.layers
    h = k.Dense(4, use_bias=False, name="hidden")(x)
    norm, dead = k.BatchNormalization(name="bn", momentum=0.9), k.BatchNormalization(name="dead", momentum=0.9)
    h = norm(h)
    dead(h)
    logits = k.Dense(3, name="logits")(tf.nn.relu(h))
    with tf.control_dependencies(list(norm.updates) + list(dead.updates)):
        train = sgd().minimize(cross_entropy(logits, y))
    return built(train, logits, statistics=None)


# set_learning_phase.


def with_phase(value, updates, evaluated=None, image=False):
    tf.keras.backend.set_learning_phase(value)
    try:
        model = functional(image)
        y = tf.placeholder(tf.int32, [None], name="y")
        logits = model.outputs[0]
        train = trained(model, model.inputs[0], y, updates, logits)
        evaluate = None
        if evaluated is not None:
            tf.keras.backend.set_learning_phase(evaluated)
            evaluate = model(model.inputs[0])
        return built(train, evaluate, statistics=MOVING, on_batch=None if evaluated is None else bool(evaluated))
    finally:
        tf.keras.backend.clear_session()


@keras_case(name="kerasphase_1", given=dict(value=1, updates="model"))
@keras_case(name="kerasphase_1_image", given=dict(value=1, updates="model", image=True))
@keras_case(NEVER_RUN, name="kerasphase_1_none", given=dict(value=1, updates="none"))
@keras_case(NEVER_RUN, name="kerasphase_1_collection", given=dict(value=1, updates="collection"))
@keras_case(WRONG, name="kerasphase_0", given=dict(value=0, updates="model"))
@keras_case(name="kerasphase_1_0", given=dict(value=1, updates="model", evaluated=0))
def kerasphase(**options):
    """K.set_learning_phase before the model is built."""
    return in_own_graph(with_phase, **options)


def in_own_graph(function, **options):
    """clear_session would take the recorder's graph away."""
    return keep_graph(function, **options)


def keep_graph(function, **options):
    clear = tf.keras.backend.clear_session
    tf.keras.backend.clear_session = lambda: None
    try:
        return function(**options)
    finally:
        tf.keras.backend.clear_session = clear
        getattr(backend, "_GRAPH_LEARNING_PHASES", {}).clear()


# A layer by itself.


def alone(updates, training=None, image=False, evaluated=False):
    x, y = inputs(image)
    k = tf.keras.layers
    h = (k.Conv2D(4, 3, use_bias=False) if image else k.Dense(4, use_bias=False))(x)
    norm = k.BatchNormalization(momentum=0.9, name="bn")
    last = k.Dense(3, name="logits")

    def tower(training):
        out = tf.nn.relu(norm(h) if training is None else norm(h, training=training))
        return last(tf.reduce_mean(out, [1, 2]) if image else out)

    logits = tower(training)
    ops = {
        "layer": lambda: norm.updates,
        "for x": lambda: norm.get_updates_for(h),
        "collection": lambda: tf.get_collection(tf.GraphKeys.UPDATE_OPS),
        "added": lambda: (
            [tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, op) for op in norm.updates]
            and tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        ),
    }[updates]()
    ops = list(ops)
    evaluate = tower(False) if evaluated else None
    with tf.control_dependencies(ops):
        return built(sgd().minimize(cross_entropy(logits, y)), evaluate, statistics=MOVING,
                     on_batch=False if evaluated else None)  # fmt: skip


@keras_case(name="keraslayer_true", given=dict(updates="layer", training=True, evaluated=True))
@keras_case(name="keraslayer_true_image", given=dict(updates="layer", training=True, evaluated=True, image=True))
@keras_case(name="keraslayer_true_for_x", given=dict(updates="for x", training=True, evaluated=True))
@keras_case(name="keraslayer_true_added", given=dict(updates="added", training=True, evaluated=True))
@_phase(name="keraslayer_phase", given=dict(updates="layer"))
@_phase(name="keraslayer_phase_image", given=dict(updates="added", image=True))
def keraslayer(**options):
    """A Keras layer by itself, whose updates are run."""
    return alone(**options)


@keras_case(NEVER_RUN, name="keraslayer_collection", given=dict(updates="collection"))
@keras_case(
    NEVER_RUN, name="keraslayer_true_collection", given=dict(updates="collection", training=True, evaluated=True)
)
@keras_case(NEVER_RUN, name="keraslayer_collection_image", given=dict(updates="collection", image=True))
def keraslayer_not_run(**options):
    """A Keras layer by itself, and UPDATE_OPS, which are empty."""
    return alone(**options)


@keras_case(name="keraslayer_placeholder", given=dict(updates="layer"))
@keras_case(NEVER_RUN, name="keraslayer_placeholder_collection", given=dict(updates="collection"))
def keraslayer_placeholder(updates):
    """A Keras layer by itself, whose phase is a placeholder of the program's own."""
    return alone(updates, training=tf.placeholder(tf.bool, [], name="is_training"))


@_phase(name="kerasgraph_in_training_scope")
def kerasgraph_in_training_scope():
    """A tf.train optimizer in a scope that is named as Keras names its own: the phase has to be fed all the same."""
    model = functional()
    y = tf.placeholder(tf.int32, [None], name="y")
    with tf.name_scope("training"):
        train = sgd().minimize(cross_entropy(model.outputs[0], y))
        train = tf.group(train, *model.updates)
    return built(train, model.outputs[0], statistics=MOVING)


# Keras' own training.


def fit(optimizer=None, make=functional, **options):
    model = make(**options)
    model.compile(optimizer or "sgd", "mse")
    made = model if hasattr(model, "_make_train_function") else model.model  # of a Sequential, before TF 1.9
    for name in ("train", "test", "predict"):
        getattr(made, "_make_%s_function" % name)()
    return built()


def _fit(name, since=(1, 8), **given):
    return case(name="kerasfit_" + name, layers=None, since=since, given=given)


@_fit("functional")
@_fit("sequential", make=sequential)
@_fit("image", image=True)
@_fit("adam", optimizer="adam")
@_fit("true", KERAS, training=True)
@_fit("tf_optimizer", optimizer="tf")
def kerasfit(optimizer=None, **options):
    """Keras' own fit feeds the phase and runs the updates."""
    return fit(sgd() if optimizer == "tf" else optimizer, **options)
