"""What is trained and saved of a layer's variables, and its options: decay, batch, bias, gamma and beta."""

from bn_graph.tf1 import tf, tf_slim
from tests.audit.cases.case import BOTH, Case, clean
from tests.audit.cases.update_ops import ema_of_the_thread
from tests.audit.findings import BIAS, DUPLICATE, MIXED, NOT_SAVED, SLOW, SUSPECT, TINY, TRAINABLE, UNUSED, WRONG
from tests.audit.networks import UNITS, network, new_graph, slim
from tests.audit.pieces import collected, convolution, dense, done, inputs, minimize, norm


def saver(which):
    """A Saver of all variables, of the trainable ones, or of both kinds."""
    lists = {
        "all": [None],
        "trainable": [tf.trainable_variables],
        "both": [tf.trainable_variables, None],
        "model": [tf_slim.get_model_variables],
        "with the step": [lambda: [*tf.trainable_variables(), tf.train.get_or_create_global_step()]],
        "named": [lambda: {"else/" + v.op.name: v for v in tf.global_variables()}],
    }[which]

    def after():
        for one in lists:
            tf.train.Saver(var_list=one and one())

    return network(train=True, valid=False, after=after)


def saver_arguments(**arguments):
    def after():
        tf.train.Saver(**arguments)

    return network(train=True, valid=False, after=after)


def trainable(*names, **options):
    """The layer's variables created before it, those in `names` in TRAINABLE_VARIABLES."""

    def before():
        for name, value in (("moving_mean", 0), ("moving_variance", 1)):
            start = tf.constant_initializer(value)
            tf.get_variable(f"bn/{name}", [UNITS], initializer=start, trainable=name in names)
        tf.get_variable("bn/beta", [UNITS], initializer=tf.zeros_initializer())

    return network(auto, before=before, **options)


def auto(x, is_training, scope, reuse, in_place, decay=0.9, **options):
    del reuse
    return slim(x, is_training, scope, tf.AUTO_REUSE, in_place, decay, **options)


def existing(name):
    """Called before the towers: the layer's `name` exists already."""

    def before():
        tf.get_variable(f"bn/{name}", [UNITS], initializer=tf.ones_initializer())

    return before


def optimised_statistics(listed):
    """A frozen layer whose moving mean is given to the optimizer."""
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X), False, trainable=False, center=False, fused=False)
        variables = tf.trainable_variables()
        if listed:
            variables = variables + [v for v in tf.global_variables() if v.op.name == "bn/moving_mean"]
        return done(graph, minimize(tf.reduce_mean(output**2), var_list=variables), feed)


def listed_twice(twice):
    with new_graph() as graph:
        X, feed = inputs()
        output = norm(dense(X))
        if twice:
            for op in collected():
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, op)
        return done(graph, minimize(tf.reduce_mean(output**2), collected()), feed)


def decay_tensor():
    """A decay that the graph computes: nothing can be said."""
    with new_graph() as graph:
        X, feed = inputs()
        decay = tf.minimum(0.99, tf.cast(tf.train.get_or_create_global_step() + 1, tf.float32) / 100)
        output = norm(dense(X), decay=decay, fused=False)
        return done(graph, minimize(tf.reduce_mean(output**2), collected()), feed)


def inference(saved=None):
    """A graph without training."""
    with new_graph() as graph:
        X, feed = inputs()
        valid = norm(dense(X), False)
        if saved:
            tf.train.Saver(tf.trainable_variables() if saved == "trainable" else None)
        return done(graph, evaluate=valid, evaluation_feed=feed)


