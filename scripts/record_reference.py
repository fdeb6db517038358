"""Runs the tutorial as it was published, on the software of 2016, and writes the recordings anew.

    python2.7 scripts/record_reference.py OUTDIR
    python2.7 scripts/record_reference.py OUTDIR --only notebook draws --compare tests/reference REFERENCE

Python 2.7 with tensorflow 0.12.1, numpy 1.11.2, scipy 0.18.1 and scikit-learn 0.18.1; nothing else, not bn_graph.

What is published are three editions of one program. Two repairs are made to it: `ops` is tf, and the last sess.run
fetches a tensor, not a list. Four things are added: tf.set_random_seed(seed), the first line inside the graph; the
digits of this repository, in the order of mldata's 'MNIST original', for fetch_mldata; validation every 50 steps only,
where script and notebook have it after every step (it draws nothing from the training's random stream); and what
records.

What comes out twice the same? On one computer, every bit. On another, what has not been through a square root: the
splits, graphs, seeds, random draws and initial weights. TensorFlow 0.12.1 computes sqrt(x) and 1/sqrt(x), in Adam and
in batch_norm, from the processor's instruction rsqrtps and one step of Newton's method. rsqrtps is an approximation, of
12 bits or so, and not every processor has the same one. Where they differ, training drifts away as it does from one
rounding error, and how far that is, `one_ulp` in the records measures. (A single core, too, sums a matrix product in
another order than two or more.)

--compare knows the difference, and prints it. It exits with 1 if anything of the former differs in one bit; or if a
training loss is further away than three times `one_ulp`, an accuracy further than rounding moves it, or a result of
batch_norm alone by more than 1e-5. Other variables after training have no limit; their differences are printed.
"""

from __future__ import print_function  # noqa: UP010

import argparse
import collections
import fnmatch
import gc
import json
import os
import re
import sys
import time
import zlib

NEEDED = "needs Python 2.7 with tensorflow 0.12.1, numpy 1.11.2, scipy 0.18.1 and scikit-learn 0.18.1"

if sys.version_info[:2] != (2, 7):
    sys.stderr.write("record_reference.py: " + NEEDED + "; this is Python " + sys.version.split()[0] + "\n")
    sys.exit(2)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

try:
    import numpy as np
    import scipy
    import sklearn
    import tensorflow as tf
    from sklearn.model_selection import train_test_split
    from tensorflow.core.protobuf import meta_graph_pb2
except ImportError as error:
    sys.stderr.write("record_reference.py: " + NEEDED + "; " + str(error).splitlines()[0] + "\n")
    sys.exit(2)

found = (tf.__version__, np.__version__, scipy.__version__, sklearn.__version__)
if found != ("0.12.1", "1.11.2", "0.18.1", "0.18.1"):
    sys.stderr.write("record_reference.py: " + NEEDED + "; these are " + ", ".join(found) + "\n")
    sys.exit(2)

tf.logging.set_verbosity(tf.logging.ERROR)  # initialize_all_variables is deprecated, and says so

DIGITS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bn_graph", "data", "mnist.npz")

# The editions: what they give to batch_norm, who runs its updates, and what they print.
Edition = collections.namedtuple("Edition", "scale updates print_every step_line test_line")

STEP_LINE = "Epoch: %d:\tLoss: %f\t\tTrain Acc: %.2f%%\tValid Acc: %.2f%%\tLearning rate: %.6f"
PAGE_STEP_LINE = "Epoch: %d:\tLoss: %f\t\tTrain Acc: %.2f%%\tValid Acc: %2.f%%\tLearning rate: %.6f"
EDITIONS = {
    "page": Edition(False, "collected", 50, PAGE_STEP_LINE, "Test accuracy: %4f%%"),
    "page_control_dependencies": Edition(False, "control_dependencies", 50, PAGE_STEP_LINE, "Test accuracy: %4f%%"),
    "script": Edition(False, "in_place", 50, STEP_LINE, "Test accuracy: %.2f%%"),
    "notebook": Edition(True, "in_place", 100, STEP_LINE, "Test accuracy: %.2f%%"),
}

