"""The page's code and the port's, line by line.

The lines of the page are quoted from "Using Batch Normalization", Stack Overflow Documentation, by its contributors,
CC BY-SA 3.0. They are those that lesson 1 quotes, too. The port's lines are looked up in the package's own source.
"""

from pathlib import Path
from typing import NamedTuple

from bn_graph.errors import InputError

SOURCE = "Using Batch Normalization, Stack Overflow Documentation, 2016, by its contributors"
LICENSE = "https://creativecommons.org/licenses/by-sa/3.0/"
_PACKAGE = Path(__file__).parent.parent


class Pair(NamedTuple):
    """A line of the page, or two that are one statement, and the lines of the port that do the same."""

    page: str
    module: str  # of the port
    port: str
    why: str = ""  # where they do not say the same: what differs, and why it is harmless


_DATA = [
    Pair(
        "mnist = fetch_mldata('MNIST original', data_home='./')",
        "mnist.py",
        'def load_mnist(source: str | os.PathLike = "embedded") -> Mnist:',
        "mldata.org is gone. The same 70 000 digits come with the package, in the same order.",
    ),
    Pair(
        "mnist_X = mnist.data.astype(np.float32)",
        "mnist.py",
        "train_X=LazyRows(mnist.data, train_rows, np.float32),",
        "Rows become float32 when a batch takes them: the same numbers in a quarter of the memory.",
    ),
    Pair(
        "mnist_y = np.arange(num_classes)==mnist_y[:, None]\nmnist_y = mnist_y.astype(np.float32)",
        "mnist.py",
        "one_hot = (np.arange(NUM_CLASSES) == target[:, None]).astype(np.float32)",
    ),
    Pair(
        "train_X, valid_X, train_y, valid_y = train_test_split(mnist_X, mnist_y, test_size=10000,\n"
        "    random_state=102, stratify=mnist.target)",
        "mnist.py",
        "rest, valid_rows = draw(target, valid_size, random_state=102)",
        "On --split original, draw is what scikit-learn 0.18.1 drew, row for row; today's draws others.",
    ),
    Pair(
        "train_X, test_X,  train_y, test_y  = train_test_split(train_X, train_y, test_size=10000,\n"
        "    random_state=325, stratify=train_y)",
        "mnist.py",
        "train_rows, test_rows = draw(one_hot[rest], test_size, random_state=325)",
        "The same. It keeps the shared rows of 2016; see “The split”.",
    ),
]

_VARIABLES = [
    Pair(
        "with tf.variable_scope(scope, reuse=None) as sp:",
        "layers.py",
        "with tf.variable_scope(scope, reuse=None) as sp:",
    ),
    *(
        Pair(page, "layers.py", page.partition(" = ")[2].replace("(1.)", "(1.0)"))
        for page in (
            'wt = tf.get_variable("weights", shape, initializer=wt_initializer)',
            'bi = tf.get_variable("biases", shape[-1], initializer=tf.constant_initializer(1.))',
            'beta = tf.get_variable("beta", shape[-1], initializer=tf.constant_initializer(0.0))',
            'gamma = tf.get_variable("gamma", shape[-1], initializer=tf.constant_initializer(1.0))',
        )
    ),
    Pair(
        'moving_avg = tf.get_variable("moving_mean", shape[-1], initializer=tf.constant_initializer(0.0),\n'
        "    trainable=False)",
        "layers.py",
        'tf.get_variable("moving_mean", shape[-1], initializer=tf.constant_initializer(0.0), trainable=False)',
    ),
    Pair(
        'moving_var = tf.get_variable("moving_variance", shape[-1], initializer=tf.constant_initializer(1.0),\n'
        "    trainable=False)",
        "layers.py",
        'tf.get_variable("moving_variance", shape[-1], initializer=tf.constant_initializer(1.0), trainable=False)',
    ),
    Pair("sp.reuse_variables()", "layers.py", "sp.reuse_variables()"),
]

_INPUTS = [
    Pair(
        "tf_train_X = tf.placeholder(tf.float32, shape=[batch_size, num_features])",
        "graph.py",
        "batch_X = tf.placeholder(tf.float32, shape=[rows, num_features])",
    ),
    Pair(
        "tf_train_y = tf.placeholder(tf.float32, shape=[batch_size, num_classes])",
        "graph.py",
        "batch_y = tf.placeholder(tf.float32, shape=[rows, num_classes])",
    ),
    Pair(
        "tf_valid_X, tf_valid_y = tf.constant(valid_X), tf.constant(valid_y)\n"
        "tf_test_X,  tf_test_y  = tf.constant(test_X),  tf.constant(test_y)",
        "graph.py",
        "valid_X, test_X = (tf.placeholder(tf.float32, X.shape) for X in (splits.valid_X, splits.test_X))\n"
        "valid_y, test_y = (tf.placeholder(tf.float32, y.shape) for y in (splits.valid_y, splits.test_y))",
        "The sets are fed, not built in: the same numbers, without 60 MB in the graph.",
    ),
    Pair("keep_prob = tf.placeholder(tf.float32)", "graph.py", "keep_prob = tf.placeholder(tf.float32)"),
]

