"""The text of a program: a Python script, the code cells of a notebook, or the indented code of a page in Markdown.

The text is only read. It may be Python 2, so it is not parsed as Python here.
"""

import json
from pathlib import Path
from typing import NamedTuple

from bn_graph.errors import InputError, first_line
from bn_graph.files import read_whole

SUFFIXES = (".py", ".ipynb", ".md")
_LARGEST = 2**25  # bytes; a notebook holds its pictures


class Program(NamedTuple):
    """A program, line by line."""

    path: str  # as the user named it
    lines: list  # of Python, without line ends
    places: list  # where each line is in the file, for people: "line 12", or "cell 3, line 4"


def read_program(path) -> Program:
    """The program in the file `path`, whose name ends in .py, .ipynb or .md. Raises `InputError`."""
    readers = {".py": _of_script, ".ipynb": _of_notebook, ".md": _of_page}
    suffix = Path(path).suffix
    if suffix not in readers:
        raise InputError(f"{path}: expected a name that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    try:
        text = read_whole(path, _LARGEST).decode("utf-8-sig")
        lines, places = readers[suffix](path, text)
        "".join(lines).encode()  # JSON can name halves of characters
    except UnicodeError:
        raise InputError(f"{path}: expected text in UTF-8") from None
    if any("\0" in line for line in lines):
        raise InputError(f"{path}: expected text, found a zero byte")
    if not any(line.strip() for line in lines):
        raise InputError(f"{path}: has no code")
    return Program(str(path), lines, places)


def _of_script(path, text):
    lines = _split(text)
    return lines, _numbered(lines)


def _of_page(path, text):
    """The code, indented by four blanks or in fences; all else is an empty line, so that the numbers are the page's."""
    lines = _split(text)
    fenced = [line.lstrip().startswith("```") for line in lines]
    if any(fenced):
        inside, code = False, []
        for line, is_fence in zip(lines, fenced, strict=True):
            inside ^= is_fence
            code.append(line if inside and not is_fence else "")
    else:
        code = [line[4:] if line.startswith("    ") else "" for line in lines]
    return code, _numbered(lines)


def _of_notebook(path, text):
    """The code cells, of notebooks in the formats 3 and 4. A cell's source is a text, or a list of its lines."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a notebook ({first_line(error)})") from None
    lines, places = [], []
    for number, cell in enumerate(_cells(path, content), 1):
        source = cell.get("source", cell.get("input", ""))
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str):
            raise InputError(f"{path}: cell {number}: expected a text, found {type(source).__name__}")
        cell_lines = _split(source)
        lines += cell_lines
        places += [f"cell {number}, {place}" for place in _numbered(cell_lines)]
    return lines, places


def _cells(path, content):
    content = content if isinstance(content, dict) else {}
    cells = content.get("cells")
    if "cells" not in content and isinstance(content.get("worksheets"), list):
        sheets = [sheet.get("cells") for sheet in content["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for sheet in sheets if isinstance(sheet, list) for cell in sheet]
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise InputError(f"{path}: not a notebook (it has no list of cells)")
    return [cell for cell in cells if cell.get("cell_type") == "code"]


def _split(text):
    """The lines. (str.splitlines ends one at a form feed, too, and Python does not.)"""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def _numbered(lines):
    return [f"line {number}" for number in range(1, len(lines) + 1)]
