"""Runs of the editions: losses, accuracies and what they print; every variable around some steps; ten seeds."""

import collections
import os
import sys

import numpy as np
import sklearn
import tensorflow as tf

from tests.recording.reference.files import made, save_arrays, save_json
from tests.recording.reference.tutorial import EDITIONS, batch_size, build_graph, num_steps, random_ops

STATE_STEPS = (0, 1, 50, 999)


def record_edition(name, out, digits):
    """One run of 1000 steps, what it printed, and the same twice more from one unit in the last place away."""
    sets, lines = digits.prepared()
    checkpoint = made(os.path.join(out, "checkpoint", "")) if name == "notebook" else None
    record, more_lines = train(name, sets, checkpoint=checkpoint)
    record["edition"] = "page" if name.startswith("page") else name
    record["updates"] = EDITIONS[name].updates
    record["tensorflow"], record["numpy"] = tf.__version__, np.__version__
    record["scikit_learn"], record["python"] = sklearn.__version__, sys.version.split()[0]
    record["one_ulp"] = []
    for nudge in (1, 2):
        nudged, _ = train(name, sets, nudge=nudge)
        record["one_ulp"].append({key: nudged[key] for key in ("train_loss", "valid_accuracy", "test_accuracy")})
    save_json(os.path.join(out, name + ".json"), record)
    with open(made(os.path.join(out, "console", name + ".txt")), "w") as file:
        file.write("\n".join(lines + more_lines) + "\n")


def record_states(out, digits):
    """Every variable before and after some steps, of runs with 16 hidden units."""
    keys = "batch_size hidden_layer_size num_steps seed random_ops train_loss train_accuracy".split()
    keys += "valid_step valid_accuracy test_accuracy".split()
    sets, _ = digits.prepared()
    for name in ("page", "page_control_dependencies", "notebook"):
        start = os.path.join(out, "state", name + "_hidden16")
        record, _ = train(name, sets, hidden_layer_size=16, states=start)
        save_json(start + ".json", {key: record[key] for key in keys})


def record_seeds(out, digits):
    """Accuracies of the notebook from ten seeds."""
    sets, _ = digits.prepared()
    records = {}
    for seed in range(1, 11):
        record, _ = train("notebook", sets, seed=seed)
        records[seed] = {key: record[key] for key in ("valid_step", "valid_accuracy", "test_accuracy")}
    save_json(os.path.join(out, "notebook_seeds_1_to_10.json"), records)


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
                save_arrays(states + "_step%04d_before.npz" % step, dotted(sess.run(variables)))
            _, tloss, tacc = sess.run([g.optimizer, g.train_loss, g.train_accuracy], feed_dict=feed_dict)
            if states and step in STATE_STEPS:
                save_arrays(states + "_step%04d_after.npz" % step, dotted(sess.run(variables), loss=tloss))
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


def sums(value):
    value = value.astype(np.float64)
    return {"sum": value.sum(), "abs_sum": np.abs(value).sum()}


def dotted(values, **more):
    return dict({key.replace("/", "."): value for key, value in values.items()}, **more)
