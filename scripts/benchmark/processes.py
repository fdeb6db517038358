"""Measures processes: one alone, and several in turn."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

from tqdm import tqdm

from bn_graph.cli import set_parent_death_signal

TIMEOUT = 600  # seconds, for one turn of a process
READY = "ready"  # the line with which a process ends its turn


class Failed(Exception):
    """A process that did not do what it should. The message may have several lines."""


class Turns:
    """What came of measuring systems in turn, each by the system's name.

    results: a list of what was measured, one a round; of the systems that never failed.
    missing: the package that is not installed.
    failed: the error's text.
    """

    def __init__(self, names):
        self.results, self.missing, self.failed = {name: [] for name in names}, {}, {}

    def keep(self, name, measured):
        """Keeps what was measured, a dict. {"missing": package}: the system has no more turns."""
        if "missing" in measured:
            self.missing[name] = measured["missing"]
            del self.results[name]
        else:
            self.results[name].append(measured)

    @contextlib.contextmanager
    def failures_of(self, name):
        """Around a turn: where it raises `Failed`, the system has no more turns."""
        try:
            yield
        except Failed as error:
            self.failed[name] = str(error)
            del self.results[name]


class Process:
    """A process that works while it has its turn. Between its turns it waits. Use it as a context manager.

    It ends a turn with the line `READY` on stdout, and goes on when it reads a line. A process that never says so has
    one turn, its whole life.

    stdout: the lines that it printed, as far as it came.
    seconds: the length of its turns so far: not of the time in which it waited for one.
    peak_bytes: of memory; known when it has ended.
    """

    def __init__(self, command):
        self.stdout, self.seconds, self.peak_bytes = [], 0.0, None
        self._command = list(map(str, command))

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        self._stderr = self._stack.enter_context(tempfile.TemporaryFile())
        self._process = None
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def take_turn(self, timeout=TIMEOUT) -> bool:
        """Lets it work until it waits or ends. Returns whether it has ended.

        Raises `Failed` where it ends with an error, or where its turn takes more than `timeout` seconds.
        """
        start = time.perf_counter()
        if self._process is None:
            self._start()
        else:
            with contextlib.suppress(BrokenPipeError):  # it has died, as is seen at once
                self._process.stdin.write("\n")
                self._process.stdin.flush()
        with _killed_after(self._process, timeout) as late:
            for line in self._process.stdout:
                if line.strip() == READY:
                    self.seconds += time.perf_counter() - start
                    return False
                self.stdout.append(line)
            _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds += time.perf_counter() - start
        self.peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        if self._process.returncode:
            self._stderr.seek(0)
            tail = self._stderr.read().decode(errors="replace").splitlines()[-10:]
            end = f"did not end in {timeout} s" if late.is_set() else f"ended with {self._process.returncode}"
            raise Failed("\n  ".join([end, *tail]))
        return True

    def _start(self):
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            start_new_session=True,  # a group of its own, with the processes that it starts
            preexec_fn=set_parent_death_signal,
        )
        self._stack.callback(_end, self._process)


def measure(command, timeout=TIMEOUT):
    """Runs a process to its end and returns it. Raises `Failed` where it fails or does not end in time."""
    with Process(command) as process:
        process.take_turn(timeout)
        return process


def _kill_group(process):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _end(process):
    """Kills the process's group, and waits for the process if nobody has yet."""
    _kill_group(process)
    process.wait()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            stream.close()


@contextlib.contextmanager
def _killed_after(process, timeout):
    """Kills the process's group if this context takes more than `timeout` seconds. Yields an event that is set then."""
    late = threading.Event()
    timer = threading.Timer(timeout, lambda: (late.set(), _kill_group(process)))
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        timer.join()  # to fork the next child, it is better to have no threads


def side_by_side(commands, rounds, result_of, bar):
    """Measures systems that take turns: the start of each, then a block of steps of each, and so on. Returns `Turns`.

    So a block of one system and that of another are measured within seconds of each other.

    commands: the command of each system, by its name; see `Process`.
    result_of: called with a name and the `Process` that has ended, returns a dict for `Turns.keep`; may raise `Failed`.
    """
    turns = Turns(commands)
    for _ in range(rounds):
        with contextlib.ExitStack() as stack:
            running = {name: stack.enter_context(Process(commands[name])) for name in turns.results}
            while running:
                for name, process in list(running.items()):
                    bar.set_description(name)
                    with turns.failures_of(name):
                        if not process.take_turn():
                            continue
                        turns.keep(name, result_of(name, process))
                    del running[name]
                    bar.update()
    return turns


def in_turn(names, rounds, measure_one, bar):
    """Measures the systems A B C, then A B C again, `rounds` times. Returns `Turns`.

    measure_one: called with a name, returns a dict for `Turns.keep`; may raise `Failed`.
    bar: a progress bar of `progress`.
    """
    turns = Turns(names)
    for _ in range(rounds):
        for name in list(turns.results):
            bar.set_description(name)
            with turns.failures_of(name):
                turns.keep(name, measure_one(name))
            bar.update()
    return turns


def progress(num_runs):
    """A progress bar on stderr, where that is a terminal."""
    return tqdm(total=num_runs, unit="run", leave=False, disable=None)
