"""What the original's own text did, beside the port and the recording of TensorFlow 0.12.1."""

from pathlib import Path

import numpy as np

from bn_graph.comparison.recordings import RECORDED_SEED, recording
from bn_graph.comparison.rules import FLOOR, Measured, accuracy_rule, envelope_rule, largest_so_far


def compare_original(run: dict, records: dict, port_accuracies: list) -> dict:
    """The part of the report on a program that `run_original` ran.

    Args:
        run: what `run_original` returned.
        records: name of a recorded run to the port's `TrainingRecord` from the same seed.
        port_accuracies: test accuracies of the port over the seeds, for a program whose seeds could not be mapped.
    """
    name = run["graph"]["recorded"]
    valid, test = evaluations(run)
    part = {
        "name": Path(run["path"]).name,
        "mends": run["mends"],
        "syntax": run["syntax"],
        "updates": run["graph"]["updates"],
        "recorded": name,
        "why_not": run["graph"]["why_not"],
        "seed": RECORDED_SEED if name else None,
        "num_steps": len(run["losses"]),
        "last_validation": list(valid.values())[-1] if valid else None,
        "test_accuracy": test,
        "printed": run["printed"],
        "steps": [],
        "rules": [],
        "from_port": None,
        "range": [min(port_accuracies), max(port_accuracies)],
    }
    if name:
        record = records[name]
        losses = run["losses"][: record.num_steps]  # somebody may have made it train longer
        part["steps"] = _steps(losses, valid, record, recording(name))
        part["rules"] = _rules(name, losses, valid, test)
        part["from_port"] = _from_port(losses, test, record)
    return part


def evaluations(run):
    """The validations, from the step to the accuracy, and the test accuracy or None.

    The accuracy that was evaluated most often is the validation's. The test's is the last one, where it is another.
    """
    names = [name for _, name, _ in run["accuracies"]]
    if not names:
        return {}, None
    often = max(set(names), key=names.count)
    # An accuracy that is evaluated after n steps is that of step n - 1. The first of them counts.
    valid = {}
    for trained, name, value in run["accuracies"]:
        if name == often:
            valid.setdefault(max(trained - 1, 0), value)
    test = run["accuracies"][-1][2] if names[-1] != often else None
    return valid, test


def _steps(losses, valid, record, recorded):
    """One row for each step that the recording validated, and that the program came to."""
    recorded_valid = dict(zip(recorded["valid_step"], recorded["valid_accuracy"], strict=True))
    port_valid = dict(zip(record.valid_step, record.valid_accuracy, strict=True))
    return [
        {
            "step": step,
            "text": {"train_loss": losses[step], "valid_accuracy": valid.get(step)},
            "port": {"train_loss": record.train_loss[step], "valid_accuracy": port_valid[step]},
            "recorded": {"train_loss": recorded["train_loss"][step], "valid_accuracy": recorded_valid[step]},
        }
        for step in record.valid_step
        if step < len(losses)
    ]


def _rules(name, losses, valid, test):
    """The port's rules, applied to the text. They say nothing of the port and are no part of the verdict."""
    known = set(recording(name)["valid_step"])
    valid = {step: accuracy for step, accuracy in valid.items() if step in known}
    whole = len(losses) == len(recording(name)["train_loss"])
    measured = Measured(losses, list(valid), list(valid.values()), test if whole else None)
    rules = [envelope_rule(name, losses)]
    if valid or measured.test_accuracy is not None:
        rules.append(accuracy_rule(name, measured))
    return rules


def _from_port(losses, test, record):
    """How far the port is from the text, in the loss of each step and in the test accuracy."""
    apart = largest_so_far(losses, record.train_loss)
    (beyond_floor,) = np.nonzero(~(apart <= FLOOR))
    different = np.not_equal(losses, record.train_loss[: len(losses)])
    whole = test is not None and len(losses) == record.num_steps
    return {
        "largest": apart[-1],
        "steps_that_differ": int(different.sum()),
        "first_beyond_floor": int(beyond_floor[0]) if beyond_floor.size else None,
        "test_accuracy": record.test_accuracy if whole else None,
        "test_apart": test - record.test_accuracy if whole else None,
    }
