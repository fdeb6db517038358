"""This port, by each of its engines: what `bn_graph.train` does, with the benchmark's clock."""

from benchmark.peers.task import loop
from bn_graph import build_graph
from bn_graph.engines.compiled import CompiledLoop
from bn_graph.engines.in_graph import InGraphLoop
from bn_graph.tf1 import tf
from bn_graph.training import SessionLoop


def compiled(task):
    return train(task, CompiledLoop)


def in_graph(task):
    return train(task, InGraphLoop)


def session(task):
    return train(task, SessionLoop)


def train(task, engine):
    tutorial = build_graph(task.config, task.splits)
    with tf.Session(graph=tutorial.graph) as sess:
        steps = engine(tutorial, task.splits, sess)
        sess.run(tutorial.init_op)
        accuracy = {"valid": steps.valid_accuracy, "test": steps.test_accuracy}
        return loop(
            task,
            train=lambda begin, end: (steps.train(step, end)[0] for step in range(begin, end)),
            evaluate=lambda part: accuracy[part](),
        )
