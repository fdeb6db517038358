"""Layers written by hand, as blogs and answers have them."""

import tensorflow as tf

from tests.recording.audit_graphs.cases import (
    BIAS,
    IN_EVALUATION,
    NEVER_RUN,
    NO_UPDATES,
    NO_VARIABLE,
    SLOW,
    TRAINABLE,
    UNUSED,
    WRONG,
    built,
    case,
)
from tests.recording.audit_graphs.networks import (
    cross_entropy,
    dense,
    image_input,
    minimize,
    network,
    one_tower,
    phase,
    sgd,
    two_towers,
    variable,
    vector_input,
)


def r2rt_norm(training, decay=0.9, dependencies=True, trainable=False, gamma_used=True, inverted=False, sqrt=False):
    """https://r2rt.com/implementing-batch-normalization-in-tensorflow.html, batch_norm_wrapper, with names."""

    def norm(h, name):
        with tf.variable_scope(name):
            size = h.get_shape()[-1:]
            gamma, beta = variable("gamma", 1.0, size), variable("beta", 0.0, size)
            pop_mean = variable("pop_mean", 0.0, size, trainable=trainable)
            pop_var = variable("pop_var", 1.0, size, trainable=trainable)

            def finish(mean, var):
                if sqrt:
                    out = (h - mean) / tf.sqrt(var + 1e-3)
                    return gamma * out + beta if gamma_used else out + beta
                return tf.nn.batch_normalization(h, mean, var, beta, gamma if gamma_used else None, 1e-3)

            if not training:
                return finish(pop_mean, pop_var)
            mean, var = tf.nn.moments(h, list(range(len(h.get_shape()) - 1)))
            keep, take = (1 - decay, decay) if inverted else (decay, 1 - decay)
            train_mean = tf.assign(pop_mean, pop_mean * keep + mean * take)
            train_var = tf.assign(pop_var, pop_var * keep + var * take)
            with tf.control_dependencies([train_mean, train_var] if dependencies else []):
                return finish(mean, var)

    return norm


POP = r"pop_(mean|var):0$"


def by_hand(norm, evaluation=None, statistics=POP, **options):
    """The updates are the layer's own affair. evaluation: the layer in a second tower, if there is one."""
    if evaluation is None:
        return one_tower(norm, "not run", **options)._replace(evaluate=None, statistics=statistics)
    return two_towers(norm, evaluation, "not run", **options)._replace(statistics=statistics)


@case()
def r2rt():
    """R2RT's batch_norm_wrapper, training graph."""
    return by_hand(r2rt_norm(True))


@case()
def r2rt_towers():
    """R2RT's batch_norm_wrapper, training and evaluation in one graph."""
    return by_hand(r2rt_norm(True), r2rt_norm(False))


@case()
def r2rt_image_towers():
    """R2RT's batch_norm_wrapper on images."""
    return by_hand(r2rt_norm(True), r2rt_norm(False), image=True)


@case(NEVER_RUN)
def r2rt_not_run():
    """The same without control_dependencies: the assignments are never run."""
    return by_hand(r2rt_norm(True, dependencies=False), r2rt_norm(False))


@case(TRAINABLE)
def r2rt_trainable():
    """pop_mean and pop_var without trainable=False; no gradient reaches them."""
    return by_hand(r2rt_norm(True, trainable=True), r2rt_norm(False, trainable=True))


@case(TRAINABLE, WRONG)
def r2rt_frozen_trainable():
    """Trained with its statistics, which the optimizer moves."""
    return by_hand(r2rt_norm(False, trainable=True))._replace(statistics=NO_VARIABLE)


@case(SLOW)
def r2rt_inverted():
    """decay and 1 - decay exchanged: 0.1 is kept."""
    return by_hand(r2rt_norm(True, inverted=True), r2rt_norm(False))


@case(WRONG, IN_EVALUATION)
def r2rt_evaluation_true():
    """The evaluation tower is built with is_training=True."""
    return by_hand(r2rt_norm(True), r2rt_norm(True))


@case(UNUSED)
def r2rt_gamma_unused():
    """gamma exists and is not used."""
    return by_hand(r2rt_norm(True, gamma_used=False), r2rt_norm(False, gamma_used=False))


@case(BIAS)
def r2rt_bias():
    """A bias before it."""
    return by_hand(r2rt_norm(True), bias=True)


@case(layers=None)
def r2rt_unnamed():
    """As published: Variable_1, Variable_2 and so on, no scope to name the layer after."""
    x, y = vector_input()
    w = tf.Variable(tf.random_normal([5, 4]))
    h = tf.matmul(x, w)
    scale, beta = tf.Variable(tf.ones([4])), tf.Variable(tf.zeros([4]))
    pop_mean = tf.Variable(tf.zeros([4]), trainable=False)
    pop_var = tf.Variable(tf.ones([4]), trainable=False)
    mean, var = tf.nn.moments(h, [0])
    train_mean = tf.assign(pop_mean, pop_mean * 0.9 + mean * (1 - 0.9))
    train_var = tf.assign(pop_var, pop_var * 0.9 + var * (1 - 0.9))
    with tf.control_dependencies([train_mean, train_var]):
        h = tf.nn.batch_normalization(h, mean, var, beta, scale, 1e-3)
    return built(sgd().minimize(cross_entropy(dense(h, 3, "logits"), y)), statistics=r"Variable_[34]:0")


@case()
def sqrt_towers():
    """(x - mean) / sqrt(variance + eps) spelled out."""
    return by_hand(r2rt_norm(True, sqrt=True), r2rt_norm(False, sqrt=True))