batch_size = 64
num_classes = 10
num_steps = 1000
init_lr = 0.001

STATE_STEPS = (0, 1, 50, 999)


# The tutorial.

Mnist = collections.namedtuple("Mnist", "data target")
Sets = collections.namedtuple("Sets", "train_X train_y valid_X valid_y test_X test_y")


def mnist_original(path):
    """What fetch_mldata('MNIST original') gave: LeCun's 60 000 sorted by digit, then his 10 000 sorted by digit."""
    digits = np.load(path)
    train = np.argsort(digits["y_train"], kind="mergesort")  # the stable one
    test = np.argsort(digits["y_test"], kind="mergesort")
    return Mnist(
        np.concatenate([digits["x_train"][train], digits["x_test"][test]]).reshape(70000, 784),
        np.concatenate([digits["y_train"][train], digits["y_test"][test]]).astype(np.float64),
    )


def prepare(mnist):
    """Splits the data; returns the sets, and the lines that the tutorial prints before it builds its graph."""
    lines = []
    # The print statement puts no blank behind a tab.
    lines.append("MNIST data, X shape\t" + str(mnist.data.shape))
    lines.append("MNIST data, y shape\t" + str(mnist.target.shape))

    lines.append(str(mnist.data.dtype))
    lines.append(str(mnist.target.dtype))

    mnist_X = mnist.data.astype(np.float32)
    mnist_y = mnist.target.astype(np.float32)
    lines.append(str(mnist_X.dtype))
    lines.append(str(mnist_y.dtype))

    # One-Hot-Encode y
    mnist_y = np.arange(num_classes) == mnist_y[:, None]
    mnist_y = mnist_y.astype(np.float32)
    lines.append(str(mnist_y.shape))

    # Split training, validation, testing data
    train_X, valid_X, train_y, valid_y = train_test_split(
        mnist_X, mnist_y, test_size=10000, random_state=102, stratify=mnist.target
    )
    train_X, test_X, train_y, test_y = train_test_split(
        train_X, train_y, test_size=10000, random_state=325, stratify=train_y
    )
    lines.append("Dataset\t\tFeatureShape\tLabelShape")
    lines.append("Training set:\t" + str(train_X.shape) + " \t" + str(train_y.shape))
    lines.append("Validation set:\t" + str(valid_X.shape) + " \t" + str(valid_y.shape))
    lines.append("Testing set:\t" + str(test_X.shape) + " \t" + str(test_y.shape))
    return Sets(train_X, train_y, valid_X, valid_y, test_X, test_y), lines


# An initialization function
def initialize(scope, shape, wt_initializer, center=True, scale=True):
    with tf.variable_scope(scope, reuse=None) as sp:
        tf.get_variable("weights", shape, initializer=wt_initializer)
        tf.get_variable("biases", shape[-1], initializer=tf.constant_initializer(1.0))
        if center:
            tf.get_variable("beta", shape[-1], initializer=tf.constant_initializer(0.0))
        if scale:
            tf.get_variable("gamma", shape[-1], initializer=tf.constant_initializer(1.0))
        tf.get_variable("moving_mean", shape[-1], initializer=tf.constant_initializer(0.0), trainable=False)
        tf.get_variable("moving_variance", shape[-1], initializer=tf.constant_initializer(1.0), trainable=False)
    sp.reuse_variables()


