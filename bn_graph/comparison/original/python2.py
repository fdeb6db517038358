"""Python 2 as Python 3, line for line. The library fissix, a fork of lib2to3, does it.

Two things of Python 2 are not mapped, because the text alone does not say what its values are: `/` between whole
numbers (which dropped the remainder), and text that was bytes.
"""

import ast
import contextlib
import functools
import importlib.util
import logging
import re
import sys
from typing import NamedTuple

from bn_graph.errors import InputError

FISSIX = "fissix>=24.4.24,<25"  # as in setup.py
# fix_import asks the disk which modules are beside the file, and here none are. The others add lines with imports, so
# that the lines would have other numbers. `BUILTINS` has what they import.
_LEFT_OUT = {f"fissix.fixes.fix_{name}" for name in ("import", "intern", "operator", "reduce", "reload")}
BUILTINS = {"reduce": functools.reduce, "intern": sys.intern, "reload": importlib.reload}
_COMMAND = re.compile(r"(%{1,2}|!)[a-z][\w.]*(\s|$)")  # of IPython, such as %matplotlib inline
_TAB = 8  # columns; Python 2 let tabs and blanks mean the same, and Python 3 does not


class NotPython(ValueError):
    """The text is neither Python 2 nor Python 3. `index`: of the line, or None."""

    def __init__(self, message, index):
        super().__init__(message)
        self.index = index


def check_fissix():
    """Raises `InputError` where fissix is not installed."""
    if importlib.util.find_spec("fissix") is None:
        raise InputError(f"--original needs the package fissix: pip install '{FISSIX}'")


def to_python3(lines) -> list:
    """The lines as Python 3, as many as there were. Raises `NotPython`."""
    lines = [f"# {line}" if _COMMAND.match(line) else line for line in lines]
    translated = _translate("\n".join(lines) + "\n").removesuffix("\n").split("\n")
    if len(translated) != len(lines):
        raise NotPython("cannot be written as Python 3 line for line", None)
    try:
        _check(translated)
    except TabError:
        translated = [_without_tabs(line) for line in translated]
        _check(translated)
    except SyntaxError as error:
        raise NotPython(error.msg, error.lineno and error.lineno - 1) from None
    return translated


def _check(lines):
    ast.parse("\n".join(lines) + "\n")


def divisions(lines) -> list:
    """The indices of the lines of Python 3 that divide by `/`."""
    tree = ast.parse("\n".join(lines) + "\n")
    found = {node.lineno - 1 for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)}
    return sorted(found)


class Change(NamedTuple):
    """A line that was written otherwise."""

    index: int
    before: str
    after: str


def changes(before, after) -> list:
    """The `Change`s between two lists of lines of the same length."""
    return [Change(index, old, new) for index, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]


def _without_tabs(line):
    indent = line[: len(line) - len(line.lstrip())]
    return indent.expandtabs(_TAB) + line[len(indent) :]


def _translate(text):
    with _quiet():
        from fissix import pgen2, refactor  # here: an extra brings it

        fixers = sorted(set(refactor.get_fixers_from_package("fissix.fixes")) - _LEFT_OUT)
        # The grammar without the print statement is for texts that are Python 3 already.
        for is_function in (False, True):
            tool = refactor.RefactoringTool(fixers, {"print_function": is_function})
            try:
                return str(tool.refactor_string(text, "the text"))
            except pgen2.parse.ParseError as error:
                failed = error
            except pgen2.tokenize.TokenError as error:
                raise NotPython(error.args[0], None) from None
            except IndentationError as error:
                raise NotPython(error.msg, error.lineno and error.lineno - 1) from None
    raise NotPython("invalid syntax", failed.context[1][0] - 1 if failed.context else None)


@contextlib.contextmanager
def _quiet():
    """Lets nothing of lib2to3 be logged: what went wrong is raised, too."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
