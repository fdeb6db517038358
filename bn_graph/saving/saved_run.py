"""One checkpoint of a run: a folder of its variables, in TensorFlow's format, and of state.json.

state.json has the settings of the run, what data it belongs to, the checksums of everything, and how far the file of
the record belongs to it, which is beside the folder. To appear whole or not at all, the folder is written under another
name; see `bn_graph.saving.checkpoints`.
"""

import contextlib
import copy
import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from bn_graph.errors import InputError
from bn_graph.files import open_file, read_whole, sync_tree
from bn_graph.record import TrainingRecord
from bn_graph.saving import record_log
from bn_graph.saving.record_log import LogPosition
from bn_graph.saving.restore import restore
from bn_graph.tf1 import tf

_FORMATS = (1, 2)  # of 1, all of the record is in state.json
_STATE_FILE = "state.json"
RECORD_FILE = "record.jsonl"  # beside the folders of all checkpoints of a run
_LARGEST_STATE = 2**28  # bytes
_VARIABLES = "variables"  # the prefix of a checkpoint in TensorFlow's format
_VARIABLES_FILES = (f"{_VARIABLES}.index", f"{_VARIABLES}.data-00000-of-00001")
# The files of a checkpoint, and those that TensorFlow renames when they are whole.
_OUR_FILE = re.compile(rf"{re.escape(_STATE_FILE)}|({'|'.join(map(re.escape, _VARIABLES_FILES))})(\.tempstate\d+)?")


class DamagedError(InputError):
    """A checkpoint is not whole."""


class SavedRun(NamedTuple):
    """A whole checkpoint of a run."""

    folder: Path
    record: TrainingRecord  # so far
    data: str  # `Splits.sha256` of what it is trained on
    arithmetic: dict = {}  # as `arithmetic.describe` has it; of format 1 nothing
    position: LogPosition = LogPosition()  # in the file of the record

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
        content = json.loads(read_whole(folder / _STATE_FILE, _LARGEST_STATE))
        state = content["state"]
        if content["sha256"] != sha256(encode_state(state)):
            raise ValueError(f"{_STATE_FILE}: a checksum is wrong")
        written_in = state["format"]
    if written_in not in _FORMATS:
        raise InputError(f"{folder}: is of format {written_in}, this release of bn_graph knows {_FORMATS[-1]}")
    with _damaged(folder):
        for name in _VARIABLES_FILES:
            if state["files"][name] != _sha256_of_file(folder / name):
                raise ValueError(f"{name}: a checksum is wrong")
        position, lists = LogPosition(), {}
        if written_in > 1:
            position = LogPosition(**state["log"])
            lists = record_log.read(folder.parent / RECORD_FILE, position)
        record = TrainingRecord.from_object(state["record"] | lists, _STATE_FILE)
        steps = record.num_steps
        if f"step-{steps}" != folder.name or record.valid_step != list(range(0, steps, record.config.eval_every)):
            raise ValueError(f"{_STATE_FILE}: the record of another checkpoint")
        return SavedRun(folder, record, str(state["data"]), dict(state.get("arithmetic", {})), position)


def write_saved_run(folder, values, run: SavedRun, after: LogPosition) -> LogPosition:
    """Writes the files of a checkpoint into the empty folder `folder`, until they are on the disk. Raises OSError.

    Args:
        values: name to array of every variable.
        run: what is saved, but for its position.
        after: how much of the record is in its file already.

    Returns: the position in the file of the record that belongs to the checkpoint.
    """
    _write_variables(folder / _VARIABLES, values)
    checksums = {name: _sha256_of_file(folder / name) for name in _VARIABLES_FILES}
    position = record_log.append(folder.parent / RECORD_FILE, run.record, after)
    state = encode_state(
        {
            "format": _FORMATS[-1],
            "data": run.data,
            "files": checksums,
            "arithmetic": run.arithmetic,
            "log": position._asdict(),
            "record": run.record.without_lists(),
        }
    )
    (folder / _STATE_FILE).write_bytes(b'{"sha256": "%s", "state": %s}' % (sha256(state).encode(), state))
    sync_tree(folder)
    return position


def remove_saved_run(folder) -> None:
    """Removes a checkpoint, and nothing that somebody else has put there: no other file, and nothing behind a link."""
    if folder.is_symlink():
        return
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _OUR_FILE.fullmatch(path.name) and path.is_file() and not path.is_symlink():
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


def _sha256_of_file(path):
    digest = hashlib.sha256()
    with open_file(path) as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


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
