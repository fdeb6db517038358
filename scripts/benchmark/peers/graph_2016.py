"""The graph that TensorFlow 0.12.1 built, in today's TensorFlow, in the tutorial's session loop."""

import numpy as np

from benchmark.peers.task import loop
from bn_graph.comparison.graph_2016 import Graph2016
from bn_graph.tf1 import tf


def train(task):
    imported = Graph2016("notebook", task.config)
    with tf.Session(graph=imported.graph) as sess:
        sess.run(imported.end_point("init_op"))
        trainer = Trainer(task, imported.end_point, sess)
        return loop(task, trainer.train, trainer.evaluate)


class Trainer:
    """Trains and evaluates the imported graph. `end_point` returns one of its tensors or ops, by its name."""

    def __init__(self, task, end_point, sess):
        self._task, self._end_point, self._sess = task, end_point, sess
        self._train_X, self._train_y = np.asarray(task.splits.train_X), task.splits.train_y
        self._fetches = [end_point("train_op"), end_point("train_loss"), end_point("train_accuracy")]
        self._feed = {part: self._evaluation_feed(part) for part in ("valid", "test")}

    def _evaluation_feed(self, part):
        X, y = getattr(self._task.splits, f"{part}_X"), getattr(self._task.splits, f"{part}_y")
        return {
            self._end_point(f"{part}_x"): np.asarray(X),
            self._end_point(f"{part}_y"): y,
            self._end_point("keep_prob"): 1.0,
        }

    def train(self, begin, end):
        config = self._task.config
        for offset in self._task.offsets[begin:end]:
            rows = slice(offset, offset + config.batch_size)
            feed = {
                self._end_point("batch_x"): self._train_X[rows],
                self._end_point("batch_y"): self._train_y[rows],
                self._end_point("keep_prob"): config.keep_prob,
            }
            _, loss, _ = self._sess.run(self._fetches, feed)
            yield loss

    def evaluate(self, part):
        return self._sess.run(self._end_point(f"{part}_accuracy"), self._feed[part])
