"""`batch_norm`: its arithmetic and its gradients against float64 numpy."""

import functools
import itertools
import random
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from bn_graph import batch_norm
from tests.rounding import PARTS, ROUNDOFF, Near, assert_near, channels_last, expected_gradients, expected_step, same

pytestmark = pytest.mark.release

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