_MODEL = [
    Pair("output_X = tf.matmul(output_X, wt) + bi", "graph.py", "pre_norm = tf.matmul(output_X, wt) + bi"),
    Pair(
        "output_X = tf.contrib.layers.batch_norm(output_X, decay=decay, is_training=is_training,",
        "graph.py",
        "return batch_norm(\npre_norm,\ndecay=config.decay,\ncenter=config.center,\nscale=config.scale,\n"
        "is_training=is_training,",
        "contrib is gone; batch_norm has its parameters and their defaults, and tf-slim does the arithmetic. center "
        "and scale are written out: the page leaves them at True and False.",
    ),
    Pair(
        "updates_collections=ops.GraphKeys.UPDATE_OPS, scope=scope, reuse=True)",
        "graph.py",
        'updates_collections=None if config.updates == "in_place" else tf.GraphKeys.UPDATE_OPS,\n'
        "scope=scope,\nreuse=True,",
        "The page never imports ops and crashes here. tf.GraphKeys is the same class. Script and notebook give None.",
    ),
    Pair("output_X = tf.nn.relu(output_X)", "graph.py", "activation = tf.nn.relu(post_norm)"),
    Pair("if scope!=layer_scopes[-1]:", "graph.py", 'if scope == "hidden_layer":'),
    Pair(
        "output_X = tf.nn.dropout(output_X, keep_prob)",
        "graph.py",
        "return tf.nn.dropout(X, rate=1 - keep_prob, seed=seed)",
        "The op's seed is written out: in 2016 it was the op's position in the graph. The masks are equal bit for bit.",
    ),
]

_TRAINING = [
    Pair(
        "train_logits = model(tf_train_X, layer_scopes, True, keep_prob)",
        "graph.py",
        'train_layers = model(batch_X, config, is_training if one_tower else True, keep_prob, "train")',
    ),
    Pair(
        "train_loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(train_logits, tf_train_y))",
        "graph.py",
        "train_loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=batch_y, logits=train_logits))",
        "The function takes its arguments by name now. The labels are fed; no gradient goes to them either way.",
    ),
    Pair(
        "valid_logits = model(tf_valid_X, layer_scopes, False, keep_prob)",
        "graph.py",
        'valid_logits = model(valid_X, config, False, keep_prob, "valid")["output_layer"].activation',
    ),
    Pair(
        "test_logits = model(tf_test_X, layer_scopes, False, keep_prob)",
        "graph.py",
        'test_logits = model(test_X, config, False, keep_prob, "test")["output_layer"].activation',
    ),
    Pair("global_step = tf.Variable(0)", "graph.py", "global_step = tf.Variable(0)"),
    Pair(
        "learning_rate = tf.train.exponential_decay(init_lr,global_step, decay_steps=500, decay_rate=0.95, "
        "staircase=True)",
        "graph.py",
        "learning_rate = tf.train.exponential_decay(\n"
        "config.learning_rate, global_step, decay_steps=500, decay_rate=0.95, staircase=True\n)",
    ),
    Pair(
        "optimizer = tf.train.AdamOptimizer(learning_rate).minimize(train_loss, global_step=global_step)",
        "graph.py",
        "with tf.control_dependencies(updates):\ntrain_op = optimizer.minimize(train_loss, global_step=global_step)",
        "These are the lines that the page lacks. With --updates collected, updates is empty: the page as printed.",
    ),
]

_SESSION = [
    Pair("tf.initialize_all_variables().run()", "training.py", "sess.run(tutorial.init_op)"),
    Pair(
        "for step in range(num_steps):",
        "training.py",
        "for step in (progress or iter)(range(record.num_steps, config.steps)):",
        "record.num_steps is 0, except where a run is resumed.",
    ),
    Pair(
        "offset = (step * batch_size) % (train_y.shape[0] - batch_size)",
        "mnist.py",
        "return (step * batch_size) % (num_rows - batch_size)",
    ),
    Pair(
        "_, tloss, tacc = sess.run([optimizer, train_loss, train_accuracy], feed_dict=feed_dict)",
        "training.py",
        "fetches = [tutorial.train_op, tutorial.train_loss, tutorial.train_accuracy]",
        "The same three are fetched, by a call that looks through its arguments once and not at every step.",
    ),
    Pair("if step%50==0:", "training.py", "if step % config.eval_every == 0:"),
    Pair(
        "vacc = sess.run(valid_accuracy, feed_dict={keep_prob : 1.0})",
        "training.py",
        "return self._session.run(self._tutorial.valid_accuracy, feed_dict=self._tutorial.valid_feed)",
    ),
    Pair(
        "tacc = sess.run([test_accuracy], feed_dict={keep_prob : 1.0})",
        "training.py",
        "return self._session.run(self._tutorial.test_accuracy, feed_dict=self._tutorial.test_feed)",
        "The page fetches a list, multiplies it by 100 and crashes. A tensor is fetched here.",
    ),
    Pair(
        'print("Test accuracy: %4f%%" %(tacc*100))',
        "record.py",
        'return f"Test accuracy: {test}" % (self.test_accuracy * 100)',
    ),
]

PARTS = {
    "The digits": _DATA,
    "The variables": _VARIABLES,
    "The inputs": _INPUTS,
    "The model": _MODEL,
    "Loss and optimizer": _TRAINING,
    "The session": _SESSION,
}


def side_by_side() -> dict:
    """From the title of a part to its pairs, as dicts, each with the number of the port's first line in its module."""
    return {
        title: [pair._asdict() | {"port": _lines_of(pair)[1], "line": _lines_of(pair)[0]} for pair in pairs]
        for title, pairs in PARTS.items()
    }


def _lines_of(pair):
    """The number of the first line and the text of the port's lines, as they stand in the module."""
    source = (_PACKAGE / pair.module).read_text(encoding="utf-8").splitlines()
    wanted = pair.port.splitlines()
    for index in range(len(source) - len(wanted) + 1):
        lines = source[index : index + len(wanted)]
        if [line.strip() for line in lines] == wanted:
            return index + 1, _dedent(lines)
    raise InputError(f"{_PACKAGE / pair.module}: has no line {wanted[0]!r}; install bn_graph again")


def _dedent(lines):
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    return "\n".join(line[indent:] for line in lines)
