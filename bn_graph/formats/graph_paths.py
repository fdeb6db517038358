"""What a path that somebody names stands for: a graph, a checkpoint, or the folder in which a program left them.

Only names are looked at, and the small text file `checkpoint`. So a command can say what is wrong with a path before it
imports TensorFlow.
"""

import codecs
import glob
import os
import re
from pathlib import Path
from typing import NamedTuple

from bn_graph.errors import InputError
from bn_graph.files import may_exist, read_whole

_SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")
_GRAPH_SUFFIXES = (".meta", ".pb", ".pbtxt")
_EVENTS = "events.out.tfevents"
_STATE_FILE = "checkpoint"  # in which a Saver notes its latest one
_LATEST = re.compile(rb'^\s*model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_PART_OF_CHECKPOINT = re.compile(r"\.(index|data-\d{5}-of-\d{5})$")
_LARGEST_STATE = 2**24  # bytes; a line for each checkpoint that is kept
_MOST_CANDIDATES = 8


class GraphPath(NamedTuple):
    """Which files to read."""

    kind: str  # graph (.meta, .pb, .pbtxt), saved_model, events or checkpoint
    path: Path  # the file; of a checkpoint its prefix, or its V1 file
    graph: "GraphPath | None" = None  # of a checkpoint, the graph that lies beside it


def find_graph(path) -> GraphPath:
    """The `GraphPath` of a path.

    path: a graph or a checkpoint. Or a folder: a SavedModel; what a Saver or an Estimator wrote, of which the latest
        checkpoint counts; event files of TensorBoard; or a --checkpoint-dir. Or the file `checkpoint`; or the prefix of
        checkpoints without their step.

    Raises `InputError` where there is none of these, with what there is.
    """
    path = Path(path)
    if os.path.isdir(path):  # unlike pathlib's, it is false where a name is too long
        return _in_folder(path)
    if path.name == _STATE_FILE and os.path.isfile(path):
        return _latest_checkpoint(path.parent)
    kind = _kind_of_file(path)
    if kind and may_exist(path):
        return GraphPath(kind, path)
    prefix = Path(_PART_OF_CHECKPOINT.sub("", str(path)))
    if _is_checkpoint(prefix) or glob.glob(str(prefix)):  # V1 files in parts are named by a pattern
        return _with_own_graph(prefix)
    with_step = _newest(_files(path.parent, rf"{re.escape(path.name)}-\d+\.index"))
    if with_step:
        return _with_own_graph(with_step.with_suffix(""))
    raise InputError(f"{path}: there is no such file{_candidates_text(path.parent)}")


def _kind_of_file(path):
    """What a file is by its name, or None: a checkpoint, or nothing."""
    if path.name in _SAVED_MODELS:
        return "saved_model"
    if path.suffix in _GRAPH_SUFFIXES:
        return "graph"
    return "events" if _EVENTS in path.name else None


def _in_folder(folder):
    for name in _SAVED_MODELS:
        if os.path.isfile(folder / name):
            return GraphPath("saved_model", folder / name)
    if os.path.isfile(folder / _STATE_FILE):
        return _latest_checkpoint(folder)
    index = _newest([*_files(folder, r".*\.index"), *_files(folder, r"variables\.index", r"step-\d+")])
    if index:
        return _with_graph(index.with_suffix(""))
    graph = _graph_in(folder)
    if graph is None:
        raise InputError(
            f"{folder}: expected a SavedModel, a checkpoint, a graph or event files in this folder, found none"
            f"{_candidates_text(folder)}"
        )
    return graph


def _latest_checkpoint(folder):
    """The checkpoint that the file `checkpoint` names: by its path, or, in a folder that was moved, its name."""
    name = _named_in(read_whole(folder / _STATE_FILE, _LARGEST_STATE))
    for prefix in (folder / name, folder / name.name) if name else ():
        if _is_checkpoint(prefix):
            return _with_graph(prefix)
    named = f"names {name}, which is not there" if name else "names no checkpoint"
    raise InputError(f"{folder / _STATE_FILE}: {named}{_candidates_text(folder)}")


def _named_in(state):
    """The path that a file `checkpoint` gives, or None."""
    latest = _LATEST.search(state)
    try:
        return Path(os.fsdecode(codecs.escape_decode(latest[1])[0])) if latest else None
    except ValueError:  # "\x" and no number
        return None


def _is_checkpoint(prefix):
    return os.path.isfile(prefix) or os.path.isfile(f"{prefix}.index")


def _with_own_graph(prefix):
    """A checkpoint, with the .meta that its Saver wrote, and no graph that may be another's."""
    meta_graph = Path(f"{prefix}.meta")
    return GraphPath("checkpoint", prefix, GraphPath("graph", meta_graph) if os.path.isfile(meta_graph) else None)


def _with_graph(prefix):
    """A checkpoint, with its .meta, or else with the graph that a program has left in its folder."""
    found = _with_own_graph(prefix)
    return found if found.graph else found._replace(graph=_graph_in(prefix.parent))


def _graph_in(folder):
    """The graph that a program has left in a folder: what an Estimator, a Saver and a FileWriter call it."""
    for pattern in (r"graph\.pbtxt", r".*\.meta", r".*\.(pb|pbtxt)"):
        newest = _newest(_files(folder, pattern))
        if newest:
            return GraphPath("graph", newest)
    newest = _newest(_files(folder, rf".*{re.escape(_EVENTS)}.*"))
    return GraphPath("events", newest) if newest else None


def _files(folder, pattern, subfolders=None):
    """The files in a folder whose names match; or those in its subfolders, whose names match, too."""
    folders = [folder]
    if subfolders:
        folders = [folder / name for name in _names(folder) if re.fullmatch(subfolders, name)]
    return [place / name for place in folders for name in _names(place) if re.fullmatch(pattern, name)]


def _names(folder):
    try:
        return sorted(os.listdir(folder))
    except (OSError, ValueError):
        return []


def _newest(paths):
    """The one of the latest step, by the last number in the path, or else the latest one."""

    def age(path):
        numbers = re.findall(r"-(\d+)(?=[./]|$)", str(path))
        try:
            written = os.stat(path).st_mtime_ns
        except OSError:
            written = 0
        return int(numbers[-1]) if numbers else -1, written

    return max(paths, key=age, default=None)


def _candidates_text(folder):
    """What there is in a folder, and in the folders in it, that could be meant."""
    pattern = rf"saved_model\.pb(txt)?|{_STATE_FILE}|.*\.(index|meta|pb|pbtxt)|.*{re.escape(_EVENTS)}.*"
    found = [*_files(folder, pattern), *_files(folder, pattern, r".*")]
    if not found:
        return ""
    names = [_PART_OF_CHECKPOINT.sub("", str(path)) for path in found]
    more = f" and {len(names) - _MOST_CANDIDATES} more" if len(names) > _MOST_CANDIDATES else ""
    return f"; there is {', '.join(dict.fromkeys(names[:_MOST_CANDIDATES]))}{more}"
