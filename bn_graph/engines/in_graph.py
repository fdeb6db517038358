"""The session loop inside the graph: the data and the loop are there, and one session.run trains many steps.

For each step the tutorial's loop slices a batch, hands it over to TensorFlow, wakes its threads and waits for two
numbers. Here the body of a `tf.while_loop` is a copy of the training step: the same ops with the same op-level seeds on
the same variables, in the same order, so that every loss is the same bit for bit. A step begins when the update before
it is done.
"""

from bn_graph.engines.graph_loop import GraphLoop
from bn_graph.tf1 import capture, tf, uniform_at

MOST_STEPS = 1000  # in one session.run, so that Ctrl-C need not wait for long


class InGraphLoop(GraphLoop):
    """The losses, accuracies and variables of the session loop, bit for bit."""

    def _most_steps_at_once(self, tutorial):
        return MOST_STEPS

    def _build(self, tutorial, step, data, first, offsets, summaries):
        batch_size, num_steps = tutorial.config.batch_size, tf.size(offsets)

        def batch(index):
            for rows in data:
                yield tf.cast(tf.slice(rows, [offsets[index], 0], [batch_size, rows.shape[1]]), tf.float32)

        def body(index, losses, accuracies, summary):
            variables = {name: capture(handle) for name, handle in step.variables.items()}
            keep_prob = capture(tutorial.keep_prob)
            uniform = uniform_at(step.uniform, first + tf.cast(index, tf.int64))
            copy = step(*batch(index), keep_prob, step.dropout_mask(uniform, keep_prob), variables)
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


Loop = InGraphLoop  # by which `bn_graph.training` knows the engine
