"""tf.contrib.layers.batch_norm: how its updates are run or not, its options, and graphs for inference."""

import tensorflow as tf

from tests.recording.audit_graphs.cases import (
    BIAS,
    DUPLICATE,
    IN_EVALUATION,
    MIXED,
    NEVER_RUN,
    NOT_SAVED,
    SLOW,
    TINY,
    UNSHARED,
    WRONG,
    WRONG_WARNING,
    built,
    case,
)
from tests.recording.audit_graphs.networks import (
    contrib_batch_norm,
    contrib_norm,
    conv,
    cross_entropy,
    dense,
    image_input,
    minimize,
    network,
    one_tower,
    phase,
    sgd,
    slim,
    two_towers,
    update_ops,
    vector_input,
)

IMAGE = dict(image=True, scale=True)
FUSED = dict(image=True, fused=True)


@case()
@case(name="contrib_image_control_dependencies", given=IMAGE)
@case(name="contrib_fused_control_dependencies", given=FUSED)
def contrib_control_dependencies(image=False, **options):
    """UPDATE_OPS are control dependencies of the train op."""
    return one_tower(contrib_norm(True, **options), "control dependencies", image)


@case(NEVER_RUN)
@case(NEVER_RUN, name="contrib_image_not_run", given=IMAGE)
@case(NEVER_RUN, name="contrib_fused_not_run", given=FUSED)
def contrib_not_run(image=False, **options):
    """UPDATE_OPS are in the collection and nothing runs them."""
    return one_tower(contrib_norm(True, **options), "not run", image)


@case()
@case(name="contrib_fused_placeholder", given=FUSED)
def contrib_placeholder(image=False, **options):
    """is_training is fed, the updates run with the train op."""
    return one_tower(contrib_norm(phase(), **options), "control dependencies", image)


@case(NEVER_RUN)
@case(NEVER_RUN, name="contrib_fused_placeholder_not_run", given=FUSED)
def contrib_placeholder_not_run(image=False, **options):
    """is_training is fed, but no update is run."""
    return one_tower(contrib_norm(phase(), **options), "not run", image)


@case()
@case(name="contrib_fused_towers", given=FUSED)
def contrib_towers(image=False, **options):
    """A training tower with updates, an evaluation tower that reuses it."""
    return two_towers(contrib_norm(True, **options), contrib_norm(False, **options), "control dependencies", image)


@case()
def contrib_group():
    """The train op is a group around TRAIN_OP's op and the updates; it is not named."""
    return one_tower(contrib_norm(True), "group")


@case(train_op="train")
def contrib_group_named():
    """The group is named as the train op."""
    return one_tower(contrib_norm(True), "group")


@case(NEVER_RUN, train_op="GradientDescent")
def contrib_group_inner_named():
    """There is a group with the updates, but the op that is named is the optimizer's inside it."""
    result = one_tower(contrib_norm(True), "group")
    return result._replace(train=tf.get_default_graph().get_operation_by_name("GradientDescent"))


@case(train_op="train")
def contrib_identity():
    """The loss that is fetched depends on the step and on the updates."""
    return one_tower(contrib_norm(True), "identity")


@case(NEVER_RUN)
def contrib_existing_op():
    """control_dependencies around an op that exists already does nothing."""
    return one_tower(contrib_norm(True), "existing op")


@case()
def contrib_barrier():
    """Loss and optimizer behind a barrier of the updates."""
    return one_tower(contrib_norm(True), "barrier")


@case(NEVER_RUN, undecided=["updates-never-run"])
def contrib_barrier_loss_only():
    """Only the loss depends on the updates, and no gradient needs the loss's value: the train op alone never runs them
    (whoever fetches the loss, too, is saved by that).
    """
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    with tf.control_dependencies([tf.group(*update_ops())]):
        loss = tf.identity(loss, name="total_loss")
    return built(sgd().minimize(loss))


@case(NEVER_RUN)
def contrib_collected_too_early():
    """UPDATE_OPS are read before the network exists: an empty list."""
    x, y = vector_input()
    updates = update_ops()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    with tf.control_dependencies(updates):
        return built(sgd().minimize(loss))


@case()
def slim_create_train_op():
    """slim.learning.create_train_op runs UPDATE_OPS."""
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    return built(slim.learning.create_train_op(loss, sgd()))


@case(NEVER_RUN)
def slim_create_train_op_without():
    """create_train_op is told to run no updates."""
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    return built(slim.learning.create_train_op(loss, sgd(), update_ops=[]))


