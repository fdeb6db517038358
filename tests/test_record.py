"""Records with something wrong in them: each is refused in one line that says what."""
# ruff: noqa: E501

import json

import pytest

from bn_graph import PAGE, InputError, TrainingRecord
from tests.helpers import is_said

pytestmark = pytest.mark.release

# fmt: off
RECORD_FAULTS = {
    "empty": (lambda r: "", "run.json: not JSON (Expecting value: line 1 column 1 (char 0))"),
    "no end": (lambda r: "{", "run.json: not JSON (…)"),
    "a list": (lambda r: "[]", "run.json: not a record of bn_graph: it has no edition"),
    "a number": (lambda r: "7", "run.json: not a record of bn_graph: it has no edition"),
    "null": (lambda r: "null", "run.json: not a record of bn_graph: it has no edition"),
    "deep": (lambda r: "[" * 100_000, "run.json: not JSON (…)"),
    "a number of 5000 digits": (lambda r: "9" * 5000, "run.json: not JSON (…)"),
    "little of it": (lambda r: '{"edition": "page"}', "run.json: not a record of bn_graph: it has no updates"),
    "a setting missing": (lambda r: r.pop("initial_learning_rate"), "run.json: not a record of bn_graph: it has no initial_learning_rate"),
    "a measure missing": (lambda r: r.pop("train_loss"), "run.json: not a record of bn_graph: it has no train_loss"),
    "text for a list": (lambda r: r.update(train_loss="high"), "run.json: train_loss: found something of the wrong type, str"),
    "text in a list": (lambda r: r.update(train_loss=[1, "2"]), "run.json: train_loss: expected a list of finite numbers"),
    "infinity in a list": (lambda r: r.update(train_loss=[1, float("inf")]), "run.json: train_loss: expected a list of finite numbers"),
    "more than a float holds": (lambda r: r.update(train_loss=[1, 10**400]), "run.json: train_loss: expected a list of finite numbers"),
    "nothing for a number": (lambda r: r.update(seconds=None), "run.json: seconds: found something of the wrong type, NoneType"),
    "no number": (lambda r: r.update(seconds=float("nan")), "run.json: seconds: expected a finite number"),
    "a step short": (lambda r: r["train_accuracy"].pop(), "run.json: train_accuracy: expected 2 numbers, found 1"),
    "a setting out of range": (lambda r: r.update(decay=7), "run.json: decay must be a number from 0 to 1, found 7"),
    "a setting of its own": (lambda r: r.update(edition="two\nlines"), "run.json: edition must be page or script or notebook, found 'two\\nlines'"),
}
# fmt: on


def a_record():
    measured = dict(train_loss=[2.5, 0.5], train_accuracy=[0.1, 0.9], valid_step=[0], valid_accuracy=[0.25])
    return TrainingRecord(PAGE, "stratified", "embedded", **measured, learning_rate=[0.001], test_accuracy=0.5)


@pytest.mark.parametrize("fault", RECORD_FAULTS)
def test_a_broken_record_is_refused_by_what_is_wrong_with_it(fault):
    change, line = RECORD_FAULTS[fault]
    record = json.loads(a_record().to_json())
    changed = change(record)
    with pytest.raises(InputError) as raised:
        TrainingRecord.from_json(changed if isinstance(changed, str) else json.dumps(record), "run.json")
    assert is_said(line, str(raised.value)), raised.value
