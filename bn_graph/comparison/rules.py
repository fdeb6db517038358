"""TODO."""

import dataclasses
import math

import numpy as np

from bn_graph.comparison.one_step import one_step
from bn_graph.comparison.recordings import RECORDED, RECORDED_SEED, STATE_HIDDEN_SIZE, STATE_STEPS, recording
from bn_graph.graph import build_graph

ENVELOPES = 3  # how many one-ulp envelopes the port may be away

FLOOR = 1e-4  # a relative difference in loss that is always allowed

# In the page as printed the biases, which are rounding errors, reach the validation and the test.
TOLERANCE = {"page": 0.05, "page_control_dependencies": 0.003, "script": 0.003, "notebook": 0.003}


def largest_so_far(losses, reference):
    """At each step, the largest relative difference in loss so far."""
    return np.maximum.accumulate(np.abs(np.array(losses) / np.array(reference) - 1))


def envelope(recorded):
    """At each step, how far TF 0.12.1 has drifted from itself from initial weights that are one ulp away."""
    return np.max([largest_so_far(run["train_loss"], recorded["train_loss"]) for run in recorded["one_ulp"]], axis=0)


def envelope_rule(name, losses):
    recorded = recording(name)
    found = largest_so_far(losses, recorded["train_loss"])
    ratio = found / np.maximum(ENVELOPES * envelope(recorded), FLOOR)
    step = int(ratio.argmax())
    return _rule(
        "envelope",
        name,
        ratio[step],
        f"at step {step} the training loss is {found[step]:.2g} (relative) from the recorded one",
    )


def accuracy_rule(name, record):
    recorded = recording(name)
    expected = dict(zip(recorded["valid_step"], recorded["valid_accuracy"], strict=True))
    apart = {
        f"validation accuracy at step {step}": abs(accuracy - expected[step])
        for step, accuracy in zip(record.valid_step, record.valid_accuracy, strict=True)
    }
    apart["test accuracy"] = abs(record.test_accuracy - recorded["test_accuracy"])
    worst = _worst(apart)
    return _rule(
        "accuracy",
        name,
        apart[worst] / TOLERANCE[name],
        f"the {worst} is {100 * apart[worst]:.2f} points from the recorded one",
    )


def one_step_rule(name, splits):
    config = dataclasses.replace(RECORDED[name], seed=RECORDED_SEED, hidden_size=STATE_HIDDEN_SIZE)
    tutorial = build_graph(config, splits)
    found = {
        (variable, step): ratio
        for step in STATE_STEPS
        for variable, ratio in one_step(tutorial, name, step, splits).items()
    }
    worst, step = _worst(found)
    return _rule("one step", name, found[worst, step], f"{worst} after step {step} is furthest from the recorded one")


def _worst(found):
    """The key of the largest number, where one that is not a number is larger than all."""
    return max(found, key=lambda key: math.inf if math.isnan(found[key]) else found[key])


def _rule(rule, run, worst, says):
    worst = float(worst)
    kept = worst <= 1  # not so where it is not a number
    return {"rule": rule, "run": run, "kept": kept, "worst": worst, "says": f"{says}: {worst:.2g} of what is allowed"}
