"""Statistics that reach the evaluation through a second variable: averages of averages."""

import tensorflow as tf

from tests.recording.audit_graphs.cases import IN_EVALUATION, NEVER_RUN, built, case
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    cross_entropy,
    image_input,
    network,
    phase,
    resource_variables,
    sgd,
    update_ops,
    variable,
    vector_input,
)

LAYERS = (1, 4)


def assigned_then_averaged(run, how="control", named=True, order="assign first", image=False, towers=True, decay=0.9):
    """A running mean and variance, assigned from the batch, and an ExponentialMovingAverage of them (Theano's port)."""
    averages, updates = [], []
    count = [0]

    def norm(training):
        def norm(h, name):
            with tf.variable_scope(name):
                size = h.get_shape()[-1:]
                gamma, beta = variable("gamma", 1.0, size), variable("beta", 0.0, size)
                mean = variable("running_mean" if named else "a", 0.0, size, trainable=False)
                var = variable("running_var" if named else "b", 1.0, size, trainable=False)
                if training:
                    ema = tf.train.ExponentialMovingAverage(decay)
                    batch = tf.nn.moments(h, list(range(len(h.get_shape()) - 1)))
                    sets = [mean.assign(batch[0]), var.assign(batch[1])]
                    if order == "assign first":
                        with tf.control_dependencies(sets):
                            apply_op = ema.apply([mean, var])
                    else:
                        apply_op = tf.group(ema.apply([mean, var]), *sets)
                    averages.append((ema.average(mean), ema.average(var)))
                    updates.append(apply_op)
                    used = batch
                    with tf.control_dependencies(sets):
                        used = [tf.identity(b) for b in batch]
                else:
                    used = averages[count[0]]
                    count[0] += 1
                return tf.nn.batch_normalization(h, used[0], used[1], beta, gamma, 1e-3)

        return norm

    x, y = (image_input if image else vector_input)()
    loss = cross_entropy(network(x, norm(True)), y)
    evaluate = network(x, norm(False), reuse=True) if towers else None
    statistics = "ExponentialMovingAverage:0$"
    if not run:
        return built(sgd().minimize(loss), evaluate, statistics=statistics, on_batch=False)
    if how == "group":
        return built(
            tf.group(sgd().minimize(loss), *updates, name="train"), evaluate, statistics=statistics, on_batch=False
        )
    with tf.control_dependencies(updates):
        return built(sgd().minimize(loss), evaluate, statistics=statistics, on_batch=False)


@case(name="averages_assigned", given=dict(), doubts=[], layers=None)
@case(name="averages_assigned_group", given=dict(how="group"), doubts=[], layers=None)
@case(name="averages_assigned_image", given=dict(image=True), doubts=[], layers=None)
@case(name="averages_assigned_unnamed", given=dict(named=False), doubts=[], layers=None)
@case(name="averages_assigned_late", given=dict(order="average first"), doubts=[], layers=None)
@case(name="averages_assigned_0.99", given=dict(decay=0.99), doubts=[], layers=None)
def averages_assigned(**options):
    """Averages of an assigned variable; the step runs apply()."""
    return assigned_then_averaged(True, **options)


@case(NEVER_RUN, name="averages_assigned_not_run", given=dict(), layers=None)
@case(NEVER_RUN, name="averages_assigned_not_run_image", given=dict(image=True), layers=None)
@case(NEVER_RUN, name="averages_assigned_not_run_unnamed", given=dict(named=False), layers=None)
def averages_assigned_not_run(**options):
    """Averages of an assigned variable; nobody runs apply()."""
    return assigned_then_averaged(False, **options)


def second_by_hand(run, fed=False, spelling="assign", first_run=True):
    """Two variables by hand: the first follows the batch, the second follows the first."""
    training = phase() if fed else None

    def norm(is_training):
        def norm(h, name):
            with tf.variable_scope(name):
                gamma, beta = variable("gamma", 1.0, [4]), variable("beta", 0.0, [4])
                first = [variable(n, v, [4], trainable=False) for n, v in (("mean", 0.0), ("variance", 1.0))]
                second = [variable(n, v, [4], trainable=False) for n, v in (("slow_mean", 0.0), ("slow_variance", 1.0))]
                if is_training is False:
                    return tf.nn.batch_normalization(h, second[0], second[1], beta, gamma, 1e-3)
                batch = tf.nn.moments(h, [0])
                ones = [f.assign(0.5 * f + 0.5 * b) for f, b in zip(first, batch)]
                with tf.control_dependencies(ones if first_run else []):
                    if spelling == "assign":
                        twos = [s.assign(0.9 * s + 0.1 * f.read_value()) for s, f in zip(second, first)]
                    elif spelling == "sub":
                        twos = [s.assign_sub(0.1 * (s - f.read_value())) for s, f in zip(second, first)]
                    elif spelling == "copy":
                        twos = [s.assign(f.read_value()) for s, f in zip(second, first)]
                    else:  # of what the first assignment returns
                        twos = [s.assign(0.9 * s + 0.1 * one) for s, one in zip(second, ones)]
                for op in twos:
                    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, op)
                if not fed:
                    return tf.nn.batch_normalization(h, batch[0], batch[1], beta, gamma, 1e-3)
                used = tf.cond(training, lambda: tuple(batch), lambda: tuple(tf.identity(s) for s in second))
                return tf.nn.batch_normalization(h, used[0], used[1], beta, gamma, 1e-3)

        return norm

    x, y = vector_input()
    logits = network(x, norm(True))
    collected = update_ops()
    evaluate = logits if fed else network(x, norm(False), reuse=True)
    with tf.control_dependencies(collected if run else []):
        train = sgd().minimize(cross_entropy(logits, y))
    return built(train, evaluate, statistics="slow_(mean|variance):0$", on_batch=False)


