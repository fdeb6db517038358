"""The folder of one of a run's checkpoints, and beside it the file of the record."""

import functools
import json
import tempfile
from pathlib import Path

import numpy as np

from tests.fuzzing import records
from tests.fuzzing.damage import damaged
from tests.fuzzing.harness import files_of

LOG = "record.jsonl"


@functools.cache
def seeds():
    from bn_graph.config import NOTEBOOK
    from bn_graph.record import TrainingRecord
    from bn_graph.saving.checkpoints import CheckpointFolder

    class Data:
        def sha256(self):
            return "0" * 64

    record = TrainingRecord(NOTEBOOK, "original", "embedded", train_loss=[2.5, 0.5], train_accuracy=[0.1, 0.9])
    record.valid_step, record.valid_accuracy, record.learning_rate = [0], [0.25], [0.001]
    with tempfile.TemporaryDirectory() as folder:
        with CheckpointFolder(folder) as checkpoints:
            checkpoints.latest_for(record, Data())
            checkpoints.save({"weights": np.ones([2, 3], np.float32), "Variable": np.int32(2)}, record)
        files = {f"step-2/{name}": content for name, content in files_of(Path(folder, "step-2")).items()}
        return [files | {LOG: Path(folder, LOG).read_bytes()}]


def damage(rng, seeds):
    """Damage that checksums find; and damage whose checksums are right, which whoever made it has computed."""
    from bn_graph.saving.saved_run import encode_state, sha256

    files, state = dict(seeds[0]), "step-2/state.json"
    name = rng.choice(sorted(files))
    if rng.random() < 0.3:
        files[name] = damaged(rng, files[name], list(files.values()))
        if rng.random() < 0.1:
            del files[name]
        return files
    found = json.loads(files[state])["state"]
    if name == LOG:
        files[name] = damage_log(rng, files[name])
        found["log"] = found["log"] | position(files[name])
    elif name != state:
        files[name] = damaged(rng, files[name])
        found["files"][name.removeprefix("step-2/")] = sha256(files[name])
    else:
        part = rng.choice(["record", "record", "files", "log", None])
        content = records.damage(rng, [{"record.json": json.dumps(found[part] if part else found).encode()}])
        try:
            changed = json.loads(content["record.json"])
        except (ValueError, RecursionError):
            changed = []
        found = found | {part: changed} if part else changed
    try:
        files[state] = json.dumps({"sha256": sha256(encode_state(found)), "state": found}).encode()
    except (ValueError, RecursionError):  # NaN, which no checksum of ours is of
        files[state] = json.dumps({"sha256": "0" * 64, "state": None}).encode()
    return files


def damage_log(rng, content):
    """Another record, of the shape of ours or of none, in lines whose checksums are right."""
    part = json.loads(content)["part"]
    try:
        part = json.loads(records.damage(rng, [{"record.json": json.dumps(part).encode()}])["record.json"])
        encoded = json.dumps(part, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return damaged(rng, content)
    from bn_graph.saving.saved_run import sha256

    return b'{"sha256": "%s", "part": %s}\n' % (sha256(encoded).encode(), encoded)


def position(content):
    """The position behind the only line of a record's file, as state.json has it."""
    try:
        return {"size": len(content), "sha256": json.loads(content)["sha256"]}
    except (ValueError, RecursionError, LookupError, TypeError):
        return {"size": len(content)}


def parse(folder):
    from bn_graph.saving.checkpoints import read_saved_run
    from bn_graph.saving.restore import read_checkpoint

    saved = read_saved_run(folder / "step-2")
    for validation in range(len(saved.record.valid_step)):
        assert saved.record.step_line(validation).isascii()
    assert len(saved.record.train_loss) == 2 and saved.record.to_json()
    read_checkpoint(saved.prefix)