def build_graph(valid_X, valid_y, test_X, test_y, updates, scale, center=True, seed=1, hidden_layer_size=1024):
    """The tutorial's graph. Returns it with the names of its end points as attributes."""
    gc.collect()  # the last graph holds its validation and test set, and refers to itself
    num_features = valid_X.shape[1]

    graph = tf.Graph()
    with graph.as_default():
        tf.set_random_seed(seed)
        # prepare input tensor
        tf_train_X = tf.placeholder(tf.float32, shape=[batch_size, num_features])
        tf_train_y = tf.placeholder(tf.float32, shape=[batch_size, num_classes])
        tf_valid_X, tf_valid_y = tf.constant(valid_X), tf.constant(valid_y)
        tf_test_X, tf_test_y = tf.constant(test_X), tf.constant(test_y)

        # setup layers
        layers = [
            {
                "scope": "hidden_layer",
                "shape": [num_features, hidden_layer_size],
                "initializer": tf.truncated_normal_initializer(stddev=0.01),
            },
            {
                "scope": "output_layer",
                "shape": [hidden_layer_size, num_classes],
                "initializer": tf.truncated_normal_initializer(stddev=0.01),
            },
        ]
        # initialize layers
        for layer in layers:
            initialize(layer["scope"], layer["shape"], layer["initializer"])

        # build model - for each layer: -> X -> X*wt+bi -> batch_norm -> activation -> dropout (if not output layer) ->
        layer_scopes = [layer["scope"] for layer in layers]

        def model(X, layer_scopes, is_training, keep_prob, decay=0.9):
            output_X = X
            for scope in layer_scopes:
                # X*wt+bi
                with tf.variable_scope(scope, reuse=True):
                    wt = tf.get_variable("weights")
                    bi = tf.get_variable("biases")
                output_X = tf.matmul(output_X, wt) + bi
                # Insert Batch Normalization
                # set `updates_collections=None` to force updates in place however it comes with speed penalty
                output_X = tf.contrib.layers.batch_norm(
                    output_X,
                    decay=decay,
                    center=center,
                    scale=scale,
                    is_training=is_training,
                    updates_collections=None if updates == "in_place" else tf.GraphKeys.UPDATE_OPS,
                    scope=scope,
                    reuse=True,
                )
                # ReLu activation
                output_X = tf.nn.relu(output_X)
                # Dropout for all non-output layers
                if scope != layer_scopes[-1]:
                    output_X = tf.nn.dropout(output_X, keep_prob)
            return output_X

        # setup keep_prob
        keep_prob = tf.placeholder(tf.float32)

        # compute loss, make predictions
        train_logits = model(tf_train_X, layer_scopes, True, keep_prob)
        train_loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(train_logits, tf_train_y))
        train_pred = tf.nn.softmax(train_logits)
        valid_logits = model(tf_valid_X, layer_scopes, False, keep_prob)
        valid_pred = tf.nn.softmax(valid_logits)
        test_logits = model(tf_test_X, layer_scopes, False, keep_prob)
        test_pred = tf.nn.softmax(test_logits)

        # compute accuracy
        def compute_accuracy(predictions, labels):
            correct_predictions = tf.equal(tf.argmax(predictions, 1), tf.argmax(labels, 1))
            accuracy = tf.reduce_mean(tf.cast(correct_predictions, tf.float32))
            return accuracy

        train_accuracy = compute_accuracy(train_pred, tf_train_y)
        valid_accuracy = compute_accuracy(valid_pred, tf_valid_y)
        test_accuracy = compute_accuracy(test_pred, tf_test_y)

        # setup learning rate, optimizer
        global_step = tf.Variable(0)
        learning_rate = tf.train.exponential_decay(
            init_lr, global_step, decay_steps=500, decay_rate=0.95, staircase=True
        )
        own_variables = tf.global_variables()  # before Adam adds its own; what the checkpoint holds
        # the page has no control dependencies, nor has any published edition
        depend_on = tf.get_collection(tf.GraphKeys.UPDATE_OPS) if updates == "control_dependencies" else []
        with tf.control_dependencies(depend_on):
            optimizer = tf.train.AdamOptimizer(learning_rate).minimize(train_loss, global_step=global_step)

    return argparse.Namespace(**locals())


