"""`batch_norm`: its arithmetic against float64 numpy and against TF 0.12.1, and its use as the code of 2016 used it.

How far a result may be from the exact one is computed, not guessed: `Near` carries a value and a bound on its error
through the same steps as the layer takes. The bounds are the textbook ones, in units of roundoff `u` (half the distance
from 1 to the next number): a sum of n terms is wrong by at most n * u times the sum of their sizes.
"""

import functools
import inspect
import itertools
import json
import random
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tf_slim
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from bn_graph import batch_norm
from tests.paths import REFERENCE

ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}
# TensorFlow's CPU kernels take numbers below 1e-38 for zero, which gamma / sqrt(epsilon) and sums enlarge. Here is room
# for that; no result of interest is as small.
FLUSHED = 1e-30
PARTS = "beta", "gamma", "moving_mean", "moving_variance"


class Near(NamedTuple):
    """An exact value, and how far a computed one may be from it."""

    value: np.ndarray
    error: np.ndarray


def assert_near(actual, near):
    assert actual.shape == near.value.shape
    excess = np.abs(actual - near.value) - near.error
    assert np.all(excess <= 0), f"{actual}, not {near.value} with an error of {near.error}"


def batch_moments(x, weights, u, shift=None):
    """Mean and biased variance of the rows of x [n, channels].

    Mean: n products with the weights, two sums of n terms and a division make (2n + 4) roundings of at most
    max|x|. Variance: sums of squares of x minus the *computed* mean, which are larger by the square of its error; two
    more roundings for each square. With `shift`, as TF 0.12 has it: E[(x - shift)^2] - E[x - shift]^2, where both
    terms are of the size of (mean - shift)^2 + variance, and so are their errors.
    """
    n = len(x)
    share = weights[:, None] / weights.sum()
    mean = (share * x).sum(0)
    variance = (share * (x - mean) ** 2).sum(0)
    if shift is None:
        mean_error = (2 * n + 4) * u * np.abs(x).max(0)
        variance_error = (2 * n + 8) * u * (variance + mean_error**2) + mean_error**2
    else:
        mean_error = (2 * n + 4) * u * (np.abs(x).max(0) + np.abs(shift))
        variance_error = 2 * (2 * n + 8) * u * (variance + (mean - shift) ** 2)
    return Near(mean, mean_error + FLUSHED), Near(variance, variance_error + FLUSHED)


def inverse_deviation(variance, epsilon, u):
    """1 / sqrt(variance + epsilon), anywhere between its values for the largest and the smallest variance.

    Epsilon is rounded, the sum, and the root, which the kernel may give in the second last place: 4 u.
    """
    value = 1 / np.sqrt(variance.value + epsilon)
    highest = 1 / np.sqrt(np.maximum(variance.value - variance.error, 0) + epsilon)
    lowest = 1 / np.sqrt(variance.value + variance.error + epsilon)
    return Near(value, np.maximum(highest * (1 + 4 * u) - value, value - lowest * (1 - 4 * u)))


def normalised(x, mean, variance, beta, gamma, epsilon, u):
    """x * inverse + (beta - mean * inverse) with inverse = gamma / deviation: 6 roundings, none of more than the terms.

    The two terms may be far larger than what is left of them, where the mean is far larger than the deviation.
    """
    inverse = inverse_deviation(variance, epsilon, u)
    highest = inverse.value + inverse.error
    distance = x - mean.value
    value = distance * inverse.value * gamma + beta
    of_moments = np.abs(distance) * inverse.error + mean.error * highest
    of_terms = 6 * u * (np.abs(x) + np.abs(mean.value) + mean.error) * highest
    return Near(value, np.abs(gamma) * (of_moments + of_terms) + 6 * u * np.abs(beta) + FLUSHED)


def moved(moving, batch, decay, u):
    """moving - (1 - decay) * (moving - batch): 4 roundings, of at most the two together."""
    value = moving.value - (1 - decay) * (moving.value - batch.value)
    rounding = 4 * u * (np.abs(moving.value) + np.abs(batch.value) + moving.error + batch.error)
    return Near(value, decay * moving.error + (1 - decay) * batch.error + rounding)


