"""The moving averages hardly move, or are little more than the last batch.

`decay` is what a moving average keeps of itself at an update. After n steps it still holds decay^n of its initial
value: with the default 0.999, 37 % after 1000 steps. With `--num-steps N`, more than 1 % of the start is too much. A
decay below 0.5 is most often 1 - decay by mistake.

Wrong:

    batch_norm(x, decay=0.999)  # 1000 steps

Right:

    batch_norm(x, decay=0.9)
"""

import math

from bn_graph.audit.evidence import Problem
from bn_graph.audit.instructions import set_decay

NAME = "slow-decay"
SEVERITY = "warning"
_MOST_LEFT = 0.01  # a moving average that still holds more of its start than this is called slow


def check(layer, audit):
    if not audit.trained_by_batch(layer):
        return
    by_decay = {}
    for update in layer.updates:
        if update.decay is not None:
            by_decay.setdefault((round(update.decay, 6), update.debiased), []).append(update.node)
    for (decay, debiased), nodes in sorted(by_decay.items()):
        left = decay ** (audit.num_steps or math.inf)
        if decay < 0.5:
            message = (
                f"decay is {decay:g}, which is how much of itself a moving average keeps at an update: it is "
                "little more than the last batch."
            )
        elif decay >= 1:
            message = "decay is 1: the moving statistics never move."
        elif left > _MOST_LEFT and not debiased:
            message = (
                f"decay is {decay:g}: after {audit.num_steps} steps, {left:.0%} of the moving statistics is still "
                "their initial values."
            )
        else:
            continue
        yield Problem(nodes, message, set_decay(audit, layer, decay))