def train(name, sets, seed=1, hidden_layer_size=1024, nudge=None, states=None, checkpoint=None):
    """Runs an edition. Returns what it measured, as JSON will have it, and the lines that it prints.

    nudge: seed of a generator that moves each initial weight by -1, 0 or +1 unit in the last place
    states: the start of the paths of the state files
    checkpoint: the folder of the checkpoint
    """
    edition = EDITIONS[name]
    train_X, train_y = sets.train_X, sets.train_y
    g = build_graph(
        *sets[2:], updates=edition.updates, scale=edition.scale, seed=seed, hidden_layer_size=hidden_layer_size
    )
    lines = []
    record = {
        "batch_size": batch_size,
        "hidden_layer_size": hidden_layer_size,
        "num_steps": num_steps,
        "seed": seed,
        "random_ops": random_ops(g.graph),
        "train_loss": [],
        "train_accuracy": [],
        "valid_step": [],
        "valid_accuracy": [],
    }
    # Start a session
    with tf.Session(graph=g.graph) as sess:
        variables = collections.OrderedDict((variable.op.name, variable) for variable in tf.global_variables())
        trainable = tf.trainable_variables()
        record["variables"] = [
            {
                "name": variable.op.name,
                "shape": variable.get_shape().as_list(),
                "dtype": variable.dtype.base_dtype.name,
                "trainable": variable in trainable,
            }
            for variable in variables.values()
        ]
        record["collections"] = {
            key: [element.name for element in g.graph.get_collection(key)] for key in g.graph.get_all_collection_keys()
        }
        tf.initialize_all_variables().run()
        lines.append("Initialized")
        if nudge is not None:
            move_weights(sess, variables, nudge)
        record["initial"] = {
            key: dict(sums(value), first=value.ravel()[:8].astype(float).tolist())
            for key, value in sess.run(variables).items()
        }
        for step in range(num_steps):
            offset = (step * batch_size) % (train_y.shape[0] - batch_size)
            batch_X = train_X[offset : (offset + batch_size), :]
            batch_y = train_y[offset : (offset + batch_size), :]
            feed_dict = {g.tf_train_X: batch_X, g.tf_train_y: batch_y, g.keep_prob: 0.6}
            if states and step in STATE_STEPS:
                save_arrays(states + "_step%04d_before.npz" % step, dotted(sess.run(variables)))  # noqa: UP031
            _, tloss, tacc = sess.run([g.optimizer, g.train_loss, g.train_accuracy], feed_dict=feed_dict)
            if states and step in STATE_STEPS:
                save_arrays(states + "_step%04d_after.npz" % step, dotted(sess.run(variables), loss=tloss))  # noqa: UP031
            record["train_loss"].append(float(tloss))
            record["train_accuracy"].append(float(tacc))
            if step % 50 == 0:
                # only evaluate validation accuracy every 50 steps to speed up training
                vacc = sess.run(g.valid_accuracy, feed_dict={g.keep_prob: 1.0})
                record["valid_step"].append(step)
                record["valid_accuracy"].append(float(vacc))
                if step % edition.print_every == 0:
                    lines.append(edition.step_line % (step, tloss, (tacc * 100), (vacc * 100), g.learning_rate.eval()))
        lines.append("Finished training")
        tacc = sess.run(g.test_accuracy, feed_dict={g.keep_prob: 1.0})
        lines.append(edition.test_line % (tacc * 100))
        record["test_accuracy"] = float(tacc)
        record["final"] = {key: sums(value) for key, value in sess.run(variables).items()}
        if checkpoint:
            saver = tf.train.Saver(g.own_variables)
            saver.save(sess, os.path.join(checkpoint, "notebook.ckpt"), write_meta_graph=False, write_state=False)
            small = {v.op.name: v for v in g.own_variables if v.op.name != "hidden_layer/weights"}
            valid_logits, test_logits = sess.run([g.valid_logits, g.test_logits], feed_dict={g.keep_prob: 1.0})
            outputs = dotted(sess.run(small), valid_logits_100=valid_logits[:100], test_logits_100=test_logits[:100])
            save_arrays(os.path.join(checkpoint, "notebook_outputs.npz"), outputs)
    return record, lines


def move_weights(sess, variables, seed):
    """Moves each weight to the float32 number below, not at all or to the one above."""
    random = np.random.RandomState(seed)
    for layer in ("hidden_layer", "output_layer"):
        variable = variables[layer + "/weights"]
        value = sess.run(variable)
        ways = [np.nextafter(value, np.float32(-np.inf)), value, np.nextafter(value, np.float32(np.inf))]
        moved = np.choose(random.randint(0, 3, value.shape), ways)
        sess.run(variable.initializer, {variable.initializer.inputs[1]: moved})


