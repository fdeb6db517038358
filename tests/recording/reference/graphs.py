"""The graphs themselves, and the seeds of their random ops."""

import os

import numpy as np
import tensorflow as tf

from tests.recording.reference.files import made, save_json
from tests.recording.reference.tutorial import EDITIONS, build_graph, num_classes, random_ops


def empty_sets(rows):
    """A validation and a test set without digits, where only the graph is wanted."""
    X, y = np.ones((rows, 784), np.float32), np.ones((rows, num_classes), np.float32)
    return X, y, X, y


def record_graphs(out, digits):
    """MetaGraphs, the end points in collections, with zeros for the validation and test set."""
    for name, edition in EDITIONS.items():
        g = build_graph(*empty_sets(10000), updates=edition.updates, scale=edition.scale)
        ends = "keep_prob train_loss train_accuracy valid_accuracy test_accuracy train_logits valid_logits test_logits"
        ends = {end: getattr(g, end) for end in (ends + " learning_rate").split()}
        ends.update(batch_x=g.tf_train_X, batch_y=g.tf_train_y, train_op=g.optimizer)
        ends.update(valid_x=g.tf_valid_X, valid_y=g.tf_valid_y, test_x=g.tf_test_X, test_y=g.tf_test_y)
        with g.graph.as_default():
            ends["init_op"] = tf.initialize_all_variables()
            for end, element in ends.items():
                tf.add_to_collection("tutorial/" + end, element)
            meta = tf.train.export_meta_graph(graph_def=g.graph.as_graph_def())
        for node in meta.graph_def.node:
            if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) > 100000:
                tensor = node.attr["value"].tensor
                tensor.tensor_content = b""
                tensor.float_val.append(0.0)  # the last value given fills the rest
        with open(made(os.path.join(out, "graph", name + ".meta")), "wb") as file:
            file.write(meta.SerializeToString())


def record_op_seeds(out, digits):
    """The op-level seeds of the weights and the training dropout, whatever is switched on."""
    cases = []
    for center in (True, False):
        for scale in (True, False):
            for updates in ("in_place", "collected"):
                g = build_graph(*empty_sets(100), updates=updates, scale=scale, center=center)
                case = {"center": center, "scale": scale, "updates": updates}
                keys = ("hidden_weights", "output_weights", "train_dropout")  # then validation's and test's
                for key, op in zip(keys, random_ops(g.graph)):
                    case[key] = op["seed2"]
                cases.append(case)
    save_json(os.path.join(out, "op_seeds.json"), cases)
