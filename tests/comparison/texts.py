"""A program as one wrote it in 2016: Python 2, tf.contrib, mldata.org. It is ours, and builds the notebook's graph."""

import json

STEPS = 3
TEXT = f"""
%matplotlib inline
import numpy as np
import tensorflow as tf
from sklearn.cross_validation import train_test_split
from sklearn.datasets import fetch_mldata

digits = fetch_mldata("MNIST original", data_home="./")
print "digits:", digits.data.shape
one_hot = (np.arange(10) == digits.target[:, None]).astype(np.float32)
pixels = digits.data.astype(np.float32)
rest_X, valid_X, rest_y, valid_y = train_test_split(
    pixels, one_hot, test_size=10000, random_state=102, stratify=digits.target)
train_X, test_X, train_y, test_y = train_test_split(
    rest_X, rest_y, test_size=10000, random_state=325, stratify=rest_y)
sizes = {{"hidden_layer": (784, 1024), "output_layer": (1024, 10)}}
for name, (rows, columns) in sorted(sizes.iteritems()):
    with tf.variable_scope(name) as scope:
        tf.get_variable("weights", [rows, columns], initializer=tf.truncated_normal_initializer(stddev=0.01))
        for variable, value, trainable in [
                ("biases", 1.0, True), ("beta", 0.0, True), ("gamma", 1.0, True),
                ("moving_mean", 0.0, False), ("moving_variance", 1.0, False)]:
            tf.get_variable(variable, columns, initializer=tf.constant_initializer(value), trainable=trainable)

keep_prob = tf.placeholder(tf.float32)

def network(output, is_training):
    for name in sorted(sizes):
        with tf.variable_scope(name, reuse=True):
            output = tf.matmul(output, tf.get_variable("weights")) + tf.get_variable("biases")
        output = tf.nn.relu(tf.contrib.layers.batch_norm(
            output, decay=0.9, center=True, scale=True, is_training=is_training, updates_collections=None,
            scope=name, reuse=True))
        if name == "hidden_layer":
            output = tf.nn.dropout(output, keep_prob)
    return output

def accuracy(logits, labels):
    return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), tf.argmax(labels, 1)), tf.float32))

X, y = tf.placeholder(tf.float32, [64, 784]), tf.placeholder(tf.float32, [64, 10])
many_X, many_y = tf.placeholder(tf.float32, [None, 784]), tf.placeholder(tf.float32, [None, 10])
logits = network(X, True)
loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(logits, y))
valid_accuracy = accuracy(network(many_X, False), many_y)
test_accuracy = accuracy(network(many_X, False), many_y)
steps_done = tf.Variable(0)
rate = tf.train.exponential_decay(0.001, steps_done, 500, 0.95, staircase=True)
train_op = tf.train.AdamOptimizer(rate).minimize(loss, global_step=steps_done)

with tf.Session() as session:
    session.run(tf.initialize_all_variables())
    for step in xrange({STEPS}):
        batch = slice(64 * step, 64 * step + 128 / 2)
        _, value = session.run([train_op, loss], {{X: train_X[batch], y: train_y[batch], keep_prob: 0.6}})
        if step == 0:
            print "step", step, "validation", valid_accuracy.eval({{many_X: valid_X, many_y: valid_y, keep_prob: 1.0}})
            valid_accuracy.eval({{many_X: valid_X, many_y: valid_y, keep_prob: 1.0}})
    print "tested:", session.run(test_accuracy, {{many_X: test_X, many_y: test_y, keep_prob: 1.0}})
""".strip().replace("128 / 2", "int(128 / 2)")


def as_notebook(text, break_before="digits = ") -> str:
    """The text as a notebook of two code cells, with a cell of prose between them."""
    first, rest = text.split(break_before, 1)
    cells = [
        {"cell_type": "code", "source": first.splitlines(keepends=True)},
        {"cell_type": "markdown", "source": "Text that is no code."},
        {"cell_type": "code", "source": break_before + rest},
    ]
    return json.dumps({"nbformat": 4, "cells": cells})


def as_page(text, fenced=False) -> str:
    """The text as a page in Markdown, whose code is indented or in fences."""
    if fenced:
        return f"# A page\n\nText that is no code.\n\n```python\n{text}\n```\n"
    code = "\n".join(f"    {line}" if line else "" for line in text.splitlines())
    return f"# A page\n\nText that is no code.\n\n{code}\n"
