"""The tutorial's session loop."""

import contextlib
import time

from bn_graph.config import ENGINES, InputError
from bn_graph.record import TrainingRecord
from bn_graph.tf1 import prepared, tf

WARM_UP = 50  # steps that steps_per_second leaves out: TensorFlow is slower in its first ones


def train(tutorial, splits, session=None, log=None, progress=None, start=None, summaries=None, engine="session"):
    """Trains the tutorial's graph as the tutorial does, and returns a `TrainingRecord`.

    The offset of a batch goes through the training set in order and starts again where a whole batch no longer fits;
    the batch is not shuffled. Validation comes after the update of every `eval_every`-th step, the test at the end.

    Args:
        tutorial: `TutorialGraph`, built from `splits`.
        splits: `Splits`.
        session: a `tf.Session` of `tutorial.graph`, for those who want to look at the variables afterwards; its
            variables are initialised first. None: a session of its own.
        log: called with each line that the tutorial prints, without its newline; None: nothing is printed.
        progress: wraps the range of steps, as `tqdm.tqdm` does; None: no progress bar.
        start: called with the session when its variables are initialised, to restore or change them.
        summaries: `bn_graph.summaries.Summaries`, which gets every `eval_every`-th step; None: no event files.
        engine: who loops over the steps. session: Python, one session.run a step, as in the tutorial. in_graph: the
            graph, many steps to one session.run; see `bn_graph.in_graph`. The same numbers, bit for bit.

    Raises `InputError` for another engine.
    """
    config = tutorial.config
    record = TrainingRecord(config, split=splits.how, data=splits.source, engine=engine)
    log = log or (lambda line: None)

    with contextlib.nullcontext(session) if session else tf.Session(graph=tutorial.graph) as sess:
        loop = _loop(engine)(tutorial, splits, sess, summaries)
        sess.run(tutorial.init_op)
        if start:
            start(sess)
        log("Initialized")
        validating = 0.0  # seconds
        warm = start = time.perf_counter()
        for step in (progress or iter)(range(config.steps)):
            if step == WARM_UP:
                warm, validating = time.perf_counter(), 0.0
            tloss, tacc = loop.train(step)
            record.train_loss.append(float(tloss))
            record.train_accuracy.append(float(tacc))
            if step % config.eval_every == 0:
                before = time.perf_counter()
                record.valid_step.append(step)
                record.valid_accuracy.append(float(loop.valid_accuracy()))
                record.learning_rate.append(float(sess.run(tutorial.learning_rate)))
                if step % config.print_every == 0:
                    log(record.step_line())
                if summaries:
                    summaries.write(sess, record, loop.summary)
                validating += time.perf_counter() - before
        end = time.perf_counter()
        record.seconds = end - start
        if config.steps > WARM_UP:
            record.steps_per_second = (config.steps - WARM_UP) / (end - warm - validating)
        log("Finished training")
        record.test_accuracy = float(loop.test_accuracy())
        log(record.test_line())
    return record


def batch_offset(step, batch_size, num_rows):
    """The first row of the batch of `step`, a number or an array of them."""
    return (step * batch_size) % (num_rows - batch_size)


class SessionLoop:
    """The tutorial's loop: a session.run for each step, which is fed its batch.

    `summary`: the serialised histograms of the latest step, where it is one that is validated and `summaries` are kept.
    """

    def __init__(self, tutorial, splits, session, summaries=None):
        self._tutorial, self._splits, self._session = tutorial, splits, session
        fetches = [tutorial.train_op, tutorial.train_loss, tutorial.train_accuracy]
        self._train = self._train_and_look = prepared(session, fetches)
        if summaries:
            with tutorial.graph.as_default():
                of_the_batch = summaries.of_the_batch(tutorial.train_layers)
            self._train_and_look = prepared(session, [*fetches, of_the_batch])
        self.summary = None

    def train(self, step):
        """Trains the step. Returns its loss and its accuracy on the batch."""
        config, splits = self._tutorial.config, self._splits
        offset = batch_offset(step, config.batch_size, splits.train_y.shape[0])
        batch_X = splits.train_X[offset : offset + config.batch_size]
        batch_y = splits.train_y[offset : offset + config.batch_size]
        feed_dict = self._tutorial.train_feed(batch_X, batch_y)
        train = self._train_and_look if step % config.eval_every == 0 else self._train
        tloss, tacc, *summary = train(feed_dict)
        if summary:
            (self.summary,) = summary
        return tloss, tacc

    def valid_accuracy(self):
        return self._session.run(self._tutorial.valid_accuracy, feed_dict=self._tutorial.valid_feed)

    def test_accuracy(self):
        return self._session.run(self._tutorial.test_accuracy, feed_dict=self._tutorial.test_feed)


def _loop(engine):
    if engine not in ENGINES:
        raise InputError(f"engine must be {' or '.join(ENGINES)}, found {engine!r}")
    if engine == "session":
        return SessionLoop
    from bn_graph.in_graph import InGraphLoop

    return InGraphLoop