@case(name="averages_by_hand", given=dict(), doubts=[], layers=None)
@case(name="averages_by_hand_sub", given=dict(spelling="sub"), doubts=[], layers=None)
@case(name="averages_by_hand_returned", given=dict(spelling="returned"), doubts=[], layers=None)
@case(name="averages_by_hand_copy", given=dict(spelling="copy"), doubts=[], layers=None)
@case(name="averages_by_hand_fed", given=dict(fed=True), doubts=[], may=[IN_EVALUATION], layers=None)
def averages_by_hand(**options):
    """The second variable follows the first one, and the step runs both."""
    return second_by_hand(True, **options)._replace(**(dict(evaluate=None) if options.get("fed") else {}))


@case(NEVER_RUN, name="averages_by_hand_not_run", given=dict(), layers=None)
@case(NEVER_RUN, name="averages_by_hand_sub_not_run", given=dict(spelling="sub"), layers=None)
@case(NEVER_RUN, name="averages_by_hand_copy_not_run", given=dict(spelling="copy"), layers=None)
@case(NEVER_RUN, name="averages_by_hand_fed_not_run", given=dict(fed=True), layers=None)
def averages_by_hand_not_run(**options):
    """The second variable follows the first one, and nobody runs that."""
    return second_by_hand(False, **options)


@case(name="averages_by_hand_resource", given=dict(), doubts=[], since=LAYERS, layers=None)
@case(name="averages_by_hand_copy_resource", given=dict(spelling="copy"), doubts=[], since=LAYERS, layers=None)
@resource_variables
def averages_resource(**options):
    """The second variable follows the first one, and the step runs both: resource variables."""
    return second_by_hand(True, **options)


@case(NEVER_RUN, name="averages_by_hand_resource_not_run", given=dict(), since=LAYERS, layers=None)
@resource_variables
def averages_resource_not_run(**options):
    """The second variable follows the first one, and nobody runs that: resource variables."""
    return second_by_hand(False, **options)


def of_moving(run_updates, run_average, fed=False):
    """ExponentialMovingAverage of all variables, moving statistics included; a second set of towers reads it."""
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True, fused=False)), y)
    collected = update_ops()
    with tf.control_dependencies(collected if run_updates else []):
        train = sgd().minimize(loss)
    ema = tf.train.ExponentialMovingAverage(0.9)
    statistics = [v for v in tf.get_collection("model_variables") if "moving_" in v.name]
    with tf.control_dependencies([train]):
        apply_op = ema.apply(tf.trainable_variables() + statistics)

    def norm(h, name):
        with tf.variable_scope(name):
            beta = ema.average(tf.get_variable("beta", [4]))
            mean, var = [
                ema.average(tf.get_variable(n, [4], trainable=False)) for n in ("moving_mean", "moving_variance")
            ]
            return tf.nn.batch_normalization(h, mean, var, beta, None, 1e-3)

    evaluate = network(x, norm, reuse=True)
    run = apply_op if run_average else train
    return built(
        run, evaluate, statistics="moving.*ExponentialMovingAverage:0$", on_batch=False, train_op=run.name
    )  # fmt: skip


@case(name="averages_of_moving", given=dict(run_updates=True, run_average=True), doubts=[], layers=None)
def averages_of_moving(**options):
    """The evaluation reads averages of the moving statistics, which the step moves."""
    return of_moving(**options)


@case(NEVER_RUN, name="averages_of_moving_not_run", given=dict(run_updates=True, run_average=False), layers=None)
def averages_of_moving_not_run(**options):
    """The evaluation reads averages of the moving statistics, which nobody moves."""
    return of_moving(**options)


@case(NEVER_RUN, name="averages_of_still", layers=None)
def averages_of_still():
    """The average follows moving statistics that nobody moves: 0 and 1."""
    result = of_moving(run_updates=False, run_average=True)
    return result._replace(statistics="moving_(mean|variance):0$")
