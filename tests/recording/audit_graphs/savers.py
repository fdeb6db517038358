"""Savers that leave the moving statistics out, and those that do not."""

import tensorflow as tf

from tests.recording.audit_graphs.cases import NOT_SAVED, case
from tests.recording.audit_graphs.networks import contrib_norm, one_tower


@case()
def saver_all():
    """A Saver for all variables."""
    result = one_tower(contrib_norm(True), "control dependencies")
    return result._replace(saver=tf.train.Saver())


@case(NOT_SAVED)
def saver_trainable():
    """A Saver for tf.trainable_variables(): without the moving statistics."""
    result = one_tower(contrib_norm(True), "control dependencies")
    return result._replace(saver=tf.train.Saver(tf.trainable_variables()))


@case()
def saver_filtered():
    """A Saver for the trainable variables and what is called moving_*."""
    result = one_tower(contrib_norm(True), "control dependencies")
    moving = [v for v in tf.global_variables() if "moving_mean" in v.name or "moving_variance" in v.name]
    return result._replace(saver=tf.train.Saver(tf.trainable_variables() + moving))


@case(NOT_SAVED)
def saver_filtered_mean_only():
    """A Saver for the trainable variables and moving_mean, by mistake."""
    result = one_tower(contrib_norm(True), "control dependencies")
    moving = [v for v in tf.global_variables() if "moving_mean" in v.name]
    return result._replace(saver=tf.train.Saver(tf.trainable_variables() + moving))


@case()
def saver_warm_start():
    """One Saver restores the trained weights of another model, another saves everything."""
    result = one_tower(contrib_norm(True), "control dependencies")
    tf.train.Saver([v for v in tf.trainable_variables() if "hidden" in v.name], name="warm_start")
    return result._replace(saver=tf.train.Saver())
