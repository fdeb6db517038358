"""`batch_norm`, called as the code of 2016 called it."""

import inspect

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tf_slim

from bn_graph import batch_norm
from tests.rounding import PARTS, ROUNDOFF

pytestmark = pytest.mark.release


def variable_names():
    return [variable.op.name for variable in tf.global_variables()]


def moving_after(fetch, feed=None):
    """The moving mean and variance of the only layer, once `fetch` has been run, as numbers for one channel."""
    mean, variance = (
        next(variable for variable in tf.global_variables() if variable.op.name.endswith(part)) for part in PARTS[2:]
    )
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(fetch, feed)
        return [float(statistic[0]) for statistic in session.run([mean, variance])]


# Mean 3, variance 4 (or 8 with n - 1): a moving mean of 3 * (1 - decay) shows the decay.
ONE_AND_FIVE = np.float32([[1], [5]])


def test_parameters_and_defaults_are_those_of_tf_0_12():
    parameters = inspect.signature(batch_norm).parameters.values()
    assert [(parameter.name, parameter.default) for parameter in parameters] == [
        ("inputs", inspect.Parameter.empty),
        ("decay", 0.999),
        ("center", True),
        ("scale", False),
        ("epsilon", 0.001),
        ("activation_fn", None),
        ("param_initializers", None),
        ("updates_collections", "update_ops"),
        ("is_training", True),
        ("reuse", None),
        ("variables_collections", None),
        ("outputs_collections", None),
        ("trainable", True),
        ("batch_weights", None),
        ("fused", False),
        ("data_format", "NHWC"),
        ("scope", None),
    ]
    assert all(parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)


@pytest.mark.parametrize("fused", [False, True])
def test_all_arguments_can_be_given_by_position(fused):
    with tf.Graph().as_default(), tf.Session() as session:
        start = {"beta": tf.constant_initializer(0.25), "moving_variance": tf.constant_initializer(2.0)}
        weights = None if fused else tf.constant([1.0, 3.0])
        outputs = batch_norm(
            ONE_AND_FIVE, 0.5, True, True, 5.0, tf.nn.relu, start, "mine", tf.constant(True), False,
            {"gamma": ["gammas"]}, "results", False, weights, fused, "NCHW", "by_position",
        )  # fmt: skip
        assert variable_names() == [f"by_position/{part}" for part in PARTS]
        assert [variable.op.name for variable in tf.get_collection("gammas")] == ["by_position/gamma"]
        assert tf.trainable_variables() == [] and tf.get_collection("results") == [outputs]
        session.run(tf.global_variables_initializer())
        # Weighted: mean 4, variance 3. Fused: mean 3, variance 4, of which 8 goes on.
        mean, variance, counted = (3, 4, 8) if fused else (4, 3, 3)
        expected = np.maximum((ONE_AND_FIVE - mean) / np.sqrt(variance + 5) + 0.25, 0)
        np.testing.assert_allclose(session.run(outputs), expected, rtol=1e-6)
        new = session.run(tf.get_collection("mine"))
        np.testing.assert_allclose(np.ravel(new), [mean / 2, (2 + counted) / 2], rtol=1e-6)


def test_layers_without_a_scope_are_called_batchnorm_and_numbered():
    with tf.Graph().as_default():
        for fused in (False, True, False):
            batch_norm(tf.zeros([2, 3]), fused=fused)
        parts = "beta", "moving_mean", "moving_variance"
        scopes = "BatchNorm", "BatchNorm_1", "BatchNorm_2"
        assert variable_names() == [f"{scope}/{part}" for scope in scopes for part in parts]


@pytest.mark.parametrize("is_training", [1, np.bool_(True), 0, np.bool_(False)], ids=repr)
@pytest.mark.parametrize("fused", [False, True])
def test_numbers_and_numpy_bools_do_for_is_training(fused, is_training):
    with tf.Graph().as_default():
        outputs = batch_norm(ONE_AND_FIVE, is_training=is_training, decay=0.0, updates_collections=None, fused=fused)
        trained = [3.0, 8.0 if fused else 4.0]
        assert moving_after(outputs) == (trained if is_training else [0.0, 1.0])


