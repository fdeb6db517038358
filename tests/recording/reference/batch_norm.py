"""tf.contrib.layers.batch_norm alone. The array `record` is one JSON string
{"tensorflow", "numpy", "cases": {name: case}}; beside it are the arrays `NAME.batches` and so on. A case has

    arguments       given to batch_norm as they are; "relu" stands for tf.nn.relu
    shape, dtype    of the inputs
    training        how is_training is spelled: true, false, "constant", "placeholder" or "variable"
    fed             for the last three: is_training of each batch
    weights         whether batch_weights are given (array `weights`)
    initial         whether the moving statistics, and beta and gamma if switched on, start at random (arrays
                    `initial_*`); "all": switched-off beta and gamma too
    and, as recorded, `variables`, `trainable` and `model` (names in order)
                    and `collections` (name: number of tensors)

and the arrays `batches`, `outputs`, `moving_mean`, `moving_variance`, one row per batch, the statistics after it; and
where it trains from the first batch on, `gradient`: d sum(outputs * cotangent) / d inputs on the first batch.
"""

import json
import os
import zlib

import numpy as np
import tensorflow as tf

from tests.recording.reference.files import save_arrays

BATCHES = 3
SHAPES = {2: [6, 3], 3: [4, 3, 2], 4: [4, 3, 2, 2]}
PARTS = ["beta", "gamma", "moving_mean", "moving_variance"]
T, F = True, False


def case(rank, training=True, fed=None, dtype="float32", weights=False, initial=False, **arguments):
    return dict(
        shape=SHAPES[rank],
        training=training,
        fed=fed or [training] * BATCHES,
        dtype=dtype,
        weights=weights,
        initial=initial,
        arguments=arguments,
    )


BATCH_NORM = {
    # The decomposed arithmetic, rank 2.
    "defaults": case(2),
    "in_place": case(2, scale=True, decay=0.9, updates_collections=None, initial=True),
    "without_beta_and_gamma": case(2, center=False, scale=False, decay=0.5),
    "gamma_only": case(2, center=False, scale=True, decay=0.5, initial=True),
    "inference": case(2, training=False, scale=True, initial=True),
    "inference_in_place": case(2, training=False, updates_collections=None, initial=True),
    "placeholder_true": case(2, "placeholder", [T, T, T], decay=0.9, updates_collections=None, initial=True),
    "placeholder_false": case(2, "placeholder", [F, F, F], decay=0.9, updates_collections=None, initial=True),
    "placeholder_mixed": case(2, "placeholder", [T, F, T], decay=0.9, initial=True, scale=True),
    "constant_true": case(2, "constant", [T, T, T], decay=0.9),
    "constant_false": case(2, "constant", [F, F, F], decay=0.9, initial=True),
    "variable_mixed": case(2, "variable", [F, T, T], decay=0.7, updates_collections=None, initial=True),
    "own_collection": case(2, decay=0.9, updates_collections="own", scope="layer"),
    "two_collections": case(2, decay=0.9, updates_collections=["one", "two"]),
    "weights_in_place": case(2, weights=True, decay=0.9, updates_collections=None, scale=True, initial=True),
    "weights_placeholder": case(2, "placeholder", [T, T, F], weights=True, decay=0.8),
    "relu": case(2, scale=True, decay=0.9, activation_fn="relu", initial=True),
    "decay_0": case(2, decay=0.0, epsilon=1.0, initial=True),
    "decay_1": case(2, decay=1.0, epsilon=1e-6, initial=True),
    "float64": case(2, dtype="float64", scale=True, decay=0.9, initial=True),
    "nchw_rank_2": case(2, data_format="NCHW", scale=True, decay=0.9),
    "untrainable": case(2, scale=True, trainable=False, decay=0.9),
    "collected": case(
        2,
        scale=True,
        decay=0.9,
        scope="layer",
        outputs_collections="results",
        variables_collections={"beta": ["betas"], "moving_mean": ["means", "statistics"]},
    ),
    "collected_by_name": case(2, decay=0.9, variables_collections="name"),
    # Rank 3 and 4.
    "rank_3": case(3, scale=True, decay=0.9, initial=True),
    "nhwc": case(4, decay=0.9),
    "nchw": case(4, data_format="NCHW", scale=True, decay=0.9, updates_collections=None, initial=True),
    "nchw_placeholder": case(4, "placeholder", [T, F, T], data_format="NCHW", decay=0.9, initial=True),
    "nhwc_weights": case(4, weights=True, scale=True, decay=0.9),
    "nchw_weights": case(4, weights=True, scale=True, decay=0.9, data_format="NCHW", updates_collections=None),
    "nchw_float64": case(4, dtype="float64", data_format="NCHW", scale=True, decay=0.9, initial=True),
    # The fused kernel. NCHW is not recorded: its CPU kernel aborts the process there.
    "fused_defaults": case(2, fused=True),
    "fused_rank_2": case(2, fused=True, scale=True, decay=0.9, updates_collections=None, initial=True),
    "fused_nhwc": case(4, fused=True, scale=True, decay=0.9, initial=True),
    "fused_inference": case(4, training=False, fused=True, scale=True, initial=True),
    "fused_placeholder": case(4, "placeholder", [T, F, T], fused=True, scale=True, decay=0.9, initial=True),
    "fused_placeholder_in_place": case(
        2, "placeholder", [F, T, F], fused=True, decay=0.9, updates_collections=None, initial=True
    ),
    "fused_without_beta_and_gamma": case(4, fused=True, center=False, scale=False, decay=0.5),
    "fused_gamma_only": case(2, fused=True, center=False, scale=True, decay=0.5, initial=True),
    # Here an initializer is given for the beta and gamma that are switched off, and the fused layer takes it.
    "fused_initializers": case(4, fused=True, center=False, scale=False, decay=0.5, initial="all"),
    "fused_relu": case(4, fused=True, scale=True, epsilon=1e-5, decay=0.9, activation_fn="relu", initial=True),
}


