"""Measures processes: one alone, and several in turn."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import NamedTuple

from tqdm import tqdm

from bn_graph.cli import set_parent_death_signal

TIMEOUT = 600  # seconds, for one process


class Failed(Exception):
    """A process that did not do what it should. The message may have several lines."""


class Measured(NamedTuple):
    """What a process that succeeded printed and used."""

    stdout: str
    seconds: float  # from its start to its end
    peak_bytes: int  # of memory


class Turns(NamedTuple):
    """What came of measuring systems in turn, each by the system's name."""

    results: dict  # a list of what was measured, one a round; of the systems that never failed
    missing: dict  # the package that is not installed
    failed: dict  # the error's text


def measure(command, timeout=TIMEOUT):
    """Runs a process and returns `Measured`. Raises `Failed` where it fails or does not end in time."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            start_new_session=True,  # a group of its own, with the processes that it starts
            preexec_fn=set_parent_death_signal,
        )
        with _killed_in_the_end(process, timeout) as late:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - start
        if process.returncode:
            stderr.seek(0)
            tail = stderr.read().decode(errors="replace").splitlines()[-10:]
            end = f"did not end in {timeout} s" if late.is_set() else f"ended with {process.returncode}"
            raise Failed("\n  ".join([end, *tail]))
        stdout.seek(0)
        unit = 1 if sys.platform == "darwin" else 1024
        return Measured(stdout.read().decode(), seconds, usage.ru_maxrss * unit)


@contextlib.contextmanager
def _killed_in_the_end(process, timeout):
    """Kills the process's group at the end of this context, or after `timeout` seconds if that is earlier.

    Yields an event that is set where it was the timeout.
    """
    late = threading.Event()

    def kill():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout, lambda: (late.set(), kill()))
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        timer.join()  # to fork the next child, it is better to have no threads
        kill()


def in_turn(names, rounds, measure_one, bar):
    """Measures the systems A B C, then A B C again, `rounds` times. Returns `Turns`.

    measure_one: called with a name, returns a dict, {"missing": package} where a package is not installed. A system
        that lacks one, or that raises `Failed`, has no more turns.
    bar: a progress bar of `progress`.
    """
    results, missing, failed = {name: [] for name in names}, {}, {}
    for _ in range(rounds):
        for name in names:
            if name in missing or name in failed:
                continue
            bar.set_description(name)
            try:
                measured = measure_one(name)
            except Failed as error:
                failed[name] = str(error)
            else:
                if "missing" in measured:
                    missing[name] = measured["missing"]
                else:
                    results[name].append(measured)
            bar.update()
    succeeded = {name: runs for name, runs in results.items() if runs and name not in failed}
    return Turns(succeeded, missing, failed)


def progress(num_runs):
    """A progress bar on stderr, where that is a terminal."""
    return tqdm(total=num_runs, unit="run", leave=False, disable=None)
