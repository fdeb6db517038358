"""The record of a run so far, in a file that only grows, so that a save costs the same at any step.

Each line is a JSON object: what was measured since the line before, and a checksum of this and of all lines before.
"""

import hashlib
import json
import os
import stat
from typing import NamedTuple

from bn_graph.files import open_file
from bn_graph.record import TrainingRecord

_LARGEST_LINE = 2**28  # bytes
_BEGINNING = b'{"sha256": "'


class LogPosition(NamedTuple):
    """A place between two lines of the file: what is before it is the record at some step."""

    size: int = 0  # bytes before it
    sha256: str = ""  # of all lines before it
    steps: int = 0
    validations: int = 0


def append(path, record: TrainingRecord, after: LogPosition) -> LogPosition:
    """Writes what `record` has more than there is before `after`, and forgets what is behind. Raises OSError.

    Returns the position behind it. It is on the disk then.
    """
    part = json.dumps(record.part(after.steps, after.validations), allow_nan=False).encode()
    sha256 = _chained(after.sha256, part)
    line = b'{"sha256": "%s", "part": %s}\n' % (sha256.encode(), part)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with os.fdopen(handle, "r+b") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode) or os.fstat(handle).st_size < after.size:
            raise OSError(0, f"{os.path.basename(path)} was replaced while the run used it")
        file.truncate(after.size)
        file.seek(after.size)
        file.write(line)
        file.flush()
        os.fsync(handle)
    return LogPosition(after.size + len(line), sha256, record.num_steps, len(record.valid_step))


def written_by_us(path) -> bool:
    """Whether the file is one of these, or what a kill left of its first line. Raises `InputError`."""
    with open_file(path) as file:
        return _BEGINNING.startswith(file.read(len(_BEGINNING)))


def read(path, until: LogPosition) -> dict:
    """The lists of the record before `until`, by name. Raises ValueError where they are damaged, and `InputError`."""
    lists, size, sha256 = {}, 0, ""
    with open_file(path) as file:
        while size < until.size:
            line = file.readline(_LARGEST_LINE)
            content = json.loads(line)
            size += len(line)
            sha256 = _chained(sha256, json.dumps(content["part"], allow_nan=False).encode())
            if content["sha256"] != sha256:
                raise ValueError(f"{os.path.basename(path)}: a checksum is wrong")
            for name, values in dict(content["part"]).items():
                lists.setdefault(name, []).extend(values)
    if (size, sha256) != (until.size, until.sha256):
        raise ValueError(f"{os.path.basename(path)}: the record of another checkpoint")
    return lists


def _chained(before, part):
    return hashlib.sha256(before.encode() + part).hexdigest()
