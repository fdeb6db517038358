"""tf-slim works on today's TensorFlow once bn_graph is imported, and nothing else changes."""

import numpy as np
import pytest

import bn_graph  # noqa: F401  its import is what is tested
from bn_graph.tf1 import tf, tf_slim, uniform_at
from tests.helpers import run_python

pytestmark = pytest.mark.release

UPDATE_OPS = tf.GraphKeys.UPDATE_OPS
IS_TRAINING = {
    "bool": lambda value: value,
    "constant": lambda value: tf.constant(value),
    "placeholder": lambda value: tf.placeholder_with_default(value, []),
    "variable": lambda value: tf.Variable(value, trainable=False),
}


@pytest.mark.parametrize("is_training", IS_TRAINING)
@pytest.mark.parametrize("updates_collections", [None, UPDATE_OPS, "my_updates"])
@pytest.mark.parametrize("fused", [False, None])
def test_tf_slim_batch_norm_trains_and_evaluates(updates_collections, is_training, fused):
    for training in (True, False):
        with tf.Graph().as_default():
            inputs = np.arange(12, dtype=np.float32).reshape(2, 2, 1, 3) ** 2
            outputs = tf_slim.batch_norm(
                tf.constant(inputs),
                decay=0.5,
                fused=fused,
                updates_collections=updates_collections,
                is_training=IS_TRAINING[is_training](training),
            )
            updates = tf.get_collection(updates_collections) if updates_collections else []
            moving_mean = next(v for v in tf.global_variables() if v.op.name == "BatchNorm/moving_mean")
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                found = session.run([outputs, *updates])[0]
                moved = session.run(moving_mean)
        mean, variance = inputs.mean(axis=(0, 1, 2)), inputs.var(axis=(0, 1, 2))
        if not training:
            mean, variance = np.zeros(3), np.ones(3)
        np.testing.assert_allclose(found, (inputs - mean) / np.sqrt(variance + 0.001), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(moved, 0.5 * mean, rtol=1e-6)


def test_resnet_v1_which_passes_the_plain_update_ops_trains_a_step():
    from tf_slim.nets import resnet_v1

    rng = np.random.RandomState(0)
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        images = tf.constant(rng.rand(4, 32, 32, 3).astype(np.float32))
        with tf_slim.arg_scope(resnet_v1.resnet_arg_scope(batch_norm_decay=0.5)):
            logits, _ = resnet_v1.resnet_v1_50(images, num_classes=5, is_training=True)
        labels = tf.one_hot([0, 1, 2, 3], 5)
        loss = tf.reduce_mean(
            tf.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=tf.squeeze(logits, [1, 2]))
        )
        train_op = tf_slim.learning.create_train_op(loss, tf.train.GradientDescentOptimizer(0.001))
        moving = [v for v in tf.global_variables() if "moving_" in v.op.name]
        trained = tf.trainable_variables()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            before = session.run([moving, trained])
            assert np.isfinite(session.run(train_op))
            after = session.run([moving, trained])
    assert len(moving) == 2 * 53  # a ResNet-50 of tf-slim has 53 batch-norm layers
    for old, new in zip(sum(before, []), sum(after, []), strict=True):
        assert not np.array_equal(old, new)


@pytest.mark.parametrize("refused", [dict(renorm=True), dict(adjustment=lambda shape: (1.0, 0.0))])
def test_what_only_the_lost_keras_layer_could_do_is_refused_by_name(refused):
    with tf.Graph().as_default(), pytest.raises(NotImplementedError, match="renorm and adjustment"):
        tf_slim.batch_norm(tf.zeros([2, 2, 2, 3]), fused=False, **refused)


def test_a_regularizer_is_not_dropped_silently():
    regularizers = {"beta": tf_slim.l2_regularizer(0.1)}
    with tf.Graph().as_default():
        tf_slim.batch_norm(tf.zeros([2, 2, 2, 3]), param_regularizers=regularizers)
        assert len(tf.losses.get_regularization_losses()) == 1
    with tf.Graph().as_default(), pytest.raises(NotImplementedError, match="param_regularizers"):
        tf_slim.batch_norm(tf.zeros([2, 2, 2, 3]), fused=False, param_regularizers=regularizers)


USE_TF_SLIM = """
import tensorflow.compat.v1 as tf
with tf.Graph().as_default():
    {tf_slim}.batch_norm(tf.zeros([2, 2, 2, 3]), is_training=tf.placeholder(tf.bool, []))
"""