@case()
def contrib_in_place():
    """updates_collections=None: the output itself depends on the updates."""
    return one_tower(contrib_norm(True, updates_collections=None), "not run")._replace(evaluate=None)


@case()
def contrib_in_place_placeholder():
    """In place, and is_training is fed."""
    return one_tower(contrib_norm(phase(), updates_collections=None), "not run")


@case()
def contrib_in_place_towers():
    """In place in the training tower, moving statistics in the evaluation tower."""
    train, evaluation = (contrib_norm(training, updates_collections=None) for training in (True, False))
    return two_towers(train, evaluation, "not run")


@case(WRONG, IN_EVALUATION)
def contrib_in_place_evaluation_true():
    """The evaluation tower says is_training=True: batch statistics, and each evaluation updates."""
    norm = contrib_norm(True, updates_collections=None)
    return two_towers(norm, norm, "not run")


@case(WRONG, DUPLICATE)
def contrib_evaluation_true():
    """The evaluation tower says is_training=True; its updates are in the collection, too (run by nobody here)."""
    return two_towers(contrib_norm(True), contrib_norm(True), "control dependencies")


@case(WRONG, DUPLICATE)
def contrib_evaluation_true_updates_run():
    """The evaluation tower says is_training=True, and the train op runs its updates as well."""
    x, y = vector_input()
    z = tf.placeholder(tf.float32, [None, 5], name="valid_x")
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    logits = network(z, contrib_norm(True), reuse=True)
    return built(minimize(loss, "control dependencies"), logits)


@case(UNSHARED, layers=["BatchNorm", "BatchNorm_1"])
def contrib_evaluation_default_names():
    """Without scope and reuse the evaluation tower gets BatchNorm_1, whose statistics nothing updates."""
    x, y = vector_input()

    def tower(training, reuse):
        with tf.variable_scope("net", reuse=reuse):
            h = dense(x, 4, "hidden")
        h = contrib_batch_norm(h, is_training=training)
        with tf.variable_scope("net", reuse=reuse):
            return dense(h, 3, "logits")

    train = minimize(cross_entropy(tower(True, None), y), "control dependencies")
    return built(train, tower(False, True), skip="BatchNorm_1")


@case(UNSHARED, layers=["net/bn", "net_1/bn"])
def contrib_evaluation_not_reused():
    """The whole network is built twice, in net and in net_1: the evaluation has weights and statistics of its own."""
    x, y = vector_input()
    train = minimize(cross_entropy(network(x, contrib_norm(True)), y), "control dependencies")
    return built(train, network(x, contrib_norm(False), scope="net_1"), skip="net_1")


@case(WRONG)
def contrib_frozen():
    """is_training=False in the only tower, and beta is trained."""
    return one_tower(contrib_norm(False), "not run")


@case(WRONG_WARNING)
def contrib_frozen_fixed():
    """is_training=False and trainable=False: fine-tuning, on purpose."""
    return one_tower(contrib_norm(False, trainable=False), "not run")


@case(WRONG_WARNING)
def contrib_frozen_var_list():
    """is_training=False, and only the last layer is trained."""
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(False)), y)
    last = [v for v in tf.trainable_variables() if v.op.name.startswith("net/logits")]
    return built(sgd().minimize(loss, var_list=last), statistics=None)


@case(BIAS)
def contrib_bias():
    """The layer in front has a bias, which the batch mean takes away."""
    return one_tower(contrib_norm(True), "control dependencies", bias=True)


@case(BIAS)
def contrib_conv_bias():
    """The convolution in front has a bias, which the batch mean takes away."""
    return one_tower(contrib_norm(True, fused=True), "control dependencies", image=True, bias=True)


@case(WRONG_WARNING)
def contrib_frozen_bias():
    """A bias before a frozen batch norm is not cancelled: no note."""
    return one_tower(contrib_norm(False, trainable=False), "not run", bias=True)


@case(SLOW)
def contrib_decay_inverted():
    """decay=0.01 is 1 - decay."""
    return one_tower(contrib_norm(True, decay=0.01), "control dependencies")


@case(SLOW, num_steps=1000)
def contrib_decay_1000_steps():
    """0.999**1000 = 0.37 of the initial values are left."""
    return one_tower(contrib_norm(True, decay=0.999), "control dependencies")


@case(num_steps=9000)
def contrib_decay_9000_steps():
    """0.999**9000 = 0.0001."""
    return one_tower(contrib_norm(True, decay=0.999), "control dependencies")


