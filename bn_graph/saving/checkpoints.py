"""The folder of a run's checkpoints: the run may be killed at any moment, and goes on from the newest whole one."""

import contextlib
import dataclasses
import os
import re
from pathlib import Path

import filelock

from bn_graph import arithmetic
from bn_graph.config import EXACT_ENGINES, TutorialConfig, check_whole
from bn_graph.errors import InputError
from bn_graph.files import check_utf8, make_folder, sync
from bn_graph.record import TrainingRecord
from bn_graph.saving import record_log
from bn_graph.saving.record_log import LogPosition
from bn_graph.saving.saved_run import (
    RECORD_FILE,
    DamagedError,
    SavedRun,
    read_saved_run,
    remove_saved_run,
    write_saved_run,
)

_MAX_TO_KEEP = 2  # a disk may damage the newest
_UNFINISHED = ".saving"  # the name of a folder until it is whole
_LOCK_FILE = ".lock"
_OUR_NAMES = (_UNFINISHED, _LOCK_FILE, RECORD_FILE)
_STEP_FOLDER = re.compile(r"step-(0|[1-9]\d{0,17})")


class CheckpointFolder:
    """The folder of a run's checkpoints. As a context manager it keeps other runs out.

    FOLDER/step-N holds the state after N steps: the variables as a checkpoint in TensorFlow's format, prefix
    `variables`; and state.json, with the settings, what data it belongs to, and the checksums of all of it. The record
    so far is in FOLDER/record.jsonl, which only grows. The position of dropout's random stream is the number of steps.
    A step's folder is written under another name, synced to disk and then renamed, so that it is whole or not there.
    The two newest are kept. What is not ours is never removed, and no link is followed.

    Args:
        path: the folder. It is made where there is none.
        every: steps between two checkpoints, 1 or more.
        note: called with a line where a run is resumed, or a checkpoint is damaged, or one cannot be written.

    Raises `InputError` where the folder cannot be written, is used by another run, or holds something else. So it does
    where there are checkpoints and none is whole.

    newest: the newest whole checkpoint, a `SavedRun`; None where there is none yet.
    failure: why the latest checkpoint could not be written; None where it was.
    """

    def __init__(self, path, every: int = 100, note=None):
        check_whole("checkpoint_every", every, 1)
        self.path, self.every, self.newest, self.failure = Path(path), every, None, None
        self._note = note or (lambda line: None)
        self._data, self._arithmetic = None, {}  # of the run that is saved here: `Splits.sha256`, `arithmetic.describe`
        self._saved = False  # whether `newest` was saved by this process
        self._position = LogPosition()  # behind what the file of the record has of this run

    def __enter__(self):
        check_utf8(self.path)
        with self._only_input_errors("cannot be used for checkpoints"):
            make_folder(self.path)
            self._refuse_links()
            others = [] if self._step_folders() else self._others()
            if others:
                raise InputError(f"{self.path}: holds {others[0]!r} and no checkpoint; name an empty or new folder")
            self._lock = filelock.FileLock(self.path / _LOCK_FILE, timeout=0)
            try:
                self._lock.acquire()
            except filelock.Timeout:
                raise InputError(f"{self.path}: another run is using it; name another folder") from None
            # An open handle keeps the inode from being reused, so that another folder at this path has another one.
            self._handle = os.open(self.path, os.O_RDONLY)
        try:
            self.newest = self._newest_whole()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        os.close(self._handle)
        self._lock.release()

    def with_seed(self, config: TutorialConfig) -> TutorialConfig:
        """`config`, and the seed of the run that is here where it has none."""
        if self.newest and config.seed is None:
            return dataclasses.replace(config, seed=self.newest.record.config.seed)
        return config

    def latest_for(self, record: TrainingRecord, splits) -> SavedRun | None:
        """The `SavedRun` from which the run of `record` on `splits` is to go on; None where it is to begin.

        Raises `InputError`, with all that differs, where the checkpoints are another run's.
        """
        self._data, self._arithmetic = splits.sha256(), arithmetic.describe()
        if self._saved:  # a run that begins again in this process: the record in `newest` has gone on since
            self.newest = self._newest_whole()
        if self.newest:
            differences = list(_differences(self.newest, SavedRun(self.path, record, self._data)))
            if differences:
                raise InputError(f"{self.path}: holds another run: {', '.join(differences)}; name another folder")
            self._position = self.newest.position
            for name, version in record.versions.items():
                begun = self.newest.record.versions.get(name)
                if begun != version:
                    self._note(f"{self.path}: begun with {name} {begun}, here is {version}: numbers may differ")
            if other := arithmetic.differences(self.newest.arithmetic, self._arithmetic):
                self._note(f"{self.path}: the arithmetic is another: {'; '.join(other)}: the last bits will differ")
            self._note(f"{self.path}: going on after {self.newest.record.num_steps} of {record.config.steps} steps")
        return self.newest

    def save(self, values: dict, record: TrainingRecord) -> None:
        """Saves the state of a run after as many steps as `record` has, after `latest_for` was called for it.

        values: name to array of every variable.

        Raises `InputError` where it cannot be written and nothing was saved yet. Later the run is worth more than a
        checkpoint: it goes on with the last one that was written. `note` hears why, and `failure` says so.
        """
        try:
            with self._only_input_errors(f"the checkpoint after {record.num_steps} steps cannot be written"):
                self.newest = self._write(self.path / f"step-{record.num_steps}", values, record)
            self.failure, self._saved = None, True
        except InputError as error:
            if self.newest is None:
                raise
            what_is_left = f"; {self.newest.folder.name} is kept" if self.newest.folder.exists() else ""
            if not self.failure:
                self._note(f"{error}{what_is_left}; the run goes on")
            self.failure = f"{error}{what_is_left}"

    def _write(self, folder, values, record):
        """Writes the checkpoint `folder`, whole or not at all, removes older ones, and returns it. Raises OSError."""
        if not os.path.samestat(os.fstat(self._handle), os.stat(self.path)):
            raise OSError(0, "the folder was replaced while the run used it")
        unfinished = self.path / _UNFINISHED
        remove_saved_run(unfinished)  # of a run that was killed
        unfinished.mkdir()
        try:
            run = SavedRun(folder, record, self._data, self._arithmetic)
            self._position = write_saved_run(unfinished, values, run, self._position)
            if folder.exists():
                remove_saved_run(folder)  # it was found damaged
            unfinished.rename(folder)
            sync(self.path)
        except BaseException:
            remove_saved_run(unfinished)
            raise
        newest_first = self._step_folders()
        # Those that are newer than this one were damaged.
        to_keep = newest_first[newest_first.index(folder) :][:_MAX_TO_KEEP]
        for other in set(newest_first) - set(to_keep):
            remove_saved_run(other)
        return run

    def _step_folders(self):
        """The folders of checkpoints, newest first."""
        folders = [path for path in self.path.iterdir() if _STEP_FOLDER.fullmatch(path.name) and not path.is_symlink()]
        return sorted(folders, key=lambda folder: int(folder.name.removeprefix("step-")), reverse=True)

    def _others(self):
        """The names of what a run that was killed before its first checkpoint would not have left here."""
        names = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")}
        if RECORD_FILE in names and record_log.written_by_us(self.path / RECORD_FILE):
            names.remove(RECORD_FILE)
        return sorted(names)

    def _refuse_links(self):
        """What is behind a link is somebody else's, and would be written to or removed."""
        for path in self.path.iterdir():
            if path.is_symlink() and (path.name in _OUR_NAMES or _STEP_FOLDER.fullmatch(path.name)):
                raise InputError(f"{path}: is a link; expected what bn_graph itself has made; name another folder")

    def _newest_whole(self):
        damaged = []
        for folder in self._step_folders():
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
    def _only_input_errors(self, what):
        """Raises an OSError as an `InputError`, which says that the folder `what`."""
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.path}: {what}: {error.strerror or error}") from None


def _differences(saved, new):
    """What differs between the settings of two `SavedRun`s, in words."""
    for field in dataclasses.fields(TutorialConfig):
        yield from _difference(field.name, saved.record.config, new.record.config)
    yield from _difference("split", saved.record, new.record)
    yield from _difference("restored", saved.record, new.record)
    if not {saved.record.engine, new.record.engine} <= set(EXACT_ENGINES):
        yield from _difference("engine", saved.record, new.record)
    if saved.data != new.data:
        yield f"the data ({saved.record.data}) are others than these ({new.record.data})"


def _difference(name, saved, new):
    if getattr(saved, name) != getattr(new, name):
        yield f"{name} is {getattr(saved, name)} there and {getattr(new, name)} here"
