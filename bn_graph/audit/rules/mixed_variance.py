"""Fused and decomposed layers share one moving variance.

The fused op averages the variance divided by n - 1 (Bessel's correction), the others the variance divided by n. It
matters where batches are small.

Wrong:

    logits = batch_norm(x, fused=True, scope="bn")
    valid_logits = batch_norm(valid_x, fused=False, is_training=False, scope="bn", reuse=True)

Right:

    logits = batch_norm(x, fused=False, scope="bn")
    valid_logits = batch_norm(valid_x, fused=False, is_training=False, scope="bn", reuse=True)
"""

from bn_graph.audit.evidence import Problem
from bn_graph.audit.instructions import unfuse

NAME = "mixed-variance"
SEVERITY = "warning"


def check(layer, audit):
    fused = [use.node for use in layer.uses if use.fused]
    decomposed = [use.node for use in layer.uses if not use.fused]
    if audit.trains and layer.variance is not None and fused and decomposed:
        message = (
            "Fused and decomposed layers share a moving variance. The fused op averages the variance divided by "
            "n - 1, the others the one divided by n."
        )
        yield Problem([*fused, *decomposed], message, unfuse(audit, layer))
