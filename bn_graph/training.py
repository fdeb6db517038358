"""The tutorial's session loop."""

import contextlib
import time

from bn_graph.record import TrainingRecord
from bn_graph.tf1 import tf

WARM_UP = 50  # steps that steps_per_second leaves out: TensorFlow is slower in its first ones


def train(tutorial, splits, session=None, log=None, progress=None, start=None, summaries=None):
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
    """
    config = tutorial.config
    batch_size = config.batch_size
    record = TrainingRecord(config, split=splits.how, data=splits.source)
    log = log or (lambda line: None)

    with contextlib.nullcontext(session) if session else tf.Session(graph=tutorial.graph) as sess:
        sess.run(tutorial.init_op)
        if start:
            start(sess)
        log("Initialized")
        validating = 0.0  # seconds
        warm = start = time.perf_counter()
        for step in (progress or iter)(range(config.steps)):
            if step == WARM_UP:
                warm, validating = time.perf_counter(), 0.0
            offset = (step * batch_size) % (splits.train_y.shape[0] - batch_size)
            batch_X = splits.train_X[offset : offset + batch_size]
            batch_y = splits.train_y[offset : offset + batch_size]
            feed_dict = tutorial.train_feed(batch_X, batch_y)
            fetches = [tutorial.train_op, tutorial.train_loss, tutorial.train_accuracy]
            if summaries and step % config.eval_every == 0:
                fetches.append(summaries.of_the_batch)
            _, tloss, tacc, *summary = sess.run(fetches, feed_dict=feed_dict)
            record.train_loss.append(float(tloss))
            record.train_accuracy.append(float(tacc))
            if step % config.eval_every == 0:
                before = time.perf_counter()
                vacc = sess.run(tutorial.valid_accuracy, feed_dict=tutorial.valid_feed)
                record.valid_step.append(step)
                record.valid_accuracy.append(float(vacc))
                record.learning_rate.append(float(sess.run(tutorial.learning_rate)))
                if step % config.print_every == 0:
                    log(record.step_line())
                if summaries:
                    summaries.write(sess, record, *summary)
                validating += time.perf_counter() - before
        end = time.perf_counter()
        record.seconds = end - start
        if config.steps > WARM_UP:
            record.steps_per_second = (config.steps - WARM_UP) / (end - warm - validating)
        log("Finished training")
        record.test_accuracy = float(sess.run(tutorial.test_accuracy, feed_dict=tutorial.test_feed))
        log(record.test_line())
    return record
