"""Other ways to apply gradients: averages of weights, accumulators, replicas, clipping, by hand."""

import tensorflow as tf

from tests.recording.audit_graphs.cases import NEVER_RUN, built, case
from tests.recording.audit_graphs.networks import contrib_norm, cross_entropy, network, sgd, update_ops, vector_input


def weights_average(updates, statistics_too=False):
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    with tf.control_dependencies(update_ops() if updates else []):
        step = sgd().minimize(loss)
    ema = tf.train.ExponentialMovingAverage(0.99)
    variables = tf.trainable_variables()
    if statistics_too:
        variables += [v for v in tf.global_variables() if "moving_" in v.name]
    with tf.control_dependencies([step]):
        return built(ema.apply(variables))


@case()
def ema_of_weights():
    """An average of the weights, of beta too, follows the optimizer; the updates run."""
    return weights_average(True)


@case(NEVER_RUN)
def ema_of_weights_not_run():
    """The average of beta is no update of the moving statistics."""
    return weights_average(False)


@case(NEVER_RUN)
def ema_of_statistics_not_run():
    """An average of the moving statistics reads them, and updates its own copy; the statistics stay at 0 and 1."""
    return weights_average(False, True)


def accumulate(updates):
    x, y = vector_input()
    optimizer = sgd()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    pairs = optimizer.compute_gradients(loss)
    with tf.variable_scope("accumulated"):
        sums = [tf.Variable(tf.zeros_like(v.initialized_value()), trainable=False) for _, v in pairs]
    with tf.control_dependencies(update_ops() if updates else []):
        add = tf.group(*[s.assign_add(g) for s, (g, _) in zip(sums, pairs)], name="accumulate")
    optimizer.apply_gradients([(s / 4.0, v) for s, (_, v) in zip(sums, pairs)], name="step")
    tf.group(*[s.assign(tf.zeros_like(s)) for s in sums], name="reset")
    return built(add)


@case(undecided=["updates-never-run"])
def accumulated_gradients():
    """The accumulating op runs the updates; what the optimizer applies comes out of variables, so that no batch norm is
    among its ancestors.
    """
    return accumulate(True)


@case(NEVER_RUN, undecided=["updates-never-run"])
def accumulated_gradients_not_run():
    """The same without updates. An audit that cannot see through the accumulating variables may call it undecided;
    silence would be wrong.
    """
    return accumulate(False)


def train_replicas(updates):
    x, y = vector_input()
    step = tf.Variable(0, trainable=False, name="global_step")
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    optimizer = tf.train.SyncReplicasOptimizer(sgd(), replicas_to_aggregate=1, total_num_replicas=1)
    with tf.control_dependencies(update_ops() if updates else []):
        train = optimizer.minimize(loss, global_step=step)
    optimizer.get_chief_queue_runner()
    return built(train_op=train.op.name if hasattr(train, "op") else train.name)


@case(since=(1, 4))
def sync_replicas():
    """SyncReplicasOptimizer: gradients go through accumulators, the updates are run."""
    return train_replicas(True)


@case(NEVER_RUN, since=(1, 4), undecided=["updates-never-run"])
def sync_replicas_not_run():
    """SyncReplicasOptimizer, and the updates are not run."""
    return train_replicas(False)


@case()
def clipped_gradients():
    """compute_gradients, clip_by_global_norm, apply_gradients, Adam, with the updates."""
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    optimizer = tf.train.AdamOptimizer(0.01)
    with tf.control_dependencies(update_ops()):
        gradients, variables = zip(*optimizer.compute_gradients(loss))
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
        return built(optimizer.apply_gradients(zip(gradients, variables)))


@case(NEVER_RUN)
def clipped_gradients_not_run():
    """compute_gradients, clip_by_global_norm, apply_gradients, no updates."""
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    optimizer = tf.train.AdamOptimizer(0.01)
    gradients, variables = zip(*optimizer.compute_gradients(loss))
    return built(optimizer.apply_gradients(zip(tf.clip_by_global_norm(gradients, 1.0)[0], variables)))


@case()
def compute_gradients_only():
    """The control dependencies are around compute_gradients alone: that is enough, for the gradients' ops carry
    them.
    """
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    with tf.control_dependencies(update_ops()):
        pairs = sgd().compute_gradients(loss)
    return built(sgd().apply_gradients(pairs))


@case(undecided=["updates-never-run"])
def gradients_by_hand():
    """No optimizer: assign_sub of the gradients, with the updates: nothing wrong."""
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    variables = tf.trainable_variables()
    steps = [tf.assign_sub(v, 0.1 * g) for v, g in zip(variables, tf.gradients(loss, variables))]
    return built(tf.group(*(steps + update_ops()), name="train"))


@case(NEVER_RUN, train_op="train")
def gradients_by_hand_named():
    """No optimizer op; the train op is named, and does not run the updates."""
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    variables = tf.trainable_variables()
    steps = [tf.assign_sub(v, 0.1 * g) for v, g in zip(variables, tf.gradients(loss, variables))]
    return built(tf.group(*steps, name="train"))
