"""The loop over the training step compiled by XLA, with the masks of 2016.

Many small ops become a few, and the loop over them has no executor. What XLA is not given is as important. The rows
are sliced outside, because it would copy 50 000 of them in every iteration. Dropout's masks are compiled by themselves
and for all steps together, where both cores share one large op; they are those of 2016 (`philox`). It is the loop that
is compiled, and not the step: a call costs as much as a step.

Same batches, same masks bit for bit, same order of updates, and another order of sums: the losses are not those of the
other engines bit for bit. They stay as near to the recorded ones as TF 0.12.1 stays to itself (`comparison.rules`).

With TensorFlow 2.18 to 2.20 it is slower than `in_graph`: README.md has the table.
"""

from bn_graph.engines.graph_loop import MOST_BYTES, GraphLoop
from bn_graph.engines.philox import masks_at
from bn_graph.errors import InputError
from bn_graph.graph import Layer
from bn_graph.tf1 import capture, compiled, tf

MOST_STEPS = 50  # in one session.run, the steps between two validations; more are no faster
_XLA_ERRORS = (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.NotFoundError)


class CompiledLoop(GraphLoop):
    """The losses, accuracies and variables of one machine are the same in every run, however its steps are divided."""

    def _most_steps_at_once(self, tutorial):
        config = tutorial.config
        # pixels, labels, mask and, while that is drawn, the same once more
        bytes_of_a_step = config.batch_size * (tutorial.batch_X.shape[1] + 4 * 10 + 2 * config.hidden_size)
        return max(1, min(MOST_STEPS, MOST_BYTES // bytes_of_a_step))

    def _build(self, tutorial, step, data, first, offsets, summaries):
        batch_size, num_steps = tutorial.config.batch_size, tf.size(offsets)
        rows = offsets[:, None] + tf.range(batch_size, dtype=tf.int64)
        batches = [_padded(tf.gather(values, rows), self._most_steps) for values in data]
        numbers = first + tf.range(self._most_steps, dtype=tf.int64)

        def draw_masks(numbers, keep_prob):
            return masks_at(step.uniform, numbers, lambda uniform: step.dropout_mask(uniform, keep_prob))

        def loop(batches, masks, keep_prob, num_steps):
            def body(index, losses, accuracies, layers):
                batch_X, batch_y = (tf.cast(values[index], tf.float32) for values in batches)
                variables = {name: capture(handle) for name, handle in step.variables.items()}
                copy = step(batch_X, batch_y, capture(keep_prob), masks[index], variables)
                with tf.control_dependencies([copy.train_op]):  # the next step reads what this one has written
                    losses = tf.tensor_scatter_nd_update(losses, [[index]], [copy.loss])
                    accuracies = tf.tensor_scatter_nd_update(accuracies, [[index]], [copy.accuracy])
                return index + 1, losses, accuracies, copy.layers if summaries else layers

            empty = tf.zeros([self._most_steps])
            layers = {scope: Layer(*(tf.zeros(t.shape) for t in layer)) for scope, layer in step.layers.items()}
            start = [0, empty, empty, layers if summaries else {}]
            return tf.while_loop(lambda index, *_: index < num_steps, body, start)[1:]

        masks = compiled(draw_masks)(numbers, tutorial.keep_prob)
        losses, accuracies, layers = compiled(loop)(batches, masks, tutorial.keep_prob, num_steps)
        fetches = [losses[:num_steps], accuracies[:num_steps]]
        return [*fetches, summaries.of_the_batch(layers)] if summaries else fetches

    def _train_many(self, step, end):
        try:
            return super()._train_many(step, end)
        except _XLA_ERRORS as error:
            reason = error.message.splitlines()[0]
            raise InputError(f"engine compiled: XLA does not compile the training step here: {reason}") from None


Loop = CompiledLoop  # by which `bn_graph.training` knows the engine


def _padded(values, length):
    """The values with zeros behind them, so that XLA compiles one shape."""
    padding = [[0, length - tf.shape(values)[0]]] + [[0, 0]] * (values.shape.rank - 1)
    padded = tf.pad(values, padding)
    padded.set_shape([length, *values.shape[1:]])
    return padded
