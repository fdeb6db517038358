"""Programs: notebooks above all, whose JSON is by anybody. Nearly every other text is a program."""

import json

from tests.comparison.texts import as_notebook, as_page
from tests.fuzzing.damage import damaged
from tests.fuzzing.records import json_words

_TEXT = 'print "a"\nif a:\n\tprint "b"\nc = 1\n'


def seeds():
    sheets = [{"cells": [{"cell_type": "code", "input": ["a = 1\n", "b = 2"]}]}]
    notebooks = [as_notebook(_TEXT, "c = "), json.dumps({"nbformat": 3, "worksheets": sheets})]
    others = {"text.py": _TEXT, "text.md": as_page(_TEXT)}
    return [{"text.ipynb": text.encode()} for text in notebooks] + [
        {name: text.encode()} for name, text in others.items()
    ]


def damage(rng, seeds):
    ((name, content),) = rng.choice(seeds + 8 * seeds[:2]).items()
    if name != "text.ipynb" or rng.random() < 0.3:
        others = [other for seed in seeds for other in seed.values()]
        return {name: damaged(rng, content, others)}
    notebook = json.loads(content)
    owner = notebook
    while rng.random() < 0.7:  # somewhere inside: in the list of cells, in a cell
        inner = [value for value in (owner.values() if isinstance(owner, dict) else owner) if value]
        inner = [value for value in inner if isinstance(value, dict | list)]
        if not inner:
            break
        owner = rng.choice(inner)
    key = rng.choice(list(owner) if isinstance(owner, dict) else range(len(owner)))
    owner[key] = "HERE"
    text = json.dumps(notebook).replace('"HERE"', json_words(rng))
    return {name: text.encode("utf-8", "surrogatepass")}


def parse(folder):
    from bn_graph.formats.program import read_program

    (path,) = folder.iterdir()
    program = read_program(path)
    assert len(program.lines) == len(program.places) and not any("\n" in line for line in program.lines)
    assert "\0" not in "".join(program.lines)
    "".join(program.lines).encode()  # it can be written into the file from which it is run
