"""Parsers that do what no parser may, with one input in ten; see test_fuzzing.py."""

import ctypes
import os
import pickle
import subprocess
import sys
import time
import warnings

from bn_graph.errors import InputError
from tests.fuzzing.harness import Parser

# Functions of C, which do what they do unseen by Python. PyDLL keeps the interpreter to itself while they run.
c_sleep, c_abort, c_creat = ctypes.PyDLL(None).sleep, ctypes.CDLL(None).abort, ctypes.CDLL(None).creat


def does(wrong, **settings):
    def damage(rng, seeds):
        return {"input": rng.choice([b"good"] * 9 + [b"bad"])}

    def parse(folder):
        content = (folder / "input").read_bytes()
        if content == b"bad":
            wrong(folder)

    return Parser(lambda: [{"input": b"good"}], damage, parse, **settings)


def swallows(folder):
    """What it did is found all the same."""
    try:
        pickle.loads(pickle.dumps(1))
    except BaseException:
        raise InputError(f"{folder}: broken") from None


def refuses(line):
    def parse(folder):
        error = InputError("")
        error.args = (line.replace("FOLDER", str(folder)),)
        raise error

    return parse


PARSERS = {
    "an exception": does(lambda folder: {}["key"]),
    "a hang": does(lambda folder: time.sleep(3600)),
    "a hang in C": does(lambda folder: c_sleep(3600)),
    "memory": does(lambda folder: bytearray(b"x") * 200_000_000),
    "a crash": does(lambda folder: c_abort()),
    "an exit": does(lambda folder: sys.exit(0)),
    "unpickling": does(lambda folder: pickle.loads(pickle.dumps(1))),
    "unpickling in secret": does(swallows),
    "code": does(lambda folder: exec("1 + 1")),
    "a program": does(lambda folder: subprocess.run(["true"])),
    "a file elsewhere": does(lambda folder: (folder.parent / "elsewhere").write_text("")),
    "a file from C": does(lambda folder: c_creat(os.fsencode(folder.parent / "elsewhere"), 0o600)),
    "a rename": does(lambda folder: os.rename(folder / "input", folder / "other")),
    "a warning": does(lambda folder: warnings.warn("look", stacklevel=1)),
    "a line on the screen": does(lambda folder: print("look", flush=True)),
    "two lines": does(refuses("FOLDER: one\ntwo")),
    "a long line": does(refuses("FOLDER" + "x" * 5000)),
    "no name": does(refuses("it is broken")),
}
