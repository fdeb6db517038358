"""What a path stands for, by the names of the files that are there."""

import os
import subprocess
import sys

import pytest

from bn_graph import InputError
from bn_graph.formats.graph_paths import find_graph
from tests.paths import ROOT

DATA = "data-00000-of-00001"
EVENTS = "events.out.tfevents.1500000000.host"
SAVED = ["model-9.index", "model-9.meta", "model-10.index", f"model-10.{DATA}", "model-10.meta"]
ESTIMATOR = ["graph.pbtxt", "model.ckpt-5.index", "model.ckpt-0.index", EVENTS, "eval/events.out.tfevents.2.host"]
OURS = ["step-9/variables.index", "step-10/variables.index", "record.json"]


def latest(name):
    return f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "old"\n'


# What is there; what is asked for; what is found: its kind, its file, and the graph beside it.
FOUND = {
    "a MetaGraph": (["a.meta"], "a.meta", "graph", "a.meta", None),
    "a GraphDef": (["a.pb"], "a.pb", "graph", "a.pb", None),
    "a GraphDef as text": (["a.pbtxt"], "a.pbtxt", "graph", "a.pbtxt", None),
    "an event file": ([EVENTS], EVENTS, "events", EVENTS, None),
    "a SavedModel's file": (["saved_model.pb"], "saved_model.pb", "saved_model", "saved_model.pb", None),
    "a SavedModel": (["saved_model.pb", "a.meta"], ".", "saved_model", "saved_model.pb", None),
    "a SavedModel as text": (["saved_model.pbtxt"], ".", "saved_model", "saved_model.pbtxt", None),
    "a prefix": (SAVED, "model-9", "checkpoint", "model-9", "model-9.meta"),
    "an index": (SAVED, "model-9.index", "checkpoint", "model-9", "model-9.meta"),
    "data": (SAVED, f"model-10.{DATA}", "checkpoint", "model-10", "model-10.meta"),
    "a prefix without its step": (SAVED, "model", "checkpoint", "model-10", "model-10.meta"),
    "a prefix beside another's graph": (["graph.pbtxt", "a.index"], "a", "checkpoint", "a", None),
    "a V1 file": (["model-9", "model-9.meta"], "model-9", "checkpoint", "model-9", "model-9.meta"),
    "V1 files in parts": (["a-00000-of-00002"], "a-?????-of-00002", "checkpoint", "a-?????-of-00002", None),
    "a Saver's folder": (
        [*SAVED, ("checkpoint", latest("model-9"))], ".", "checkpoint", "model-9", "model-9.meta",
    ),
    "the file checkpoint": (
        [*SAVED, ("checkpoint", latest("model-9"))], "checkpoint", "checkpoint", "model-9", "model-9.meta",
    ),
    "a folder that was moved": (
        [*SAVED, ("checkpoint", latest("/home/x/model-9"))], ".", "checkpoint", "model-9", "model-9.meta",
    ),
    "a name with quotes and letters": (
        [("checkpoint", latest(r"a\"\303\251-1")), 'a"é-1.index'], ".", "checkpoint", 'a"é-1', None,
    ),
    "a folder whose checkpoint file is lost": (SAVED, ".", "checkpoint", "model-10", "model-10.meta"),
    "an Estimator's model_dir": (
        [*ESTIMATOR, ("checkpoint", latest("model.ckpt-5"))], ".", "checkpoint", "model.ckpt-5", "graph.pbtxt",
    ),
    "a folder of events": ([EVENTS], ".", "events", EVENTS, None),
    "events beside a checkpoint": (["a-1.index", EVENTS], ".", "checkpoint", "a-1", EVENTS),
    "a folder with a MetaGraph": (["a-1.meta", "a-2.meta", "b.pb"], ".", "graph", "a-2.meta", None),
    "a folder with a frozen graph": (["frozen.pb", EVENTS, "notes.txt"], ".", "graph", "frozen.pb", None),
    "our --checkpoint-dir": (OURS, ".", "checkpoint", "step-10/variables", None),
    "our step": (OURS, "step-9", "checkpoint", "step-9/variables", None),
}  # fmt: skip


