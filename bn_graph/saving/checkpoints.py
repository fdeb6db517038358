"""Checkpoints: those of a run that may be killed at any moment, and what TF 0.12's Saver wrote, restored by name."""

import contextlib
import copy
import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import filelock

from bn_graph.config import ENGINES, TutorialConfig, check_whole
from bn_graph.errors import InputError
from bn_graph.files import check_utf8, open_file
from bn_graph.record import TrainingRecord
from bn_graph.saving.restore import restore
from bn_graph.tf1 import tf

_FORMAT = 1
_STATE = "state.json"
_VARIABLES = "variables"  # the prefix of a checkpoint in TensorFlow's format
_FILES = (f"{_VARIABLES}.index", f"{_VARIABLES}.data-00000-of-00001")
_KEPT = 2  # a disk may damage the newest
_UNFINISHED = ".saving"  # the name of a folder until it is whole


class DamagedError(InputError):
    """A checkpoint is not whole."""


class SavedRun(NamedTuple):
    """A whole checkpoint of a run."""

    folder: Path
    record: TrainingRecord  # so far
    data: str  # `Splits.sha256` of what it is trained on

    @property
    def prefix(self):
        """Of the variables' files, for whoever reads TensorFlow's checkpoints."""
        return self.folder / _VARIABLES

    def restore(self, session, variables):
        """Gives `variables`, name to variable, their values, and returns the record, to go on with.

        Raises `InputError` where the variables are others.
        """
        restore(session, self.prefix, variables, required=variables)
        return copy.deepcopy(self.record)


class CheckpointFolder:
    """The folder of a run's checkpoints. As a context manager it keeps other runs out.

    FOLDER/step-N holds the state after N steps: the variables as a checkpoint in TensorFlow's format, prefix
    `variables`; and state.json, with the record so far, what data it belongs to, and the checksums of all of it. The
    position of dropout's random stream is the number of steps. Such a folder is written under another name, synced to
    disk and then renamed, so that it is whole or not there. The two newest are kept.

    Args:
        path: the folder. It is made where there is none.
        every: steps between two checkpoints, 1 or more.
        note: called with a line where a run is resumed, a checkpoint is damaged, or one cannot be written and the run
            goes on.

    Raises `InputError` where the folder cannot be written, is used by another run, holds something else, or holds
    checkpoints of which none is whole.

    newest: the newest whole checkpoint, a `SavedRun`; None where there is none yet.
    failure: why the latest checkpoint could not be written; None where it was.
    """

    def __init__(self, path, every=100, note=None):
        check_whole("checkpoint_every", every, 1)
        self.path, self.every, self.newest, self.failure = Path(path), every, None, None
        self._note = note or (lambda line: None)
        self._data = None

    def __enter__(self):
        check_utf8(self.path)
        with self._one_line("cannot be used for checkpoints"):
            self.path.mkdir(parents=True, exist_ok=True)
            others = [entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")]
            if others and not self._steps():
                raise InputError(f"{self.path}: holds {others[0]!r} and no checkpoint; name an empty or new folder")
            self._lock = filelock.FileLock(self.path / ".lock", timeout=0)
            try:
                self._lock.acquire()
            except filelock.Timeout:
                raise InputError(f"{self.path}: another run is using it; name another folder") from None
            self._handle = os.open(self.path, os.O_RDONLY)  # keeps its number from being given to another folder
        try:
            self.newest = self._newest_whole()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        os.close(self._handle)
        self._lock.release()

    def with_seed(self, config):
        """`config`, and the seed of the run that is here where it has none."""
        if self.newest and config.seed is None:
            return dataclasses.replace(config, seed=self.newest.record.config.seed)
        return config

    def latest_for(self, record, splits):
        """The `SavedRun` from which the run of `record` on `splits` is to go on; None where it is to begin.

        Raises `InputError`, with all that differs, where the checkpoints are another run's.
        """
        self._data = splits.sha256()
        if self.newest:
            differences = list(_differences(self.newest, SavedRun(self.path, record, self._data)))
            if differences:
                raise InputError(f"{self.path}: holds another run: {', '.join(differences)}; name another folder")
            for name, version in record.versions.items():
                if self.newest.record.versions.get(name) != version:
                    begun = self.newest.record.versions.get(name)
                    self._note(f"{self.path}: begun with {name} {begun}, here is {version}: numbers may differ")
            self._note(
                f"{self.path}: going on after {len(self.newest.record.train_loss)} of {record.config.steps} steps"
            )
        return self.newest

    def save(self, values, record):
        """Saves the state of a run after as many steps as `record` has, after `find` was called for it.

        values: name to array of every variable.

        Raises `InputError` where it cannot be written and nothing was saved yet. Later the run is worth more than a
        checkpoint: it goes on with the last one kept, `note` hears why, and `failure` says so.
        """
        steps = len(record.train_loss)
        try:
            with self._one_line(f"the checkpoint after {steps} steps cannot be written"):
                self.newest = self._write(self.path / f"step-{steps}", values, record)
            self.failure = None
        except InputError as error:
            if self.newest is None:
                raise
            kept = f"; {self.newest.folder.name} is kept" if self.newest.folder.exists() else ""
            if not self.failure:
                self._note(f"{error}{kept}; the run goes on")
            self.failure = f"{error}{kept}"

    def _write(self, folder, values, record):
        if not os.path.samestat(os.fstat(self._handle), os.stat(self.path)):
            raise OSError(0, "the folder was replaced while the run used it")
        unfinished = self.path / _UNFINISHED
        _remove(unfinished)  # of a run that was killed
        unfinished.mkdir()
        try:
            _write_variables(unfinished / _VARIABLES, values)
            checksums = {name: _sha256((unfinished / name).read_bytes()) for name in _FILES}
            state = {"format": _FORMAT, "data": self._data, "files": checksums, "record": record.to_object()}
            text = _text(state)
            (unfinished / _STATE).write_bytes(b'{"sha256": "%s", "state": %s}' % (_sha256(text).encode(), text))
            for name in (*_FILES, _STATE, "."):
                _sync(unfinished / name)
            if folder.exists():
                _remove(folder)  # it was found damaged
            unfinished.rename(folder)
            _sync(self.path)
        except BaseException:
            _remove(unfinished)
            raise
        newest_first = self._steps()
        kept = newest_first[newest_first.index(folder) :][:_KEPT]  # those that are newer were damaged
        for other in set(newest_first) - set(kept):
            _remove(other)
        return SavedRun(folder, copy.deepcopy(record), self._data)

    def _steps(self):
        """The folders of checkpoints, newest first."""
        found = [path for path in self.path.iterdir() if re.fullmatch(r"step-(0|[1-9]\d{0,17})", path.name)]
        return sorted(found, key=_number, reverse=True)

    def _newest_whole(self):
        damaged = []
        for folder in self._steps():
            try:
                saved = read_saved_run(folder)
            except DamagedError as error:
                damaged.append(str(error))
                continue
            for line in damaged:
                self._note(f"{line}; going on from {folder.name}")
            return saved
        if damaged:
            raise InputError(
                f"{self.path}: no checkpoint in it is whole ({damaged[0]}); name another folder, or remove it"
            )
        return None

    @contextlib.contextmanager
    def _one_line(self, what):
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.path}: {what}: {error.strerror or error}") from None


