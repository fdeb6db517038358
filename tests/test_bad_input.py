"""Everything that a user can get wrong, and the line that they get.

One line on stderr, exit code 2, and nothing written. In a line `…` stands for what differs between computers and releases
of libraries. (Files damaged at random: test_fuzz.py. Checkpoints that lie about one variable: test_checkpoint.py.)
"""
# ruff: noqa: E501

import ctypes
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import PACKAGED, REFERENCE, ROOT, in_process, run
from digit_files import IMAGES, idx_folder, made_up, npz_file

from bn_graph.tf1 import tf

SMALL = REFERENCE / "checkpoint" / "hidden16_v2.ckpt"
DATA = ".data-00000-of-00001"
LONG = "x" * 300


def png(width, height):
    """The beginning of a picture of this size."""
    header = b"IHDR" + struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with one of everything that is wrong."""
    folder = tmp_path_factory.mktemp("shelf")
    for name in ("folder.json", "folder.png", "folder.meta", "theirs", "foreign", "foreign_json", "foreign_picture",
                 "foreign_folder/report.html", "closed", "linked", "occupied/saved_model.pb", "bad_saved", "elsewhere"):  # fmt: skip
        (folder / name).mkdir(parents=True)
    for name, text in {
        "theirs.json": "{}",
        "theirs.png": "not a picture",
        "deep.json": "[" * 100_000,
        "theirs/thesis.txt": "mine",
        "foreign/report.html": "<html>mine</html>",
        "foreign_json/comparison.json": "[" * 100_000,
        "foreign_picture/comparison.png": "mine",
        "text.ckpt": "not a checkpoint",
        "empty.ckpt": "",
        "empty.meta": "",
    }.items():
        (folder / name).write_text(text)
    for suffix in (".npz", ".mat", ".meta", ".pb", ".pbtxt"):
        (folder / f"text{suffix}").write_text("something else\n")
    (folder / "bad_saved" / "saved_model.pb").write_text("something else\n")
    (folder / "bomb.png").write_bytes(png(100_000, 100_000))
    idx_folder(folder / "pipes", made_up(120, 40), packed=[IMAGES])
    (folder / "pipes" / f"{IMAGES}.gz").unlink()
    for name in ("pipe.json", "pipe.npz", "pipe.mat", "pipe.meta", f"pipes/{IMAGES}"):
        os.mkfifo(folder / name)
    for name, target in {
        "device.json": os.devnull,
        "zeros.npz": "/dev/zero",
        "zeros.mat": "/dev/zero",
        "zeros.pb": "/dev/zero",
        "loop.json": "loop.json",
        "link.json": "theirs.json",
        "lost.json": "no/such/folder/record.json",
        "linked/variables": "../elsewhere",
    }.items():
        (folder / name).symlink_to(target)
    npz_file(folder / "few.npz", made_up(120, 40))
    three = made_up(21000, 3)
    three["y_train"][:] = np.arange(21000) < 3
    npz_file(folder / "three.npz", three)
    shutil.copy(f"{SMALL}.index", folder / "alone.ckpt.index")
    for name, index, data in (("cut.ckpt", None, 1000), ("cut_index.ckpt", 500, None), ("hidden16.ckpt", None, None)):
        (folder / f"{name}.index").write_bytes(Path(f"{SMALL}.index").read_bytes()[:index])
        (folder / f"{name}{DATA}").write_bytes(Path(f"{SMALL}{DATA}").read_bytes()[:data])
    with tf.Graph().as_default(), tf.Session() as session:
        variable = tf.Variable([1.0, 2.0], name="something/else")
        session.run(variable.initializer)
        tf.train.Saver([variable]).save(session, str(folder / "other.ckpt"), write_meta_graph=False, write_state=False)
    shutil.copy(PACKAGED / "graph" / "page.meta", folder / "page.meta")
    (folder / "cut.meta").write_bytes((folder / "page.meta").read_bytes()[:1000])
    for name, nodes in {"twice.pb": ["a", "a"], "nameless.pb": [""]}.items():
        graph = tf.GraphDef()
        for node in nodes:
            graph.node.add(name=node, op="NoOp")
        (folder / name).write_bytes(graph.SerializeToString())
    for name in ("locked.npz", "locked.meta"):
        (folder / name).write_text("mine")
        (folder / name).chmod(0)
    (folder / "closed").chmod(0o555)
    return folder


def contents(folder):
    """All that is in the folder, with its size and its age."""
    return {
        path: (os.lstat(path).st_mode, os.lstat(path).st_size, os.lstat(path).st_mtime_ns) for path in folder.rglob("*")
    }


def is_said(line, said):
    """Whether `line`, in which … stands for anything, is what is `said`."""
    return re.fullmatch(".*".join(map(re.escape, line.split("…"))), said)
