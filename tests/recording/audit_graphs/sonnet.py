"""Sonnet 1."""

from __future__ import absolute_import  # this module has the library's name

import functools

from tests.recording.audit_graphs.cases import IN_EVALUATION, NEVER_RUN, WRONG, case
from tests.recording.audit_graphs.networks import one_tower, phase, resource_variables, two_towers

sonnet_case = functools.partial(case, since=(1, 15))


def sonnet_norm(training, test_local_stats=False, cache=None, **options):
    import sonnet as snt  # here, because it is there beside TensorFlow 1.15 alone

    options.setdefault("decay_rate", 0.9)
    cache = {} if cache is None else cache

    def norm(h, name):
        if name not in cache:
            cache[name] = snt.BatchNorm(name=name, **options)
        return cache[name](h, is_training=training, test_local_stats=test_local_stats)

    return norm


def two_sonnet_towers(updates, image=False, evaluation_training=False, test_local_stats=False, **options):
    cache = {}
    return two_towers(
        sonnet_norm(True, cache=cache, **options),
        sonnet_norm(evaluation_training, test_local_stats, cache=cache, **options),
        updates,
        image,
    )


@sonnet_case()
def sonnet_towers():
    """Sonnet, one module in two towers."""
    return two_sonnet_towers("control dependencies")


@sonnet_case(NEVER_RUN)
def sonnet_towers_not_run():
    """Sonnet, updates not run."""
    return two_sonnet_towers("not run")


@sonnet_case()
def sonnet_towers_fused():
    """Sonnet, fused."""
    return two_sonnet_towers("control dependencies", True, fused=True)


@sonnet_case(WRONG)
def sonnet_local_statistics():
    """is_training=False, but test_local_stats is True by default: evaluated with batch statistics."""
    return two_sonnet_towers("control dependencies", test_local_stats=True)


@sonnet_case()
def sonnet_placeholder():
    """Sonnet, is_training is fed."""
    return one_tower(sonnet_norm(phase()), "control dependencies")


@sonnet_case(NEVER_RUN)
def sonnet_placeholder_not_run():
    """Sonnet, is_training is fed, updates not run."""
    return one_tower(sonnet_norm(phase()), "not run")


@sonnet_case()
def sonnet_placeholder_fused():
    """Sonnet, is_training is fed, fused."""
    return one_tower(sonnet_norm(phase(), fused=True), "control dependencies", image=True)


@sonnet_case(cond_v2=True)
@resource_variables
def sonnet_placeholder_cond_v2():
    """Sonnet, is_training is fed, If with function bodies."""
    return one_tower(sonnet_norm(phase()), "control dependencies")


@sonnet_case()
def sonnet_in_place():
    """Sonnet, update_ops_collection=None."""
    return two_sonnet_towers("not run", update_ops_collection=None)


@sonnet_case(WRONG, IN_EVALUATION)
def sonnet_in_place_evaluation_true():
    """Sonnet, in place, evaluated with is_training=True."""
    return two_sonnet_towers("not run", evaluation_training=True, update_ops_collection=None)


@sonnet_case()
def sonnet_scale():
    """Sonnet, with gamma."""
    return two_sonnet_towers("control dependencies", scale=True)
