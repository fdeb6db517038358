"""Graphs of any size for the audit."""

from bn_graph import batch_norm
from bn_graph.tf1 import tf


def stacked_layers(num_layers, in_place):
    """A training and an evaluation tower of dense layers with batch norm, as a GraphDef: about 200 nodes a layer.

    With control dependencies, every op without inputs that the optimizer makes waits for all update ops: the number of
    inputs grows with the square of the layers.
    """
    collection = None if in_place else tf.GraphKeys.UPDATE_OPS
    with tf.Graph().as_default() as graph:
        loss = tower(num_layers, collection, is_training=True)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            tf.train.AdamOptimizer().minimize(loss)
        tower(num_layers, collection, is_training=False)
        return graph.as_graph_def(add_shapes=True)


def tower(num_layers, updates_collections, is_training):
    """The mean of what the last layer gives. The training tower makes the variables, and the other one shares them."""
    reuse = None if is_training else True
    outputs = tf.placeholder(tf.float32, [64, 8])
    for number in range(num_layers):
        scope = f"layer{number}"
        with tf.variable_scope(scope, reuse=reuse):
            weights = tf.get_variable("weights", [8, 8])
        outputs = batch_norm(
            outputs @ weights,
            scale=True,
            is_training=is_training,
            updates_collections=updates_collections,
            reuse=reuse,
            scope=scope,
        )
        outputs = tf.nn.relu(outputs)
    return tf.reduce_mean(outputs)