def record_batch_norm(out, digits):
    arrays = {}
    for name, case in sorted(BATCH_NORM.items()):
        for key, value in run_batch_norm(name, case).items():
            arrays[name + "." + key] = value
    about = {"tensorflow": tf.__version__, "numpy": np.__version__, "cases": BATCH_NORM}
    arrays["record"] = np.array(json.dumps(about, sort_keys=True).decode("ascii"))
    save_arrays(os.path.join(out, "batch_norm_tf-0.12.1.npz"), arrays)


def run_batch_norm(name, case):
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    shape, dtype = case["shape"], case["dtype"]
    channels = shape[1 if case["arguments"].get("data_format") == "NCHW" else -1]
    # Every channel has a mean and a spread of its own, so that mixed-up axes show.
    by_channel = [channels] + [1] * (len(shape) - 2) if case["arguments"].get("data_format") == "NCHW" else [channels]
    centre = random.uniform(-4, 4, by_channel)
    spread = random.uniform(0.5, 3, by_channel)
    arrays = {"batches": (centre + spread * random.normal(size=[BATCHES] + shape)).astype(dtype)}
    arrays["cotangent"] = random.normal(size=shape).astype(dtype)
    if case["weights"]:
        arrays["weights"] = random.choice([0.0, 0.5, 1.0, 2.0, 3.5], size=[BATCHES, shape[0]]).astype(dtype)
        arrays["weights"][:, 0] = 1.0
    if case["initial"]:
        off = {"beta": not case["arguments"].get("center", True), "gamma": not case["arguments"].get("scale", False)}
        for part in PARTS:
            if off.get(part) and case["initial"] != "all":
                continue
            low, high = (0.5, 3) if part in ("gamma", "moving_variance") else (-2, 2)
            arrays["initial_" + part] = random.uniform(low, high, channels).astype(dtype)

    with tf.Graph().as_default() as graph:
        inputs = tf.placeholder(dtype, shape)
        arguments = dict(case["arguments"])
        if case["weights"]:
            arguments["batch_weights"] = tf.placeholder(dtype, [shape[0]])
        if case["initial"]:
            arguments["param_initializers"] = {
                part: tf.constant_initializer(arrays["initial_" + part], dtype=dtype)
                for part in PARTS
                if "initial_" + part in arrays
            }
        if arguments.get("activation_fn") == "relu":
            arguments["activation_fn"] = tf.nn.relu
        if case["training"] == "placeholder":
            arguments["is_training"] = switch = tf.placeholder(tf.bool, [])
        elif case["training"] == "variable":
            # Kept out of the collections, as it is no variable of the layer.
            arguments["is_training"] = tf.Variable(False, trainable=False, collections=["switch"], name="switch")
            switch = tf.placeholder(tf.bool, [])
            set_switch = tf.assign(arguments["is_training"], switch)
        elif case["training"] == "constant":
            arguments["is_training"] = tf.constant(case["fed"][0])
        else:
            arguments["is_training"] = case["training"]
        outputs = tf.contrib.layers.batch_norm(inputs, **arguments)

        case["variables"] = [variable.op.name for variable in tf.global_variables()]
        case["trainable"] = [variable.op.name for variable in tf.trainable_variables()]
        case["model"] = [variable.op.name for variable in tf.get_collection(tf.GraphKeys.MODEL_VARIABLES)]
        usual = [tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES, tf.GraphKeys.MODEL_VARIABLES]
        case["collections"] = {
            key: len(tf.get_collection(key))
            for key in graph.get_all_collection_keys()
            if key not in usual + ["switch"] and "cond_context" not in key
        }
        scope = arguments.get("scope", "BatchNorm")
        statistics = [
            [variable for variable in tf.global_variables() if variable.op.name == scope + "/" + part][0]
            for part in PARTS[2:]
        ]
        updates = arguments.get("updates_collections", tf.GraphKeys.UPDATE_OPS)
        collection = updates[0] if isinstance(updates, list) else updates
        update_ops = tf.get_collection(collection) if collection else []
        # The cotangent is fed, not a constant of the graph, so that nothing is folded.
        cotangent = tf.placeholder(dtype, shape)
        left_out = case["training"] == "variable" or "activation_fn" in arguments
        gradient = tf.gradients(outputs * cotangent, inputs)[0] if case["fed"][0] and not left_out else None

        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            found = {"outputs": [], "moving_mean": [], "moving_variance": []}
            if gradient is not None:
                # Before the layer has moved anything; then from the start again, as in-place updates came along.
                feed = {inputs: arrays["batches"][0], cotangent: arrays["cotangent"]}
                if case["weights"]:
                    feed[arguments["batch_weights"]] = arrays["weights"][0]
                if case["training"] == "placeholder":
                    feed[switch] = True
                arrays["gradient"] = session.run(gradient, feed)
                session.run(tf.global_variables_initializer())
            else:
                del arrays["cotangent"]
            for step in range(BATCHES):
                feed = {inputs: arrays["batches"][step]}
                if case["weights"]:
                    feed[arguments["batch_weights"]] = arrays["weights"][step]
                if case["training"] == "placeholder":
                    feed[switch] = case["fed"][step]
                if case["training"] == "variable":
                    session.run(set_switch, {switch: case["fed"][step]})
                found["outputs"].append(session.run(outputs, feed))
                session.run(update_ops, feed)
                for part, variable in zip(PARTS[2:], statistics):
                    found[part].append(session.run(variable))
    arrays.update((key, np.array(value)) for key, value in found.items())
    return arrays
