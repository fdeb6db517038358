"""TensorBoard event files: what goes on inside the layers while the tutorial trains."""

from bn_graph.tf1 import tf

LARGEST_CONSTANT = 100_000  # bytes; a larger one is left out of the graph that TensorBoard draws


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
            of_the_batch = []
            moving = [tf.summary.scalar("learning_rate", tutorial.learning_rate)]
            for scope, layer in tutorial.train_layers.items():
                mean, variance = tf.nn.moments(layer.pre_norm, axes=[0])
                batch = {**layer._asdict(), "mean_batch": mean, "variance_batch": variance}
                of_the_batch += [tf.summary.histogram(f"{scope}/{name}", value) for name, value in batch.items()]
                for name in ("mean", "variance"):
                    variable = variables[f"{scope}/moving_{name}"]
                    moving.append(tf.summary.histogram(f"{scope}/{name}_moving", variable))
            self.of_the_batch = tf.summary.merge(of_the_batch)  # to be fetched with the training step
            self._moving = tf.summary.merge(moving)
            self._writer = tf.summary.FileWriter(str(logdir))  # inside a graph, or it refuses
        self._writer.add_graph(graph=None, graph_def=_drawn(tutorial.graph))

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

    def close(self):
        """Ends the event file."""
        self._writer.close()


def _drawn(graph):
    """The GraphDef of `graph` without the digits in it."""
    graph_def = graph.as_graph_def()
    for node in graph_def.node:
        tensor = node.attr["value"].tensor if node.op == "Const" else None
        if tensor is not None and len(tensor.tensor_content) > LARGEST_CONSTANT:
            tensor.tensor_content = b""
    return graph_def
