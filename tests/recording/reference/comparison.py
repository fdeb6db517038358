"""The comparison with the kept files: of their contents, as zip files and protocol buffers have more than one spelling.

What comes out twice the same? On one computer, every bit. On another, what has not been through a square root: the
splits, graphs, seeds, random draws and initial weights. TensorFlow 0.12.1 computes sqrt(x) and 1/sqrt(x), in Adam and
in batch_norm, from the processor's instruction rsqrtps and one step of Newton's method. rsqrtps is an approximation, of
12 bits or so, and not every processor has the same one. Where they differ, training drifts away as it does from one
rounding error, and how far that is, `one_ulp` in the records measures. (A single core, too, sums a matrix product in
another order than two or more.)
"""

from __future__ import print_function

import fnmatch
import json
import os
import re

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

# FILE:KEY of what has been through a square root.
ROOTED = [
    "*.json:*train_loss",
    "*.json:*_accuracy",
    "*.json:final/*",
    "state/*_after.npz:*",
    "state/*_step0001_before.npz:*",
    "state/*_step0050_before.npz:*",
    "state/*_step0999_before.npz:*",
    "checkpoint/*:*",
    "console/*.txt:Epoch: *",
    "console/*.txt:Test accuracy",
    "batch_norm_*.npz:*.outputs",
    "batch_norm_*.npz:*.moving_*",
    "batch_norm_*.npz:*.gradient",
]


def read(path):
    if path.endswith(".json"):
        with open(path) as file:
            return json.load(file)
    if path.endswith(".npz"):
        return dict(np.load(path).items())
    if path.endswith(".meta"):
        meta = meta_graph_pb2.MetaGraphDef()
        with open(path, "rb") as file:
            meta.ParseFromString(file.read())
        content = {"node " + node.name: node for node in meta.graph_def.node}
        content.update(("collection " + key, meta.collection_def[key]) for key in meta.collection_def)
        content["order"] = [node.name for node in meta.graph_def.node]
        content["rest"] = [meta.meta_info_def, meta.graph_def.versions, meta.graph_def.library, meta.saver_def]
        return content
    if path.endswith(".index"):
        reader = tf.train.NewCheckpointReader(path[: -len(".index")])
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    with open(path) as file:
        lines = file.read().split("\n")
    # "Epoch: 50" and "Test accuracy" name their lines; any other line is its own name.
    return {re.sub("(Epoch: [0-9]+|Test accuracy):.*", r"\1", line): line for line in lines}


def leaves(value, key=""):
    """What is in there, by key: lists of numbers and numbers as arrays."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list) and not all(isinstance(element, (int, float)) for element in value):
        items = enumerate(value)
    else:
        return {key: np.array(value) if number or isinstance(value, list) else value}
    found = {}
    for name, element in items:
        found.update(leaves(element, key + "/" + str(name) if key else str(name)))
    return found


def apart(new, old):
    """How far apart, as a part of the largest number; 0 for equal in every bit, None where there is no such number."""
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        if (new.dtype, new.shape) != (old.dtype, old.shape):
            return None
        if new.tobytes() == old.tobytes():
            return 0
        if old.dtype.kind in "iuf":
            new, old = new.astype(np.float64), old.astype(np.float64)
            return np.abs(new - old).max() / max(np.abs(old).max(), 1e-300)
        return None
    return 0 if type(new) is type(old) and new == old else None


def part_of_the_allowed(name, key, new, old, kept):
    """How far what has been through a square root is from the kept, 1 being as far as rounding may take it."""
    if key == "train_loss":
        envelopes = [kept[other] for other in kept if other.startswith("one_ulp/") and other.endswith("/train_loss")]
        so_far = [np.maximum.accumulate(np.abs(loss / old - 1)) for loss in [new] + envelopes]
        if envelopes:
            return (so_far[0] / np.maximum(3 * np.max(so_far[1:], axis=0), 1e-4)).max()
        return so_far[0][9] / 1e-4  # ten steps, before rounding has grown
    if key.endswith(("valid_accuracy", "test_accuracy")) and "one_ulp" not in key:
        # In the page as printed the biases, which are rounding errors, reach the inference.
        return np.abs(new - old).max() / (0.05 if name.startswith("page") else 0.01)
    if name.startswith("batch_norm"):
        return apart(new, old) / 1e-5
    return 0


def compare(name, new_path, old_path):
    """Returns whether the kept file is reproduced, and how."""
    new, old = leaves(read(new_path)), leaves(read(old_path))
    wrong = sorted(set(new) ^ set(old))
    rounded = []
    for key in sorted(set(new) & set(old)):
        size = apart(new[key], old[key])
        if size == 0:
            continue
        if not any(fnmatch.fnmatchcase(name + ":" + key, pattern) for pattern in ROOTED):
            wrong.append(key)
        elif isinstance(new[key], str):  # a printed line
            rounded.append((0, 0, key))
        elif size is None or not np.isfinite(size):
            wrong.append(key)
        else:
            allowed = part_of_the_allowed(name, key, new[key], old[key], old)
            rounded.append((allowed, size, key))
            if not allowed <= 1:
                wrong.append(key)
    verdict = "equal bit for bit"
    if wrong:
        verdict = "DIFFERS in " + ", ".join(wrong[:5]) + (" and more" if wrong[5:] else "")
    elif rounded:
        verdict = "within rounding, " + str(len(old) - len(rounded)) + " of " + str(len(old)) + " entries equal"
    # biases in front of batch norm have a gradient of rounding errors alone
    sizes = [(size, key) for _, size, key in rounded if size and "biases" not in key]
    if sizes:
        verdict += "; {1} differs most, by {0:.1e} of its largest number".format(*max(sizes))
    if rounded and max(rounded)[0]:
        verdict += "; {2} has {0:.2f} of the difference allowed".format(*max(rounded))
    return not wrong, verdict


def compare_all(out, folders):
    good = True
    for folder, _, files in sorted(os.walk(out)):
        for file in sorted(files):
            path = os.path.join(folder, file)
            name = os.path.relpath(path, out)
            kept = [os.path.join(one, name) for one in folders if os.path.exists(os.path.join(one, name))]
            if ".data-" in name:
                continue  # compared with its index
            if kept:
                same, verdict = compare(name, path, kept[0])
                good = good and same
            else:
                verdict = "not kept"
            print(name + ": " + verdict)
    return good
