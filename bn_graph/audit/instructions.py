"""Fixes made for one graph: what a layer is told, in the words of the library that made it.

A fix is a call with the options to give, in which ... stands for those that are there already, or lines for a layer
that was written by hand.
"""

import json

from bn_graph.audit.advice import COLLECTED, COLLECTED_SOMEWHERE, OF_KERAS, OF_KERAS_3
from bn_graph.audit.layers.normalizations import parameters_of
from bn_graph.audit.layers.updates import made_of
from bn_graph.audit.libraries import (
    BY_HAND,
    CONTRIB,
    KERAS,
    KERAS_3,
    LAYERS,
    SONNET,
    TENSORPACK,
    UNKNOWN,
    has_keras_3,
    is_keras,
    library_of,
)

_DECAYS = (0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)


def train_on_batch(audit, layer):
    """How the training tower normalises by its batch, and has its statistics followed."""
    library = library_of(audit, layer)
    if library is not BY_HAND:
        run = {KERAS: OF_KERAS, KERAS_3: OF_KERAS_3, UNKNOWN: COLLECTED_SOMEWHERE}.get(library, COLLECTED)
        return f"{_told(library, library.call, {library.training: True}, 'in the training tower')}\n{run}"
    axes = list(range((audit.graph.rank(layer.uses[0].x) or 2) - 1))
    return f"""\
batch_mean, batch_variance = tf.nn.moments(x, {axes})  # in the training tower
update_mean = tf.assign_sub(moving_mean, (1 - decay) * (moving_mean - batch_mean))
update_variance = tf.assign_sub(moving_variance, (1 - decay) * (moving_variance - batch_variance))
with tf.control_dependencies([update_mean, update_variance]):
    x = tf.nn.batch_normalization(x, batch_mean, batch_variance, beta, gamma, epsilon)"""


def use_moving_statistics(audit, layer, where):
    """How a tower normalises by the moving statistics. where: in which part of the program."""
    library = library_of(audit, layer)
    if library is BY_HAND:
        call = "x = tf.nn.batch_normalization(x, moving_mean, moving_variance, beta, gamma, epsilon)"
        return f"{call}  # {where}"
    return _told(library, library.call, {library.training: False, **library.evaluate}, where)


def update_where_it_trains():
    """How updates are made that run with the training branch alone."""
    return """\
def update_and_take_batch_statistics():
    update_mean = tf.assign_sub(moving_mean, (1 - decay) * (moving_mean - batch_mean))
    update_variance = tf.assign_sub(moving_variance, (1 - decay) * (moving_variance - batch_variance))
    with tf.control_dependencies([update_mean, update_variance]):
        return tf.identity(batch_mean), tf.identity(batch_variance)


def take_moving_statistics():
    return tf.identity(moving_mean), tf.identity(moving_variance)


mean, variance = tf.cond(is_training, update_and_take_batch_statistics, take_moving_statistics)"""


def share_variables(audit, layer):
    """How an evaluation tower gets the variables of the training tower's `layer`."""
    library = library_of(audit, layer)
    if library is BY_HAND:
        return """\
with tf.variable_scope(scope, reuse=True):  # the training tower's, around all of the evaluation tower
    moving_mean = tf.get_variable("moving_mean", shape)"""
    options = {library.training: False, **library.share, **library.evaluate}
    if library.share:
        return _told(library, library.call, options, "in the training tower's variable scope")
    return _told(library, library.call, options, "of the training tower's own layer, which is made once")


def set_decay(audit, layer, decay):
    """How the moving averages get a decay that suits the number of steps."""
    library = library_of(audit, layer)
    if decay < 0.5 and audit.num_steps is None:
        better = 1 - decay
    else:
        better = next((d for d in _DECAYS if d ** (audit.num_steps or 1000) <= 0.01), _DECAYS[-1])
    why = "decay ** steps of the start is left" if audit.num_steps else "it is what is kept of the old value"
    if library is BY_HAND:
        return f"decay = {better:g}  # {why}"
    return _told(library, library.make, {library.decay: f"{better:g}"}, why)


def unfuse(audit, layer):
    """How a layer is decomposed in all towers."""
    library = library_of(audit, layer)
    if library is BY_HAND:
        return "x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)  # in all towers"
    return _told(library, library.make, {"fused": False}, "the same in all towers")


def use_parameters(audit, layer):
    """How a layer uses the gamma and beta that it has."""
    library = library_of(audit, layer)
    if library is BY_HAND:
        call = "x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)"
        return f"{call}  # with both, or do not create the variable"
    options = {"offset" if library is SONNET else "center": True, "scale": True}
    return _told(library, library.make, options, "or do not create the variable")


def _told(library, call, options, comment):
    """A call with options, and a comment; where the library is not known, with what others call the options."""
    text = call.format(", ".join(f"{option}={value}" for option, value in options.items()))
    elsewhere = [f"{option} is {library.elsewhere[option]}" for option in options if option in library.elsewhere]
    return f"{text}  # {'; '.join([comment, *elsewhere])}"


def without_bias(audit, layer, bias, added):
    """How the layer in front is built without its bias, by what its library calls that variable.

    bias: the variable. added: the op that adds it.
    """
    graph, library = audit.graph, _library_in_front(audit, layer, bias)
    op = graph.ops[graph.origin(graph.inputs[added][0])]
    if op not in library.linear:
        return "x = tf.matmul(x, weights)  # without the bias; beta does what it was meant to do"
    return f"{library.linear[op].format(library.no_bias)}  # without {graph.names[bias]}"


def _library_in_front(audit, layer, bias):
    scope, _, name = audit.graph.names[bias].rpartition("/")
    if name == "biases":
        return CONTRIB
    if name == "bias" and f"{scope}/kernel".lstrip("/") in audit.graph.number:
        return KERAS if is_keras(audit) or has_keras_3(audit) else LAYERS
    library = library_of(audit, layer)
    return library if name == "b" and library in (SONNET, TENSORPACK) else BY_HAND


def copy_statistics(audit, layer, copied):
    """How the moving statistics of a copy follow those of the layer that its parameters `copied` are copied from."""
    graph = audit.graph
    sources = set()
    for variable in copied:
        for node in audit.assignments.get(variable, ()):
            sources |= made_of(graph, graph.inputs[node][1]).variables - {variable}
    layers = audit.fact(_layers_by_parameter)
    trained = next((layers[variable] for variable in sorted(sources) if variable in layers), layer)
    pairs = [(layer.mean, trained.mean), (layer.variance, trained.variance)] if trained is not layer else []
    names = [
        f"    ({json.dumps(graph.names[copy])}, {json.dumps(graph.names[source])}),"
        for copy, source in pairs
        if copy is not None and source is not None
    ]
    if not names:
        return "copy = tf.group(*[tf.assign(target, source) for target, source in pairs])  # the moving statistics, too"
    return "\n".join([
        "names = [",
        *names,
        "]",
        "variables = {variable.op.name: variable for variable in tf.global_variables()}",
        "copy = tf.group(*[tf.assign(variables[target], variables[source]) for target, source in names])",
    ])  # fmt: skip


def _layers_by_parameter(audit):
    return {v: layer for layer in audit.layers for use in layer.uses for v in parameters_of(audit.graph, use)}
