"""TensorBoard event files: what goes on inside the layers while the tutorial trains."""

from bn_graph.tf1 import tf


class Summaries:
    """Event files in `logdir` of a run of `tutorial`, a `TutorialGraph`.

    Scalars: loss, training and validation accuracy, learning rate. Histograms, for each layer: the activations before
    and after batch normalisation and after the ReLU, in the training tower; the batch's mean and variance, and the
    moving ones beside them. (The tutorial's author published such a variant too.)

    The histograms come out of the training step's own run, so that looking draws nothing from the dropout's stream.
    """

    def __init__(self, tutorial, logdir):
        variables = tutorial.variables
        with tutorial.graph.as_default():
            moving = [tf.summary.scalar("learning_rate", tutorial.learning_rate)]
            for scope in tutorial.train_layers:
                for name in ("mean", "variance"):
                    variable = variables[f"{scope}/moving_{name}"]
                    moving.append(tf.summary.histogram(f"{scope}/{name}_moving", variable))
            self._moving = tf.summary.merge(moving)
            self._writer = tf.summary.FileWriter(str(logdir))  # inside a graph, or it refuses
        self._writer.add_graph(tutorial.graph)

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
        for summary in (tf.Summary(value=values), of_the_batch, session.run(self._moving)):
            self._writer.add_summary(summary, step)

    def go_on_from(self, step):
        """Makes TensorBoard forget what an interrupted run has written of `step` and later ones."""
        self._writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), step)

    def close(self):
        """Ends the event file."""
        self._writer.close()
