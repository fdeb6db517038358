"""TensorFlow 1 on today's TensorFlow: `tf` is `tensorflow.compat.v1`, `tf_slim` is tf-slim, mended.

tf-slim 1.1.0, the newest release, is what became of `tf.contrib.layers`. It was written for an older TensorFlow: it
looks for public functions in inner modules that no longer name them, and for a Keras layer class that is in no
package any more. This module puts back what is missing, and only that; where tf-slim works by itself it changes
nothing. It sets no TensorFlow switch.
"""

import types

import tensorflow
import tensorflow.compat.v1 as tf
import tf_slim
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.framework import op_def_registry, ops
from tensorflow.python.layers import normalization
from tensorflow.python.ops import array_ops, control_flow_ops, variable_scope
from tf_slim.layers import layers as slim_layers

__all__ = [
    "ancestors",
    "capture",
    "compiled",
    "is_registered",
    "make_callable",
    "tf",
    "tf_slim",
    "uniform_at",
    "uniform_counter",
]

# Where tf-slim looks, and the public name of what it looks for there.
_MOVED = (
    (ops, "Tensor", tf.Tensor),
    (ops, "IndexedSlices", tf.IndexedSlices),
    (array_ops, "stack", tf.stack),
    (array_ops, "unstack", tf.unstack),
    (control_flow_ops, "Assert", tf.Assert),
    (control_flow_ops, "case", tf.case),
    (control_flow_ops, "cond", tf.cond),
    (control_flow_ops, "while_loop", tf.while_loop),
    (variable_scope, "variable", tf.Variable),
)


class _BatchNormalization:
    """Stands in for the Keras layer class to which `tf_slim.batch_norm` hands over where it can.

    That is where `updates_collections` is the plain `UPDATE_OPS`, as in every network of `tf_slim.nets`. tf-slim has
    the same arithmetic itself, and takes it where `updates_collections` is a list; so hand the call back as a list.
    """

    def __init__(self, **given):
        parameters = "beta", "gamma", "moving_mean", "moving_variance"
        self._scope = given["_scope"]
        self._arguments = dict(
            decay=given["momentum"],
            center=given["center"],
            scale=given["scale"],
            epsilon=given["epsilon"],
            activation_fn=None,
            param_initializers={name: given[f"{name}_initializer"] for name in parameters},
            param_regularizers={name: given[f"{name}_regularizer"] for name in parameters[:2]},
            updates_collections=[tf.GraphKeys.UPDATE_OPS],
            reuse=given["_reuse"],
            variables_collections=None,
            outputs_collections=None,
            trainable=given["trainable"],
            batch_weights=None,
            fused=given["fused"],
            data_format="NCHW" if given["axis"] == 1 else "NHWC",
            zero_debias_moving_mean=False,
            scope=given["_scope"],
        )
        if given["renorm"] or given["adjustment"]:
            raise NotImplementedError(
                "tf_slim.batch_norm leaves renorm and adjustment to a Keras layer that this TensorFlow does not have"
            )
        regularized = any(self._arguments["param_regularizers"].values())
        if regularized and not given["fused"]:
            raise NotImplementedError("tf_slim.batch_norm itself takes param_regularizers only with fused=True")

    def apply(self, inputs, training):
        outputs = slim_layers.batch_norm(inputs, is_training=training, **self._arguments)
        variables = {variable.op.name: variable for variable in tf.global_variables()}
        for name in ("beta", "gamma", "moving_mean", "moving_variance"):
            setattr(self, name, variables.get(f"{self._scope.name}/{name}"))
        return outputs


def _batch_normalization(**arguments):
    try:
        layer_class = normalization.BatchNormalization
    except ImportError:
        layer_class = _BatchNormalization
    return layer_class(**arguments)


def _bridge():
    for module, name, public in _MOVED:
        if not hasattr(module, name):
            setattr(module, name, public)
    slim_layers.normalization_layers = types.SimpleNamespace(BatchNormalization=_batch_normalization)


_bridge()


def make_callable(session, fetches):
    """`session.run` for the same fetches again and again, without looking through its arguments anew each time.

    Returns a function of a feed_dict, whose tensors must be the same ones at each call and whose values arrays, or
    numpy scalars, of their dtypes. It returns what was fetched, without the ops.
    """
    call = None

    def run(feed_dict):
        nonlocal call
        if call is None:
            options = config_pb2.CallableOptions(feed=[tensor.name for tensor in feed_dict])
            for fetch in fetches:
                (options.target if isinstance(fetch, tf.Operation) else options.fetch).append(fetch.name)
            call = session._make_callable_from_options(options)
        return call(*feed_dict.values())

    return run


def capture(tensor):
    """Makes a tensor of the graph around a `tf.while_loop` known to the loop's body. Call it in the body."""
    graph = tf.get_default_graph()
    return graph.capture(tensor) if hasattr(graph, "capture") else tensor


def compiled(function):
    """The function of tensors, compiled by XLA: where it is called, one op of the default graph."""
    return tensorflow.function(function, jit_compile=True, autograph=False)


def is_registered(op: str) -> bool:
    """Whether this TensorFlow knows an op of this name."""
    return op_def_registry.get(op) is not None


def ancestors(ops) -> set:
    """These ops and all that have to run for them."""
    found, waiting = set(), list(ops)
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [*(tensor.op for tensor in op.inputs), *op.control_inputs]
    return found


def uniform_at(op, run):
    """What the stateful RandomUniform `op` draws in its run number `run` of a session, 0 for the first: the same bits.

    op: a RandomUniform with a seed, of any graph. Its shape must be known.
    run: int64 scalar.

    The generator is Philox, whose numbers are a function of a key and a counter. The kernel's key is `seed`; the upper
    half of its counter is `seed2`, and the lower half is `uniform_counter`.
    """
    (uniform,) = op.outputs
    return tf.raw_ops.StatelessRandomUniformV2(
        shape=uniform.shape,
        key=tf.constant([op.get_attr("seed")], tf.uint64),
        counter=tf.cast(tf.stack([uniform_counter(op, run), tf.constant(op.get_attr("seed2"), tf.int64)]), tf.uint64),
        alg=1,  # Philox
        dtype=uniform.dtype,
    )


def uniform_counter(op, run):
    """The lower half of the Philox counter with which a RandomUniform begins run number `run`, int64 of `run`'s shape.

    It begins at 0, and is moved on in each run by 256 for every number that is drawn
    (tensorflow/core/kernels/random_op.cc and core/util/guarded_philox_random.cc).
    """
    return 256 * op.outputs[0].shape.num_elements() * tf.cast(run, tf.int64)
