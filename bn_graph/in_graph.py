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
        self._summaries = summaries
        self._trained = iter(())  # loss and accuracy of the steps that are trained and were not asked for yet
        self.summary = None  # of the latest step that is validated
        # Pixels are bytes. What memory does not hold once more stays where it is, and is fed batch by batch.
        self._holds = splits.train_X.shape[0] * _pixels(splits.train_X, slice(0, 1)).nbytes < free_memory() / 2
        with tutorial.graph.as_default():
            if self._holds:
                X, y = (_resident(session, rows) for rows in (splits.train_X, splits.train_y))
            else:
                X, y = (
                    tf.placeholder(_pixels(rows, slice(0, 1)).dtype, [None, rows.shape[1]])
                    for rows in (splits.train_X, splits.train_y)
                )
            offsets = tf.placeholder(tf.int64, [None])
            self._train = prepared(session, _while_loop(tutorial, X, y, offsets, summaries))
            self._evaluate = {}
            for tower, rows_X, rows_y in (
                ("valid", splits.valid_X, splits.valid_y),
                ("test", splits.test_X, splits.test_y),
            ):
                X_of_tower = tf.cast(_resident(session, rows_X), tf.float32)
                logits = model(X_of_tower, self._config, False, 1.0, tower)["output_layer"].activation
                accuracy = compute_accuracy(tf.nn.softmax(logits), _resident(session, rows_y))
                self._evaluate[tower] = prepared(session, [accuracy])
        settings = tutorial.train_feed(X, y)  # keep_prob, and is_training
        self._feed = {tensor: value for tensor, value in settings.items() if value is not X and value is not y}
        self._offsets, self._X, self._y = offsets, X, y

    def train(self, step):
        """Trains the step. Returns its loss and its accuracy on the batch."""
        trained = next(self._trained, None)
        if trained is None:
            self._trained = iter(self._train_from(step))
            trained = next(self._trained)
        return trained

    def valid_accuracy(self):
        return self._evaluate["valid"]({})[0]

    def test_accuracy(self):
        return self._evaluate["test"]({})[0]

    def _train_from(self, step):
        config, splits = self._config, self._splits
        size, num_rows = config.batch_size, splits.train_y.shape[0]
        end = step + 1 if step % config.eval_every == 0 else (step // config.eval_every + 1) * config.eval_every + 1
        end = min(end, step + MOST_STEPS, config.steps)
        if step < WARM_UP:
            end = min(end, WARM_UP)  # or the clock of steps_per_second would start too late
        feed = {self._offsets: None}
        if not self._holds:
            bytes_of_a_batch = size * _pixels(splits.train_X, slice(0, 1)).nbytes
            end = min(end, step + max(1, MOST_BYTES // bytes_of_a_batch))
        offsets = np.array([batch_offset(s, size, num_rows) for s in range(step, end)], np.int64)
        if not self._holds:
            rows = (offsets[:, None] + np.arange(size)).ravel()
            feed |= {self._X: _pixels(splits.train_X, rows), self._y: splits.train_y[rows]}
            offsets = np.arange(len(offsets), dtype=np.int64) * size
        feed[self._offsets] = offsets
        losses, accuracies, *summary = self._train({**feed, **self._feed})
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


def _resident(session, rows):
    """The rows as a variable of the graph, which holds them by now; uint8 where they are pixels, float32 otherwise."""
    values = _pixels(rows)
    placeholder = tf.placeholder(values.dtype, values.shape)
    variable = tf.Variable(placeholder, trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])
    session.run(variable.initializer, {placeholder: values})
    return variable.value()
