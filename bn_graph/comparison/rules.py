"""The rules that decide whether the port is the original. The tests have the same ones.

    envelope    The training loss stays near the recorded one. TF 0.12.1 drifts away from itself when its initial
                weights are moved by one unit in the last place; three times that drift is allowed.
    one step    One training step from each recorded state gives the recorded step within rounding.
    accuracy    Validation and test accuracies are near the recorded ones.

No p-value is a rule: it would break one for nobody's fault every now and then.

Each rule returns a dict: which rule it is, of which run, whether it is kept, where it is nearest to its limit, what was
measured there and the limit, both in words, the part of the limit that was used ("worst": above 1 it is broken), and a
line that says so.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from bn_graph.comparison.one_step import one_step
from bn_graph.comparison.recordings import (
    RECORDED,
    RECORDED_SEED,
    STATE_HIDDEN_SIZE,
    STATE_STEPS,
    has_states,
    recording,
)
from bn_graph.graph import build_graph

ENVELOPES = 3  # how many one-ulp envelopes the port may be away
FLOOR = 1e-4  # a relative difference in loss that is always allowed
# In the page as printed the biases, which are rounding errors, reach the validation and the test.
TOLERANCE = {"page": 0.05, "page_control_dependencies": 0.003, "script": 0.003, "notebook": 0.003}


class Measured(NamedTuple):
    """What the rules look at of a run, which may be shorter than the recorded one. A `TrainingRecord` has it, too."""

    train_loss: list  # one a step
    valid_step: list
    valid_accuracy: list
    test_accuracy: float | None = None  # None: it was not tested


def check_rules(name: str, record, splits, settings=None, **build_options):
    """Checks the port's run beside the recorded run `name` by every rule. Yields what each returns.

    record: `TrainingRecord` of the port, or `Measured`. splits: `Splits`, the original ones.
    settings, build_options: of the port, where they are not those of the recorded run, as `build_graph` takes them.
    """
    yield envelope_rule(name, record.train_loss)
    yield accuracy_rule(name, record)
    if has_states(name):
        config = dataclasses.replace(RECORDED[name], seed=RECORDED_SEED, hidden_size=STATE_HIDDEN_SIZE)
        config = dataclasses.replace(config, **settings or {})
        yield one_step_rule(name, build_graph(config, splits, **build_options), splits)


def envelope_rule(name: str, losses) -> dict:
    """Whether the losses, one a step, stay inside the envelope of the recorded run `name`."""
    recorded = recording(name)
    largest = largest_so_far(losses, recorded["train_loss"])
    limits = allowed(recorded)[: len(losses)]
    step = int((largest / limits).argmax())
    return _result(
        *("envelope", name, largest[step] / limits[step]),
        where=f"training loss, step {step}",
        measured=f"{largest[step]:.2g}",
        limit=f"{limits[step]:.2g}",
        line=f"at step {step} the training loss is {largest[step]:.2g} (relative) from the recorded one",
    )


def accuracy_rule(name: str, record) -> dict:
    """Whether the accuracies of a `TrainingRecord`, or of a `Measured`, are near those of the recorded run `name`."""
    recorded = recording(name)
    expected = dict(zip(recorded["valid_step"], recorded["valid_accuracy"], strict=True))
    differences = {
        f"validation accuracy at step {step}": abs(accuracy - expected[step])
        for step, accuracy in zip(record.valid_step, record.valid_accuracy, strict=True)
    }
    if record.test_accuracy is not None:
        differences["test accuracy"] = abs(record.test_accuracy - recorded["test_accuracy"])
    worst = _key_of_largest(differences)
    measured = f"{100 * differences[worst]:.2f} points"
    return _result(
        *("accuracy", name, differences[worst] / TOLERANCE[name]),
        where=worst.replace(" at step", ", step"),
        measured=measured,
        limit=f"{100 * TOLERANCE[name]:.1f} points",
        line=f"the {worst} is {measured} from the recorded one",
    )


def one_step_rule(name: str, tutorial, splits) -> dict:
    """Whether single steps from the states of the recorded run `name` give the recorded ones.

    tutorial: `TutorialGraph` of the run's settings, with 16 hidden units and three towers.
    """
    ratios = {
        (variable, step): ratio
        for step in STATE_STEPS
        for variable, ratio in one_step(tutorial, name, step, splits).items()
    }
    variable, step = _key_of_largest(ratios)
    ratio = ratios[variable, step]
    return _result(
        *("one step", name, ratio),
        where=f"{variable}, step {step}",
        measured=f"{_times(ratio)} × rounding",
        limit="1 × rounding",
        line=f"{variable} after step {step} is furthest from the recorded one",
    )


def allowed(recorded: dict) -> np.ndarray:
    """At each step of a recording, the largest relative difference in loss that is allowed."""
    return np.maximum(ENVELOPES * envelope(recorded), FLOOR)


def largest_so_far(losses, reference) -> np.ndarray:
    """At each step, the largest relative difference in loss so far. There may be fewer losses than in the reference."""
    return np.maximum.accumulate(np.abs(np.array(losses) / np.array(reference)[: len(losses)] - 1))


def envelope(recorded: dict) -> np.ndarray:
    """At each step, how far TF 0.12.1 has drifted from itself from initial weights that are one ulp away."""
    return np.max([largest_so_far(run["train_loss"], recorded["train_loss"]) for run in recorded["one_ulp"]], axis=0)


def accuracy_drift(recorded: dict) -> float:
    """The largest difference of an accuracy of TF 0.12.1 from itself, from initial weights that are one ulp away."""
    return max(
        abs(value - reference)
        for run in recorded["one_ulp"]
        for value, reference in zip(
            [*run["valid_accuracy"], run["test_accuracy"]],
            [*recorded["valid_accuracy"], recorded["test_accuracy"]],
            strict=True,
        )
    )


def _key_of_largest(values):
    """The key of the largest value, where one that is not a number is larger than all."""
    return max(values, key=lambda key: math.inf if math.isnan(values[key]) else values[key])


def _times(ratio):
    """A ratio with two digits that count, and without an exponent."""
    return f"{float(f'{ratio:.2g}'):,.0f}".replace(",", " ") if ratio >= 10 else f"{ratio:.2g}"


def _result(rule, run, worst, line, **words):
    worst = float(worst)
    return {
        "rule": rule,
        "run": run,
        "kept": worst <= 1,  # not so where it is not a number
        "worst": worst,
        "says": f"{line}: {worst:.2g} of what is allowed",
        **words,
    }
