"""What TensorFlow 0.12.1 did in 2016's spelling, recorded once, and what the author's notebook printed.

The files are in `reference/`. The README.md of this folder says what each is and how it was made.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from bn_graph.config import NOTEBOOK, PAGE, SCRIPT
from bn_graph.errors import InputError

_FOLDER = Path(__file__).parent / "reference"

# The runs that were recorded, from seed 1 on the original split.
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


def recording(name: str) -> dict:
    """What TF 0.12.1 did in one of the recorded runs, 1000 steps from seed 1 on the original split, as a dict.

    Among its keys: train_loss and train_accuracy, one number a step; valid_step and valid_accuracy; test_accuracy;
    one_ulp, two runs whose initial weights were moved by one unit in the last place. Accuracies are fractions.

    name: page (as printed), page_control_dependencies, script or notebook; `InputError` for another.
    """
    if name not in RECORDED:
        raise InputError(f"recording must be {' or '.join(RECORDED)}, found {name!r}")
    return _read_json(name)


def recorded_seeds() -> dict:
    """What TF 0.12.1 did in the notebook's run from ten seeds: from the seed, as text, to a dict like `recording`'s."""
    return _read_json("notebook_seeds_1_to_10")


def recorded_graph(name: str) -> bytes:
    """The serialised MetaGraphDef that TF 0.12.1 built for a recorded run."""
    return (_FOLDER / "graph" / f"{name}.meta").read_bytes()


def recorded_state(name: str, step: int, when: str):
    """The variables of a recorded run with 16 hidden units, as an open .npz archive. `when`: before or after the step.

    A name has dots for slashes. `after` has the loss of the step, too.
    """
    return np.load(_state_path(name, step, when))


def has_states(name: str) -> bool:
    """Whether states of the recorded run `name` were recorded, to step from. (Of the script there are none.)"""
    return _state_path(name, 0, "before").exists()


def printed_notebook() -> dict:
    """What the author's notebook printed in 2016: from the step to fractions. Its seed is unknown."""
    printed = printed_numbers()
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


def printed_numbers() -> dict:
    """The numbers as the author's notebook printed them, a list for each column."""
    return _read_json("notebook_printed")


def _read_json(name):
    return json.loads((_FOLDER / f"{name}.json").read_text())


def _state_path(name, step, when):
    return _FOLDER / "state" / f"{name}_hidden{STATE_HIDDEN_SIZE}_step{step:04d}_{when}.npz"