@case(TINY)
def contrib_batch_of_1():
    """The batch is one example: its own mean is subtracted."""
    return one_tower(contrib_norm(True), "control dependencies", batch=1)


@case(TINY, since=(1, 15))
def contrib_batch_of_4():
    """Four values per channel."""
    return one_tower(contrib_norm(True), "control dependencies", batch=4)


@case()
def contrib_batch_of_16():
    """Sixteen values per channel."""
    return one_tower(contrib_norm(True), "control dependencies", batch=16)


@case(since=(1, 15))
def contrib_images_of_4():
    """Four images of 4 x 4: 64 values per channel."""
    return one_tower(contrib_norm(True, fused=True), "control dependencies", image=True, batch=4)


@case(MIXED)
def contrib_mixed():
    """Trained fused (Bessel's correction in the update), evaluated decomposed: harmless with large batches; two
    definitions of one number only if both towers update.
    """
    x, y = image_input()
    train = minimize(cross_entropy(network(x, contrib_norm(True, fused=True)), y), "control dependencies")
    return built(train, network(x, contrib_norm(False, fused=False), reuse=True))


@case(MIXED)
def contrib_mixed_training():
    """Two training uses of one layer, fused and decomposed, both update."""
    x, y = image_input()
    a = network(x, contrib_norm(True, fused=True))
    b = network(x[:, ::-1], contrib_norm(True, fused=False), reuse=True)
    return built(minimize(cross_entropy(a, y) + cross_entropy(b, y), "control dependencies"))


@case(since=(1, 0))
def contrib_zero_debias():
    """zero_debias_moving_mean=True: biased and local_step variables."""
    return one_tower(contrib_norm(True, zero_debias_moving_mean=True), "control dependencies")


@case(since=(1, 4))
def contrib_renorm():
    """Batch renormalisation."""
    return one_tower(contrib_norm(True, renorm=True), "control dependencies")


@case()
def contrib_weights():
    """batch_weights: weighted moments."""
    weights = tf.placeholder(tf.float32, [None], name="weights")
    return one_tower(contrib_norm(True, batch_weights=weights), "control dependencies")


@case()
def contrib_nchw():
    """Channels first, fused (not run: there is no such kernel on a CPU)."""
    x, y = image_input()
    with tf.variable_scope("net"):
        h = tf.transpose(conv(x, 4, "hidden"), [0, 3, 1, 2])
        h = contrib_norm(True, fused=True, data_format="NCHW")(h, "bn")
        logits = dense(tf.reduce_mean(h, [2, 3]), 3, "logits")
    minimize(cross_entropy(logits, y), "control dependencies")
    return built()


@case(DUPLICATE)
def contrib_duplicate():
    """The update ops are in UPDATE_OPS twice."""
    x, y = vector_input()
    logits = network(x, contrib_norm(True))
    for op in list(update_ops()):
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, op)
    return built(minimize(cross_entropy(logits, y), "control dependencies"))


@case()
def contrib_inference():
    """A graph for inference, with a saver for everything."""
    x, _ = vector_input()
    return built(evaluate=network(x, contrib_norm(False)), saver=tf.train.Saver())


@case(NOT_SAVED)
def contrib_inference_not_saved():
    """A graph for inference that restores no statistics."""
    x, _ = vector_input()
    return built(evaluate=network(x, contrib_norm(False)), saver=tf.train.Saver(tf.trainable_variables()))


@case(may=[WRONG, WRONG_WARNING])
def contrib_inference_true():
    """Inference with is_training=True: nothing to report by the rules, for there is no training in the graph; a person
    would suspect it.
    """
    x, _ = vector_input()
    return built(evaluate=network(x, contrib_norm(True)), saver=tf.train.Saver())


@case()
def estimator_train():
    """An Estimator's training graph: global step, one tower, a saver."""
    x, y = vector_input(16)
    step = slim.get_or_create_global_step()
    train = minimize(cross_entropy(network(x, contrib_norm(True)), y), "control dependencies", global_step=step)
    return built(train, saver=tf.train.Saver(sharded=True, max_to_keep=5))


@case(may=[NEVER_RUN], undecided=["updates-never-run"])
def updates_group_apart():
    """A group of the updates that nothing in the graph runs: the program may fetch it beside the train op. By the rules
    an error; a note would be fairer.
    """
    result = one_tower(contrib_norm(True), "not run")
    tf.group(*update_ops(), name="extra_update_ops")
    return result._replace(statistics=None)
