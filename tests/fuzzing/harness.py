"""Runs a parser in a process of its own, and says what became of its inputs."""

import dataclasses
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.paths import ROOT

HANG = 30  # seconds after which an input hangs; the slowest ones that are right take less than one


@dataclasses.dataclass(frozen=True)
class Parser:
    """One way in.

    seeds: returns inputs that are accepted, each a dict of file names to bytes.
    damage: called with a `random.Random` and the seeds; returns an input.
    parse: called with the folder that holds the input. It reads it as a user's command would, looks at all that it got,
        and may raise `InputError`.
    named: what a refusal must have in it; the path of the folder by default.
    expansion: bytes of memory that a byte of the input may take.
    """

    seeds: Callable
    damage: Callable
    parse: Callable
    named: str | None = None
    expansion: int = 50


@dataclasses.dataclass
class Outcome:
    """What became of the inputs of one parser."""

    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0  # seconds
    slowest_input: int = 0
    memory: int = 0  # bytes that an input took at most
    seconds: float = 0.0
    finding: str | None = None
    saved: str | None = None  # where the input of the finding is

    def __str__(self):
        return (
            f"{self.accepted + self.refused} inputs, {self.accepted} accepted, {self.refused} refused; slowest "
            f"{self.slowest:.3f} s (input {self.slowest_input}); peak memory {self.memory / 1e6:.0f} MB; "
            f"{self.seconds:.0f} s"
        )


def fuzz(name, inputs, seed=0, module="tests.fuzzing.parsers", replay=None, folder=".", hang=HANG):
    """Runs the parser `name` on that many inputs. Returns an `Outcome`, which ends with the first finding.

    module: which has `PARSERS`. replay: a file that a finding was saved to; its input is run and no other.
    folder: where the input of a finding is saved.
    """
    started = time.monotonic()
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "tests.fuzzing.child",
            module,
            name,
            str(seed),
            str(inputs),
            scratch,
            str(replay or ""),
        ]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        env = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": scratch, "HOME": scratch}
        noise = Path(scratch, "noise")
        with open(noise, "wb") as stderr:
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=env, cwd=scratch)
        try:
            said = _listen(child, outcome, hang)
            code = child.wait() if said is not None else None
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
        number = outcome.accepted + outcome.refused
        if said is None:
            outcome.finding = f"hangs: no answer in {hang} s"
        elif said:
            report = json.loads(said)
            for key, value in report.items():
                setattr(outcome, key, value)
        else:
            last = noise.read_text(errors="replace")[-2000:]
            outcome.finding = f"ended Python with code {code}\n{last}"
        if outcome.finding:
            outcome.saved = str(replay or _save(Path(scratch, "input"), Path(folder), name, seed, number))
    outcome.seconds = time.monotonic() - started
    return outcome


def _listen(child, outcome, hang):
    """Counts the answers of the child. Returns what it says at its end, or None where it hangs."""
    said = b""
    patience = 10 * HANG  # it imports TensorFlow first
    while select.select([child.stdout], [], [], patience)[0]:
        read = os.read(child.stdout.fileno(), 65536)
        if not read:
            return said
        if not said:
            answers, separator, read = read.partition(b"{")
            outcome.accepted += answers.count(b"a")
            outcome.refused += answers.count(b"r")
            said += separator
        said += read
        patience = hang
    return None


def _save(source, folder, name, seed, number):
    """Keeps the files of an input in a .zip file, whose comment says whose they are."""
    path = folder / f"fuzz-{name.replace(' ', '-')}-{seed}-{number}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = name.encode()
        for file in sorted(source.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(source))
    return path


def parser_of(path):
    """The name of the parser that the saved input in the file `path` is for."""
    with zipfile.ZipFile(path) as archive:
        return archive.comment.decode()


def input_of(path):
    """The saved input in the file `path`."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(files, folder):
    for name, content in files.items():
        path = folder / name
        if "/" in name:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
