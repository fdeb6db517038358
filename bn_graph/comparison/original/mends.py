"""The two lines at which the page as printed crashes, and what is put in their place.

Only `--mend` does this. What is changed is what makes the text run to its end, and nothing that it computes.
"""

import re
from typing import NamedTuple


class Mend(NamedTuple):
    """A line that is replaced."""

    index: int  # of the line, from 0
    before: str
    after: str
    why: str


_TENSORFLOW = re.compile(r"import tensorflow as \w+\s*$")
_OPS_IS_USED = re.compile(r"(?<![\w.])ops\.")
_OPS_IS_THERE = re.compile(r"import .*\bops\b|(?<![\w.])ops\s*=[^=]")
_FETCH = re.compile(r"(?P<before>\s*(?P<name>\w+)\s*=\s*\w+\.run\()\[\s*(?P<tensor>\w+)\s*\](?P<after>\s*,.*)")


def find_mends(lines) -> list:
    """The `Mend`s of a program's lines, in order. Text that has no such line has none."""
    mends = [*_ops_never_imported(lines), *_list_times_100(lines)]
    return sorted(mends, key=lambda mend: mend.index)


def _ops_never_imported(lines):
    if not any(map(_OPS_IS_USED.search, lines)) or any(map(_OPS_IS_THERE.search, lines)):
        return
    for index, line in enumerate(lines):
        if _TENSORFLOW.match(line):
            after = f"{line.rstrip()}; from tensorflow.python.framework import ops"
            yield Mend(index, line, after, "the text takes UPDATE_OPS from ops and never imports it: a NameError")
            return


def _list_times_100(lines):
    for index, line in enumerate(lines):
        fetch = _FETCH.fullmatch(line)
        if fetch and any(re.search(rf"\b{fetch['name']}\s*\*\s*100\b", later) for later in lines[index + 1 :]):
            after = f"{fetch['before']}{fetch['tensor']}{fetch['after']}"
            why = "to fetch a list gives a list, which the text multiplies by 100 and prints as one number: a TypeError"
            yield Mend(index, line, after, why)