def random_ops(graph):
    return [
        {"type": op.type, "name": op.name, "seed": op.get_attr("seed"), "seed2": op.get_attr("seed2")}
        for op in graph.get_operations()
        if op.type in ("TruncatedNormal", "RandomUniform")
    ]


def sums(value):
    value = value.astype(np.float64)
    return {"sum": value.sum(), "abs_sum": np.abs(value).sum()}


def dotted(values, **more):
    return dict({key.replace("/", "."): value for key, value in values.items()}, **more)


def empty_sets(rows):
    """A validation and a test set without digits, where only the graph is wanted."""
    X, y = np.ones((rows, 784), np.float32), np.ones((rows, num_classes), np.float32)
    return X, y, X, y


# The parts: each writes its files into a folder.


def save_json(path, value):
    with open(made(path), "w") as file:
        file.write(json.dumps(value, sort_keys=True) + "\n")


def save_arrays(path, arrays):
    np.savez_compressed(made(path), **arrays)


def made(path):
    """The path, with its folder made."""
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path))
    return path


class Recorder:
    def __init__(self, out, digits):
        self.out = out
        self.digits = digits
        self.data = None

    def path(self, *names):
        return made(os.path.join(self.out, *names))

    def sets(self):
        if self.data is None:
            self.data = prepare(mnist_original(self.digits))
        return self.data

    def edition(self, name):
        """One run of 1000 steps, what it printed, and the same twice more from one unit in the last place away."""
        sets, lines = self.sets()
        checkpoint = self.path("checkpoint", "") if name == "notebook" else None
        record, more_lines = train(name, sets, checkpoint=checkpoint)
        record["edition"] = "page" if name.startswith("page") else name
        record["updates"] = EDITIONS[name].updates
        record["tensorflow"], record["numpy"] = tf.__version__, np.__version__
        record["scikit_learn"], record["python"] = sklearn.__version__, sys.version.split()[0]
        record["one_ulp"] = []
        for nudge in (1, 2):
            nudged, _ = train(name, sets, nudge=nudge)
            record["one_ulp"].append({key: nudged[key] for key in ("train_loss", "valid_accuracy", "test_accuracy")})
        save_json(self.path(name + ".json"), record)
        with open(self.path("console", name + ".txt"), "w") as file:
            file.write("\n".join(lines + more_lines) + "\n")

    def state(self):
        """Every variable before and after some steps, of runs with 16 hidden units."""
        keys = "batch_size hidden_layer_size num_steps seed random_ops train_loss train_accuracy".split()
        keys += "valid_step valid_accuracy test_accuracy".split()
        for name in ("page", "page_control_dependencies", "notebook"):
            start = self.path("state", name + "_hidden16")
            record, _ = train(name, self.sets()[0], hidden_layer_size=16, states=start)
            save_json(start + ".json", {key: record[key] for key in keys})

    def seeds(self):
        """Accuracies of the notebook from ten seeds."""
        records = {}
        for seed in range(1, 11):
            record, _ = train("notebook", self.sets()[0], seed=seed)
            records[seed] = {key: record[key] for key in ("valid_step", "valid_accuracy", "test_accuracy")}
        save_json(self.path("notebook_seeds_1_to_10.json"), records)

    def graph(self):
        """MetaGraphs, the end points in collections, with zeros for the validation and test set."""
        for name, edition in EDITIONS.items():
            g = build_graph(*empty_sets(10000), updates=edition.updates, scale=edition.scale)
            ends = (
                "keep_prob train_loss train_accuracy valid_accuracy test_accuracy train_logits valid_logits test_logits"
            )
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
            with open(self.path("graph", name + ".meta"), "wb") as file:
                file.write(meta.SerializeToString())

    def op_seeds(self):
        """The op-level seeds of the weights and the training dropout, whatever is switched on."""
        cases = []
        for center in (True, False):
            for scale in (True, False):
                for updates in ("in_place", "collected"):
                    g = build_graph(*empty_sets(100), updates=updates, scale=scale, center=center)
                    case = {"center": center, "scale": scale, "updates": updates}
                    keys = ("hidden_weights", "output_weights", "train_dropout")  # then validation's and test's
                    for key, op in zip(keys, random_ops(g.graph)):  # noqa: B905
                        case[key] = op["seed2"]
                    cases.append(case)
        save_json(self.path("op_seeds.json"), cases)

    def splits(self):
        """The rows of 'MNIST original' that the tutorial draws."""
        train, valid, test = draw_rows(mnist_original(self.digits).target, 10000, 10000)
        rows = {"train": train.astype(np.uint32), "valid": valid.astype(np.uint32), "test": test.astype(np.uint32)}
        save_arrays(self.path("splits_scikit-learn-0.18.1.npz"), rows)

    def small_splits(self):
        arrays = {}
        for name, counts, in_order, valid_size, test_size in SMALL_SPLITS:
            labels = np.repeat(np.arange(10), counts).astype(np.float64)
            if not in_order:
                labels = np.random.RandomState(len(labels)).permutation(labels)
            train, valid, test = draw_rows(labels, valid_size, test_size)
            arrays[name + "_labels"] = labels.astype(np.uint8)
            arrays[name + "_sizes"] = np.array([valid_size, test_size], np.uint16)
            arrays[name + "_train"] = train.astype(np.uint16)
            arrays[name + "_valid"] = valid.astype(np.uint16)
            arrays[name + "_test"] = test.astype(np.uint16)
        save_arrays(self.path("splits_small_scikit-learn-0.18.1.npz"), arrays)

    def draws(self):
        """What the random ops give: the dropout's first two draws from some seeds, and rows of the initial weights."""
        arrays = {}
        for graph_seed, op_seed in [(1, 101), (1, 102), (1, 103), (1, 104), (20161122, 101), (2147483646, 104)]:
            with tf.Graph().as_default():
                tf.set_random_seed(graph_seed)
                uniform = tf.random_uniform([64, 16], seed=op_seed)
                with tf.Session() as sess:
                    key = "uniform_" + str(graph_seed) + "_" + str(op_seed)
                    arrays[key] = np.stack([sess.run(uniform) for _ in range(2)])
        with tf.Graph().as_default():
            tf.set_random_seed(1)
            initializers = [tf.truncated_normal_initializer(stddev=0.01, seed=seed) for seed in (10, 39)]
            hidden = tf.get_variable("h", [784, 1024], initializer=initializers[0])
            output = tf.get_variable("o", [1024, 10], initializer=initializers[1])
            with tf.Session() as sess:
                sess.run(tf.initialize_all_variables())
                arrays["hidden_rows"] = np.array([0, 1, 391, 782, 783])
                arrays["hidden_weights"] = sess.run(hidden)[arrays["hidden_rows"]]
                arrays["output_weights"] = sess.run(output)
        save_arrays(self.path("draws_tf-0.12.1.npz"), arrays)

    def batch_norm(self):
        arrays = {}
        for name, case in sorted(BATCH_NORM.items()):
            for key, value in run_batch_norm(name, case).items():
                arrays[name + "." + key] = value
        about = {"tensorflow": tf.__version__, "numpy": np.__version__, "cases": BATCH_NORM}
        arrays["record"] = np.array(json.dumps(about, sort_keys=True).decode("ascii"))
        save_arrays(self.path("batch_norm_tf-0.12.1.npz"), arrays)

    def parts(self):
        """Names and functions, the quick ones first."""
        parts = [(name, getattr(self, name)) for name in "splits small_splits draws op_seeds graph batch_norm".split()]
        for name in sorted(EDITIONS):
            parts.append((name, lambda name=name: self.edition(name)))
        return parts + [("state", self.state), ("seeds", self.seeds)]


