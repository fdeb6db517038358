"""The tutorial's session loop, and who saves, logs and stops beside it."""

import contextlib
import dataclasses
import importlib
import time
from typing import Any

import numpy as np

from bn_graph.config import ENGINES
from bn_graph.errors import InputError, check_type
from bn_graph.graph import TutorialGraph
from bn_graph.mnist import Splits, batch
from bn_graph.record import TrainingRecord
from bn_graph.tf1 import make_callable, tf

WARM_UP = 50  # steps that steps_per_second leaves out: TensorFlow is slower in a session's first ones


def train(
    tutorial: TutorialGraph,
    splits: Splits,
    session=None,
    log=None,
    progress=None,
    engine: str = "session",
    loop=None,
    **hooks,
) -> TrainingRecord:
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
        engine: who loops over the steps. session: Python, one session.run a step, as in the tutorial. in_graph: the
            graph, many steps to one session.run, for the same numbers bit for bit. compiled: XLA, with the same batches
            and masks, for numbers that differ by rounding. See `bn_graph.engines`.
        loop: what makes the loop, called like `SessionLoop`; `engine` is then only its name. None: that of the engine.
        hooks: the fields of `Hooks`, by name: start, restored, summaries, checkpoints, stop.

    Raises `InputError` for another engine, and where `checkpoints` hold another run or cannot be written at the start.
    """
    check_type("train", "tutorial", tutorial, TutorialGraph)
    check_type("train", "splits", splits, Splits)
    config, hooks, log = tutorial.config, Hooks(**hooks), log or (lambda line: None)
    record = TrainingRecord(config, splits.split, splits.source, engine, restored=hooks.restored)

    with contextlib.nullcontext(session) if session else tf.Session(graph=tutorial.graph) as sess:
        loop = (loop or _loop_of(engine))(tutorial, splits, sess, hooks.summaries)
        sess.run(tutorial.init_op)
        record = hooks.resume(record, splits, sess, tutorial.variables)
        loop.begin(record.num_steps)
        log("Initialized")
        for line in record.step_lines():  # of a run that is resumed, from the first
            log(line)
        clock = Clock(record)
        saver = Saver(hooks.checkpoints, clock, lambda: sess.run(tutorial.variables))
        if saver.should_save_first():
            saver.save()
        for step in (progress or iter)(range(record.num_steps, config.steps)):
            with clock.training(step):
                tloss, tacc = loop.train(step, end=min(clock.next_stop(step), saver.next_stop(step)))
            record.add_step(tloss, tacc)
            if step % config.eval_every == 0:
                record.add_validation(step, loop.valid_accuracy(), sess.run(tutorial.learning_rate))
                if step % config.print_every == 0:
                    log(record.step_line())
                if hooks.summaries:
                    hooks.summaries.write(sess, record, loop.summary)
            # A loop that is in advance of the steps that were asked for cannot be saved, and so not be stopped.
            stopped = hooks.stop is not None and not loop.steps_in_advance and hooks.stop()
            if saver.should_save(step, stopped):
                saver.save()
            if stopped:
                return record
        clock.stop()
        log("Finished training")
        record.test_accuracy = float(loop.test_accuracy())
        log(record.test_line())
    return record


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What else is done in a run. Each may be left out.

    start: called with the session when its variables are initialised, to restore or change them; not where the run is
        resumed.
    restored: what `TrainingRecord.restored` says of that.
    summaries: `bn_graph.saving.summaries.Summaries`, which gets every `eval_every`-th step; None: no event files.
    checkpoints: `bn_graph.saving.checkpoints.CheckpointFolder`. If it holds a checkpoint of this run, the run is
        resumed from there: `log` gets all its lines, from the first, and every number is what it would have been
        without the interruption, bit for bit. None: nothing is saved.
    stop: called after each step. Where it returns true the run ends there, saved if there are `checkpoints`, and the
        record has no test accuracy.
    """

    start: Any = None
    restored: str | None = None
    summaries: Any = None
    checkpoints: Any = None
    stop: Any = None

    def resume(self, record, splits, session, variables):
        """The record to go on with: that of the latest checkpoint, whose variables are restored, or else `record`."""
        saved = self.checkpoints.latest_for(record, splits) if self.checkpoints else None
        if not saved:
            if self.start:
                self.start(session)
            return record
        record = dataclasses.replace(saved.restore(session, variables), engine=record.engine, versions=record.versions)
        if self.summaries:
            self.summaries.go_on_from(record.num_steps)
        return record