def test_the_train_op_moves_the_averages_only_if_it_depends_on_the_update_ops():
    for dependent in (False, True):
        with tf.Graph().as_default():
            loss = tf.reduce_sum(batch_norm(ONE_AND_FIVE, decay=0.75))
            with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS) if dependent else []):
                train_op = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
            assert moving_after(train_op) == ([0.75, 1.75] if dependent else [0.0, 1.0])


@pytest.mark.parametrize("fused", [False, True])
def test_running_two_collections_together_updates_once(fused):
    with tf.Graph().as_default():
        batch_norm(ONE_AND_FIVE, decay=0.5, updates_collections=["one", "two"], fused=fused)
        assert moving_after(tf.get_collection("one") + tf.get_collection("two")) == [1.5, 4.5 if fused else 2.5]


@pytest.mark.parametrize("fused", [False, True])
def test_a_bias_before_the_layer_does_nothing_in_training(fused):
    x = np.random.RandomState(5).uniform(-1, 1, [6, 3]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.constant(x)
        pair = batch_norm(inputs, fused=fused), batch_norm(inputs + tf.constant([1.0, -2.0, 4.0]), fused=fused)
        session.run(tf.global_variables_initializer())
        plain, biased = session.run(pair)
        # x + bias is below 5, so rounded by 5 * u; divided by deviations of about 0.5.
        np.testing.assert_allclose(plain, biased, atol=100 * ROUNDOFF["float32"])


@pytest.mark.parametrize("switch", [True, False])
def test_one_placeholder_switches_a_whole_graph_between_training_and_inference(switch):
    with tf.Graph().as_default():
        is_training = tf.placeholder(tf.bool, name="is_training")
        outputs = batch_norm(ONE_AND_FIVE, decay=0.5, is_training=is_training)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            outputs = tf.identity(outputs)
        assert moving_after(outputs, {is_training: switch}) == ([1.5, 2.5] if switch else [0.0, 1.0])


@pytest.mark.parametrize("variables_collections", [["mine", "ours"], ("mine", "ours")], ids=["list", "tuple"])
@pytest.mark.parametrize("updates_collections", [None, "update_ops"])
@pytest.mark.parametrize("fused", [False, True])
def test_variables_collections_take_every_variable(fused, updates_collections, variables_collections):
    with tf.Graph().as_default():
        batch_norm(
            tf.zeros([2, 3]), scale=True, fused=fused, updates_collections=updates_collections,
            variables_collections=variables_collections,
        )  # fmt: skip
        for name in ("mine", "ours", tf.GraphKeys.MODEL_VARIABLES):
            assert tf.get_collection(name) == tf.global_variables() and len(tf.get_collection(name)) == 4


@pytest.mark.parametrize("fused", [False, True])
def test_variables_collections_by_part_take_that_part(fused):
    with tf.Graph().as_default():
        by_part = {part: [f"{part}s", "some"] for part in ("beta", "moving_variance")}
        batch_norm(tf.zeros([2, 3]), scale=True, fused=fused, variables_collections=by_part)
        found = {name: [v.op.name for v in tf.get_collection(name)] for name in ("betas", "moving_variances", "some")}
        assert found == {
            "betas": ["BatchNorm/beta"],
            "moving_variances": ["BatchNorm/moving_variance"],
            "some": ["BatchNorm/beta", "BatchNorm/moving_variance"],
        }


def test_a_plain_name_for_variables_collections_is_taken_letter_by_letter_as_in_tf_0_12():
    # So give a list. (The name of a collection of outputs or updates may be plain.)
    with tf.Graph().as_default():
        batch_norm(tf.zeros([2, 3]), variables_collections="mine")
        assert tf.get_collection("mine") == []
        assert all(tf.get_collection(letter) == tf.global_variables() for letter in "mine")


@pytest.mark.parametrize("outputs_collections", ["results", ["results", "more"]])
@pytest.mark.parametrize("fused", [False, True])
def test_outputs_collections_take_the_activated_result(fused, outputs_collections):
    with tf.Graph().as_default():
        outputs = batch_norm(
            tf.zeros([2, 3]), fused=fused, activation_fn=tf.nn.relu, outputs_collections=outputs_collections
        )
        assert outputs.op.type == "Relu"
        for name in [outputs_collections] if isinstance(outputs_collections, str) else outputs_collections:
            assert tf.get_collection(name) == [outputs]


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("fused", [False, True])
def test_only_beta_and_gamma_are_trainable_and_only_if_asked_to(fused, trainable):
    with tf.Graph().as_default():
        batch_norm(tf.zeros([2, 3]), scale=True, fused=fused, trainable=trainable)
        names = [variable.op.name for variable in tf.trainable_variables()]
        assert names == (["BatchNorm/beta", "BatchNorm/gamma"] if trainable else [])
        assert variable_names() == [f"BatchNorm/{part}" for part in PARTS]


@pytest.mark.parametrize("as_class", [True, False], ids=["class", "instance"])
@pytest.mark.parametrize("fused", [False, True])
def test_initializers_may_be_classes_or_instances(fused, as_class):
    zeros, ones = tf.zeros_initializer, tf.ones_initializer
    by_part = {"beta": ones, "gamma": zeros, "moving_mean": ones, "moving_variance": zeros}
    with tf.Graph().as_default(), tf.Session() as session:
        initializers = by_part if as_class else {part: initializer() for part, initializer in by_part.items()}
        batch_norm(tf.zeros([2, 3]), scale=True, fused=fused, param_initializers=initializers)
        session.run(tf.global_variables_initializer())
        values = session.run({variable.op.name: variable for variable in tf.global_variables()})
        for part, initializer in by_part.items():
            assert values[f"BatchNorm/{part}"].tolist() == [float(initializer is ones)] * 3


@pytest.mark.parametrize("fused", [False, True])
def test_variables_start_at_zero_mean_and_unit_variance_and_do_nothing_to_inputs_like_that(fused):
    x = np.float32([[-2, 0.5], [3, 4]])
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = batch_norm(x, scale=True, is_training=False, epsilon=3.0, fused=fused)
        session.run(tf.global_variables_initializer())
        values = session.run({variable.op.name: variable for variable in tf.global_variables()})
        for part in PARTS:
            value = values[f"BatchNorm/{part}"]
            assert value.dtype == np.float32 and value.tolist() == [float(part in ("gamma", "moving_variance"))] * 2
        np.testing.assert_allclose(session.run(outputs), x / 2, rtol=8 * ROUNDOFF["float32"])


# --- Two towers over one set of variables -----------------------------------------------------------------------------


@pytest.mark.parametrize("in_scope_object", [False, True], ids=["by name", "by scope object"])
@pytest.mark.parametrize("fused", [False, True])
def test_a_second_tower_shares_the_variables_and_adds_no_update_ops(fused, in_scope_object):
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.name_scope("train"), tf.variable_scope("hidden") as scope:
            given_scope = scope if in_scope_object else "bn"
            train = batch_norm(ONE_AND_FIVE, decay=0.5, fused=fused, scope=given_scope)
        names, updates = variable_names(), tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        assert names == [
            f"hidden/{'' if in_scope_object else 'bn/'}{part}" for part in ("beta", "moving_mean", "moving_variance")
        ]
        with tf.name_scope("test"), tf.variable_scope("hidden", reuse=None if in_scope_object else True):
            test = batch_norm(ONE_AND_FIVE, is_training=False, fused=fused, scope=given_scope, reuse=True)
        assert variable_names() == names and tf.get_collection(tf.GraphKeys.UPDATE_OPS) == updates and len(updates) == 2

        session.run(tf.global_variables_initializer())
        session.run([train, updates])
        # Half way from (0, 1) to (3, 4), or to (3, 8).
        expected = (ONE_AND_FIVE - 1.5) / np.sqrt((4.5 if fused else 2.5) + 0.001)
        np.testing.assert_allclose(session.run(test), expected, rtol=16 * ROUNDOFF["float32"])


@pytest.mark.parametrize("fused", [False, True])
def test_two_training_towers_move_the_shared_averages_one_after_the_other(fused):
    with tf.Graph().as_default():
        first = batch_norm(ONE_AND_FIVE, decay=0.5, fused=fused, scope="bn", updates_collections=None)
        with tf.control_dependencies([first]):
            second = batch_norm(
                tf.identity(ONE_AND_FIVE), decay=0.5, fused=fused, scope="bn", updates_collections=None, reuse=True
            )
        batch = 8 if fused else 4
        assert moving_after(second) == [3 * 0.75, 1 * 0.25 + batch * 0.75]


@pytest.mark.parametrize("fused", [False, True])
def test_a_second_layer_of_the_same_scope_must_say_that_it_shares(fused):
    with tf.Graph().as_default():
        batch_norm(tf.zeros([2, 3]), scope="bn", fused=fused)
        with pytest.raises(ValueError, match="already exists"):
            batch_norm(tf.zeros([2, 3]), scope="bn", fused=fused)
        with pytest.raises(ValueError, match="does not exist"):
            batch_norm(tf.zeros([2, 3]), scope="other", reuse=True, fused=fused)
        with pytest.raises(ValueError, match="reuse=True cannot be used without"):
            batch_norm(tf.zeros([2, 3]), reuse=True, fused=fused)


# --- arg_scope and normalizer_fn --------------------------------------------------------------------------------------


def test_an_arg_scope_gives_defaults():
    with tf.Graph().as_default():
        with tf_slim.arg_scope([batch_norm], decay=0.5, is_training=True, updates_collections=None, scale=True):
            outputs = batch_norm(ONE_AND_FIVE)
        assert moving_after(outputs) == [1.5, 2.5]
        assert variable_names() == [f"BatchNorm/{part}" for part in PARTS]


def test_an_arg_scope_ends():
    with tf.Graph().as_default():
        with tf_slim.arg_scope([batch_norm], center=False, updates_collections="own", is_training=False):
            pass
        batch_norm(ONE_AND_FIVE)
        assert variable_names() == [f"BatchNorm/{part}" for part in ("beta", "moving_mean", "moving_variance")]
        assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == 2 and tf.get_collection("own") == []


def test_an_inner_arg_scope_wins_and_keeps_the_rest_of_the_outer_one():
    with tf.Graph().as_default():
        with tf_slim.arg_scope([batch_norm], decay=0.25, updates_collections=None, is_training=False):
            with tf_slim.arg_scope([batch_norm], decay=0.5, is_training=True):
                outputs = batch_norm(ONE_AND_FIVE)
        assert moving_after(outputs) == [1.5, 2.5]


def test_an_explicit_argument_wins_over_the_arg_scope():
    with tf.Graph().as_default():
        with tf_slim.arg_scope([batch_norm], decay=0.25, updates_collections=None, is_training=False, scale=True):
            outputs = batch_norm(ONE_AND_FIVE, decay=0.5, is_training=True)
        assert moving_after(outputs) == [1.5, 2.5]
        assert "BatchNorm/gamma" in variable_names()


def test_an_arg_scope_of_tf_slims_own_layer_does_not_reach_it():
    with tf.Graph().as_default(), tf_slim.arg_scope([tf_slim.batch_norm], zero_debias_moving_mean=True, decay=0.1):
        batch_norm(tf.zeros([2, 3]))
        names = [variable.op.name for variable in tf.global_variables()]
    assert names == ["BatchNorm/beta", "BatchNorm/moving_mean", "BatchNorm/moving_variance"]


def test_fused_none_means_not_fused_as_in_tf_0_12():
    with tf.Graph().as_default() as graph:
        batch_norm(tf.zeros([2, 3]), fused=None)
        assert not [op for op in graph.get_operations() if "FusedBatchNorm" in op.type]


def test_an_arg_scope_can_be_kept_and_entered_again():
    with tf_slim.arg_scope([batch_norm], decay=0.5, updates_collections=None) as kept:
        pass
    for _ in range(2):
        with tf.Graph().as_default(), tf_slim.arg_scope(kept):
            assert moving_after(batch_norm(ONE_AND_FIVE)) == [1.5, 2.5]


def dense(inputs, **arguments):
    return tf_slim.fully_connected(inputs, 2, **arguments)


def convolution(inputs, **arguments):
    # Of one pixel, so that it multiplies by one matrix as the other layer does.
    return tf_slim.conv2d(inputs[:, None, None, :], 2, [1, 1], **arguments)


@pytest.mark.filterwarnings("ignore:`layer.apply` is deprecated")
@pytest.mark.parametrize("by_arg_scope", [False, True], ids=["by argument", "by arg_scope"])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("layer, scope", [(dense, "fully_connected"), (convolution, "Conv")])
def test_it_is_the_normalizer_of_another_layer(layer, scope, fused, by_arg_scope):
    x = np.float32([[1, 2, 0], [0, 1, 4], [3, 0, 1], [-2, 1, 1]])
    weights = np.float32([[1, 2], [0, -1], [3, 0.5]])
    arguments = dict(
        normalizer_fn=batch_norm,
        normalizer_params={"decay": 0.5, "is_training": True, "scale": True, "epsilon": 1.0, "fused": fused},
        weights_initializer=tf.constant_initializer(weights),
    )
    with tf.Graph().as_default(), tf.Session() as session:
        if by_arg_scope:
            with tf_slim.arg_scope([tf_slim.fully_connected, tf_slim.conv2d], **arguments):
                outputs = layer(tf.constant(x))
        else:
            outputs = layer(tf.constant(x), **arguments)
        # The biases are gone: beta does their work.
        assert variable_names() == [f"{scope}/weights"] + [f"{scope}/BatchNorm/{part}" for part in PARTS]
        session.run(tf.global_variables_initializer())
        y = x @ weights
        expected = np.maximum((y - y.mean(0)) / np.sqrt(y.var(0) + 1), 0)
        np.testing.assert_allclose(session.run(outputs).reshape(4, 2), expected, rtol=1e-6, atol=1e-6)
        new = session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        np.testing.assert_allclose(new, [y.mean(0) / 2, (1 + y.var(0, ddof=int(fused))) / 2], rtol=1e-6)


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, arguments, message",
    [
        ([4, 3], {"fused": True, "batch_weights": np.ones(4, np.float32)}, "batch_weights"),
        ([4, 3, 2], {"fused": True}, "rank"),
        ([4, 3, 2, 2, 2], {"fused": True}, "rank"),
        ([4], {"fused": True}, "rank"),
        (None, {"fused": True}, "rank"),
        (None, {}, "rank"),
        ([4, None], {}, "undefined"),
        ([4, None], {"fused": True}, "must be known"),
        ([4, 3, 2, None], {"fused": True}, "undefined"),
        ([4, None, 2, 2], {"data_format": "NCHW"}, "undefined"),
        ([4, None, 2, 2], {"fused": True, "data_format": "NCHW"}, "undefined"),
        ([4, 3], {"data_format": "NWHC"}, "data_format"),
        ([4, 3], {"data_format": "NWHC", "fused": True}, "data_format"),
        ([4, 3], {"data_format": "NWHC", "updates_collections": None}, "data_format"),
        ([4, 3], {"batch_weights": np.ones(5, np.float32)}, "incompatible"),
        ([4, 3], {"is_training": None}, "None"),
    ],
)
def test_what_it_cannot_do_is_a_value_error(shape, arguments, message):
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match=message):
            batch_norm(tf.placeholder(tf.float32, shape), **arguments)


def test_the_fused_kernel_takes_no_float64_as_in_tf_0_12():
    with tf.Graph().as_default():
        with pytest.raises(TypeError, match="float64"):
            batch_norm(tf.placeholder(tf.float64, [4, 3]), fused=True)


@pytest.mark.parametrize("shape", [[None, 3], [None, None, None, 3]])
def test_a_fused_layer_need_not_know_its_rows(shape):
    # TF 0.12 could not reshape such an input of rank 2.
    with tf.Graph().as_default():
        outputs = batch_norm(tf.placeholder(tf.float32, shape), fused=True)
        assert outputs.shape.as_list() == shape