def draw_rows(labels, valid_size, test_size):
    """The row numbers that the tutorial's two calls of train_test_split draw: training, validation, test."""
    rows = np.arange(len(labels))
    one_hot = (np.arange(num_classes) == labels[:, None]).astype(np.float32)
    train_X, valid_X, train_y, valid_y = train_test_split(
        rows, one_hot, test_size=valid_size, random_state=102, stratify=labels
    )
    train_X, test_X, train_y, test_y = train_test_split(
        train_X, train_y, test_size=test_size, random_state=325, stratify=train_y
    )
    assert (len(valid_X), len(test_X)) == (valid_size, test_size)
    for drawn, drawn_y in ((train_X, train_y), (valid_X, valid_y), (test_X, test_y)):
        assert (one_hot[drawn] == drawn_y).all()
    return train_X, valid_X, test_X


# name: rows of each digit, sorted like 'MNIST original' or shuffled, valid_size, test_size
SMALL_SPLITS = [
    # multiplying before dividing, as 0.18.1 does, rounds these otherwise than dividing first
    ("unequal", [50, 58, 48, 29, 28, 25, 30, 36, 24, 37], False, 73, 91),
    ("tied", [40, 12, 36, 36, 40, 12, 40, 12, 12, 40], False, 70, 56),
    # all remainders tie, and the generator breaks the tie
    ("equal", [40] * 10, False, 77, 55),
    # down to two members
    ("skewed", [2, 3, 5, 8, 12, 20, 40, 60, 100, 150], False, 71, 54),
    ("five_digits", [0, 45, 0, 45, 20, 0, 0, 40, 0, 50], False, 35, 25),
    ("sorted", [31, 36, 30, 29, 27, 24, 31, 33, 29, 30], True, 55, 45),
]


