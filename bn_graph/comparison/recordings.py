"""TODO."""

import dataclasses
import json
from pathlib import Path

from bn_graph.config import NOTEBOOK, PAGE, SCRIPT
from bn_graph.errors import InputError

REFERENCE = Path(__file__).parent / "reference"

# The runs of TF 0.12.1 that were recorded, from seed 1 on the original split, and which of them an edition is.
RECORDED = {
    "page": dataclasses.replace(PAGE, updates="collected"),
    "page_control_dependencies": PAGE,
    "script": SCRIPT,
    "notebook": NOTEBOOK,
}

RUN_OF_EDITION = {"page": "page_control_dependencies", "script": "script", "notebook": "notebook"}

RECORDED_SEED = 1

STATE_STEPS = (0, 1, 50, 999)  # the steps before and after which the variables were recorded

STATE_HIDDEN_SIZE = 16


def recording(name):
    """What TF 0.12.1 did in one of the recorded runs, 1000 steps from seed 1 on the original split, as a dict.

    Among its keys: train_loss and train_accuracy, one number a step; valid_step and valid_accuracy; test_accuracy;
    one_ulp, two runs whose initial weights were moved by one unit in the last place. Accuracies are fractions.

    name: page (as printed), page_control_dependencies, script or notebook; `InputError` for another.
    """
    if name not in RECORDED:
        raise InputError(f"recording must be {' or '.join(RECORDED)}, found {name!r}")
    return json.loads((REFERENCE / f"{name}.json").read_text())


def printed_notebook():
    """What the author's notebook printed in 2016: a dict from the step to fractions. Its seed is unknown."""
    printed = json.loads((REFERENCE / "notebook_printed.json").read_text())
    columns = zip(
        printed["step"],
        printed["train_loss"],
        printed["train_accuracy_percent"],
        printed["valid_accuracy_percent"],
        strict=True,
    )
    return {
        step: {"train_loss": loss, "train_accuracy": train / 100, "valid_accuracy": valid / 100}
        for step, loss, train, valid in columns
    }


def has_states(name):
    """Whether states of the recorded run `name` were recorded, to step from. (Of the script there are none.)"""
    return (REFERENCE / "state" / f"{name}_hidden16_step0000_before.npz").exists()
