"""The tutorial's own network: graph, data and accuracies are known."""

import dataclasses

from bn_graph.config import NUM_CLASSES, NUM_FEATURES, TutorialConfig
from bn_graph.formats.tf_graph import source_of
from bn_graph.graph import build_graph
from bn_graph.mnist import load_mnist, split
from bn_graph.saving.restore import restore
from bn_graph.tf1 import tf

_MOVING = ("moving_mean", "moving_variance")


def hidden_units_of(checkpoint) -> int | None:
    """The units of the hidden layer, where the variables of a `Checkpoint` are those of the tutorial, else None."""
    shapes = {name: shape for name, (shape, _) in checkpoint.variables.items()}
    units = shapes.get("hidden_layer/biases", (0,))[0]
    expected = {
        "hidden_layer/weights": (NUM_FEATURES, units),
        "hidden_layer/biases": (units,),
        "output_layer/weights": (units, NUM_CLASSES),
        "output_layer/biases": (NUM_CLASSES,),
    }
    return units if all(shapes.get(name) == shape for name, shape in expected.items()) else None


class TutorialNetwork:
    """The graph that trained a checkpoint of the tutorial, and the digits that it was trained on.

    It does not matter which edition that was: a beta that was never used is still 0, and a gamma still 1.

    source: the `Source` of the graph. sample: the given `Sample` with the digits' training rows as its data.
    """

    def __init__(self, prefix, units, sample):
        splits = split(load_mnist(), sample.split)
        config = TutorialConfig(
            hidden_size=units, batch_size=sample.batch_size or TutorialConfig.batch_size, scale=True, seed=sample.seed
        )
        self._tutorial = build_graph(config, splits)
        keep_prob = self._tutorial.keep_prob.name
        feed = {keep_prob if name == "keep_prob" else name: value for name, value in sample.feed.items()}
        self.source = dataclasses.replace(source_of(self._tutorial.graph), subject=str(prefix), checkpoint=prefix)
        self.sample = dataclasses.replace(
            sample, data={self._tutorial.batch_X.name: splits.train_X}, feed={keep_prob: config.keep_prob} | feed
        )

    def accuracies(self, checkpoint) -> dict:
        """The accuracy of a checkpoint on the validation and the test set."""
        tutorial = self._tutorial
        with tf.Session(graph=tutorial.graph) as session:
            session.run(tutorial.init_op)
            trained = [name for name in tutorial.model_variables if not name.endswith(_MOVING)]
            restore(session, checkpoint, tutorial.variables, required=trained)
            return {
                "validation": float(session.run(tutorial.valid_accuracy, tutorial.valid_feed)),
                "test": float(session.run(tutorial.test_accuracy, tutorial.test_feed)),
            }
