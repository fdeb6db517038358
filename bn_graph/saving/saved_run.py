"""One checkpoint of a run: a folder of its variables, in TensorFlow's format, and of state.json.

state.json has the record so far, what data it belongs to, and the checksums of everything. To appear whole or not at
all, the folder is written under another name; see `bn_graph.saving.checkpoints`.
"""

import contextlib
import copy
import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from bn_graph.errors import InputError
from bn_graph.files import open_file, sync
from bn_graph.record import TrainingRecord
from bn_graph.saving.restore import restore
from bn_graph.tf1 import tf

_FORMAT = 1
_STATE_FILE = "state.json"
_VARIABLES = "variables"  # the prefix of a checkpoint in TensorFlow's format
_VARIABLES_FILES = (f"{_VARIABLES}.index", f"{_VARIABLES}.data-00000-of-00001")


class DamagedError(InputError):
    """A checkpoint is not whole."""


class SavedRun(NamedTuple):
    """A whole checkpoint of a run."""

    folder: Path
    record: TrainingRecord  # so far
    data: str  # `Splits.sha256` of what it is trained on

    @property
    def prefix(self) -> Path:
        """The prefix of the variables' files, by which TensorFlow names a checkpoint."""
        return self.folder / _VARIABLES

    def restore(self, session, variables) -> TrainingRecord:
        """Gives `variables`, name to variable, their values, and returns the record, to go on with.

        Raises `InputError` where the variables are others.
        """
        restore(session, self.prefix, variables, required=variables)
        return copy.deepcopy(self.record)


def read_saved_run(folder) -> SavedRun:
    """The `SavedRun` in one folder. Raises `DamagedError` where a checksum is wrong or something is missing.

    Raises `InputError` where a newer release has written it.
    """
    folder = Path(folder)
    with _damaged(folder):
        content = json.loads(_read(folder / _STATE_FILE))
        state = content["state"]
        if content["sha256"] != sha256(encode_state(state)):
            raise ValueError(f"{_STATE_FILE}: a checksum is wrong")
        written_in = state["format"]
    if written_in != _FORMAT:
        raise InputError(f"{folder}: is of format {written_in}, this release of bn_graph knows {_FORMAT}")
    with _damaged(folder):
        for name in _VARIABLES_FILES:
            if state["files"][name] != sha256(_read(folder / name)):
                raise ValueError(f"{name}: a checksum is wrong")
        record = TrainingRecord.from_object(state["record"], _STATE_FILE)
        steps = record.num_steps
        if f"step-{steps}" != folder.name or record.valid_step != list(range(0, steps, record.config.eval_every)):
            raise ValueError(f"{_STATE_FILE}: the record of another checkpoint")
        return SavedRun(folder, record, str(state["data"]))


def write_saved_run(folder, values, record, data) -> None:
    """Writes the files of a checkpoint into the empty folder `folder`, until they are on the disk. Raises OSError.

    Args:
        values: name to array of every variable.
        record: `TrainingRecord`, so far.
        data: `Splits.sha256` of what the run is trained on.
    """
    _write_variables(folder / _VARIABLES, values)
    checksums = {name: sha256((folder / name).read_bytes()) for name in _VARIABLES_FILES}
    state = encode_state({"format": _FORMAT, "data": data, "files": checksums, "record": record.to_object()})
    (folder / _STATE_FILE).write_bytes(b'{"sha256": "%s", "state": %s}' % (sha256(state).encode(), state))
    for name in (*_VARIABLES_FILES, _STATE_FILE, "."):
        sync(folder / name)


def remove_saved_run(folder) -> None:
    """Removes a checkpoint, and nothing that somebody else has put there."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name == _STATE_FILE or path.name.startswith(f"{_VARIABLES}."):
                path.unlink()
        folder.rmdir()


def encode_state(state) -> bytes:
    """The state of a checkpoint as state.json has it. Its checksum is that of these bytes."""
    return json.dumps(state, allow_nan=False).encode()


def sha256(content: bytes) -> str:
    """The SHA-256 of these bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _damaged(folder):
    """Raises `DamagedError` for whatever a damaged file makes reading it raise."""
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise DamagedError(f"{folder}: not a whole checkpoint ({error})") from None


def _read(path):
    with open_file(path) as file:
        return file.read()


def _write_variables(prefix, values):
    """Writes name to array as a checkpoint in TensorFlow's format, by a graph and a session of its own.

    Raises OSError.
    """
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = [tf.placeholder(value.dtype, value.shape) for value in values.values()]
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix), tensor_names=list(values), shape_and_slices=[""] * len(values), tensors=tensors
        )
        try:
            session.run(save, dict(zip(tensors, values.values(), strict=True)))
        except tf.errors.OpError as error:
            # Among lines on graphs and nodes there is one with the path, a semicolon and the reason.
            reason = re.search(r"^.*; (.*)$", error.message, re.MULTILINE)
            raise OSError(0, reason[1] if reason else error.message.splitlines()[0]) from None
