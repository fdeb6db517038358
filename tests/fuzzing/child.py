"""The process that a parser runs in: it makes the inputs, and watches what the parser does with each.

python -m tests.fuzzing.child MODULE PARSER SEED INPUTS SCRATCH REPLAY
"""

import importlib
import json
import os
import pickle
import random
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

from bn_graph.errors import InputError
from tests.fuzzing.harness import Outcome, input_of, write
from tests.paths import ROOT

FREE = 64 << 20  # bytes that any input may take
MOST = 4 << 30  # bytes of address space that a parser may ask for, so that a blow-up does not stop the computer
LONGEST = 1100  # characters of a refusal


class Forbidden(BaseException):
    """What no parser may do. Not an Exception, so that no parser catches it."""


class Watch:
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
    CODE = tuple(os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, ROOT / "tests", ROOT / "bn_graph"))

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
    _import_all(parser, folder)
    generated = _inputs(parser, name, seed, int(inputs), replay)
    _show_warnings()
    _limit_memory()
    os.write(pipe, b"s")  # started
    outcome = _run(parser, generated, folder, warned, pipe)
    report = {key: getattr(outcome, key) for key in ("slowest", "slowest_input", "memory", "finding")}
    os.write(pipe, json.dumps(report).encode())
    os._exit(0)  # without waiting for TensorFlow's threads


def _import_all(parser, folder):
    """What is imported at the first use is imported here, where nobody watches."""
    for files in parser.seeds():
        write(files, folder)
        parser.parse(folder)
        _empty(folder)


def _show_warnings():
    """Each warning is shown each time, but for those that Python itself does not show."""
    warnings.simplefilter("always")
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)


def _limit_memory():
    size = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST, size + MOST))


def _run(parser, generated, folder, warned, pipe):
    """Runs the inputs, until one is a finding."""
    watch, outcome, there = Watch(), Outcome(), set(os.listdir(folder.parent))
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
        if not finding and set(os.listdir(folder.parent)) != there:  # what C++ writes, no audit hook sees
            finding = f"writes {sorted(set(os.listdir(folder.parent)) ^ there)}"
        if finding:
            outcome.finding = finding
            break
        if seconds > outcome.slowest:
            outcome.slowest, outcome.slowest_input = seconds, number
        outcome.memory = max(outcome.memory, memory)
        os.write(pipe, b"a" if accepted else b"r")
        _empty(folder)
    return outcome


def _empty(folder):
    folders = []
    for place, _, names in os.walk(folder):
        folders.append(place)
        for name in names:
            os.unlink(os.path.join(place, name))
    for place in reversed(folders[1:]):
        os.rmdir(place)


if __name__ == "__main__":
    main(*sys.argv[1:])
