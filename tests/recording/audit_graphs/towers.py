"""Several networks or towers in one graph: on several GPUs, adversarial, siamese, with a target network."""

import tensorflow as tf

from tests.recording.audit_graphs.cases import NEVER_RUN, built, case
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    cross_entropy,
    dense,
    minimize,
    network,
    sgd,
    update_ops,
    vector_input,
)


def average_gradients(towers):
    return [(tf.add_n([g for g, _ in pairs]) / len(pairs), pairs[0][1]) for pairs in zip(*towers)]


def two_gpus(updates_of):
    x, y = vector_input(batch=32)
    gradients = []
    optimizer = sgd()
    for i, (part, labels) in enumerate([(x[:16], y[:16]), (x[16:], y[16:])]):
        with tf.name_scope("tower_%d" % i) as scope:
            loss = cross_entropy(network(part, contrib_norm(True), reuse=True if i else None), labels)
            gradients.append(optimizer.compute_gradients(loss))
            if updates_of == "each":
                updates = update_ops()
            elif updates_of == "first" and i == 0:
                updates = update_ops(scope)
            elif updates_of == "wrong scope":
                updates = update_ops("towers_0")
    apply_op = optimizer.apply_gradients(average_gradients(gradients))
    return built(tf.group(apply_op, *updates, name="train"))


@case()
def multi_gpu():
    """Two towers, the updates of both."""
    return two_gpus("each")


@case()
def multi_gpu_first():
    """Two towers, the updates of the first: as in Inception's and tensorpack's code."""
    return two_gpus("first")


@case(NEVER_RUN)
def multi_gpu_wrong_scope():
    """The updates of a scope that does not exist: none."""
    return two_gpus("wrong scope")


def two_networks(generator_updates, discriminator_updates):
    real = tf.placeholder(tf.float32, [None, 4], name="real")
    z = tf.placeholder(tf.float32, [None, 3], name="z")
    with tf.variable_scope("generator"):
        fake = dense(tf.nn.relu(contrib_norm(True)(dense(z, 4, "hidden"), "bn")), 4, "out")

    def discriminator(x, reuse):
        with tf.variable_scope("discriminator", reuse=reuse):
            return dense(tf.nn.relu(contrib_norm(True)(dense(x, 4, "hidden"), "bn")), 1, "out")

    d_real, d_fake = discriminator(real, None), discriminator(fake, True)
    d_loss = tf.reduce_mean(tf.nn.softplus(-d_real)) + tf.reduce_mean(tf.nn.softplus(d_fake))
    g_loss = tf.reduce_mean(tf.nn.softplus(-d_fake))
    variables = tf.trainable_variables()
    d_vars = [v for v in variables if v.name.startswith("discriminator")]
    g_vars = [v for v in variables if v.name.startswith("generator")]
    with tf.control_dependencies(update_ops("discriminator") if discriminator_updates else []):
        d_step = sgd(name="d_optimizer").minimize(d_loss, var_list=d_vars)
    with tf.control_dependencies(update_ops("generator") if generator_updates else []):
        g_step = sgd(name="g_optimizer").minimize(g_loss, var_list=g_vars)
    with tf.variable_scope("generator", reuse=True):
        sample = dense(tf.nn.relu(contrib_norm(False)(dense(z, 4, "hidden"), "bn")), 4, "out")
    return built([d_step, g_step], sample)


GAN = ["discriminator/bn", "generator/bn"]


@case(layers=GAN)
def gan():
    """Each optimizer runs the updates of its network; the discriminator sees real and fake data."""
    return two_networks(True, True)


@case(NEVER_RUN, layers=GAN)
def gan_generator_not_run():
    """The generator's updates are run by neither optimizer."""
    return two_networks(False, True)


@case(NEVER_RUN, layers=GAN)
def gan_not_run():
    """Nobody runs any updates."""
    return two_networks(False, False)


def deep_q_network(updates, target_training=False):
    state = tf.placeholder(tf.float32, [None, 5], name="state")
    after = tf.placeholder(tf.float32, [None, 5], name="next_state")
    action = tf.placeholder(tf.int32, [None], name="action")
    reward = tf.placeholder(tf.float32, [None], name="reward")
    q = network(state, contrib_norm(True), scope="online")
    target = network(after, contrib_norm(target_training), scope="target")
    goal = tf.stop_gradient(reward + 0.9 * tf.reduce_max(target, 1))
    loss = tf.reduce_mean(tf.square(goal - tf.reduce_sum(q * tf.one_hot(action, 3), 1)))
    with tf.control_dependencies(update_ops("online") if updates else []):
        train = sgd().minimize(loss, var_list=[v for v in tf.trainable_variables() if v.name.startswith("online")])
    online, copies = [[v for v in tf.global_variables() if v.name.startswith(s)] for s in ("online", "target")]
    tf.group(*[c.assign(v) for c, v in zip(copies, online)], name="copy_to_target")
    return built(train, skip="target")


DQN = ["online/bn", "target/bn"]


@case(layers=DQN)
def target_network():
    """A target network behind stop_gradient; all its variables are copies."""
    return deep_q_network(True)


@case(NEVER_RUN, layers=DQN)
def target_network_not_run():
    """The online network's updates are not run."""
    return deep_q_network(False)


@case()
def siamese():
    """One network on two inputs, both train it, both update."""
    a, b = tf.placeholder(tf.float32, [None, 5], name="a"), tf.placeholder(tf.float32, [None, 5], name="b")
    a, b = network(a, contrib_norm(True)), network(b, contrib_norm(True), reuse=True)
    return built(minimize(tf.reduce_mean(tf.square(a - b)), "control dependencies"), statistics="moving_")
