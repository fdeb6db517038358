"""`batch_norm` against what TF 0.12.1 gave."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bn_graph import batch_norm
from tests.paths import REFERENCE
from tests.rounding import PARTS, ROUNDOFF, Near, assert_near, channels_last, expected_gradients, expected_step

pytestmark = pytest.mark.release

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