# tf.contrib.layers.batch_norm alone. The array `record` is one JSON string
# {"tensorflow", "numpy", "cases": {name: case}}; beside it are the arrays `NAME.batches` and so on. A case has
#
#     arguments       given to batch_norm as they are; "relu" stands for tf.nn.relu
#     shape, dtype    of the inputs
#     training        how is_training is spelled: true, false, "constant", "placeholder" or "variable"
#     fed             for the last three: is_training of each batch
#     weights         whether batch_weights are given (array `weights`)
#     initial         whether the moving statistics, and beta and gamma if switched on, start at random (arrays
#                     `initial_*`); "all": switched-off beta and gamma too
#     and, as recorded, `variables`, `trainable` and `model` (names in order)
#                     and `collections` (name: number of tensors)
#
# and the arrays `batches`, `outputs`, `moving_mean`, `moving_variance`, one row per batch, the statistics after it; and
# where it trains from the first batch on, `gradient`: d sum(outputs * cotangent) / d inputs on the first batch.

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
                for part, variable in zip(PARTS[2:], statistics):  # noqa: B905
                    found[part].append(session.run(variable))
    arrays.update((key, np.array(value)) for key, value in found.items())
    return arrays


# The comparison with the kept files: of their contents, as zip files and protocol buffers have more than one spelling.

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


def main():
    parser = argparse.ArgumentParser(description="Records what the tutorial does on TensorFlow 0.12.1.")
    parser.add_argument("out", metavar="OUTDIR", help="where the recordings go, laid out like tests/reference")
    parser.add_argument("--digits", default=DIGITS, help="mnist.npz (default: the one in bn_graph/data)")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="record these parts only; no name: none at all")
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="DIR",
        help="compare all files in OUTDIR with those kept in the first DIR with them",
    )
    args = parser.parse_args()
    parts = Recorder(args.out, args.digits).parts()
    names = [name for name, _ in parts]
    for name in args.only or []:
        if name not in names:
            parser.error("--only " + name + ": no such part; there are " + " ".join(names))
    for name, record in parts:
        if args.only is None or name in args.only:
            start = time.time()
            record()
            sys.stderr.write(name + ": " + str(int(round(time.time() - start))) + " s\n")
    if args.compare and not compare_all(args.out, args.compare):
        sys.exit(1)


if __name__ == "__main__":
    main()