CASES = [
    # trainable-statistics
    Case("trainable: moving_mean", lambda: trainable("moving_mean", **BOTH), {TRAINABLE}),
    Case("trainable: moving_variance", lambda: trainable("moving_variance", **BOTH), {TRAINABLE}),
    Case("trainable: both", lambda: trainable("moving_mean", "moving_variance", **BOTH), {TRAINABLE}),
    clean("trainable: none", lambda: trainable(**BOTH)),
    Case("trainable: given to the optimizer", lambda: optimised_statistics(True), {TRAINABLE}, still=(),
         optional=(SUSPECT, WRONG), session=False),
    Case("trainable: not given to the optimizer", lambda: optimised_statistics(False), {SUSPECT}, still={"bn"}),
    # statistics-not-saved
    Case("not saved: trainable variables", lambda: saver("trainable"), {NOT_SAVED}),
    Case("not saved: trainable variables and the step", lambda: saver("with the step"), {NOT_SAVED}),
    clean("saved: all", lambda: saver("all")),
    clean("saved: all, beside a partial Saver", lambda: saver("both")),
    clean("saved: model variables", lambda: saver("model")),
    clean("saved: under other names", lambda: saver("named")),
    clean("saved: sharded", lambda: saver_arguments(sharded=True)),
    clean("saved: V1", lambda: saver_arguments(write_version=tf.train.SaverDef.V1)),
    clean("no Saver", lambda: network(**BOTH)),
    Case("not saved: inference graph", lambda: inference("trainable"), {NOT_SAVED}),
    clean("saved: inference graph", lambda: inference("all")),
    clean("inference graph", inference),
    # notes
    Case("bias", lambda: network(**BOTH, bias="before"), {BIAS}),
    Case("bias, by hand", lambda: network("hand", **BOTH, bias="before"), {BIAS}),
    Case("bias, placeholder", lambda: network("slim_unfused", train="placeholder", bias="before"), {BIAS}),
    Case("bias, conv", lambda: convolution(bias=True), {BIAS}),
    clean("bias before the ReLU", lambda: network(**BOTH, bias="relu")),
    Case("bias, frozen", lambda: network(train=False, valid=False, bias="before", trainable=False), {SUSPECT},
         still={"bn"}),
    Case("unused gamma", lambda: network(**BOTH, before=existing("gamma")), {UNUSED}),
    Case("unused gamma, by hand", lambda: network("ema", **BOTH, scale=False), {UNUSED}),
    Case("unused beta", lambda: network(**BOTH, before=existing("beta"), center=False), {UNUSED}),
    clean("used gamma", lambda: network(**BOTH, scale=True)),
    clean("used gamma, by hand", lambda: network("ema", **BOTH)),
    clean("no gamma", lambda: network("hand", **BOTH, scale=False)),
    clean("no beta", lambda: network(**BOTH, center=False)),
    # slow-decay
    Case("slow: 0.999, 100 steps", lambda: network(**BOTH, decay=0.999, arguments={"num_steps": 100}), {SLOW}),
    Case("slow: 0.9, 43 steps", lambda: network(**BOTH, decay=0.9, arguments={"num_steps": 43}), {SLOW}),
    clean("not slow: 0.9, 44 steps", lambda: network(**BOTH, decay=0.9, arguments={"num_steps": 44})),
    clean("not slow: 0.999, 10000 steps", lambda: network(**BOTH, decay=0.999, arguments={"num_steps": 10000})),
    clean("not slow: 0.999, unknown steps", lambda: network(**BOTH, decay=0.999)),
    Case("1 - decay", lambda: network(**BOTH, decay=0.1), {SLOW}),
    Case("1 - decay, not fused", lambda: network("slim_unfused", **BOTH, decay=0.01), {SLOW}),
    Case("1 - decay, placeholder", lambda: network(train="placeholder", decay=0.1), {SLOW}),
    Case("1 - decay, placeholder, v1", lambda: network(train="placeholder", decay=0.1, version=1), {SLOW}),
    Case("decay 1", lambda: network(**BOTH, decay=1.0), {SLOW}, session=False),
    clean("decay 0.5", lambda: network(**BOTH, decay=0.5)),
    clean("decay computed", decay_tensor, session=False),
    *[
        Case(f"1 - decay: {write}", lambda write=write: network("hand", **BOTH, decay=0.1, write=write), {SLOW})
        for write in ("r2rt", "assign_sub", "assign_add", "difference", "scalar_last")
    ],
    *[
        clean(f"decay, by hand: {write}", lambda write=write: network("hand", **BOTH, write=write))
        for write in ("r2rt", "assign_sub", "assign_add", "difference", "scalar_last")
    ],
    Case("1 - decay: ExponentialMovingAverage", lambda: ema_of_the_thread("inside", 1, False, decay=0.1), {SLOW},
         layer=None),
    # duplicate-updates
    Case("collection has each update twice", lambda: listed_twice(True), {DUPLICATE}),
    clean("collection has each update once", lambda: listed_twice(False)),
    # tiny-batch
    Case("batch of one", lambda: network(**BOTH, batch=1), {TINY}),
    Case("batch of four", lambda: network(**BOTH, batch=4), {TINY}),
    Case("batch of seven, by hand", lambda: network("hand", **BOTH, batch=7), {TINY}),
    clean("batch of eight", lambda: network(**BOTH, batch=8)),
    clean("batch unknown", lambda: network(**BOTH, batch=None)),
    clean("evaluation batch of one", lambda: network(**BOTH, valid_batch=1)),
    clean("one picture", lambda: convolution(batch=1)),
    clean("two pictures", lambda: convolution(batch=2)),
    Case("four pictures of one pixel", lambda: convolution(batch=4, size=1), {TINY}),
    Case("four pictures of one pixel, not fused", lambda: convolution(batch=4, size=1, fused=False), {TINY}),
    clean("pictures unknown", lambda: convolution(batch=None)),
    # mixed-variance
    Case("fused in training", lambda: network("slim_list", valid_layer="slim_unfused", **BOTH), {MIXED}),
    Case("fused in evaluation", lambda: network("slim_unfused", valid_layer="slim_list", **BOTH), {MIXED}),
    clean("fused in both", lambda: network("slim_list", **BOTH)),
    clean("fused in neither", lambda: network("slim_unfused", **BOTH)),
]  # fmt: skip
