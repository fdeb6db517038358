"""formats/program.py: the code of a script, a notebook or a page, and where each line stands."""

import json
import os

import pytest

from bn_graph import InputError
from bn_graph.formats.program import read_program
from tests.comparison.texts import as_notebook, as_page

TEXT = 'print "a"\nif a:\n\n    print "b"\nc = 1\n'


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def code(program):
    return [line for line in program.lines if line.strip()]


@pytest.mark.parametrize(
    "name, text, place_of_c",
    [
        ("text.py", TEXT, "line 5"),
        ("windows.py", "\ufeff" + TEXT.replace("\n", "\r\n"), "line 5"),
        ("text.ipynb", as_notebook(TEXT, "c = "), "cell 2, line 1"),
        ("text.md", as_page(TEXT), "line 9"),
        ("fences.md", as_page(TEXT, fenced=True), "line 10"),
    ],
)
def test_a_script_a_notebook_and_a_page_have_the_same_code(tmp_path, name, text, place_of_c):
    program = read_program(write(tmp_path, name, text))
    assert code(program) == code(read_program(write(tmp_path, "plain.py", TEXT)))
    assert len(program.lines) == len(program.places)
    assert program.places[program.lines.index("c = 1")] == place_of_c


def test_a_notebook_of_2014_has_worksheets_and_its_cells_an_input(tmp_path):
    sheets = [{"cells": [{"cell_type": "code", "input": ["a = 1\n", "b = 2"]}, {"cell_type": "markdown"}]}]
    program = read_program(write(tmp_path, "old.ipynb", json.dumps({"nbformat": 3, "worksheets": sheets})))
    assert program.lines == ["a = 1", "b = 2"] and program.places == ["cell 1, line 1", "cell 1, line 2"]


def test_a_form_feed_ends_no_line(tmp_path):
    assert read_program(write(tmp_path, "text.py", "a = 1\n\x0cb = 2\n")).lines == ["a = 1", "\x0cb = 2"]


MISTAKES = {
    "text.txt": ("a = 1", "expected a name that ends in .py, .ipynb or .md"),
    "latin.py": ("# é".encode("latin-1"), "expected text in UTF-8"),
    "zero.py": ("a = 1\0", "expected text, found a zero byte"),
    "zero.ipynb": (as_notebook("c = '\0'", "c = "), "expected text, found a zero byte"),
    "half.ipynb": (as_notebook("c = '\ud800'", "c = "), "expected text in UTF-8"),
    "empty.py": ("\n\n", "has no code"),
    "prose.md": ("Only prose.\n", "has no code"),
    "words.ipynb": ("no JSON", "not a notebook (Expecting value"),
    "deep.ipynb": ("[" * 100_000, "not a notebook ("),
    "list.ipynb": ("[]", "not a notebook (it has no list of cells)"),
    "number.ipynb": ('{"cells": 3}', "not a notebook (it has no list of cells)"),
    "cell.ipynb": ('{"cells": [{"cell_type": "code", "source": 3}]}', "cell 1: expected a text, found int"),
    "lines.ipynb": ('{"cells": [{"cell_type": "code", "source": [3]}]}', "cell 1: expected a text, found list"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_no_program_is_an_error_that_names_the_file(tmp_path, name):
    text, message = MISTAKES[name]
    path = write(tmp_path, name, text)
    with pytest.raises(InputError) as error:
        read_program(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(InputError, match="expected a file, found a pipe"):
        read_program(tmp_path / "pipe.py")
