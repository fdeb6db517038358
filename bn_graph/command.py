"""What the commands in scripts/ share: one clear line for a user's mistake, no noise from TensorFlow."""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from bn_graph.config import InputError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage in front. What is not given is not there."""

    def __init__(self, **arguments):
        super().__init__(allow_abbrev=False, argument_default=argparse.SUPPRESS, **arguments)

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}\n")


def run(parser, command):
    """Parses the arguments, calls `command(arguments)` and exits with what it returns (None is 0).

    A user's mistake or a broken file (`InputError`) is one line on stderr and exit code 2. A programming error keeps
    its traceback. Ctrl-C, SIGTERM, and a reader of our output that went away (`| head`), end the command as they end
    others, with 128 and the signal's number, after what was begun is tidied up.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    arguments = parser.parse_args()
    try:
        sys.exit(command(arguments))
    except InputError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes
        sys.exit(128 + signal.SIGPIPE)


class Signals:
    """While this context lasts, the first SIGINT or SIGTERM is only noted, in `number`. A second one ends at once."""

    def __enter__(self):
        self.number = None
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        self.number = number
        self.__exit__()


def import_tensorflow():
    """Imports TensorFlow without the lines that it and its libraries print.

    Newer releases print some while they are being loaded, whatever TF_CPP_MIN_LOG_LEVEL says, and from C++, so that
    only the file descriptor can be turned away. If the import fails, what was printed is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            from bn_graph.tf1 import tf
        except Exception:
            printed.seek(0)
            os.write(stderr, printed.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    tf.logging.set_verbosity(tf.logging.ERROR)


def check_folder(path):
    """Makes the folder `path` where there is none, and checks that a file can be written there.

    Raises `InputError`.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def check_output(path, suffix, ours):
    """Checks, before any work is done, that the file `path` can be written at the end.

    Args:
        path: where a command will write.
        suffix: what its name must end in.
        ours: called with the path if it exists; whether an earlier run of ours wrote it, so that it may be replaced.

    Raises `InputError`.
    """
    path = Path(path)
    if path.suffix != suffix:
        raise InputError(f"{path}: expected a file name that ends in {suffix}")
    try:
        if path.exists() and not (path.is_file() and ours(path)):
            raise InputError(f"{path}: exists and was not written by bn_graph; name another file")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
