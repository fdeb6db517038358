"""What the commands in scripts/ share: one clear line for a user's mistake, no noise from TensorFlow."""

import argparse
import contextlib
import ctypes
import errno
import gc
import importlib
import importlib.util
import io
import os
import signal
import sys
import tempfile
from difflib import get_close_matches
from pathlib import Path

from bn_graph import __version__
from bn_graph.errors import InputError, one_line

FORCE = {"action": "store_true", "default": False, "help": "replace files that bn_graph did not write"}
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage in front. What is not given is not there.

    doc: the docstring of the command, whose first line is its description. None, as under `python -OO`, is none.
    """

    def __init__(self, doc=None, **arguments):
        description = doc and doc.splitlines()[0]
        super().__init__(description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS, **arguments)
        if self.add_help:
            self.add_argument(
                "--version", action="version", version=f"bn_graph {__version__}", help="print the version"
            )

    def parse_args(self, *arguments):
        parsed, unknown = self.parse_known_args(*arguments)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggestion(unknown)}")
        for name, value in vars(parsed).items():
            if value == "" or (isinstance(value, list) and "" in value):  # an unset variable of a shell, most likely
                option = f"--{name.replace('_', '-')}"
                self.error(
                    f"argument {option if option in self.format_usage() else name}: expected a name, found nothing"
                )
        return parsed

    def _suggestion(self, unknown):
        options = [option for option in self._option_string_actions if option.startswith("--")]
        for argument in unknown:
            nearest = get_close_matches(argument.partition("=")[0], options, n=1)
            if nearest:
                return f"; did you mean {nearest[0]}?"
        return ""

    def print_help(self, file=None):
        (file or sys.stdout).write(self.format_help())  # argparse's own says nothing of a full disk

    def error(self, message):
        self.exit(2, f"{self.prog}: {one_line(message)}\n")


def argument_type(function):
    """A `type` of `add_argument` that returns what `function` does, and says what its `InputError` says."""

    def parse(text):
        try:
            return function(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


class PrintAndExit(argparse.Action):
    """An option that prints what `text` returns, of the option's value if it has one, and ends the command."""

    def __init__(self, *arguments, text, **options):
        super().__init__(*arguments, **options)
        self._text = text

    def __call__(self, parser, namespace, value, option_string=None):
        print(self._text() if self.nargs == 0 else self._text(value))
        sys.stdout.flush()
        parser.exit()


def run(parser, command):
    """Parses the arguments, calls `command(arguments)` and exits with what it returns (None is 0).

    A user's mistake or a broken file (`InputError`) is one line on stderr and exit code 2. A programming error keeps
    its traceback. Ctrl-C, SIGTERM, SIGHUP (the terminal is closed), and a reader of our output that went away
    (`| head`), end the command as they end others, with 128 and the signal's number, after what was begun is tidied up.
    SIGTERM or SIGHUP stays ignored where it was, as under `nohup`.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # since the script's first line
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _open_streams()
    try:
        try:
            code = command(parser.parse_args())
        finally:
            sys.stdout.flush()
        sys.exit(code)
    except InputError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except OSError as error:
        broken = isinstance(error, BrokenPipeError)
        if error.filename or not (broken or error.errno in _FULL):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes
        if broken:
            sys.exit(128 + signal.SIGPIPE)
        parser.error(f"standard output: cannot be written: {error.strerror}")


def _open_streams():
    """Lets every name be printed, and opens the standard streams that were closed (`>&-`) as /dev/null.

    The next file that is opened would get a closed one's number, and with it whatever is printed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text


def has_colours(stream) -> bool:
    """Whether a stream is a terminal that shows colours, and nobody switched them off: https://no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Signals:
    """While this context lasts, the first SIGINT, SIGTERM or SIGHUP is noted in `number`. A second one ends it all.

    One that is ignored stays so: a shell has its background jobs ignore SIGINT, and `nohup` SIGHUP.
    """

    def __enter__(self):
        self.number = None
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        self._before = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        self.number = number
        self.__exit__()


def set_parent_death_signal():
    """Called in a new child: on Linux it is killed when we end, however we do. Elsewhere only if we can still do it."""
    if _LIBC:
        _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def import_tensorflow():
    """Imports TensorFlow without the lines that it and its libraries print, and in half of the time that it takes.

    Call it where TensorFlow is needed, so that --help and mistakes need not wait for it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "bn_graph.tf1" not in sys.modules:
        with _interruptible(), _silent(), _without_unused_libraries(), _uncollected():
            importlib.import_module("bn_graph.tf1")
    tf = sys.modules["bn_graph.tf1"].tf
    tf.logging.set_verbosity(tf.logging.FATAL)  # what ends a command is an exception, and our own line says so


@contextlib.contextmanager
def _interruptible():
    """Lets an interrupt end the process. While they are imported, libraries may turn an exception into another one."""
    listening = signal.getsignal(signal.SIGINT) == signal.default_int_handler
    if listening:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if listening:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def _silent():
    """Keeps from stderr what is printed there, and shows it if an exception leaves this context.

    Newer releases of TensorFlow print some lines while they are being loaded, whatever TF_CPP_MIN_LOG_LEVEL says, and
    from C++, so that only the file descriptor can be turned away.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            yield
        except Exception:
            printed.seek(0)
            os.write(stderr, printed.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextlib.contextmanager
def _without_unused_libraries():
    """Lets TensorFlow and tf-slim be imported without libraries that take half of the time and that no run needs.

    TensorFlow imports Keras 3 at once, and with it matplotlib, but for the older Keras that a program may ask for by
    this variable. That is imported when it is used. Where it is installed, everything stays as it is. The converter of
    TensorFlow Lite imports JAX where it is installed, and a loss of tf-slim scikit-learn; both can do without.
    """
    asked = os.environ.get("TF_USE_LEGACY_KERAS")
    if asked is None and importlib.util.find_spec("tf_keras") is None:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    hidden = [name for name in ("jax", "sklearn") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # a module that is None cannot be imported
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if asked is None:
            os.environ.pop("TF_USE_LEGACY_KERAS", None)


@contextlib.contextmanager
def _uncollected():
    """Keeps the garbage collector from what is made in this context, for good.

    The modules of TensorFlow live until the command ends. To look for garbage among them again and again, and once
    more at the end, takes a second.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def check_folder(path):
    """Checks that files can be written in the folder `path`, which need not be there yet. Raises `InputError`."""
    place = Path(os.path.realpath(path))
    try:
        while not _is_there(place):
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def check_output(path, suffix, written_by_us, force=False):
    """Checks, before any work is done, that the file `path` can be written at the end.

    Args:
        path: where a command will write. Where it is a link, what it leads to counts.
        suffix: what its name must end in.
        written_by_us: called with the path if it exists; whether we wrote it earlier, so that it may be replaced.
        force: replace a file that we did not write, too; but nothing else that is no file.

    Raises `InputError`.
    """
    path = Path(path)
    if path.suffix != suffix:
        raise InputError(f"{path}: expected a file name that ends in {suffix}")
    try:
        if _is_there(path):
            if not path.is_file():
                raise InputError(
                    f"{path}: expected a file, found a {'folder' if path.is_dir() else 'pipe or a device'}"
                )
            if not force and not written_by_us(path):
                raise InputError(f"{path}: exists and was not written by bn_graph; name another file, or --force")
        with tempfile.TemporaryFile(dir=Path(os.path.realpath(path)).parent):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def writing():
    """Around what writes files whose paths a user gave: an OSError, which names the file, becomes an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}") from None


def _is_there(path):
    """Whether there is something. Raises OSError where there can be nothing."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True
