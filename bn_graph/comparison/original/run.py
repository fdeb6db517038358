"""Runs a program in a process of its own, and returns what it built, measured and printed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import bn_graph
from bn_graph.cli import set_parent_death_signal
from bn_graph.comparison.original.mends import find_mends
from bn_graph.errors import InputError
from bn_graph.formats.program import Program

_PRINTED = 20_000  # bytes of what the program printed are kept, its end


def warning_of(program: Program) -> str:
    """What a user should know before `run_original`."""
    return (
        f"{program.path} is somebody's program. It runs now, in a process of its own, in a temporary folder, and with "
        "your rights: it can read and write what you can."
    )


def run_original(program: Program, mend: bool = False, seconds: float = 1800, progress=None) -> dict:
    """Runs a program of 2016. Nothing of it runs in this process.

    Args:
        program: `Program`.
        mend: whether the lines at which the page as printed is known to crash are mended first.
        seconds: a program that runs longer is ended.
        progress: called after each training step that the program makes.

    Returns: a dict of path, mends, syntax (the lines that were written as Python 3), graph, losses, train_accuracies,
    accuracies, printed.

    Raises `InputError` where it ends with an error or is ended, and where no training step was seen.
    """
    mends = find_mends(program.lines)
    lines = list(program.lines)
    for one in mends if mend else []:
        lines[one.index] = one.after
    run = {
        "path": program.path,
        "mends": [_placed(program, one._asdict()) for one in mends] if mend else [],
        "syntax": {"changes": [], "divisions": []},
        "graph": None,
        "losses": [],
        "train_accuracies": [],
        "accuracies": [],  # the steps that were trained before, the name, the value
        "printed": "",
    }
    ended = _run_process(program, lines, run, seconds, progress)
    _check_end(program, ended, [] if mend else mends)
    if not run["losses"] or run["graph"] is None:
        raise InputError(f"{program.path}: ran to its end, and no session.run of it ran the op of an optimizer")
    return run


def _run_process(program, lines, run, seconds, progress):
    """Runs the lines in a process, and writes its events into `run`. Returns how it ended."""
    with tempfile.TemporaryDirectory(prefix="bn_graph.original.") as folder:
        task, work, printed = Path(folder, "task.json"), Path(folder, "work"), Path(folder, "printed")
        work.mkdir()
        task.write_text(json.dumps({"lines": lines}), encoding="utf-8")
        ended = None
        with _started(task, work, printed) as (process, events), _limit(process, seconds) as late:
            for event in map(json.loads, events):
                ended = _take(program, event, run, progress)
            process.wait()  # within the limit, too: a thread of the program may go on after its end
        run["printed"] = _end_of(printed)
        if late.is_set():
            message = f"ran for {seconds / 60:g} minutes and was ended; --minutes allows more"
            return {"message": message, "index": None}
        if ended is None:  # it did not come to say so: it was killed, or left by os._exit
            return {"message": _words_of(process.returncode, run["printed"]), "index": None}
        return ended


@contextlib.contextmanager
def _limit(process, seconds):
    """Kills the process after so many seconds. The context is a `threading.Event`, set where that was done."""
    late = threading.Event()

    def end():
        late.set()
        _kill(process)

    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _kill(process):
    """Kills the process and what it has started, which is in its group."""
    with contextlib.suppress(ProcessLookupError):  # none of them is left
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _started(task, work, printed):
    """The process, and its events line by line. It is ended with this context."""
    reading, writing = os.pipe()
    path = os.pathsep.join(filter(None, [str(Path(bn_graph.__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    environment = {"PYTHONPATH": path, "XDG_CACHE_HOME": str(task.parent), "MPLBACKEND": "Agg"}
    with open(printed, "wb") as output, os.fdopen(reading, encoding="utf-8") as events:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "bn_graph.comparison.original.child", str(task), str(writing)],
                env={**os.environ, **environment},
                cwd=work,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[writing],
                start_new_session=True,  # a group of processes that can be ended as one
                preexec_fn=set_parent_death_signal,
            )
        finally:
            os.close(writing)
        try:
            yield process, events
        finally:
            _kill(process)
            process.wait()


def _take(program, event, run, progress):
    """Writes an event into `run`. Returns it where it is the last one."""
    kind = event.pop("event")
    if kind == "step":
        run["losses"].append(event["loss"])
        run["train_accuracies"].append(event["accuracy"])
        if progress:
            progress()
    elif kind == "accuracy":
        run["accuracies"].append([len(run["losses"]), event["name"], event["value"]])
    elif kind == "graph":
        run["graph"] = event
    elif kind == "syntax":
        run["syntax"] = {
            "changes": [_placed(program, change) for change in event["changes"]],
            "divisions": [program.places[index] for index in event["divisions"]],
        }
    else:
        return event
    return None


def _placed(program, change):
    """A changed line, with its place in the file for its index."""
    return {"place": program.places[change.pop("index")]} | change


def _check_end(program, ended, mends):
    """Raises `InputError` where the program did not run to its end. `mends`: what `--mend` would do."""
    if "message" not in ended:
        return
    place = "" if ended["index"] is None else f"{program.places[ended['index']]}: "
    offer = ""
    if mends and place:
        offer = "; --mend runs it with its known errors mended: " + ", ".join(
            f"{program.places[one.index]} ({one.why})" for one in mends
        )
    raise InputError(f"{program.path}: {place}{ended['message']}{offer}")


def _words_of(code, printed):
    """How a process ended that did not say it."""
    last = (printed.strip().splitlines() or [""])[-1]
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{how}: {last}" if last else how


def _end_of(path):
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _PRINTED))
        return file.read().decode("utf-8", "replace")
