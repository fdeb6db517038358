"""The process in which the original's own text runs: python -m bn_graph.comparison.original.child TASK EVENTS

TASK is a JSON file with the lines of the program. EVENTS is the number of an open file, to which this process writes
one JSON object a line: what it changed, what the program built and measured, and how it ended.
"""

import json
import linecache
import os
import sys
import traceback

from bn_graph.cli import import_tensorflow
from bn_graph.comparison.original.python2 import BUILTINS, NotPython, changes, divisions, to_python3

_NAME = "<the text>"


def main(task_path, events):
    os.set_inheritable(int(events), False)  # what the program starts must not hold the other end open
    with open(task_path, encoding="utf-8") as file, os.fdopen(int(events), "w", encoding="utf-8") as stream:
        lines = json.load(file)["lines"]

        def send(event):
            stream.write(json.dumps(event) + "\n")
            stream.flush()

        try:
            python3 = to_python3(lines)
        except NotPython as error:
            send({"event": "error", "index": error.index, "message": f"neither Python 2 nor Python 3: {error}"})
            return
        changed = [change._asdict() for change in changes(lines, python3)]
        send({"event": "syntax", "changes": changed, "divisions": divisions(python3)})
        send(run(python3, send))


def run(lines, send):
    """Runs the program. Returns the event that says how it ended."""
    import_tensorflow()
    from bn_graph.comparison.original import year_2016  # these need TensorFlow, whose import is quiet above
    from bn_graph.comparison.original.observer import Observer

    observer = Observer(send)
    observer.install()
    year_2016.install(observer.add_batch_norm)
    source = "\n".join(lines) + "\n"
    linecache.cache[_NAME] = len(source), None, source.splitlines(keepends=True), _NAME  # for its tracebacks
    sys.argv = [_NAME]
    try:
        exec(compile(source, _NAME, "exec", dont_inherit=True), {"__name__": "__main__"} | BUILTINS)
    except SystemExit as error:
        if error.code:
            return {"event": "error", "index": _line_of(error), "message": f"SystemExit: {error.code}"}
    except BaseException as error:  # whatever it is, it is the program's
        traceback.print_exc()
        message = traceback.format_exception_only(error)[-1].strip()
        return {"event": "error", "index": _line_of(error), "message": message}
    return {"event": "end"}


def _line_of(error):
    """The index of the program's own line at which it ended, or None."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno - 1 for frame in reversed(frames) if frame.filename == _NAME), None)


if __name__ == "__main__":
    main(*sys.argv[1:])
