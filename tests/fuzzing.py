"""Fuzzing: many thousands of damaged inputs for each parser, and what each of them must keep to.

A parser may refuse an input by `InputError`, in one line that names it, or accept it. Whatever else it does is a
finding: another exception, a crash, a hang, memory out of proportion to the input, a warning or a line on the screen,
unpickling, running code or a program, a connection, or a file that is written, renamed or removed.

`PARSERS` of fuzz_inputs.py has the parsers, and `scripts/fuzz.py` is the command. Each parser runs in a process of its
own, so that one that ends Python or never returns is a finding too. It needs Linux, whose /proc tells the peak memory.
"""

import dataclasses
import importlib
import json
import os
import pickle
import random
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
HANG = 30  # seconds after which an input hangs; the slowest ones that are right take less than one
FREE = 64 << 20  # bytes that any input may take
MOST = 4 << 30  # bytes of address space that a parser may ask for, so that a blow-up does not stop the computer
LONGEST = 1100  # characters of a refusal


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


def fuzz(name, inputs, seed=0, module="fuzz_inputs", replay=None, folder=".", hang=HANG):
    """Runs the parser `name` on that many inputs. Returns an `Outcome`, which ends with the first finding.

    module: which has `PARSERS`. replay: a file that a finding was saved to; its input is run and no other.
    folder: where the input of a finding is saved.
    """
    started = time.monotonic()
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, __file__, module, name, str(seed), str(inputs), scratch, str(replay or "")]
        path = os.pathsep.join(filter(None, [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")]))
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


# The child: it runs the parser and watches it.


class Forbidden(BaseException):
    """What no parser may do. Not an Exception, so that no parser catches it."""


class _Watch:
    """Python's audit hook: knows what the parser does beyond reading."""

    STARTS = (
        "subprocess.",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.fork",
        "os.spawn",
        "pty.",
        "socket.",
        "ctypes.",
    )
    WRITES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate")
    CODE = tuple(os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, HERE, HERE.parent / "bn_graph"))

    def __init__(self):
        self.armed, self.found = False, []
        sys.addaudithook(self._hook)
        for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
            setattr(pickle, name, self._unpickled)

    def _unpickled(self, *_, **__):
        self._forbid("unpickles")

    def _hook(self, event, arguments):
        if not self.armed:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._forbid(f"opens {os.fsdecode(path)!r} to write")
        elif event == "pickle.find_class":
            self._forbid(f"unpickles {arguments}")
        elif event == "exec":
            file = arguments[0].co_filename  # what a module runs while it is imported is its own
            if not os.path.realpath(file).startswith(self.CODE) and not file.startswith("<frozen"):
                self._forbid(f"runs code of {file}")
        elif event.startswith((*self.STARTS, *self.WRITES, "shutil.", "tempfile.")):
            self._forbid(f"{event}{arguments!r:.200}")

    def _forbid(self, what):
        if self.armed:
            self.found.append(what)
            raise Forbidden(what)


def _memory():
    """Bytes of this process: at most since the last call, and now."""
    with open("/proc/self/status", "rb") as file:
        status = dict(line.split(b":", 1) for line in file.read().splitlines())
    peak, now = (int(status[name].split()[0]) << 10 for name in (b"VmHWM", b"VmRSS"))
    with open("/proc/self/clear_refs", "wb") as file:
        file.write(b"5")  # begin the peak anew
    return peak, now


def _inputs(parser, name, seed, inputs, replay):
    if replay:
        yield input_of(replay)
        return
    seeds = parser.seeds()
    for number in range(inputs):
        # Each input depends on its number alone.
        yield parser.damage(random.Random(f"{name} {seed} {number}"), seeds)


def _finding(parser, folder, watch, warned, noise):
    """Runs the parser on the input in the folder. Returns what is wrong with that, and whether it was accepted."""
    from bn_graph.errors import InputError

    accepted, wrong = False, None
    watch.armed = True
    try:
        parser.parse(folder)
        accepted = True
    except InputError as error:
        watch.armed = False
        line, named = str(error), parser.named or str(folder)
        if not line.isprintable() or not line.strip() or len(line) > LONGEST:
            wrong = f"a refusal that is not one line to be read: {line[:3000]!r}"
        elif named not in line:
            wrong = f"a refusal that does not name {named}: {line}"
    except BaseException:
        watch.armed = False
        wrong = traceback.format_exc()
    watch.armed = False
    if watch.found:
        wrong = f"{', '.join(watch.found)}\n{wrong or ''}"
    if warned:
        wrong = wrong or f"a warning: {warned[0]}"
    if os.fstat(2).st_size > noise:
        wrong = wrong or "prints something"
    return wrong, accepted


def main(module, name, seed, inputs, scratch, replay):
    """Runs the inputs. The pipe that was stdout gets a letter for each, accepted or refused, then a report."""
    pipe = os.dup(1)
    os.dup2(2, 1)
    parser = importlib.import_module(module).PARSERS[name]
    folder = Path(scratch, "input")
    folder.mkdir()
    warned = []
    warnings.showwarning = lambda message, category, *_, **__: warned.append(f"{category.__name__}: {message}")
    # What is imported at the first use is imported here.
    for files in parser.seeds():
        write(files, folder)
        parser.parse(folder)
        _empty(folder)
    generated = _inputs(parser, name, seed, int(inputs), replay)
    warnings.simplefilter("always")  # but for what Python itself does not show
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    size = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST, size + MOST))
    watch, outcome, there = _Watch(), Outcome(), set(os.listdir(scratch))
    os.write(pipe, b"s")  # started
    for number, files in enumerate(generated):
        write(files, folder)
        warned.clear()
        noise = os.fstat(2).st_size
        _, before = _memory()
        started = time.perf_counter()
        finding, accepted = _finding(parser, folder, watch, warned, noise)
        seconds, memory = time.perf_counter() - started, _memory()[0] - before
        length = sum(map(len, files.values()))
        if not finding and memory > FREE + parser.expansion * length:
            finding = f"takes {memory / 1e6:.0f} MB of memory for {length} bytes"
        if not finding and set(os.listdir(scratch)) != there:  # what C++ writes, no audit hook sees
            finding = f"writes {sorted(set(os.listdir(scratch)) ^ there)}"
        if finding:
            outcome.finding = finding
            break
        if seconds > outcome.slowest:
            outcome.slowest, outcome.slowest_input = seconds, number
        outcome.memory = max(outcome.memory, memory)
        os.write(pipe, b"a" if accepted else b"r")
        _empty(folder)
    report = dataclasses.asdict(outcome)
    os.write(pipe, json.dumps({key: report[key] for key in ("slowest", "slowest_input", "memory", "finding")}).encode())
    os._exit(0)  # without waiting for TensorFlow's threads