def fill(folder, files):
    for file in files:
        name, text = file if isinstance(file, tuple) else (file, "")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("case", FOUND)
def test_the_graph_or_checkpoint_is_found(case, tmp_path):
    files, asked, kind, path, graph = FOUND[case]
    fill(tmp_path, files)
    found = find_graph(tmp_path / asked)
    assert (found.kind, found.path) == (kind, tmp_path / path)
    assert (found.graph and found.graph.path) == (graph and tmp_path / graph)


def test_without_steps_the_latest_file_counts(tmp_path):
    fill(tmp_path, ["a.meta", "b.meta", "c.meta"])
    for age, name in enumerate("bca"):
        os.utime(tmp_path / f"{name}.meta", (1e9 - age, 1e9 - age))
    assert find_graph(tmp_path).path == tmp_path / "b.meta"


# What is there; what is asked for; what is said. DIR stands for the folder.
REFUSED = {
    "nothing": ([], "model", "DIR/model: there is no such file"),
    "a lost .meta": (["a.meta", "a.index"], "b.meta", "DIR/b.meta: there is no such file; there is DIR/a, DIR/a.meta"),
    "a lost event file": ([EVENTS], f"{EVENTS}.old", f"DIR/{EVENTS}.old: there is no such file; there is DIR/{EVENTS}"),
    "another folder": (["run/a-1.index"], "a", "DIR/a: there is no such file; there is DIR/run/a-1"),
    "a folder that is not there": (["a.meta"], "run/a.meta", "DIR/run/a.meta: there is no such file"),
    "a folder of others": (
        ["notes.txt"],
        ".",
        "DIR: expected a SavedModel, a checkpoint, a graph or event files in this folder, found none",
    ),
    "several runs": (
        ["one/a-1.index", f"one/a-1.{DATA}", "one/a-1.meta", f"two/{EVENTS}", "three/saved_model.pb"],
        ".",
        "DIR: expected a SavedModel, a checkpoint, a graph or event files in this folder, found none; "
        f"there is DIR/one/a-1, DIR/one/a-1.meta, DIR/three/saved_model.pb, DIR/two/{EVENTS}",
    ),
    "a state that points elsewhere": (
        [("checkpoint", latest("/elsewhere/model-7")), *SAVED],
        ".",
        "DIR/checkpoint: names /elsewhere/model-7, which is not there; there is "
        "DIR/checkpoint, DIR/model-10, DIR/model-10.meta, DIR/model-9, DIR/model-9.meta",
    ),
    "a state of something else": (
        [("checkpoint", "weights")],
        "checkpoint",
        "DIR/checkpoint: names no checkpoint; there is DIR/checkpoint",
    ),
    "a state that is damaged": (
        [("checkpoint", latest(r"model\x"))],
        ".",
        "DIR/checkpoint: names no checkpoint; there is DIR/checkpoint",
    ),
    "very many": (
        [f"{number}.pb" for number in range(10, 30)],
        "graph.pb",
        "DIR/graph.pb: there is no such file; there is "
        f"{', '.join(f'DIR/{number}.pb' for number in range(10, 18))} and 12 more",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_there_is_refused_with_what_there_is(case, tmp_path):
    files, asked, line = REFUSED[case]
    fill(tmp_path, files)
    with pytest.raises(InputError) as raised:
        find_graph(tmp_path / asked)
    assert str(raised.value).replace(str(tmp_path), "DIR") == line


def test_a_state_file_of_gigabytes_is_not_read(tmp_path):
    with open(tmp_path / "checkpoint", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="checkpoint: expected at most 16777216 bytes, found 1099511627776"):
        find_graph(tmp_path)


def test_tensorflow_is_not_needed(tmp_path):
    fill(tmp_path, [*SAVED, ("checkpoint", latest("model-9"))])
    program = (
        "import sys, bn_graph.formats.graph_paths as g; g.find_graph(sys.argv[1]); assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], cwd=ROOT, check=True)
