"""The graph that TensorFlow 0.12.1 built in 2016's spelling, imported into today's TensorFlow and trained there."""

import numpy as np

from bn_graph.comparison.recordings import recorded_graph
from bn_graph.mnist import batch
from bn_graph.record import TrainingRecord
from bn_graph.tf1 import tf


class Graph2016:
    """The MetaGraph that TF 0.12.1 built for the run `name`, with the seed of `config`, imported."""

    def __init__(self, name: str, config):
        self.config = config
        meta = tf.MetaGraphDef()
        meta.ParseFromString(recorded_graph(name))
        for node in meta.graph_def.node:
            if node.op in ("TruncatedNormal", "RandomUniform"):
                node.attr["seed"].i = config.seed
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.train.import_meta_graph(meta)
            weights = [v for v in tf.global_variables() if v.op.name.endswith("weights")]
            self._weights = [(v, tf.placeholder(tf.float32, v.shape)) for v in weights]
            self._set_weights = tf.group(*(tf.assign(v, placeholder) for v, placeholder in self._weights))

    def end_point(self, name: str):
        """A tensor or an op by its name: batch_x, batch_y, keep_prob, train_loss, train_op and so on."""
        return self.graph.get_collection(f"tutorial/{name}")[0]

    def train(self, splits, progress=None, nudge=None, evaluate=True) -> TrainingRecord:
        """Trains it as `bn_graph.train` trains the port, and returns a `TrainingRecord`.

        `nudge`: a RandomState that moves each initial weight by -1, 0 or +1 unit in the last place.
        `evaluate`: False leaves out validation and test, for those who look at the losses only.
        """
        config, end_point = self.config, self.end_point
        record = TrainingRecord(config, split=splits.split, data=splits.source)
        step_fetches = [end_point("train_op"), end_point("train_loss"), end_point("train_accuracy")]
        valid_feed = self._evaluation_feed("valid", splits.valid_X, splits.valid_y)
        test_feed = self._evaluation_feed("test", splits.test_X, splits.test_y)
        with tf.Session(graph=self.graph) as session:
            session.run(end_point("init_op"))
            if nudge is not None:
                self._nudge_weights(session, nudge)
            for step in (progress or iter)(range(config.steps)):
                X, y = batch(splits, step, config.batch_size)
                feed = {end_point("batch_x"): X, end_point("batch_y"): y, end_point("keep_prob"): config.keep_prob}
                _, loss, accuracy = session.run(step_fetches, feed)
                record.add_step(loss, accuracy)
                if evaluate and step % config.eval_every == 0:
                    accuracy = session.run(end_point("valid_accuracy"), valid_feed)
                    record.add_validation(step, accuracy, session.run(end_point("learning_rate")))
            if evaluate:
                record.test_accuracy = float(session.run(end_point("test_accuracy"), test_feed))
        return record

    def _evaluation_feed(self, part, X, y):
        return {
            self.end_point(f"{part}_x"): np.asarray(X),
            self.end_point(f"{part}_y"): y,
            self.end_point("keep_prob"): 1.0,
        }

    def _nudge_weights(self, session, rng):
        feed = {}
        for variable, placeholder in self._weights:
            value = session.run(variable)
            choices = [np.nextafter(value, np.float32(-np.inf)), value, np.nextafter(value, np.float32(np.inf))]
            feed[placeholder] = np.choose(rng.randint(0, 3, value.shape), choices)
        session.run(self._set_weights, feed)
