"""A negative control: the rules, applied to ports that were broken on purpose. Do the rules see it, and which one?

Each port is really built and run: one training step from each recorded state, and the first hundred steps of training.
"""

import dataclasses
from typing import NamedTuple

from bn_graph.comparison.recordings import RECORDED, RECORDED_SEED, has_states
from bn_graph.comparison.rules import Measured, check_rules
from bn_graph.graph import build_graph
from bn_graph.layers import batch_norm
from bn_graph.tf1 import tf_slim
from bn_graph.training import train

STEPS = 101  # so that three validations are among them


class Control(NamedTuple):
    """A port, and how it was broken."""

    name: str
    broken: str  # what was changed, in words
    reason: str  # how one comes by such a mistake
    settings: dict  # of `TutorialConfig`, that are not those of the recorded run
    arguments: dict  # of `batch_norm`, that are not its defaults


CONTROLS = (
    Control("none", "nothing", "The control of the control: the rules must hold.", {}, {}),
    Control(
        "epsilon",
        "epsilon 0.00001 in place of 0.001",
        "PyTorch's default in place of TensorFlow's.",
        {},
        {"epsilon": 1e-5},
    ),
    Control(
        "decay",
        "decay 0.99 in place of 0.9",
        "Keras' default in place of the tutorial's number.",
        {"decay": 0.99},
        {},
    ),
    Control(
        "bessel",
        "the moving variance averages the variance divided by n - 1, not by n",
        "fused=True, which is what newer libraries choose by themselves. (Bessel's correction.)",
        {},
        {"fused": True},
    ),
)


def run_controls(name: str, splits, progress=None) -> list:
    """What the rules find in each of `CONTROLS`, as dicts: name, broken, reason, rules.

    Args:
        name: the recorded run that the ports are beside, as `run_of_controls` chooses it.
        splits: `Splits`, the original ones.
        progress: wraps the range of steps of each run.
    """
    return [
        {
            "name": control.name,
            "broken": control.broken,
            "reason": control.reason,
            "rules": _check(control, name, splits, progress),
        }
        for control in CONTROLS
    ]


def run_of_controls(name: str) -> str:
    """The recorded run to control by: `name`, or where it has no recorded states, one that has."""
    return name if has_states(name) else "page_control_dependencies"


def _check(control, name, splits, progress):
    def arguments():  # set around all that is built, as a program with arg_scope would
        return tf_slim.arg_scope([batch_norm], **control.arguments)

    config = dataclasses.replace(
        RECORDED[name], seed=RECORDED_SEED, steps=STEPS, eval_every=50, print_every=50, **control.settings
    )
    record = train(build_graph(config, splits, arguments), splits, progress=progress, engine="in_graph")
    measured = Measured(record.train_loss, record.valid_step, record.valid_accuracy)  # the test is not the recorded one
    return list(check_rules(name, measured, splits, control.settings, device_scope=arguments))
