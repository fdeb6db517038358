"""A run's checkpoints: nothing of anybody else's is lost, nothing is silently different, and a save is on the disk."""

import json
import os
import shutil

import numpy as np
import pytest

from bn_graph import NOTEBOOK, InputError, TrainingRecord
from bn_graph.saving.checkpoints import CheckpointFolder, read_saved_run
from bn_graph.saving.saved_run import encode_state, sha256
from tests.disk import synced
from tests.helpers import in_process

VALUES = {"weights": np.ones([2, 3], np.float32)}


class Data:
    """Stands for `Splits` where only its checksum counts."""

    def __init__(self, checksum="0" * 64):
        self._checksum = checksum

    def sha256(self):
        return self._checksum


def record_of(steps):
    """The record of a run after so many steps, validated every 50th."""
    record = TrainingRecord(NOTEBOOK, "original", "embedded", versions={"tensorflow": "2.16.1"})
    record.train_loss, record.train_accuracy = [0.5] * steps, [0.25] * steps
    record.valid_step = list(range(0, steps, NOTEBOOK.eval_every))
    record.valid_accuracy = [0.75] * len(record.valid_step)
    record.learning_rate = [0.001] * len(record.valid_step)
    return record


def save(path, *steps, notes=None):
    """Saves a run after each of `steps`."""
    with CheckpointFolder(path, note=None if notes is None else notes.append) as checkpoints:
        checkpoints.latest_for(record_of(0), Data())
        for step in steps:
            checkpoints.save(VALUES, record_of(step))


@pytest.fixture
def run(tmp_path):
    save(tmp_path / "run", 50, 100)
    return tmp_path / "run"


@pytest.fixture
def theirs(tmp_path, run):
    """Another run's folder, with its last checkpoint."""
    return shutil.copytree(run, tmp_path / "theirs")


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# other people's files


@pytest.mark.parametrize("name", [".saving", "step-50", "step-70", "record.jsonl", ".lock"])
def test_a_link_where_something_of_ours_would_be_is_refused_and_what_is_behind_it_stays(run, theirs, name):
    before = contents(theirs)
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(theirs / ("step-100" if name[:2] in (".s", "st") else "record.jsonl"))
    with pytest.raises(InputError, match=rf"run/{name}: is a link; expected what bn_graph itself has made"):
        save(run, 150)
    assert contents(theirs) == before and path.is_symlink()


def test_a_link_that_is_made_while_a_run_saves_is_not_followed(run, theirs):
    with open(theirs / "record.jsonl", "ab") as file:
        file.write(b"theirs" * 1000)
    before = contents(theirs)
    with CheckpointFolder(run) as checkpoints:
        checkpoints.latest_for(record_of(0), Data())
        shutil.rmtree(run / "step-50")
        (run / "step-50").symlink_to(theirs / "step-100")
        checkpoints.save(VALUES, record_of(150))
        (run / ".saving").symlink_to(theirs / "step-100")
        checkpoints.save(VALUES, record_of(200))
        assert "cannot be written" in checkpoints.failure
        (run / ".saving").unlink()
        (run / "record.jsonl").unlink()
        (run / "record.jsonl").symlink_to(theirs / "record.jsonl")
        checkpoints.save(VALUES, record_of(200))
        assert "cannot be written" in checkpoints.failure
    assert contents(theirs) == before


def test_a_link_among_the_checkpoints_is_not_counted_as_one(run, theirs):
    with CheckpointFolder(run) as checkpoints:
        checkpoints.latest_for(record_of(0), Data())
        (run / "step-120").symlink_to(theirs / "step-100")
        checkpoints.save(VALUES, record_of(150))
    assert {path.name for path in run.glob("step-*")} == {"step-100", "step-120", "step-150"}


def test_a_users_link_in_a_checkpoint_outlives_the_checkpoint(run, theirs):
    (run / "step-50" / "state.json").unlink()
    (run / "step-50" / "state.json").symlink_to(theirs / "step-100" / "state.json")
    save(run, 150, 200)
    assert os.listdir(run / "step-50") == ["state.json"] and (run / "step-50" / "state.json").is_symlink()


@pytest.mark.parametrize("name", ["variables.csv", "variables.index.txt", "notes", "state.json.bak"])
def test_a_users_file_in_a_checkpoint_outlives_the_checkpoint(run, name):
    (run / "step-50" / name).write_text("mine")
    save(run, 150, 200)
    assert os.listdir(run / "step-50") == [name] and (run / "step-50" / name).read_text() == "mine"


