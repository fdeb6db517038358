"""What loops have in common that train many steps to one session.run: the data, the stops, and the evaluations.

The evaluations have no dropout. With keep_prob 1 it changes nothing, and draws ten million numbers.
"""

import abc

import numpy as np

from bn_graph import memory
from bn_graph.engines.step_copy import StepCopy
from bn_graph.graph import compute_accuracy, model
from bn_graph.lazy_rows import LazyRows
from bn_graph.mnist import batch_offset
from bn_graph.tf1 import make_callable, tf

MOST_BYTES = 2**26  # of batches that are handed over to one session.run, where the training set is too large to hold


class GraphLoop(abc.ABC):
    """Like `bn_graph.training.SessionLoop`, many steps to one session.run.

    The steps up to the next stop are trained together, when the first of them is asked for. It adds its ops to the
    tutorial's graph. Its masks are a function of the step: they begin at the beginning of their stream, and a run that
    is resumed has them at once.

    summary: the serialised histograms of the latest step that is validated, where there are `summaries`.
    steps_in_advance: how many steps are trained and were not asked for yet.
    """

    def __init__(self, tutorial, splits, session, summaries=None):
        self._config, self._splits = tutorial.config, splits
        self._trained = iter(())  # loss and accuracy of the steps that are trained and were not asked for yet
        self.summary = None
        self.steps_in_advance = 0
        bytes_of_a_row = _pixels(splits.train_X, slice(1)).nbytes
        in_memory = len(splits.train_X) * bytes_of_a_row < memory.free_memory() / 2  # the graph has them once more
        self._most_steps = self._most_steps_at_once(tutorial)
        if not in_memory:
            streamed = max(1, MOST_BYTES // (self._config.batch_size * bytes_of_a_row))
            self._most_steps = min(self._most_steps, streamed)
        with tutorial.graph.as_default():
            if in_memory:
                X, y = _variable(session, splits.train_X), _variable(session, splits.train_y)
            else:
                X, y = _placeholder(splits.train_X), _placeholder(splits.train_y)
            self._streamed = None if in_memory else (X, y)
            self._first, self._offsets = tf.placeholder(tf.int64, []), tf.placeholder(tf.int64, [None])
            step = StepCopy(tutorial, splits)
            fetches = self._build(tutorial, step, (X, y), self._first, self._offsets, summaries)
            self._train = make_callable(session, fetches)
            self._accuracy = {
                "valid": make_callable(session, [self._tower("valid", session, splits.valid_X, splits.valid_y)]),
                "test": make_callable(session, [self._tower("test", session, splits.test_X, splits.test_y)]),
            }
        self._keep_prob = {tutorial.keep_prob: np.float32(self._config.keep_prob)}

    @abc.abstractmethod
    def _most_steps_at_once(self, tutorial):
        """How many steps one session.run trains at most."""

    @abc.abstractmethod
    def _build(self, tutorial, step, data, first, offsets, summaries):
        """The loss and the accuracy of each step whose batch begins at one of `offsets`, and the last one's summary.

        tutorial: `TutorialGraph`, whose graph is the default one.
        step: the `StepCopy` that is looped over.
        data: images, uint8 or float32 [rows, 784], and labels, float32 [rows, 10].
        first: int64 scalar, the number of the first step.
        offsets: int64 [steps].
        """

    def begin(self, steps):
        """Called when the variables have the values that they have after so many steps, before the first one."""
        self.steps_in_advance = 0  # and the masks are a function of the step

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
