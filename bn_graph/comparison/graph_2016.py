"""TODO."""

import numpy as np

from bn_graph.comparison.recordings import REFERENCE
from bn_graph.mnist import batch
from bn_graph.record import TrainingRecord
from bn_graph.tf1 import tf

UPDATE_KINDS = ("AssignSub", "AssignSubVariableOp")  # what moves a moving average, then and now


class Graph2016:
    """The MetaGraph that TF 0.12.1 built for the run `name`, with the seed of `config`, imported."""

    def __init__(self, name, config):
        self.config = config
        meta = tf.MetaGraphDef()
        meta.ParseFromString((REFERENCE / "graph" / f"{name}.meta").read_bytes())
        for node in meta.graph_def.node:
            if node.op in ("TruncatedNormal", "RandomUniform"):
                node.attr["seed"].i = config.seed
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.train.import_meta_graph(meta)
            weights = [v for v in tf.global_variables() if v.op.name.endswith("weights")]
            self.weights = [(v, tf.placeholder(tf.float32, v.shape)) for v in weights]
            self.set_weights = tf.group(*(tf.assign(v, placeholder) for v, placeholder in self.weights))

    def end(self, name):
        """One of its end points: batch_x, batch_y, keep_prob, train_loss, train_op and so on."""
        return self.graph.get_collection(f"tutorial/{name}")[0]

    def train(self, splits, progress=None, nudge=None, evaluate=True):
        """Trains it as `bn_graph.train` trains the port, and returns a `TrainingRecord`.

        `nudge`: a RandomState that moves each initial weight by -1, 0 or +1 unit in the last place.
        `evaluate`: False leaves out validation and test, for those who look at the losses only.
        """
        config, end = self.config, self.end
        record = TrainingRecord(config, split=splits.split, data=splits.source)
        step_fetches = [end("train_op"), end("train_loss"), end("train_accuracy")]
        valid_X, test_X = np.asarray(splits.valid_X), np.asarray(splits.test_X)
        valid_feed = {end("valid_x"): valid_X, end("valid_y"): splits.valid_y, end("keep_prob"): 1.0}
        test_feed = {end("test_x"): test_X, end("test_y"): splits.test_y, end("keep_prob"): 1.0}
        with tf.Session(graph=self.graph) as session:
            session.run(end("init_op"))
            if nudge is not None:
                self._nudge(session, nudge)
            for step in (progress or iter)(range(config.steps)):
                X, y = batch(splits, step, config.batch_size)
                feed = {end("batch_x"): X, end("batch_y"): y, end("keep_prob"): config.keep_prob}
                _, loss, accuracy = session.run(step_fetches, feed)
                record.train_loss.append(float(loss))
                record.train_accuracy.append(float(accuracy))
                if evaluate and step % config.eval_every == 0:
                    record.valid_step.append(step)
                    record.valid_accuracy.append(float(session.run(end("valid_accuracy"), valid_feed)))
                    record.learning_rate.append(float(session.run(end("learning_rate"))))
            if evaluate:
                record.test_accuracy = float(session.run(end("test_accuracy"), test_feed))
        return record

    def _nudge(self, session, nudge):
        feed = {}
        for variable, placeholder in self.weights:
            value = session.run(variable)
            ways = [np.nextafter(value, np.float32(-np.inf)), value, np.nextafter(value, np.float32(np.inf))]
            feed[placeholder] = np.choose(nudge.randint(0, 3, value.shape), ways)
        session.run(self.set_weights, feed)


def compare_graphs(recorded, imported, tutorial):
    """The graph that TF 0.12.1 built beside the port's. By part, rows of name, original, port and same."""
    with imported.graph.as_default():
        original_kinds = {variable.op.type for variable in tf.global_variables()}
    original = {
        "variables": {v["name"]: _variable(v["dtype"], v["shape"], v["trainable"]) for v in recorded["variables"]},
        "collections": recorded["collections"],
        "update ops": _update_ops(imported.graph, imported.end("train_op")),
        "random ops": {op["name"]: _random(op["type"], op["seed"], op["seed2"]) for op in recorded["random_ops"]},
        "kinds of op": {"a variable": sorted(original_kinds), "an update": _kinds(imported.graph, UPDATE_KINDS)},
    }
    graph = tutorial.graph
    with graph.as_default():
        trainable = {variable.op.name for variable in tf.trainable_variables()}
    port = {
        "variables": {
            name: _variable(v.dtype.base_dtype.name, v.shape.as_list(), name in trainable)
            for name, v in tutorial.variables.items()
        },
        "collections": {
            key: [member.name for member in graph.get_collection(key)]
            for key in sorted(graph.get_all_collection_keys())
        },
        "update ops": _update_ops(graph, tutorial.train_op),
        "random ops": {
            op.name: _random(op.type, op.get_attr("seed"), op.get_attr("seed2"))
            for op in graph.get_operations()
            if {"seed", "seed2"} <= set(op.node_def.attr)
        },
        "kinds of op": {
            "a variable": sorted({variable.op.type for variable in tutorial.variables.values()}),
            "an update": _kinds(graph, UPDATE_KINDS),
        },
    }
    return {
        part: [
            {
                "name": name,
                "original": original[part].get(name),
                "port": port[part].get(name),
                "same": original[part].get(name) == port[part].get(name),
            }
            for name in dict.fromkeys([*original[part], *port[part]])
        ]
        for part in original
    }


def _variable(dtype, shape, trainable):
    return {"dtype": dtype, "shape": shape, "trainable": trainable}


def _random(kind, seed, op_seed):
    return {"kind": kind, "seed": seed, "op_seed": op_seed}


def _update_ops(graph, train_op):
    """From each moving average to the op that updates it, and who runs that op."""
    collected = _behind(getattr(member, "op", member) for member in graph.get_collection(tf.GraphKeys.UPDATE_OPS))
    trained = _behind([train_op])
    found = {}
    for op in graph.get_operations():
        if op.type in UPDATE_KINDS:
            found[op.inputs[0].op.name] = {
                "name": op.name,
                "in_update_ops": op in collected,
                "run_by_train_op": op in trained,
            }
    return found


def _kinds(graph, kinds):
    return sorted({op.type for op in graph.get_operations() if op.type in kinds})


def _behind(ops):
    """These ops and all that they depend on."""
    found, waiting = set(), list(ops)
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [*(tensor.op for tensor in op.inputs), *op.control_inputs]
    return found
