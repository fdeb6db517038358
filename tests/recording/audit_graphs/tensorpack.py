"""tensorpack."""

from __future__ import absolute_import  # this module has the library's name

import functools

import tensorflow as tf

from tests.recording.audit_graphs.cases import NEVER_RUN, WRONG, built, case
from tests.recording.audit_graphs.networks import cross_entropy, image_input, minimize, network, vector_input

tensorpack_case = functools.partial(case, since=(1, 15))


def tensorpack_tower(x, reuse, train_context, **options):
    # Here, because they are there beside TensorFlow 1.15 alone.
    from tensorpack.models import BatchNorm
    from tensorpack.tfutils.tower import PredictTowerContext, TrainTowerContext

    def norm(h, name):
        return BatchNorm(name, h, **options)

    with tf.variable_scope(tf.get_variable_scope(), reuse=reuse):
        with TrainTowerContext("") if train_context else PredictTowerContext("inference"):
            return network(x, norm, reuse=reuse)


def tensorpack_network(updates, image=False, evaluate=True, evaluation=None, **options):
    x, y = (image_input if image else vector_input)()
    train = minimize(cross_entropy(tensorpack_tower(x, None, True, **options), y), updates)
    logits = tensorpack_tower(x, True, False, **(evaluation or {})) if evaluate else None
    return built(train, logits, statistics="/EMA:0")


@tensorpack_case()
def tensorpack_towers():
    """tensorpack, updates run."""
    return tensorpack_network("control dependencies")


@tensorpack_case(NEVER_RUN)
def tensorpack_towers_not_run():
    """tensorpack without its RunUpdateOps."""
    return tensorpack_network("not run")


@tensorpack_case()
def tensorpack_towers_image():
    """tensorpack, fused."""
    return tensorpack_network("control dependencies", True)


@tensorpack_case()
def tensorpack_internal():
    """ema_update=internal: in place."""
    return tensorpack_network("not run", ema_update="internal")


@tensorpack_case()
def tensorpack_internal_image():
    """ema_update=internal: in place, fused."""
    return tensorpack_network("not run", True, ema_update="internal")


@tensorpack_case(NEVER_RUN)
def tensorpack_skip():
    """ema_update=skip in the only training tower: the ops exist and are in no collection."""
    return tensorpack_network("control dependencies", ema_update="skip")


@tensorpack_case(WRONG)
def tensorpack_frozen():
    """training=False in the training tower, gamma and beta are trained."""
    return tensorpack_network("control dependencies", True, evaluate=False, training=False)


@tensorpack_case(WRONG)
def tensorpack_evaluation_true():
    """training=True in the inference tower; tensorpack collects no updates there."""
    return tensorpack_network("control dependencies", evaluation={"training": True})
