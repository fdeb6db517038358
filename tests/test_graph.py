"""The graph that is built is the one that TF 0.12.1 built."""

import json

import numpy as np
import pytest

from bn_graph import InputError, build_graph, recording
from bn_graph.graph import dropout_seed
from bn_graph.tf1 import tf
from tests.helpers import RECORDED, recorded_config
from tests.paths import PACKAGED, REFERENCE

pytestmark = pytest.mark.release

MODES = ("bool", "placeholder")


@pytest.fixture(scope="module", params=RECORDED)
def built(request, original):
    return recording(request.param), build_graph(recorded_config(request.param), original)


def ulps(one, other):
    """How many float32 numbers lie between, sign and all."""

    def order(x):
        bits = np.asarray(x, np.float32).view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(2**31) - bits, bits)

    return np.abs(order(one) - order(other))


def test_variables_are_the_recorded_ones_in_order(built):
    recorded, tutorial = built
    with tutorial.graph.as_default():
        trainable = {variable.op.name for variable in tf.trainable_variables()}
        found = [
            dict(
                name=variable.op.name,
                shape=variable.shape.as_list(),
                dtype=variable.dtype.base_dtype.name,
                trainable=variable.op.name in trainable,
            )
            for variable in tf.global_variables()
        ]
    assert found == recorded["variables"]


def test_collections_are_the_recorded_ones(built):
    recorded, tutorial = built
    get = tutorial.graph.get_collection
    collections = recorded["collections"]
    assert [variable.name for variable in get("trainable_variables")] == collections["trainable_variables"]
    assert len(get("update_ops")) == len(collections.get("update_ops", []))
    assert [op.name for op in get("train_op")] == collections["train_op"]


def test_random_ops_have_the_recorded_seeds(built):
    recorded, tutorial = built
    found = [
        (op.type, op.get_attr("seed"), op.get_attr("seed2"))
        for op in tutorial.graph.get_operations()
        if op.type in ("TruncatedNormal", "RandomUniform")
    ]
    assert found == [(op["type"], op["seed"], op["seed2"]) for op in recorded["random_ops"]]


def test_the_training_dropout_has_the_seed_that_tf_0_12_1_gives_whatever_is_switched():
    for case in json.loads((REFERENCE / "op_seeds.json").read_text()):
        config = recorded_config("page", center=case["center"], scale=case["scale"], updates=case["updates"])
        assert dropout_seed(config, "train") == case["train_dropout"]


@pytest.mark.parametrize("is_training", MODES)
def test_initial_weights_are_the_originals_within_three_ulps_and_mostly_equal(original, is_training):
    draws = np.load(REFERENCE / "draws_tf-0.12.1.npz")
    tutorial = build_graph(recorded_config("page", is_training=is_training), original)
    with tf.Session(graph=tutorial.graph) as session:
        session.run(tutorial.init_op)
        initial = session.run(tutorial.variables)
    hidden, output = initial["hidden_layer/weights"], initial["output_layer/weights"]
    for found, recorded in ((hidden[draws["hidden_rows"]], draws["hidden_weights"]), (output, draws["output_weights"])):
        apart = ulps(found, recorded)
        assert apart.max() <= 3
        assert (apart == 0).mean() >= 0.85
    # All of them, where the recording has all of them.
    state = np.load(PACKAGED / "state" / "page_hidden16_step0000_before.npz")
    tutorial = build_graph(recorded_config("page", is_training=is_training, hidden_size=16), original)
    with tf.Session(graph=tutorial.graph) as session:
        session.run(tutorial.init_op)
        initial = session.run(tutorial.variables)
    assert {name.replace("/", ".") for name in initial} == set(state.files)
    for name, found in initial.items():
        apart = ulps(found, state[name.replace("/", ".")])
        assert apart.max() <= (3 if name.endswith("weights") else 0), name
        assert (apart == 0).mean() >= 0.85


def test_dropout_masks_are_drawn_bit_for_bit_as_tf_0_12_1_drew_them():
    draws = np.load(REFERENCE / "draws_tf-0.12.1.npz")
    keys = [key for key in draws.files if key.startswith("uniform_")]
    assert len(keys) == 6
    for key in keys:
        graph_seed, op_seed = map(int, key.split("_")[1:])
        with tf.Graph().as_default():
            tf.set_random_seed(graph_seed)
            ones = tf.ones([64, 16])
            dropped = tf.nn.dropout(ones, rate=1 - tf.constant(0.6), seed=op_seed)
            (uniform,) = (op.outputs[0] for op in tf.get_default_graph().get_operations() if op.type == "RandomUniform")
            with tf.Session() as session:
                for recorded in draws[key]:
                    found, mask = session.run([uniform, dropped])
                    np.testing.assert_array_equal(found, recorded)
                    # TF 0.12's own line: floor(keep_prob + uniform)
                    np.testing.assert_array_equal(mask > 0, np.floor(np.float32(0.6) + recorded) > 0)


def test_two_graphs_without_a_seed_differ_and_name_the_seed_that_repeats_them(original):
    def initial_weights(config):
        tutorial = build_graph(config, original)
        with tf.Session(graph=tutorial.graph) as session:
            session.run(tutorial.init_op)
            return tutorial.config, session.run(tutorial.variables["output_layer/weights"])

    unseeded = recorded_config("page", seed=None, hidden_size=16)
    (first, one), (second, other) = initial_weights(unseeded), initial_weights(unseeded)
    assert first.seed != second.seed
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(initial_weights(first)[1], one)


def test_a_batch_as_large_as_the_training_set_is_refused(original):
    build_graph(recorded_config("page", batch_size=49999, hidden_size=2), original)
    with pytest.raises(InputError, match="50000 training rows, found 50000"):
        build_graph(recorded_config("page", batch_size=50000, hidden_size=2), original)