class Clock:
    """Keeps the seconds and the speed of a run in its record."""

    def __init__(self, record):
        self.record = record
        self._before, self._begin = record.seconds, time.perf_counter()
        self._warm = record.num_steps + WARM_UP  # the first step that counts for the speed
        self._training = 0.0  # seconds, from that step on

    @contextlib.contextmanager
    def training(self, step):
        """Times the training of a step."""
        begin = time.perf_counter()
        yield
        if step >= self._warm:
            self._training += time.perf_counter() - begin

    def next_stop(self, step):
        """The first step that is not to be trained along with `step`: after a validation, or the first that counts."""
        config = self.record.config
        stops = [config.steps, step + -step % config.eval_every + 1]
        return min([*stops, self._warm] if step < self._warm else stops)

    def read(self):
        """Brings the record's seconds up to date."""
        self.record.seconds = self._before + time.perf_counter() - self._begin

    def stop(self):
        """Brings the record's seconds and its speed up to date, at the end of training."""
        self.read()
        if self.record.config.steps > self._warm:
            self.record.steps_per_second = (self.record.config.steps - self._warm) / self._training


class Saver:
    """Decides when a run is saved, and saves it.

    checkpoints: `bn_graph.saving.checkpoints.CheckpointFolder`; None: the run is not saved.
    clock: of the run, with its record.
    read_variables: returns the values of all variables, by name.
    """

    def __init__(self, checkpoints, clock, read_variables):
        self._checkpoints, self._clock, self._read_variables = checkpoints, clock, read_variables

    def should_save_first(self):
        """Whether a run that begins is to be saved, so that a folder that cannot be written is found now."""
        return bool(self._checkpoints) and not self._checkpoints.newest

    def should_save(self, step, stopped):
        """Whether the run is to be saved after a step. `stopped`: whether it ends there."""
        if not self._checkpoints:
            return False
        return stopped or (step + 1) % self._checkpoints.every == 0 or step + 1 == self._clock.record.config.steps

    def next_stop(self, step):
        """The first step that is not to be trained along with `step`, because the run is saved before it."""
        if not self._checkpoints:
            return self._clock.record.config.steps
        return step + self._checkpoints.every - step % self._checkpoints.every

    def save(self):
        self._clock.read()
        self._checkpoints.save(self._read_variables(), self._clock.record)


class SessionLoop:
    """The tutorial's loop: a session.run for each step, which is fed its batch.

    summary: the serialised histograms of the latest step that is validated, where there are `summaries`.
    steps_in_advance: how many steps are trained and were not asked for yet; here none.
    """

    def __init__(self, tutorial, splits, session, summaries=None):
        self._tutorial, self._splits, self._session = tutorial, splits, session
        fetches = [tutorial.train_op, tutorial.train_loss, tutorial.train_accuracy]
        self._train = self._train_and_summarize = make_callable(session, fetches)
        if summaries:
            with tutorial.graph.as_default():
                of_the_batch = summaries.of_the_batch(tutorial.train_layers)
            self._train_and_summarize = make_callable(session, [*fetches, of_the_batch])
        self.summary = None
        self.steps_in_advance = 0

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
        is_validated = step % self._tutorial.config.eval_every == 0
        train = self._train_and_summarize if is_validated else self._train
        tloss, tacc, *summary = train(self._feed(step))
        if summary:
            (self.summary,) = summary
        return tloss, tacc

    def _feed(self, number):
        """The feed of a batch, by its number."""
        return self._tutorial.train_feed(*batch(self._splits, number, self._tutorial.config.batch_size))

    def valid_accuracy(self):
        return self._session.run(self._tutorial.valid_accuracy, feed_dict=self._tutorial.valid_feed)

    def test_accuracy(self):
        return self._session.run(self._tutorial.test_accuracy, feed_dict=self._tutorial.test_feed)


def _loop_of(engine):
    """The class of an engine's loop: `SessionLoop`, or what the module of its name in `bn_graph.engines` has.

    The core knows other engines by their names alone, as it must not import what is built on it.
    """
    if engine not in ENGINES:
        raise InputError(f"engine must be {' or '.join(ENGINES)}, found {engine!r}")
    if engine == "session":
        return SessionLoop
    return importlib.import_module(f"bn_graph.engines.{engine}").Loop