def expected_step(layer, moving, x, weights, training, shifted=False):
    """The outputs on a batch x [..., channels], and the pair of moving statistics after it, all as `Near`."""
    flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
    n = len(flat)
    share = np.ones(n) if weights is None else np.repeat(weights.astype(np.float64), n // len(weights))
    if training:
        shift = moving[0].value if shifted and weights is None and not layer.fused else None
        mean, variance = batch_moments(flat, share, layer.u, shift)
        unbiased = n / max(n - 1, 1) if layer.fused else 1
        counted = Near(variance.value * unbiased, (variance.error + 2 * layer.u * variance.value) * unbiased)
        moving = tuple(moved(*pair, layer.decay, layer.u) for pair in zip(moving, (mean, counted), strict=True))
    else:
        mean, variance = moving
    outputs = normalised(flat, mean, variance, layer.beta, layer.gamma, layer.epsilon, layer.u)
    return Near(*(part.reshape(x.shape) for part in outputs)), moving


def channels_last(x, data_format):
    return np.moveaxis(x, 1, -1) if data_format == "NCHW" else x


def same(left, right):
    return all(np.array_equal(*pair) for pair in zip(left, right, strict=True))


# --- Against float64 numpy --------------------------------------------------------------------------------------------

VARIANTS = "plain", "weights", "fused"
TRAINING = "True", "False", "constant True", "constant False", "placeholder", "variable"
UPDATES = None, tf.GraphKeys.UPDATE_OPS, "own", ("one", "two")


class Structure(NamedTuple):
    variant: str
    data_format: str
    training: str
    updates: object
    rank: int
    center: bool
    scale: bool
    epsilon: float
    channels: int

    def __str__(self):
        updates = "+".join(self.updates) if isinstance(self.updates, tuple) else self.updates
        switches = ("-beta" if self.center else "") + ("-gamma" if self.scale else "")
        return (
            f"{self.variant}-{self.data_format}-{self.training}-{updates}"
            f"-rank {self.rank}{switches}-{self.epsilon}-{self.channels}"
        )


def structures():
    """Every variant x format x is_training x updates_collections; the rest by a lot that always falls the same way."""
    lot = random.Random(2016)
    for variant, data_format, training, updates in itertools.product(VARIANTS, ("NHWC", "NCHW"), TRAINING, UPDATES):
        rank = lot.choice((2, 4) if variant == "fused" else (2, 4, 4, 3))
        center, scale = lot.choice((False, True)), lot.choice((False, True))
        epsilon, channels = lot.choice((1e-6, 1e-3, 0.1, 1.0)), lot.choice((1, 3, 3))
        yield Structure(variant, data_format, training, updates, rank, center, scale, epsilon, channels)


class Layer:
    """A layer in a graph and session of its own. What numbers it has is fed, so that one graph does for all of them."""

    def __init__(self, structure):
        self.structure = structure
        with tf.Graph().as_default():
            free = [None] * (structure.rank - 2)
            middle = [structure.channels, *free] if structure.data_format == "NCHW" else [*free, structure.channels]
            self.inputs = tf.placeholder(tf.float32, [None, *middle])
            self.weights = tf.placeholder(tf.float32, [None]) if structure.variant == "weights" else None
            self.decay = tf.placeholder(tf.float32, [])
            self.switch = tf.placeholder(tf.bool, [])
            self.flip = None
            self.start = {part: tf.placeholder(tf.float32, [structure.channels]) for part in PARTS}
            if structure.training == "placeholder":
                is_training = self.switch
            elif structure.training == "variable":
                is_training = tf.Variable(False, trainable=False)
                self.flip = is_training.assign(self.switch)
            else:
                is_training = structure.training.endswith("True")
                if structure.training.startswith("constant"):
                    is_training = tf.constant(is_training)
            listed = list(structure.updates) if isinstance(structure.updates, tuple) else [structure.updates]
            self.outputs = batch_norm(
                self.inputs,
                decay=self.decay,
                center=structure.center,
                scale=structure.scale,
                epsilon=structure.epsilon,
                param_initializers={part: functools.partial(self._initial, part) for part in PARTS},
                updates_collections=listed if len(listed) > 1 else structure.updates,
                is_training=is_training,
                batch_weights=self.weights,
                fused=structure.variant == "fused",
                data_format=structure.data_format,
                scope="layer",
            )
            self.collected = [tf.get_collection(name) for name in listed if name]
            variables = {variable.op.name: variable for variable in tf.global_variables()}
            self.moving = [variables[f"layer/{part}"] for part in PARTS[2:]]
            self.reset = tf.global_variables_initializer()
            self.session = tf.Session()

    def _initial(self, part, shape, dtype):
        return self.start[part]

    def statistics(self):
        return self.session.run(self.moving)

    def feed(self, batch, weights, decay, training):
        if self.flip is not None:
            self.session.run(self.flip, {self.switch: training})
        feed = {self.inputs: batch, self.decay: decay}
        if self.structure.training == "placeholder":
            feed[self.switch] = training
        if self.weights is not None:
            feed[self.weights] = weights
        return feed


@functools.lru_cache(maxsize=1)
def layer_of(structure):
    return Layer(structure)


class Step(NamedTuple):
    """One batch, and whether to train on it where that is open. The seed stands for the numbers in -1..1."""

    rows: int
    sides: tuple
    offset: float
    spread: float
    seed: int
    training: bool

    def batch(self, structure):
        generator = np.random.RandomState(self.seed)
        shape = [self.rows, *self.sides[: structure.rank - 2], structure.channels]
        offset = self.offset * generator.uniform(0.5, 1, structure.channels)
        batch = (offset + self.spread * generator.uniform(-1, 1, shape)).astype(np.float32)
        weights = generator.choice([0, 0.25, 1, 1, 7], self.rows).astype(np.float32)
        weights[generator.randint(self.rows)] = 0.5  # What counts for nothing has no mean.
        return batch, weights


def numbers(low, high):
    return st.floats(low, high, width=32)


STEPS = st.lists(
    st.builds(
        Step,
        rows=st.integers(1, 6),
        sides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        offset=numbers(-100, 100),
        spread=st.sampled_from([0.0, 0.001, 1.0, 100.0]),
        seed=st.integers(0, 2**32 - 1),
        training=st.booleans(),
    ),
    min_size=1,
    max_size=3,
)
START = st.fixed_dictionaries(
    {
        "beta": st_numpy.arrays(np.float32, 3, elements=numbers(-100, 100)),
        "gamma": st_numpy.arrays(np.float32, 3, elements=numbers(-3, 3)),
        "moving_mean": st_numpy.arrays(np.float32, 3, elements=numbers(-100, 100)),
        "moving_variance": st_numpy.arrays(np.float32, 3, elements=numbers(0, 10000)),
    }
)
DECAY = st.sampled_from([0.0, 0.5, 0.9, 0.999, 1.0]) | numbers(0, 1)


@pytest.mark.parametrize("structure", list(structures()), ids=str)
@settings(deadline=None, max_examples=15)
@given(start=START, decay=DECAY, steps=STEPS)
def test_outputs_and_moving_averages_are_those_of_exact_arithmetic(structure, start, decay, steps):
    layer = layer_of(structure)
    start = {part: values[: structure.channels] for part, values in start.items()}
    layer.session.run(layer.reset, {layer.start[part]: values for part, values in start.items()})
    exact = SimpleNamespace(
        fused=structure.variant == "fused",
        epsilon=structure.epsilon,
        decay=float(np.float32(decay)),
        beta=start["beta"].astype(np.float64) if structure.center else 0.0,
        gamma=start["gamma"].astype(np.float64) if structure.scale else 1.0,
        u=ROUNDOFF["float32"],
    )
    moving = tuple(Near(start[part].astype(np.float64), 0.0) for part in PARTS[2:])
    never = structure.training.endswith("False")
    assert [len(tensors) for tensors in layer.collected] == [0 if never else 2] * len(layer.collected)

    for number, step in enumerate(steps):
        batch, weights = step.batch(structure)
        training = step.training if structure.training in ("placeholder", "variable") else not never
        outputs_near, moving = expected_step(
            exact, moving, batch, weights if structure.variant == "weights" else None, training
        )
        fed = np.moveaxis(batch, -1, 1) if structure.data_format == "NCHW" else batch
        feed = layer.feed(fed, weights, decay, training)
        before = layer.statistics()
        outputs = layer.session.run(layer.outputs, feed)
        assert_near(channels_last(outputs, structure.data_format), outputs_near)
        if structure.updates is not None:
            assert same(layer.statistics(), before), "Nobody has run the update ops yet."
            # One collection is as good as another, and what they hold gives the new statistics, as in TF 0.12.
            given_out = layer.session.run(layer.collected[number % len(layer.collected)], feed)
            assert never or same(layer.statistics(), given_out)
        after = layer.statistics()
        if training:
            for actual, near in zip(after, moving, strict=True):
                assert_near(actual, near)
        else:
            assert same(after, before), "Without training nothing moves, not even by a rounding."


# --- Gradients --------------------------------------------------------------------------------------------------------


def expected_gradients(x, weights, cotangent, gamma, epsilon, u, shift=None):
    """d sum(cotangent * outputs) / d (x, gamma, beta) for flat x [n, channels], through the moments of the batch.

    With s = weights / sum(weights), z the normalised x and r the cotangent, d/dx is gamma / deviation times
    (r - s * sum(r) - s * z * sum(r * z)). TensorFlow gets the last sum as sum(r * x) - mean * sum(r), whose terms may
    be far larger than itself: this is what the error of z stands for here. Without an `s` of its own the variance's
    share goes with the third power of the inverse deviation, hence the 3.
    """
    n = len(x)
    share = (weights / weights.sum())[:, None]
    mean, variance = batch_moments(x, weights, u, shift)
    inverse = inverse_deviation(variance, epsilon, u)
    highest = inverse.value + inverse.error
    z = normalised(x, mean, variance, 0.0, 1.0, epsilon, u)
    sums = (2 * n + 8) * u
    z_error = z.error + sums * (np.abs(x) + np.abs(mean.value) + np.abs(0.0 if shift is None else shift)) * highest
    total, slope = cotangent.sum(0), (cotangent * z.value).sum(0)
    sizes, slope_size = np.abs(cotangent).sum(0), np.abs(cotangent * z.value).sum(0)
    slope_error = (np.abs(cotangent) * z_error).sum(0) + sums * slope_size
    rest = cotangent - share * total - share * z.value * slope
    rest_error = (
        sums * (np.abs(cotangent) + share * sizes + share * np.abs(z.value) * slope_size)
        + share * z_error * slope_size
        + share * np.abs(z.value) * slope_error
    )
    wide = np.abs(cotangent) + share * np.abs(total) + share * np.abs(z.value * slope)
    x_error = np.abs(gamma) * (highest * rest_error + 3 * inverse.error * (highest / inverse.value) ** 2 * wide)
    return (
        Near(gamma * inverse.value * rest, x_error + FLUSHED),
        Near(slope, slope_error + FLUSHED),
        Near(total, sums * sizes + FLUSHED),
    )


@functools.lru_cache(maxsize=1)
def gradients_of(variant, data_format, rank, in_place):
    # The fused kernel has no float64. The others are checked in it, where their errors are 1e-9 times as large.
    dtype = tf.float32 if variant == "fused" else tf.float64
    with tf.Graph().as_default():
        free = [None] * (rank - 2)
        inputs = tf.placeholder(dtype, [None, 3, *free] if data_format == "NCHW" else [None, *free, 3])
        cotangent = tf.placeholder(dtype, inputs.shape)
        weights = tf.placeholder(dtype, [None])
        gamma = tf.placeholder(dtype, [3])
        is_training = tf.placeholder_with_default(True, [])
        outputs = batch_norm(
            inputs,
            scale=True,
            param_initializers={"gamma": lambda shape, dtype: gamma},
            updates_collections=None if in_place else tf.GraphKeys.UPDATE_OPS,
            is_training=is_training if in_place else True,
            batch_weights=weights if variant == "weights" else None,
            fused=variant == "fused",
            data_format=data_format,
        )
        beta_variable, gamma_variable = tf.trainable_variables()
        wanted = tf.gradients(outputs * cotangent, [inputs, gamma_variable, beta_variable])
        return SimpleNamespace(
            session=tf.Session(), reset=tf.global_variables_initializer(), gamma=gamma,
            inputs=inputs, cotangent=cotangent, weights=weights, wanted=wanted, dtype=dtype.name,
        )  # fmt: skip


@pytest.mark.parametrize("in_place", [False, True], ids=["collected", "in place, by placeholder"])
@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("variant", VARIANTS)
@settings(deadline=None, max_examples=15)
@given(start=START, steps=STEPS)
def test_gradients_go_through_the_moments_of_the_batch(variant, data_format, rank, in_place, start, steps):
    graph = gradients_of(variant, data_format, rank, in_place)
    graph.session.run(graph.reset, {graph.gamma: start["gamma"]})
    for step in steps:
        batch, weights = step.batch(SimpleNamespace(rank=rank, channels=3))
        cotangent = np.random.RandomState(step.seed ^ 1).uniform(-1, 1, batch.shape).astype(np.float32)
        fed, fed_cotangent = (
            np.moveaxis(array, -1, 1) if data_format == "NCHW" else array for array in (batch, cotangent)
        )
        feed = {graph.inputs: fed, graph.cotangent: fed_cotangent}
        if variant == "weights":
            feed[graph.weights] = weights
        inputs_gradient, *others = graph.session.run(graph.wanted, feed)

        flat, flat_cotangent = (array.reshape(-1, 3).astype(np.float64) for array in (batch, cotangent))
        n = len(flat)
        share = np.repeat(weights, n // len(weights)).astype(np.float64) if variant == "weights" else np.ones(n)
        # In float64 the numpy side rounds as much as TensorFlow does.
        u = ROUNDOFF[graph.dtype] * (2 if graph.dtype == "float64" else 1)
        near = expected_gradients(flat, share, flat_cotangent, start["gamma"].astype(np.float64), 0.001, u)
        actual = [channels_last(inputs_gradient, data_format).reshape(-1, 3), *others]
        for one, one_near in zip(actual, near, strict=True):
            assert_near(one, one_near)


@pytest.mark.parametrize("fused", [False, True])
def test_gradients_take_the_moving_statistics_for_constants_where_nothing_trains(fused):
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.constant([[1.0, 2.0], [5.0, -3.0]])
        outputs = batch_norm(inputs, is_training=False, epsilon=1.0, fused=fused, param_initializers={
            "moving_mean": tf.constant_initializer([7.0, 8.0]), "moving_variance": tf.constant_initializer([3.0, 15.0]),
        })  # fmt: skip
        (gradient,) = tf.gradients(outputs, inputs, grad_ys=tf.constant([[1.0, 2.0], [3.0, 4.0]]))
        session.run(tf.global_variables_initializer())
        # Divided by sqrt(3 + 1) and sqrt(15 + 1).
        np.testing.assert_allclose(session.run(gradient), [[0.5, 0.5], [1.5, 1.0]], rtol=8 * ROUNDOFF["float32"])


# --- Recorded from TF 0.12.1 ------------------------------------------------------------------------------------------

ARRAYS = dict(np.load(REFERENCE / "batch_norm_tf-0.12.1.npz", allow_pickle=False))
RECORD = json.loads(str(ARRAYS.pop("record")))


def replayed(name, case):
    """What the recorded case gives today, under the names of the record."""
    arrays = {key.split(".")[1]: value for key, value in ARRAYS.items() if key.split(".")[0] == name}
    with tf.Graph().as_default() as graph, tf.Session() as session:
        inputs = tf.placeholder(case["dtype"], case["shape"])
        arguments = dict(case["arguments"])
        if "weights" in arrays:
            arguments["batch_weights"] = tf.placeholder(case["dtype"], case["shape"][:1])
        if case["initial"]:
            arguments["param_initializers"] = {
                part: tf.constant_initializer(arrays[f"initial_{part}"])
                for part in PARTS
                if f"initial_{part}" in arrays
            }
        if "activation_fn" in arguments:
            arguments["activation_fn"] = getattr(tf.nn, arguments["activation_fn"])
        switch = tf.placeholder(tf.bool, [])
        arguments["is_training"] = {
            "placeholder": lambda: switch,
            "variable": lambda: tf.Variable(False, trainable=False, collections=["switch"]),
            "constant": lambda: tf.constant(case["fed"][0]),
        }.get(case["training"], lambda: case["training"])()
        outputs = batch_norm(inputs, **arguments)
        keys = {
            "variables": tf.GraphKeys.GLOBAL_VARIABLES,
            "trainable": tf.GraphKeys.TRAINABLE_VARIABLES,
            "model": tf.GraphKeys.MODEL_VARIABLES,
        }
        found = {name: [variable.op.name for variable in tf.get_collection(key)] for name, key in keys.items()}
        found["collections"] = {
            key: len(tf.get_collection(key))
            for key in graph.get_all_collection_keys()
            if key not in [*keys.values(), "switch", "cond_context"]  # (tf.cond's own, without control flow v2.)
        }
        updates = arguments.get("updates_collections", tf.GraphKeys.UPDATE_OPS)
        update_ops = tf.get_collection(updates[0] if isinstance(updates, list) else updates) if updates else []
        moving = {
            part: next(variable for variable in tf.global_variables() if variable.op.name.endswith(part))
            for part in PARTS[2:]
        }
        if "gradient" in arrays:
            cotangent = tf.placeholder(case["dtype"], case["shape"])
            gradient = tf.gradients(outputs * cotangent, inputs)[0]

        def feed(number):
            fed = {inputs: arrays["batches"][number]}
            if "weights" in arrays:
                fed[arguments["batch_weights"]] = arrays["weights"][number]
            if case["training"] == "placeholder":
                fed[switch] = case["fed"][number]
            if case["training"] == "variable":
                session.run(arguments["is_training"].assign(case["fed"][number]))
            return fed

        session.run(tf.global_variables_initializer())
        if "gradient" in arrays:
            found["gradient"] = session.run(gradient, {**feed(0), cotangent: arrays["cotangent"]})
            session.run(tf.global_variables_initializer())
        steps = []
        for number in range(len(case["fed"])):
            step = {"outputs": session.run(outputs, feed(number))}
            session.run(update_ops, feed(number))
            steps.append({**step, **session.run(moving)})
        found.update((key, np.array([step[key] for step in steps])) for key in steps[0])
    return found, arrays


def layer_of_case(case, arrays):
    """The numbers of a recorded layer, and its moving statistics at the start."""
    arguments = case["arguments"]
    channels = case["shape"][1 if arguments.get("data_format") == "NCHW" else -1]
    usual = {"beta": 0.0, "gamma": 1.0, "moving_mean": np.zeros(channels), "moving_variance": np.ones(channels)}
    start = {part: np.float64(arrays.get(f"initial_{part}", value)) for part, value in usual.items()}
    layer = SimpleNamespace(
        fused=arguments.get("fused", False),
        epsilon=arguments.get("epsilon", 0.001),
        decay=arguments.get("decay", 0.999),
        beta=start["beta"] if arguments.get("center", True) else 0.0,
        gamma=start["gamma"] if arguments.get("scale") else 1.0,
        u=ROUNDOFF[case["dtype"]],
    )
    return layer, start


def absent(case):
    """The ends of the names that are not there any more: TF 0.12's fused layer kept a switched-off beta or gamma."""
    arguments = case["arguments"]
    on = {"/beta": arguments.get("center", True), "/gamma": arguments.get("scale", False)}
    return tuple(part for part in on if arguments.get("fused") and not on[part])


@pytest.mark.parametrize("name", [name for name, case in RECORD["cases"].items() if case["initial"] != "all"])
def test_what_tf_0_12_1_gave_comes_out_again(name):
    case = RECORD["cases"][name]
    found, arrays = replayed(name, case)
    for key in ("variables", "trainable", "model"):
        assert found[key] == [variable for variable in case[key] if not variable.endswith(absent(case))]
    assert found["collections"] == case["collections"]

    # Each of the two is somewhere around the exact result, as far away as its own arithmetic takes it.
    layer, start = layer_of_case(case, arrays)
    data_format = case["arguments"].get("data_format")
    today = then = tuple(Near(start[part], 0.0) for part in PARTS[2:])
    for number, training in enumerate(case["fed"]):
        batch = channels_last(arrays["batches"][number], data_format)
        weights = arrays["weights"][number] if case["weights"] else None
        outputs_today, today = expected_step(layer, today, batch, weights, training)
        outputs_then, then = expected_step(layer, then, batch, weights, training, shifted=True)
        outputs, recorded = (channels_last(one["outputs"][number], data_format) for one in (found, arrays))
        # (ReLU moves no two numbers further apart.)
        assert outputs.dtype == recorded.dtype == case["dtype"]
        assert_near(outputs, Near(recorded, outputs_today.error + outputs_then.error))
        for part, near_today, near_then in zip(PARTS[2:], today, then, strict=True):
            assert_near(found[part][number], Near(arrays[part][number], near_today.error + near_then.error))

    if "gradient" in arrays:
        batch, cotangent, gradient, recorded = (
            channels_last(array, data_format).reshape(-1, len(start["moving_mean"]))
            for array in (arrays["batches"][0], arrays["cotangent"], found["gradient"], arrays["gradient"])
        )
        weights = arrays["weights"][0] if case["weights"] else np.ones(1)
        share = np.repeat(weights.astype(np.float64), len(batch) // len(weights))
        # The fused kernel and weighted moments did without the shift.
        shift = start["moving_mean"] if not (layer.fused or case["weights"]) else None
        near_today, near_then = (
            expected_gradients(batch.astype(np.float64), share, cotangent, layer.gamma, layer.epsilon, layer.u, by)[0]
            for by in (None, shift)
        )
        assert_near(gradient, Near(recorded, near_today.error + near_then.error))


def test_switched_off_beta_and_gamma_are_ignored_even_with_initializers_where_tf_0_12_applied_them():
    # With fused=True and center=False it said to ignore beta, and added what `param_initializers` had for it.
    case = RECORD["cases"]["fused_initializers"]
    found, arrays = replayed("fused_initializers", case)
    assert case["variables"] == [f"BatchNorm/{part}" for part in PARTS] and case["trainable"] == []
    assert found["variables"] == [f"BatchNorm/{part}" for part in PARTS[2:]]
    layer, start = layer_of_case(case, arrays)
    today = then = tuple(Near(start[part], 0.0) for part in PARTS[2:])
    for number, training in enumerate(case["fed"]):
        applied = SimpleNamespace(**{**vars(layer), "beta": start["beta"], "gamma": start["gamma"]})
        outputs_today, today = expected_step(layer, today, arrays["batches"][number], None, training)
        outputs_then, then = expected_step(applied, then, arrays["batches"][number], None, training)
        assert_near(found["outputs"][number], outputs_today)
        assert_near(arrays["outputs"][number], outputs_then)


# --- Called as in 2016 ------------------------------------------------------------------------------------------------


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
