"""Which library made a layer, as far as the graph shows, and how that library spells its options."""

import dataclasses
import re

from bn_graph.audit.evidence import UPDATE_OPS

MODEL_VARIABLES = "model_variables"  # tf.GraphKeys, spelt out as in `evidence`
_PRODUCER_WITH_KERAS_3 = 1766  # GraphDef.versions.producer of TensorFlow 2.16.1, which has Keras 3 and no tf.layers


@dataclasses.dataclass(frozen=True, eq=False)
class Library:
    """A library, and its calls, in which {} stands for options. Empty where it has no such option."""

    name: str
    make: str  # makes the layer
    call: str  # applies it
    training: str  # the option of `call` that chooses the statistics
    decay: str  # the option of `make`
    share: dict = dataclasses.field(default_factory=dict)  # options of `call` that take another tower's variables
    evaluate: dict = dataclasses.field(default_factory=dict)  # options of `call` that evaluation needs besides
    in_place: str = ""  # the option of `make` by which the result waits for the updates
    linear: dict = dataclasses.field(default_factory=dict)  # kinds of op to the call of the layer that they are in
    no_bias: str = "use_bias=False"  # the option of that layer
    elsewhere: dict = dataclasses.field(default_factory=dict)  # options, to what other libraries call them


CONTRIB = Library(
    name="tf.contrib.layers or tf_slim",
    make="batch_norm(..., {})",
    call="batch_norm(..., {})",
    training="is_training",
    decay="decay",
    share={"scope": "scope", "reuse": True},
    in_place="updates_collections=None",
    linear={"MatMul": "slim.fully_connected(..., {})", "Conv2D": "slim.conv2d(..., {})"},
    no_bias="biases_initializer=None",
)
LAYERS = Library(
    name="tf.layers",
    make="tf.layers.batch_normalization(..., {})",
    call="tf.layers.batch_normalization(..., {})",
    training="training",
    decay="momentum",
    share={"name": "name", "reuse": True},
    linear={"MatMul": "tf.layers.dense(..., {})", "Conv2D": "tf.layers.conv2d(..., {})"},
)
KERAS = Library(
    name="Keras",
    make="BatchNormalization(..., {})",
    call="layer(x, {})",  # an object, whose variables are shared wherever it is called
    training="training",
    decay="momentum",
    linear={"MatMul": "Dense(..., {})", "Conv2D": "Conv2D(..., {})"},
)
KERAS_3 = dataclasses.replace(KERAS, name="Keras 3")  # which tells nobody its updates
SONNET = Library(
    name="Sonnet",
    make="snt.BatchNorm(..., {})",
    call="module(x, {})",
    training="is_training",
    decay="decay_rate",
    evaluate={"test_local_stats": False},
    in_place="update_ops_collection=None",
    linear={"MatMul": "snt.Linear(..., {})", "Conv2D": "snt.Conv2D(..., {})"},
)
TENSORPACK = Library(
    name="tensorpack",
    make="BatchNorm(..., {})",
    call="BatchNorm(..., {})",  # the context of the tower shares the variables
    training="training",
    decay="momentum",
    in_place='ema_update="internal"',
    linear={"MatMul": "FullyConnected(..., {})", "Conv2D": "Conv2D(..., {})"},
)
# Not to be told apart: what nobody updates, and what a GraphDef without collections has.
UNKNOWN = dataclasses.replace(
    CONTRIB,
    name="a library",
    in_place="",
    elsewhere={"is_training": "training in tf.layers and Keras", "decay": "momentum in tf.layers and Keras"},
)
BY_HAND = Library(name="by hand", make="{}", call="", training="", decay="decay")

KERAS_TRAINING = re.compile(r"training(_\d+)?/")  # the scope of what Keras' fit runs
_LIBRARY_VARIABLE = re.compile(r"(^|/)moving_(mean|variance)(_\d+)?$")
_LIBRARY_UPDATE = re.compile(r"(^|/|->)(AssignMovingAvg|update_moving_(mean|variance))(_\d+)?(/|$)")


def library_of(audit, layer):
    """The `Library` that made a `BatchNorm`."""
    names = audit.names(layer.statistics)
    updates = audit.names(update.node for update in layer.updates)
    if names and all(name.endswith("/EMA") for name in names):
        return TENSORPACK
    if not all(_LIBRARY_VARIABLE.search(name) for name in names):
        return BY_HAND
    if any("update_moving_" in name for name in updates):
        return SONNET
    if layer.statistics and audit.fact(_model_variables).issuperset(layer.statistics):
        return CONTRIB
    if is_keras(audit):
        return KERAS
    if names and all(len(audit.size(variable) or ()) > 1 for variable in layer.statistics):
        return SONNET
    if any(_LIBRARY_UPDATE.search(name) for name in updates):
        if not audit.collections:
            return UNKNOWN
        collected = audit.fact(_run_by_collection).intersection(update.node for update in layer.updates)
        return LAYERS if collected or UPDATE_OPS in audit.foreign else KERAS
    scope = re.compile(rf"(^|/|->){re.escape(layer.name.rpartition('/')[2])}(_\d+)?/")
    if not updates and any(scope.search(name) for name in audit.names(use.node for use in layer.uses)):
        return UNKNOWN
    assigned = re.compile(rf"{re.escape(layer.name)}_\d+/AssignVariableOp(_\d+)?$")
    return KERAS_3 if updates and has_keras_3(audit) and all(map(assigned.match, updates)) else BY_HAND


def _model_variables(audit):
    return set(audit.variables_in(MODEL_VARIABLES))


def _run_by_collection(audit):
    return audit.graph.ancestors(audit.collections.get(UPDATE_OPS, ()))


def is_keras(audit):
    """Whether Keras before version 3 built the graph: its placeholder is there, or what its fit runs."""
    return audit.fact(_is_keras)


def _is_keras(audit):
    names = audit.graph.names
    return any(name.endswith("keras_learning_phase") or KERAS_TRAINING.match(name) for name in names)


def is_trained_by_keras(audit):
    """Whether what trains is Keras' own fit, before version 3."""
    names = [audit.graph.names[node] for node in audit.step.optimizer_ops]
    return bool(names) and all(map(KERAS_TRAINING.match, names))


def has_keras_3(audit):
    """Whether TensorFlow was so new that its Keras was Keras 3."""
    return audit.producer >= _PRODUCER_WITH_KERAS_3
