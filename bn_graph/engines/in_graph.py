"""The session loop inside the graph: the data and the loop are there, and one session.run trains many steps.

For each step the tutorial's loop slices a batch, hands it over to TensorFlow, wakes its threads and waits for two
numbers. Here the body of a `tf.while_loop` is a copy of the training step: the same ops with the same op-level seeds on
the same variables, in the same order, so that every loss is the same bit for bit. A step begins when the update before
it is done. Dropout's random numbers are a function of the step, not of how often the op ran before: the numbers are the
same, and a run that is resumed has them at once.

The evaluations have no dropout. With keep_prob 1 it changes nothing, and draws ten million numbers.
"""

import numpy as np

from bn_graph import memory
from bn_graph.engines.step_copy import StepCopy
from bn_graph.graph import compute_accuracy, model
from bn_graph.lazy_rows import LazyRows
from bn_graph.mnist import batch_offset
from bn_graph.tf1 import capture, make_callable, tf, uniform_at

MOST_STEPS = 1000  # in one session.run, so that Ctrl-C need not wait for long
MOST_BYTES = 2**26  # of batches that are handed over to one session.run, where the training set is too large to hold


class InGraphLoop:
    """Like `bn_graph.training.SessionLoop`, many steps to one session.run.

    The steps up to the next stop are trained together, when the first of them is asked for. It adds its ops to the
    tutorial's graph, and its masks begin at the beginning of their stream.
    """

    def __init__(self, tutorial, splits, session, summaries=None):
        self._config, self._splits = tutorial.config, splits
        self._trained = iter(())  # loss and accuracy of the steps that are trained and were not asked for yet
        self.summary = None  # the histograms of the latest step that is validated
        bytes_of_a_row = _pixels(splits.train_X, slice(1)).nbytes
        in_memory = len(splits.train_X) * bytes_of_a_row < memory.free_memory() / 2  # the graph has them once more
        self._most_steps = MOST_STEPS if in_memory else max(1, MOST_BYTES // (self._config.batch_size * bytes_of_a_row))
        with tutorial.graph.as_default():
            if in_memory:
                X, y = _variable(session, splits.train_X), _variable(session, splits.train_y)
            else:
                X, y = _placeholder(splits.train_X), _placeholder(splits.train_y)
            self._streamed = None if in_memory else (X, y)
            self._first, self._offsets = tf.placeholder(tf.int64, []), tf.placeholder(tf.int64, [None])
            step = StepCopy(tutorial, splits)
            fetches = _while_loop(tutorial, step, X, y, self._first, self._offsets, summaries)
            self._train = make_callable(session, fetches)
            self._accuracy = {
                "valid": make_callable(session, [self._tower("valid", session, splits.valid_X, splits.valid_y)]),
                "test": make_callable(session, [self._tower("test", session, splits.test_X, splits.test_y)]),
            }
        self._keep_prob = {tutorial.keep_prob: np.float32(self._config.keep_prob)}
        self.steps_in_advance = 0  # how many steps are trained and were not asked for yet

    def begin(self, steps):
        """Nothing to do: the masks are a function of the step."""

    def train(self, step, end):
        """Trains the step. Returns its loss and its accuracy on the batch.

        It may train more, but none from `end` on. `steps_in_advance` is then how many.
        """
        if not self.steps_in_advance:
            self._trained = self._train_many(step, min(end, step + self._most_steps))
        self.steps_in_advance -= 1
        return next(self._trained)

    def valid_accuracy(self):
        return self._accuracy["valid"]({})[0]

    def test_accuracy(self):
        return self._accuracy["test"]({})[0]

    def _tower(self, tower, session, X, y):
        X, y = tf.cast(_variable(session, X), tf.float32), _variable(session, y)
        layers = model(X, self._config, False, 1.0, tower)
        return compute_accuracy(tf.nn.softmax(layers["output_layer"].activation), y)

    def _train_many(self, step, end):
        """Trains from `step` to `end`. Returns the losses and accuracies."""
        config, splits = self._config, self._splits
        offsets = batch_offset(np.arange(step, end), config.batch_size, splits.train_y.shape[0])
        feed = self._keep_prob | {self._first: np.int64(step)}
        if self._streamed:
            X, y = self._streamed
            rows = (offsets[:, None] + np.arange(config.batch_size)).ravel()
            feed |= {X: _pixels(splits.train_X, rows), y: splits.train_y[rows]}
            offsets = np.arange(end - step) * config.batch_size
        losses, accuracies, *summary = self._train({**feed, self._offsets: offsets})
        if summary:
            (self.summary,) = summary
        self.steps_in_advance = end - step
        return zip(losses, accuracies, strict=True)


Loop = InGraphLoop  # by which `bn_graph.training` knows the engine


def _while_loop(tutorial, step, X, y, first, offsets, summaries):
    """The loss and the accuracy of each step whose batch begins at one of `offsets`, and the last one's summary.

    step: the `StepCopy` of the body.
    first: the number of the first step.
    """
    batch_size, num_steps = tutorial.config.batch_size, tf.size(offsets)

    def batch(data, index):
        return tf.cast(tf.slice(data, [offsets[index], 0], [batch_size, data.shape[1]]), tf.float32)

    def body(index, losses, accuracies, summary):
        variables = {name: capture(handle) for name, handle in step.variables.items()}
        uniform = uniform_at(step.uniform, first + tf.cast(index, tf.int64))
        copy = step(batch(X, index), batch(y, index), capture(tutorial.keep_prob), uniform, variables)
        if summaries:
            is_last = tf.equal(index, num_steps - 1)
            summary = tf.cond(is_last, lambda: summaries.of_the_batch(copy.layers), lambda: summary)
        with tf.control_dependencies([copy.train_op]):  # the next step reads what this one has written
            losses, accuracies = losses.write(index, copy.loss), accuracies.write(index, copy.accuracy)
            return index + 1, losses, accuracies, tf.identity(summary)

    empty = tf.TensorArray(tf.float32, num_steps)
    _, losses, accuracies, summary = tf.while_loop(
        lambda index, *_: index < num_steps, body, [0, empty, empty, ""], parallel_iterations=1
    )
    return [losses.stack(), accuracies.stack(), *([summary] if summaries else [])]


def _pixels(rows, index=slice(None)):
    return rows.pixels(index) if isinstance(rows, LazyRows) else rows[index]


def _placeholder(rows):
    return tf.placeholder(_pixels(rows, slice(1)).dtype, [None, rows.shape[1]])


def _variable(session, rows):
    """The rows as a variable of the graph, which has them by now: uint8 where they are pixels, float32 otherwise."""
    values = _pixels(rows)
    placeholder = tf.placeholder(values.dtype, values.shape)
    variable = tf.Variable(placeholder, trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])
    session.run(variable.initializer, {placeholder: values})
    return variable.value()
