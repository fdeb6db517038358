#!/usr/bin/env python3
"""Measures on this machine what the README says of speed.

python scripts/benchmark.py audit
"""

import statistics
import time

from bn_graph.command import Parser, import_tensorflow, run

REPEATS = 5

parser = Parser(description=__doc__.splitlines()[0])
parser.add_argument("what", choices=["audit"], help="audit: the time of an audit against the size of the graph")


def stacked_layers(num_layers, in_place):
    """A training and an evaluation tower of dense layers with batch norm, as a GraphDef: about 200 nodes a layer.

    With control dependencies, every op without inputs that the optimizer makes waits for all update ops: the number of
    inputs grows with the square of the layers.
    """
    from bn_graph import batch_norm
    from bn_graph.tf1 import tf

    def tower(is_training, reuse):
        outputs = tf.placeholder(tf.float32, [64, 8])
        for number in range(num_layers):
            scope = f"layer{number}"
            with tf.variable_scope(scope, reuse=reuse):
                weights = tf.get_variable("weights", [8, 8])
            collection = None if in_place else tf.GraphKeys.UPDATE_OPS
            outputs = batch_norm(
                outputs @ weights,
                scale=True,
                is_training=is_training,
                updates_collections=collection,
                reuse=reuse,
                scope=scope,
            )
            outputs = tf.nn.relu(outputs)
        return tf.reduce_mean(outputs)

    with tf.Graph().as_default() as graph:
        loss = tower(True, None)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            tf.train.AdamOptimizer().minimize(loss)
        tower(False, True)
        return graph.as_graph_def(add_shapes=True)


def benchmark_audit():
    from bn_graph import audit_graph

    for in_place in (True, False):
        print(f"updates {'in place' if in_place else 'as control dependencies'}")
        print("  nodes   inputs   seconds: median (of all)   us a node")
        for num_layers in (10, 20, 40, 80, 160, 320):
            graph_def = stacked_layers(num_layers, in_place)
            seconds = []
            for _ in range(REPEATS):
                before = time.perf_counter()
                report = audit_graph(graph_def)
                seconds.append(time.perf_counter() - before)
            if len(report.layers) != num_layers or report.findings:
                raise AssertionError(f"expected {num_layers} layers and no finding, got {report}")
            median, nodes = statistics.median(seconds), len(graph_def.node)
            inputs = sum(len(node.input) for node in graph_def.node)
            spread = f"{median:.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
            print(f"{nodes:7}{inputs:9}   {spread:25}{1e6 * median / nodes:12.1f}", flush=True)


def command(arguments):
    import_tensorflow()
    from bn_graph.record import versions

    print(", ".join(f"{name} {version}" for name, version in versions().items()))
    benchmark_audit()


run(parser, command)
