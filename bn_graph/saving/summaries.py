"""TensorBoard event files: what goes on inside the layers while the tutorial trains.

An event file is a file of records, each an Event. `tf.summary.FileWriter` writes the same in a thread, whose traceback
is all that one hears of a full disk; so it is not used.
"""

import contextlib
import os
import time

from bn_graph.files import check_utf8
from bn_graph.tf1 import tf


class Summaries:
    """Event files in `logdir` of a run of `tutorial`, a `TutorialGraph`.

    Scalars: loss, training and validation accuracy, learning rate. Histograms, for each layer: the activations before
    and after batch normalisation and after the ReLU, in the training tower; the batch's mean and variance, and the
    moving ones beside them, where there is batch normalisation. (The tutorial's author published such a variant too.)

    The histograms come out of the training step's own run, so that looking draws nothing from the dropout's stream.

    note: called with a line where the file cannot be written. The run goes on without; `failure` is the line.
    """

    def __init__(self, tutorial, logdir, note=None):
        check_utf8(logdir)
        variables = tutorial.variables
        with tutorial.graph.as_default():
            moving = [tf.summary.scalar("learning_rate", tutorial.learning_rate)]
            for scope in tutorial.train_layers if tutorial.config.batch_norm else ():
                for name in ("mean", "variance"):
                    variable = variables[f"{scope}/moving_{name}"]
                    moving.append(tf.summary.histogram(f"{scope}/{name}_moving", variable))
            self._moving = tf.summary.merge(moving)
        self.failure, self._note = None, note or (lambda line: None)
        self._path = os.path.join(
            logdir, f"events.out.tfevents.{time.time():010.0f}.{os.uname().nodename}.{os.getpid()}"
        )
        os.makedirs(logdir, exist_ok=True)
        self._file = tf.io.TFRecordWriter(self._path)
        self._write(tf.Event(file_version="brain.Event:2"))
        self._write(tf.Event(graph_def=tutorial.graph.as_graph_def(add_shapes=True).SerializeToString()))

    def of_the_batch(self, layers):
        """The histograms of one step, to be fetched with it: a string tensor.

        layers: the scopes' `Layer`, of the training tower.
        """
        summaries = []
        for scope, layer in layers.items():
            mean, variance = tf.nn.moments(layer.pre_norm, axes=[0])
            batch = {**layer._asdict(), "mean_batch": mean, "variance_batch": variance}
            summaries += [tf.summary.histogram(f"{scope}/{name}", value) for name, value in batch.items()]
        return tf.summary.merge(summaries)

    def write(self, session, record, of_the_batch):
        """Writes what belongs to the latest step of `record` that was validated, after its update."""
        step = record.valid_step[-1]
        scalars = {
            "train/loss": record.train_loss[step],
            "train/accuracy": record.train_accuracy[step],
            "valid/accuracy": record.valid_accuracy[-1],
        }
        values = [tf.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        for summary in (tf.Summary(value=values).SerializeToString(), of_the_batch, session.run(self._moving)):
            self._write(tf.Event(step=step, summary=tf.Summary.FromString(summary)))

    def go_on_from(self, step):
        """Makes TensorBoard forget what an interrupted run has written of `step` and later ones."""
        self._write(tf.Event(step=step, session_log=tf.SessionLog(status=tf.SessionLog.START)))

    def close(self):
        """Ends the event file."""
        with contextlib.suppress(tf.errors.OpError):  # what was written was flushed
            self._file.close()

    def _write(self, event):
        if self.failure:
            return
        event.wall_time = time.time()
        try:
            self._file.write(event.SerializeToString())
            self._file.flush()
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0].removeprefix(f"{self._path}; ")
            self.failure = f"{self._path}: cannot be written: {reason}"
            self._note(f"{self.failure}; the run goes on")