def _empty(folder):
    folders = []
    for place, _, names in os.walk(folder):
        folders.append(place)
        for name in names:
            os.unlink(os.path.join(place, name))
    for place in reversed(folders[1:]):
        os.rmdir(place)


# Damage that any bytes can come to.

NUMBERS = [
    0,
    1,
    -1,
    2,
    127,
    128,
    255,
    1 << 15,
    1 << 16,
    1 << 28,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    1 << 62,
]
NUMBERS += [(1 << 63) - 1, -(1 << 63)]


def varint(number):
    """A number as protocol buffers and LevelDB's tables have it."""
    number &= (1 << 64) - 1
    content = b""
    while number > 127:
        content += bytes([number & 127 | 128])
        number >>= 7
    return content + bytes([number])


def damaged(rng, content, others=()):
    """Bytes, changed in one or more of the ways in which files break, or are broken by those who want to break us.

    others: of which pieces may be taken.
    """
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at, length = rng.randrange(len(content) + 1), rng.choice([1, 2, 4, 8, 100, 1000])
        way = rng.randrange(11)
        if way == 0:
            del content[at:]
        elif way == 1:
            for _ in range(rng.choice([1, 2, 10, 100])):
                if content:
                    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        elif way == 2:
            del content[at : at + length]
        elif way == 3:
            content[at:at] = rng.randbytes(length)
        elif way == 4:
            other = rng.choice([content, *others])
            start = rng.randrange(len(other) + 1)
            content[at : at + length * rng.randrange(2)] = other[start : start + length]
        elif way == 5:
            content[at : at + length] = rng.choice([b"\0", b"\xff", b"\x7f", b"("]) * length
        elif way in (6, 7):  # a number, of one of the widths and in one of the orders that there are
            width = rng.choice([1, 2, 4, 8])
            number = rng.choice([*NUMBERS, rng.randrange(2 * len(content) + 2)]) & (1 << 8 * width) - 1
            content[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))
        elif way == 8:
            content[at : at + rng.randrange(6)] = varint(rng.choice([*NUMBERS, len(content)]))
        elif way == 9:  # groups that open and never close
            content[at:at] = bytes([rng.randrange(1, 16) << 3 | 3]) * length
        elif rng.random() < 0.2:
            content = bytearray(rng.randbytes(rng.choice([0, 1, 8, 64, 300])))
    return bytes(content)


if __name__ == "__main__":
    main(*sys.argv[1:])
