"""The session loop inside the graph: the data and the loop are there, and one session.run trains many steps.

For each step the tutorial's loop slices a batch, hands it over to TensorFlow, wakes its threads and waits for two
numbers. Here the body of a `tf.while_loop` is a copy of the training step: the same ops with the same op-level seeds on
the same variables, in the same order, so that every loss is the same bit for bit. A step begins when the update before
it is done.

The evaluations have no dropout. With keep_prob 1 it changes nothing, and draws ten million numbers.
"""

import numpy as np

from bn_graph.graph import Layer, compute_accuracy, model
from bn_graph.mnist import Rows, free_memory
from bn_graph.tf1 import captured, prepared, tf
from bn_graph.training import WARM_UP, batch_offset

MOST_STEPS = 1000  # in one session.run, so that Ctrl-C need not wait for long
MOST_BYTES = 2**26  # of batches that are handed over to one session.run, where the training set is too large to hold


class InGraphLoop:
    """Like `bn_graph.training.SessionLoop`, many steps to one session.run.

    The steps up to the next validation are trained together, when the first of them is asked for. It adds its ops to
    the tutorial's graph, and its masks begin at the beginning of their stream.
    """

    def __init__(self, tutorial, splits, session, summaries=None):
        self._config, self._splits = tutorial.config, splits
        self._trained = iter(())  # loss and accuracy of the steps that are trained and were not asked for yet
        self.summary = None  # the histograms of the latest step that is validated
        bytes_of_a_row = _pixels(splits.train_X, slice(1)).nbytes
        held = len(splits.train_X) * bytes_of_a_row < free_memory() / 2  # by the graph, once more
        self._most_steps = MOST_STEPS if held else max(1, MOST_BYTES // (self._config.batch_size * bytes_of_a_row))
        with tutorial.graph.as_default():
            if held:
                X, y = _variable(session, splits.train_X), _variable(session, splits.train_y)
            else:
                X, y = _placeholder(splits.train_X), _placeholder(splits.train_y)
            self._streamed = None if held else (X, y)
            self._offsets = tf.placeholder(tf.int64, [None])
            self._train = prepared(session, _while_loop(tutorial, X, y, self._offsets, summaries))
            self._accuracy = {
                "valid": prepared(session, [self._tower("valid", session, splits.valid_X, splits.valid_y)]),
                "test": prepared(session, [self._tower("test", session, splits.test_X, splits.test_y)]),
            }
        self._settings = tutorial.train_feed(None, None)  # keep_prob, and is_training where it is fed
        del self._settings[tutorial.batch_X], self._settings[tutorial.batch_y]

    def train(self, step):
        """Trains the step. Returns its loss and its accuracy on the batch."""
        trained = next(self._trained, None)
        if trained is None:
            self._trained = self._train_from(step)
            trained = next(self._trained)
        return trained

    def valid_accuracy(self):
        return self._accuracy["valid"]({})[0]

    def test_accuracy(self):
        return self._accuracy["test"]({})[0]

    def _tower(self, tower, session, X, y):
        X, y = tf.cast(_variable(session, X), tf.float32), _variable(session, y)
        layers = model(X, self._config, False, 1.0, tower)
        return compute_accuracy(tf.nn.softmax(layers["output_layer"].activation), y)

    def _train_from(self, step):
        """Trains from `step` to the next step that is validated, both included. Returns the losses and accuracies."""
        config, splits = self._config, self._splits
        end = min(step + -step % config.eval_every + 1, step + self._most_steps, config.steps)
        if step < WARM_UP:
            end = min(end, WARM_UP)  # or the clock of steps_per_second would start too late
        offsets = batch_offset(np.arange(step, end), config.batch_size, splits.train_y.shape[0])
        feed = dict(self._settings)
        if self._streamed:
            X, y = self._streamed
            rows = (offsets[:, None] + np.arange(config.batch_size)).ravel()
            feed |= {X: _pixels(splits.train_X, rows), y: splits.train_y[rows]}
            offsets = np.arange(end - step) * config.batch_size
        losses, accuracies, *summary = self._train({**feed, self._offsets: offsets})
        if summary:
            (self.summary,) = summary
        return zip(losses, accuracies, strict=True)


def _while_loop(tutorial, X, y, offsets, summaries):
    """The loss and the accuracy of each step whose batch begins at one of `offsets`, and the last one's summary."""
    batch_size, num_steps = tutorial.config.batch_size, tf.size(offsets)
    ends = [tutorial.train_op, tutorial.train_loss, tutorial.train_accuracy]
    step_def = _sub_graph(tutorial.graph, [tutorial.train_op, tutorial.train_loss.op, tutorial.train_accuracy.op])
    names = {node.name for node in step_def.node}
    inputs = [tutorial.keep_prob, *(v.handle for v in tutorial.variables.values() if v.op.name in names)]
    if tutorial.is_training is not None:
        inputs.append(tutorial.is_training)
    activations = {scope: [tensor.name for tensor in layer] for scope, layer in tutorial.train_layers.items()}

    def train_step(step, losses, accuracies, summary):
        def batch(data):
            return tf.cast(tf.slice(data, [offsets[step], 0], [batch_size, data.shape[1]]), tf.float32)

        input_map = {tensor.name: captured(tensor) for tensor in inputs}
        input_map |= {tutorial.batch_X.name: batch(X), tutorial.batch_y.name: batch(y)}
        names = [end.name for end in ends] + sum(activations.values(), [])
        train_op, loss, accuracy, *copies = tf.import_graph_def(step_def, input_map, names, name="step")
        if summaries:
            layers = {scope: Layer(*(copies.pop(0) for _ in tensors)) for scope, tensors in activations.items()}
            last = tf.equal(step, num_steps - 1)
            summary = tf.cond(last, lambda: summaries.of_the_batch(layers), lambda: summary)
        with tf.control_dependencies([train_op]):  # the next step reads what this one has written
            return step + 1, losses.write(step, loss), accuracies.write(step, accuracy), tf.identity(summary)

    empty = tf.TensorArray(tf.float32, num_steps)
    _, losses, accuracies, summary = tf.while_loop(
        lambda step, *_: step < num_steps, train_step, [0, empty, empty, ""], parallel_iterations=1
    )
    return [losses.stack(), accuracies.stack(), *([summary] if summaries else [])]


def _sub_graph(graph, ops):
    """The part of the graph that `ops` need, as a GraphDef."""
    needed, found = list(ops), set()
    while needed:
        op = needed.pop()
        if op.name not in found:
            found.add(op.name)
            needed += [*op.control_inputs, *(tensor.op for tensor in op.inputs)]
    graph_def = graph.as_graph_def()
    nodes = [node for node in graph_def.node if node.name in found]
    return tf.GraphDef(node=nodes, versions=graph_def.versions, library=graph_def.library)


def _pixels(rows, index=slice(None)):
    return rows.pixels(index) if isinstance(rows, Rows) else rows[index]


def _placeholder(rows):
    return tf.placeholder(_pixels(rows, slice(1)).dtype, [None, rows.shape[1]])


def _variable(session, rows):
    """The rows as a variable of the graph, which holds them by now: uint8 where they are pixels, float32 otherwise."""
    values = _pixels(rows)
    placeholder = tf.placeholder(values.dtype, values.shape)
    variable = tf.Variable(placeholder, trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])
    session.run(variable.initializer, {placeholder: values})
    return variable.value()
