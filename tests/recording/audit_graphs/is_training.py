"""How is_training is said: defaults, constants, computed, a variable, and tf.cond around the whole layer."""

import tensorflow as tf

from tests.recording.audit_graphs.cases import NEVER_RUN, WRONG, WRONG_WARNING, case
from tests.recording.audit_graphs.networks import (
    contrib_batch_norm,
    contrib_norm,
    one_tower,
    phase,
    resource_variables,
)


def with_default(default):
    training = tf.placeholder_with_default(default, [], name="is_training")
    return one_tower(contrib_norm(training), "control dependencies")


@case(WRONG_WARNING)
def contrib_default_true():
    """placeholder_with_default(True): an evaluation that does not feed it."""
    return with_default(True)


@case(WRONG_WARNING)
def contrib_default_false():
    """placeholder_with_default(False): a training that does not feed it."""
    return with_default(False)


@case()
def contrib_mode():
    """is_training is computed: mode == 'train'."""
    mode = tf.placeholder(tf.int32, [], name="mode")
    return one_tower(contrib_norm(tf.equal(mode, 0)), "control dependencies")


@case()
def contrib_switch_variable():
    """is_training is a variable, which the program assigns."""
    return one_tower(contrib_norm(tf.Variable(True, trainable=False, name="switch")), "control dependencies")


def cond_norm(**options):
    """The whole layer in a tf.cond, as in https://stackoverflow.com/a/33950177"""
    training = phase()

    def norm(h, name):
        return tf.cond(
            training,
            lambda: contrib_batch_norm(h, is_training=True, scope=name, decay=0.9, **options),
            lambda: contrib_batch_norm(h, is_training=False, scope=name, reuse=True, decay=0.9, **options),
        )

    return norm


@case()
def cond_wrapper():
    """tf.cond around two batch norms, the first in place."""
    return one_tower(cond_norm(updates_collections=None), "not run")


@case(NEVER_RUN)
def cond_wrapper_not_run():
    """The same with the default collection: the updates hang on nothing."""
    return one_tower(cond_norm(), "not run")


@case(since=(1, 15), cond_v2=True)
@resource_variables
def cond_wrapper_cond_v2():
    """tf.cond with function bodies around two batch norms, the first in place."""
    return one_tower(cond_norm(updates_collections=None), "not run")


@case(WRONG)
def constant_false():
    """is_training=tf.constant(False)."""
    return one_tower(contrib_norm(tf.constant(False)), "not run")
