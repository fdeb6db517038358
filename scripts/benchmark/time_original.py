"""The original of 2016, for scripts/benchmark: trains it on TensorFlow 0.12.1 and prints what it measured as JSON.

    python2.7 scripts/benchmark/time_original.py
    python scripts/benchmark --original python2.7

Python 2.7 with tensorflow 0.12.1 and the numpy that comes with it. It trains the graph that tests/recording/reference
recorded, in the tutorial's loop, and prints what scripts/benchmark/peers prints.
"""

from __future__ import print_function  # noqa: UP010

import argparse
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
GRAPH = os.path.join(ROOT, "bn_graph", "comparison", "reference", "graph", "notebook.meta")
DIGITS = os.path.join(ROOT, "bn_graph", "data", "mnist.npz")
ROWS = os.path.join(ROOT, "tests", "reference", "splits_scikit-learn-0.18.1.npz")
BATCH_SIZE = 64
BLOCK = 50  # steps between two validations


def load_sets():
    """The tutorial's sets: float32 images and one-hot labels of each part."""
    digits, rows = np.load(DIGITS), np.load(ROWS)
    images, labels = [], []
    for part in ("train", "test"):  # LeCun's, each sorted by digit
        order = np.argsort(digits["y_" + part], kind="mergesort")
        images.append(digits["x_" + part][order].reshape(-1, 784))
        labels.append(digits["y_" + part][order])
    images, labels = np.concatenate(images).astype(np.float32), np.concatenate(labels)
    one_hot = (np.arange(10) == labels[:, None]).astype(np.float32)
    return {part: (images[rows[part]], one_hot[rows[part]]) for part in ("train", "valid", "test")}


def main():
    parser = argparse.ArgumentParser(description=__doc__ and __doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--turns", action="store_true")
    arguments = parser.parse_args()
    sets = load_sets()
    train_X, train_y = sets["train"]
    tf.train.import_meta_graph(GRAPH)

    def end(name):
        return tf.get_collection("tutorial/" + name)[0]

    def accuracy(part):
        X, y = sets[part]
        return float(sess.run(end(part + "_accuracy"), {end(part + "_x"): X, end(part + "_y"): y, keep_prob: 1.0}))

    batch_x, batch_y, keep_prob = end("batch_x"), end("batch_y"), end("keep_prob")
    fetches = [end("train_op"), end("train_loss"), end("train_accuracy")]
    blocks, valid_accuracy = [], []
    with tf.Session() as sess:
        sess.run(end("init_op"))
        begin, seconds = 0, 0.0
        for step in range(arguments.steps):
            if step == begin:
                if arguments.turns:  # as in peers/task.py
                    sys.stdout.write("ready\n")
                    sys.stdout.flush()
                    sys.stdin.readline()
                before = time.time()
            offset = (step * BATCH_SIZE) % (train_y.shape[0] - BATCH_SIZE)
            rows = slice(offset, offset + BATCH_SIZE)
            _, loss, _ = sess.run(fetches, {batch_x: train_X[rows], batch_y: train_y[rows], keep_prob: 0.6})
            if step % BLOCK == 0 or step == arguments.steps - 1:
                blocks.append([begin, step + 1 - begin, time.time() - before])
                if step % BLOCK == 0:
                    valid_accuracy.append(accuracy("valid"))
                seconds += time.time() - before
                begin = step + 1
        measured = {"blocks": blocks, "seconds": seconds, "loss": float(loss)}
        measured.update(valid_accuracy=valid_accuracy, test_accuracy=accuracy("test"))
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