@case(NEVER_RUN)
def sqrt_not_run():
    """(x - mean) / sqrt(variance + eps), the assignments are never run."""
    return by_hand(r2rt_norm(True, sqrt=True, dependencies=False), r2rt_norm(False, sqrt=True))


@case(WRONG)
def sqrt_frozen():
    """(x - mean) / sqrt(variance + eps), trained with the moving statistics, gamma as well."""
    return by_hand(r2rt_norm(False, sqrt=True))._replace(statistics=NO_VARIABLE)


@case(NO_UPDATES)
def by_hand_no_updates():
    """Somebody forgot the assignments altogether."""

    def norm(training):
        def norm(h, name):
            with tf.variable_scope(name):
                gamma, beta = variable("gamma", 1.0, [4]), variable("beta", 0.0, [4])
                mean = variable("moving_mean", 0.0, [4], trainable=False)
                var = variable("moving_var", 1.0, [4], trainable=False)
                if training:
                    mean, var = tf.nn.moments(h, [0])
                return tf.nn.batch_normalization(h, mean, var, beta, gamma, 1e-3)

        return norm

    return by_hand(norm(True), norm(False), statistics=r"bn/moving_(mean|var):0")


@case()
def by_hand_no_statistics():
    """Batch norm that never had moving statistics (as in first GAN code)."""

    def norm(h, name):
        with tf.variable_scope(name):
            gamma, beta = variable("gamma", 1.0, [4]), variable("beta", 0.0, [4])
            mean, var = tf.nn.moments(h, [0])
            return tf.nn.batch_normalization(h, mean, var, beta, gamma, 1e-3)

    return by_hand(norm)._replace(statistics=None)


def phase_train_norm(style, decay=0.9):
    """https://stackoverflow.com/a/34634291 and what became of it when copied.

    style: "correct"; "outside": ema.apply is outside of tf.cond; "no dependency": nothing depends on its op;
    "no identity": what depends on it is made outside; "swapped": the branches are exchanged.
    """
    training = phase()

    def norm(h, name):
        with tf.variable_scope(name):
            size = h.get_shape()[-1:]
            beta, gamma = variable("beta", 0.0, size), variable("gamma", 1.0, size)
            mean, var = tf.nn.moments(h, list(range(len(h.get_shape()) - 1)), name="moments")
            ema = tf.train.ExponentialMovingAverage(decay=decay)
            inside = style in ("correct", "swapped")
            apply_op = None if inside else ema.apply([mean, var])

            def update():
                dependency = ema.apply([mean, var]) if inside else apply_op
                with tf.control_dependencies([] if style == "no dependency" else [dependency]):
                    if style == "no identity":
                        return mean, var
                    return tf.identity(mean), tf.identity(var)

            def average():
                return ema.average(mean), ema.average(var)

            # (The update has to be built first: it makes the averages.)
            statistics = tf.cond(tf.logical_not(training) if style == "swapped" else training, update, average)
            return tf.nn.batch_normalization(h, statistics[0], statistics[1], beta, gamma, 1e-3)

    return norm


EMA = r"moments/.*ExponentialMovingAverage:0$"


def phase_network(style, decay=0.9, image=False, updates="not run"):
    x, y = (image_input if image else vector_input)()
    logits = network(x, phase_train_norm(style, decay))
    return built(minimize(cross_entropy(logits, y), updates), logits, statistics=EMA)


@case()
def phase_train():
    """ema.apply inside of tf.cond, with decay 0.5, as in the answer."""
    return phase_network("correct", 0.5, image=True)


@case()
def phase_train_vector():
    """ema.apply inside of tf.cond."""
    return phase_network("correct")


@case(IN_EVALUATION)
def phase_train_outside():
    """ema.apply outside of tf.cond: it runs whenever the output is fetched."""
    return phase_network("outside")


@case(NEVER_RUN)
def phase_train_no_dependency():
    """ema.apply's op is used by nobody."""
    return phase_network("no dependency")


@case(NEVER_RUN)
def phase_train_no_identity():
    """Inside of control_dependencies nothing is made (no identity)."""
    return phase_network("no identity")


@case(IN_EVALUATION, may=[WRONG], since=(1, 4))
def phase_train_swapped():
    """The branches are exchanged: it trains with averages and updates while it evaluates."""
    return phase_network("swapped")._replace(statistics=NO_VARIABLE)


@case(SLOW)
def phase_train_inverted():
    """ExponentialMovingAverage(decay=0.1), thought of as 1 - decay."""
    return phase_network("correct", 0.1)


def ema_towers(run):
    x, y = vector_input()
    ema = tf.train.ExponentialMovingAverage(0.9)
    kept = {}

    def norm(training):
        def norm(h, name):
            with tf.variable_scope(name):
                gamma, beta = variable("gamma", 1.0, [4]), variable("beta", 0.0, [4])
                if training:
                    kept["moments"] = tf.nn.moments(h, [0])
                    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, ema.apply(list(kept["moments"])))
                    mean, var = kept["moments"]
                else:
                    mean, var = [ema.average(m) for m in kept["moments"]]
                return tf.nn.batch_normalization(h, mean, var, beta, gamma, 1e-3)

        return norm

    train = minimize(cross_entropy(network(x, norm(True)), y), "control dependencies" if run else "not run")
    return built(train, network(x, norm(False), reuse=True), statistics=EMA)


@case()
def ema_collected():
    """ema.apply's op in UPDATE_OPS, run with the train op; evaluation takes the average."""
    return ema_towers(True)


@case(NEVER_RUN)
def ema_collected_not_run():
    """ema.apply's op in UPDATE_OPS, which nobody runs."""
    return ema_towers(False)