@pytest.mark.parametrize("order", ["import bn_graph, tf_slim", "import tf_slim, bn_graph"])
def test_plain_tf_slim_works_beside_it_in_either_order(order):
    run_python(order + USE_TF_SLIM.format(tf_slim="tf_slim"))


def test_a_batch_norm_that_was_imported_before_is_mended_too():
    run_python("from tf_slim import batch_norm\nimport bn_graph\nclass slim: batch_norm = staticmethod(batch_norm)\n"
               + USE_TF_SLIM.format(tf_slim="slim"))  # fmt: skip


def test_importing_bn_graph_alone_does_not_import_tensorflow():
    run_python("import sys, bn_graph; bn_graph.PAGE; assert 'tensorflow' not in sys.modules")


def test_what_is_there_is_left_alone():
    run_python("""
from tensorflow.python.framework import ops
from tensorflow.python.ops import control_flow_ops
from tensorflow.python.layers import normalization
import tensorflow.compat.v1 as tf
class Theirs:
    def __init__(self, **arguments): self.beta = self.gamma = self.moving_mean = self.moving_variance = tf.Variable(0.0)
    def apply(self, inputs, training): return tf.identity(inputs, 'theirs')
ops.Tensor = control_flow_ops.cond = theirs = object
normalization.BatchNormalization = Theirs
import bn_graph.tf1, tf_slim
assert ops.Tensor is theirs and control_flow_ops.cond is theirs
with tf.Graph().as_default():
    assert tf_slim.batch_norm(tf.zeros([2, 3]), fused=False).op.name.endswith('theirs')
""")


def test_keras_trains_in_the_same_process_before_and_after_and_no_switch_has_moved():
    run_python("""
import numpy as np, tensorflow as tf
v1 = tf.compat.v1
def switches():
    return (tf.executing_eagerly(), v1.resource_variables_enabled(), v1.control_flow_v2_enabled(),
            v1.get_default_graph().seed, len(v1.get_default_graph().get_operations()))
def keras():
    tf.keras.utils.set_random_seed(1)
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.Dense(4), layers.BatchNormalization(), layers.Dense(1)])
    model.compile('sgd', 'mse')
    x = np.linspace(0, 1, 64, dtype=np.float32).reshape(16, 4)
    return model.fit(x, x[:, :1], epochs=3, verbose=0).history['loss']
before = switches(), keras()
import dataclasses, bn_graph
rng = np.random.RandomState(0)
mnist = bn_graph.Mnist(rng.randint(0, 256, (400, 784)).astype(np.uint8), np.arange(400) % 10.0, 'noise')
splits = bn_graph.split(mnist, valid_size=50, test_size=50)
config = dataclasses.replace(bn_graph.PAGE, steps=5, hidden_size=8)
bn_graph.train(bn_graph.build_graph(config, splits), splits)
assert (switches(), keras()) == before, (switches(), before)
""")


def test_it_works_alike_where_the_program_has_switched_tensorflow_2_behaviour_off():
    program = """
import tensorflow as tf
{switch}
import dataclasses, numpy as np, bn_graph
rng = np.random.RandomState(0)
mnist = bn_graph.Mnist(rng.randint(0, 256, (400, 784)).astype(np.uint8), np.arange(400) % 10.0, 'noise')
splits = bn_graph.split(mnist, valid_size=50, test_size=50)
for is_training in ('bool', 'placeholder'):
    config = dataclasses.replace(bn_graph.NOTEBOOK, steps=30, hidden_size=8, seed=3, is_training=is_training)
    print(bn_graph.train(bn_graph.build_graph(config, splits), splits).train_loss)
"""
    today = run_python(program.format(switch=""))
    assert run_python(program.format(switch="tf.compat.v1.disable_v2_behavior()")) == today


@pytest.mark.parametrize("shape", [[64, 1024], [64, 1025], [7, 3], [1]])
@pytest.mark.parametrize("seed", [0, 1, 2**31 - 2])
def test_what_a_random_op_draws_in_any_run_is_known_without_the_runs_before_it(seed, shape):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(seed)
        uniform, number = tf.random_uniform(shape, seed=104), tf.placeholder(tf.int64, [])
        (op,) = (op for op in session.graph.get_operations() if op.type == "RandomUniform")
        at = uniform_at(op, number)
        drawn = [session.run(uniform) for _ in range(5)]
        for run in (4, 0, 2):
            np.testing.assert_array_equal(session.run(at, {number: run}), drawn[run])