def test_a_users_file_named_like_the_record_is_not_written_over(tmp_path):
    (tmp_path / "record.jsonl").write_text('{"user": "mine"}\n')
    with pytest.raises(InputError, match="holds 'record.jsonl' and no checkpoint"):
        save(tmp_path, 50)
    assert (tmp_path / "record.jsonl").read_text() == '{"user": "mine"}\n' and len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("left", [b"", b'{"sha', b'{"sha256": "0123", "part": {}}\n'])
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path, left):
    (tmp_path / "run" / ".saving").mkdir(parents=True)
    (tmp_path / "run" / "record.jsonl").write_bytes(left)
    save(tmp_path / "run", 50)
    assert read_saved_run(tmp_path / "run" / "step-50").record.num_steps == 50


# on the disk


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name_and_the_name_afterwards(run, monkeypatch):
    events = synced(monkeypatch)
    save(run, 150)
    renamed = events.index(("rename", "step-150"))
    before = {name for kind, name in events[:renamed] if kind == "sync"}
    assert before >= {"variables.index", "variables.data-00000-of-00001", "state.json", "record.jsonl", ".saving"}
    assert ("sync", "run") in events[renamed:]


def test_the_folder_of_a_first_checkpoint_is_on_the_disk_itself(tmp_path, monkeypatch):
    events = synced(monkeypatch)
    save(tmp_path / "new" / "run", 50)
    assert [name for _, name in events[:2]] == ["new", tmp_path.name]


def test_saving_writes_as_much_after_a_million_steps_as_after_a_thousand(tmp_path):
    grown = {}
    for steps in (1_000, 1_000_000):
        run = tmp_path / str(steps)
        save(run, steps)
        before = (run / "record.jsonl").stat().st_size
        save_more = record_of(steps + 50)
        with CheckpointFolder(run) as checkpoints:
            checkpoints.latest_for(record_of(0), Data())
            checkpoints.save(VALUES, save_more)
        state = (run / f"step-{steps + 50}" / "state.json").stat().st_size
        grown[steps] = (run / "record.jsonl").stat().st_size - before + state
    assert grown[1_000_000] < grown[1_000] + 50  # some numbers have more digits


# huge and old files


def test_a_state_of_terabytes_is_one_line_with_the_largest_size(run):
    shutil.rmtree(run / "step-50")
    os.truncate(run / "step-100" / "state.json", 2**43)
    with pytest.raises(InputError, match=r"state.json: expected at most \d+ bytes, found 8796093022208"):
        CheckpointFolder(run).__enter__()


def test_a_record_of_terabytes_is_one_line_with_the_largest_size(capfd, tmp_path):
    path = tmp_path / "record.json"
    path.write_text("{")
    os.truncate(path, 2**43)
    process = in_process(capfd, "run_tutorial.py", "--record", path, "--steps", "1")
    assert process.returncode == 2
    with pytest.raises(InputError, match=r"record.json: expected at most \d+ bytes, found 8796093022208"):
        TrainingRecord.load(path)


def test_a_checkpoint_of_the_first_format_is_still_read(run):
    """It has all of the record in state.json, and nothing of the arithmetic."""
    shutil.rmtree(run / "step-50")
    path = run / "step-100" / "state.json"
    state = json.loads(path.read_text())["state"]
    del state["log"], state["arithmetic"]
    state |= {"format": 1, "record": json.loads(record_of(100).to_json())}
    del state["record"]["batch_norm"]  # there was no such setting
    path.write_text(json.dumps({"sha256": sha256(encode_state(state)), "state": state}))
    (run / "record.jsonl").unlink()
    save(run, 150)
    assert read_saved_run(run / "step-150").record.train_loss == [0.5] * 150


# silently different


@pytest.mark.parametrize(
    ("variable", "value"),
    [("TF_ENABLE_ONEDNN_OPTS", "0"), ("TF_XLA_FLAGS", "--tf_xla_auto_jit=2"), ("OMP_NUM_THREADS", "1")],
)
def test_other_arithmetic_is_said_when_a_run_goes_on(run, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    notes = []
    save(run, 150, notes=notes)
    (note,) = [note for note in notes if "the arithmetic is another" in note]
    assert f"{variable} was not set and is {value}" in note and note.endswith(": the last bits will differ")


def test_other_instructions_are_said_when_a_run_goes_on(run, monkeypatch):
    monkeypatch.setattr("bn_graph.arithmetic._instructions", lambda: "x86_64 avx sve")
    notes = []
    save(run, 150, notes=notes)
    assert "instructions, now with" in " ".join(notes) or "instructions, now without" in " ".join(notes)


def test_under_the_same_arithmetic_nothing_is_said(run):
    notes = []
    save(run, 150, notes=notes)
    assert not [note for note in notes if "the arithmetic is another" in note]
