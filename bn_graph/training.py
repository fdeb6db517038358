"""The tutorial's session loop."""

import contextlib
import dataclasses
import time

import numpy as np

from bn_graph.config import ENGINES
from bn_graph.errors import InputError
from bn_graph.mnist import batch_offset
from bn_graph.record import TrainingRecord
from bn_graph.tf1 import make_callable, tf

WARM_UP = 50  # steps that steps_per_second leaves out: TensorFlow is slower in a session's first ones


def train(
    tutorial,
    splits,
    session=None,
    log=None,
    progress=None,
    start=None,
    restored=None,
    summaries=None,
    engine="session",
    loop=None,
    checkpoints=None,
    stop=None,
):
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
        start: called with the session when its variables are initialised, to restore or change them; not where the run
            is resumed.
        restored: what `TrainingRecord.restored` says of that.
        summaries: `bn_graph.summaries.Summaries`, which gets every `eval_every`-th step; None: no event files.
        engine: who loops over the steps. session: Python, one session.run a step, as in the tutorial. in_graph: the
            graph, many steps to one session.run; see `bn_graph.engines.in_graph`. The same numbers, bit for bit.
        loop: what makes the loop, called like `SessionLoop`; `engine` is then only its name. None: that of the engine.
        checkpoints: `bn_graph.checkpoint.CheckpointFolder`. If it holds a checkpoint of this run, the run is resumed
            from there: `log` gets all its lines, from the first, and every number is what it would have been without
            the interruption, bit for bit. None: nothing is saved.
        stop: called after each step. Where it says yes the run ends there, saved if there are `checkpoints`, and the
            record has no test accuracy.

    Raises `InputError` for another engine, and where `checkpoints` hold another run or cannot be written at the start.
    """
    config = tutorial.config
    record = TrainingRecord(config, split=splits.split, data=splits.source, engine=engine, restored=restored)
    log = log or (lambda line: None)

    with contextlib.nullcontext(session) if session else tf.Session(graph=tutorial.graph) as sess:
        loop = (loop or _loop(engine))(tutorial, splits, sess, summaries)
        sess.run(tutorial.init_op)
        saved = checkpoints.latest_for(record, splits) if checkpoints else None
        if saved:
            so_far = saved.restore(sess, tutorial.variables)
            record = dataclasses.replace(so_far, engine=engine, versions=record.versions)
            if summaries:
                summaries.go_on_from(len(record.train_loss))
        elif start:
            start(sess)
        loop.begin(len(record.train_loss))
        log("Initialized")
        for validation, step in enumerate(record.valid_step):
            if step % config.print_every == 0:
                log(record.step_line(validation))

        first = len(record.train_loss)
        training, before, begun = 0.0, record.seconds, time.perf_counter()  # in seconds

        def save():
            record.seconds = before + time.perf_counter() - begun
            checkpoints.save(sess.run(tutorial.variables), record)

        if checkpoints and not saved:
            save()  # so that a folder that cannot be written is found now
        for step in (progress or iter)(range(first, config.steps)):
            asked = time.perf_counter()
            tloss, tacc = loop.train(step, next_stop(step, config, first + WARM_UP, checkpoints))
            if step >= first + WARM_UP:
                training += time.perf_counter() - asked
            record.train_loss.append(float(tloss))
            record.train_accuracy.append(float(tacc))
            if step % config.eval_every == 0:
                record.valid_step.append(step)
                record.valid_accuracy.append(float(loop.valid_accuracy()))
                record.learning_rate.append(float(sess.run(tutorial.learning_rate)))
                if step % config.print_every == 0:
                    log(record.step_line())
                if summaries:
                    summaries.write(sess, record, loop.summary)
            stopped = stop is not None and not loop.steps_in_advance and stop()
            if checkpoints and (stopped or (step + 1) % checkpoints.every == 0 or step + 1 == config.steps):
                save()
            if stopped:
                return record
        record.seconds = before + time.perf_counter() - begun
        if config.steps > first + WARM_UP:
            record.steps_per_second = (config.steps - first - WARM_UP) / training
        log("Finished training")
        record.test_accuracy = float(loop.test_accuracy())
        log(record.test_line())
    return record


def next_stop(step, config, warm, checkpoints):
    """The first step that is not to be trained before somebody has looked: validated, read the clock, or saved."""
    looks = [config.steps, step + -step % config.eval_every + 1]
    if step < warm:
        looks.append(warm)
    if checkpoints:
        looks.append(step + checkpoints.every - step % checkpoints.every)
    return min(looks)


class SessionLoop:
    """The tutorial's loop: a session.run for each step, which is fed its batch.

    `summary`: the serialised histograms of the latest step, where it is one that is validated and `summaries` are kept.
    """

    def __init__(self, tutorial, splits, session, summaries=None):
        self._tutorial, self._splits, self._session = tutorial, splits, session
        fetches = [tutorial.train_op, tutorial.train_loss, tutorial.train_accuracy]
        self._train = self._train_and_look = make_callable(session, fetches)
        if summaries:
            with tutorial.graph.as_default():
                of_the_batch = summaries.of_the_batch(tutorial.train_layers)
            self._train_and_look = make_callable(session, [*fetches, of_the_batch])
        self.summary = None
        self.steps_in_advance = 0  # never: a step is trained when it is asked for

    def begin(self, steps):
        """Called when the variables have the values that they have after so many steps, before the first one.

        Moves dropout's random stream on as so many steps do. TensorFlow 1 does not save where a random op stands; its
        stream begins anew with each session. So the masks are drawn and thrown away, which takes an eighth of what
        training takes. (Those of the evaluations need no such care: with keep_prob 1 every mask keeps everything.)
        """
        if not steps:
            return
        hidden, output = self._tutorial.train_layers.values()
        draw = make_callable(self._session, [output.pre_norm.op])
        feed = self._tutorial.train_feed(None, None)
        del feed[self._tutorial.batch_X], feed[self._tutorial.batch_y]
        feed[hidden.activation] = np.zeros([self._tutorial.config.batch_size, hidden.activation.shape[1]], np.float32)
        for _ in range(steps):
            draw(feed)

    def train(self, step, end):
        """Trains the step. Returns its loss and its accuracy on the batch. `end` is for loops that train many."""
        look = step % self._tutorial.config.eval_every == 0
        tloss, tacc, *summary = (self._train_and_look if look else self._train)(self._feed(step))
        if summary:
            (self.summary,) = summary
        return tloss, tacc

    def _feed(self, number):
        """The feed of a batch, by its number."""
        config, splits = self._tutorial.config, self._splits
        offset = batch_offset(number, config.batch_size, splits.train_y.shape[0])
        batch_X = splits.train_X[offset : offset + config.batch_size]
        batch_y = splits.train_y[offset : offset + config.batch_size]
        return self._tutorial.train_feed(batch_X, batch_y)

    def valid_accuracy(self):
        return self._session.run(self._tutorial.valid_accuracy, feed_dict=self._tutorial.valid_feed)

    def test_accuracy(self):
        return self._session.run(self._tutorial.test_accuracy, feed_dict=self._tutorial.test_feed)


def _loop(engine):
    if engine not in ENGINES:
        raise InputError(f"engine must be {' or '.join(ENGINES)}, found {engine!r}")
    if engine == "session":
        return SessionLoop
    from bn_graph.engines.in_graph import InGraphLoop

    return InGraphLoop