def read_saved_run(folder):
    """The `SavedRun` in one folder. Raises `DamagedError` where a checksum is wrong or something is missing.

    Raises `InputError` where a newer release has written it.
    """
    folder = Path(folder)
    with _damaged(folder):
        found = json.loads(_content(folder / _STATE))
        state = found["state"]
        if found["sha256"] != _sha256(_text(state)):
            raise ValueError(f"{_STATE}: a checksum is wrong")
        written_in = state["format"]
    if written_in != _FORMAT:
        raise InputError(f"{folder}: is of format {written_in}, this release of bn_graph knows {_FORMAT}")
    with _damaged(folder):
        for name in _FILES:
            if state["files"][name] != _sha256(_content(folder / name)):
                raise ValueError(f"{name}: a checksum is wrong")
        record = TrainingRecord.from_object(state["record"], _STATE)
        steps = len(record.train_loss)
        if f"step-{steps}" != folder.name or record.valid_step != list(range(0, steps, record.config.eval_every)):
            raise ValueError(f"{_STATE}: the record of another checkpoint")
        return SavedRun(folder, record, str(state["data"]))


@contextlib.contextmanager
def _damaged(folder):
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise DamagedError(f"{folder}: not a whole checkpoint ({error})") from None


def _differences(there, here):
    """What differs between the settings of two `SavedRun`s, in words."""
    settings = [(f.name, getattr(there.record.config, f.name), getattr(here.record.config, f.name))
                for f in dataclasses.fields(TutorialConfig)]  # fmt: skip
    names = ["split", "restored"]
    if not {there.record.engine, here.record.engine} <= set(ENGINES):  # the engines of one process do the same
        names.append("engine")
    settings += [(name, getattr(there.record, name), getattr(here.record, name)) for name in names]
    for name, its, ours in settings:
        if its != ours:
            yield f"{name} is {its} there and {ours} here"
    if there.data != here.data:
        yield f"the data ({there.record.data}) are others than these ({here.record.data})"


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


def _remove(folder):
    """Removes a checkpoint, and nothing that somebody else has put there."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name == _STATE or path.name.startswith(f"{_VARIABLES}."):
                path.unlink()
        folder.rmdir()


def _sync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _content(path):
    with open_file(path) as file:
        return file.read()


def _number(folder):
    return int(folder.name.removeprefix("step-"))


def _text(state):
    return json.dumps(state, allow_nan=False).encode()


def _sha256(content):
    return hashlib.sha256(content).hexdigest()
