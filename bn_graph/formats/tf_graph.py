"""A graph that TensorFlow 1 wrote: a MetaGraph, a GraphDef, a SavedModel, or what is beside a checkpoint.

It is parsed and never imported or run, so that an op which nobody has any more is no obstacle.
"""

import dataclasses
import os
from pathlib import Path

from google.protobuf import message, text_format
from tensorflow.core.framework.variable_pb2 import VariableDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from bn_graph import memory
from bn_graph.errors import InputError
from bn_graph.files import open_file
from bn_graph.formats.event_file import read_graphs
from bn_graph.formats.graph_paths import find_graph
from bn_graph.tf1 import tf

COLLECTIONS = (
    tf.GraphKeys.TRAINABLE_VARIABLES,
    tf.GraphKeys.UPDATE_OPS,
    tf.GraphKeys.TRAIN_OP,
    tf.GraphKeys.GLOBAL_STEP,
    tf.GraphKeys.MODEL_VARIABLES,
)
_PARSE_ERRORS = (message.DecodeError, text_format.ParseError, UnicodeDecodeError, RecursionError, ValueError)
_MAX_BYTES = 2**31 - 1  # no protocol buffer is larger


@dataclasses.dataclass
class Source:
    """A graph, what its collections name, and a checkpoint; any of them may be missing."""

    subject: str  # what a report calls it
    graph_def: tf.GraphDef | None = None
    collections: dict = dataclasses.field(default_factory=dict)  # collection to names of nodes
    saver: str | None = None  # the node that a Saver runs to save
    checkpoint: Path | None = None
    file: Path | None = None  # that the MetaGraph was read from
    serving: tuple = ()  # the names of the nodes that its signatures return
    others: tuple = ()  # of a SavedModel, the `Source`s of its other MetaGraphs


def source_of(graph) -> Source:
    """The `Source` of a `tf.Graph`, a GraphDef, a MetaGraphDef or a path.

    Raises `InputError` where a file is no graph, TypeError for anything else.
    """
    if isinstance(graph, tf.Graph):
        collections = {key: [_collected_name(item) for item in graph.get_collection(key)] for key in COLLECTIONS}
        return Source("graph", graph.as_graph_def(add_shapes=True), collections)
    if isinstance(graph, tf.MetaGraphDef):
        return _source_of_meta_graph("graph", graph)
    if isinstance(graph, tf.GraphDef):
        return Source("graph", graph)
    if isinstance(graph, str | os.PathLike):
        return _source_of_path(Path(graph))
    raise TypeError(f"expected a tf.Graph, a GraphDef, a MetaGraphDef or a path, found {type(graph).__name__}")


def node_name(name: str) -> str:
    """The node of a tensor, control input or op, by its name."""
    return name.removeprefix("^").partition(":")[0]


def _collected_name(item):
    """The node of an op, a tensor or a variable in a collection."""
    return node_name(getattr(item, "name", str(item)))


def _source_of_meta_graph(subject, meta_graph):
    collections = {}
    for key in COLLECTIONS:
        if key in meta_graph.collection_def:
            collection = meta_graph.collection_def[key]
            names = list(collection.node_list.value)
            for serialized in collection.bytes_list.value:
                variable = VariableDef()
                try:
                    variable.ParseFromString(serialized)
                except _PARSE_ERRORS:
                    raise InputError(f"{subject}: the collection {key} holds something that is no variable") from None
                names.append(variable.variable_name)
            collections[key] = [node_name(name) for name in names]
    saver = node_name(meta_graph.saver_def.save_tensor_name)
    outputs = [output.name for signature in meta_graph.signature_def.values() for output in signature.outputs.values()]
    return Source(subject, meta_graph.graph_def, collections, saver, serving=tuple(map(node_name, outputs)))


def _source_of_path(path):
    found = find_graph(path)
    if found.kind == "checkpoint":
        source = _source_of_found(found.graph) if found.graph else Source(str(found.path))
        return dataclasses.replace(source, subject=str(found.path), checkpoint=found.path)
    return _source_of_found(found)


def _source_of_found(found):
    if found.kind == "saved_model":
        return _source_of_saved_model(found.path)
    return _source_of_events(found.path) if found.kind == "events" else _source_of_graph_file(found.path)


def _source_of_events(path):
    meta_graph, graph = read_graphs(path)
    kind, content = (tf.MetaGraphDef, meta_graph) if meta_graph else (tf.GraphDef, graph)
    if not content:
        raise InputError(f"{path}: has no graph in it; expected one, as tf.summary.FileWriter(folder, graph) writes it")
    parsed = _parsed(path, content, [kind])
    if isinstance(parsed, tf.GraphDef):
        return Source(str(path), parsed)
    return _source_of_meta_graph(str(path), parsed)


def _source_of_graph_file(path):
    kinds = [tf.MetaGraphDef] if path.suffix == ".meta" else [tf.GraphDef, tf.MetaGraphDef, SavedModel]
    parsed = _parse(path, kinds)
    if isinstance(parsed, tf.GraphDef):
        return Source(str(path), parsed)
    meta_graph = parsed if isinstance(parsed, tf.MetaGraphDef) else parsed.meta_graphs[0]
    return dataclasses.replace(_source_of_meta_graph(str(path), meta_graph), file=path)


def _source_of_saved_model(path):
    subject = str(path.parent)
    meta_graphs = _parse(path, [SavedModel]).meta_graphs
    training_first = sorted(meta_graphs, key=lambda one: "train" not in one.meta_info_def.tags)
    source, *others = [_source_of_meta_graph(subject, meta_graph) for meta_graph in training_first]
    source.others = tuple(others)
    if os.path.isfile(path.parent / "variables" / "variables.index"):
        source.checkpoint = path.parent / "variables" / "variables"
    return source


def _parse(path, kinds):
    """The content of a file as the first of the protocol buffers `kinds` that it can be."""
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MAX_BYTES:
                raise InputError(f"{path}: expected less than 2 GB, as every protocol buffer has, found {size} bytes")
            memory.check_memory(path, 3 * size, "a graph is held as it was read and as it is parsed, which takes")
            content = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return _parsed(path, content, kinds)


def _parsed(path, content, kinds):
    for kind in kinds:
        parsed = kind()
        try:
            if path.suffix == ".pbtxt":
                text_format.Parse(content.decode("utf-8"), parsed)
            else:
                parsed.ParseFromString(content)
        except _PARSE_ERRORS:
            continue
        nodes = [node for graph_def in _graph_defs(parsed) for node in graph_def.node]
        # Almost any bytes parse as something; a graph has nodes, and these have names and ops.
        if nodes and all(node.name and node.op for node in nodes):
            return parsed
    expected = " or a ".join(kind.__name__ for kind in kinds)
    raise InputError(f"{path}: expected a {expected} with nodes in it, found something else or damaged bytes")


def _graph_defs(parsed):
    if isinstance(parsed, SavedModel):
        return [meta_graph.graph_def for meta_graph in parsed.meta_graphs]
    return [parsed.graph_def if isinstance(parsed, tf.MetaGraphDef) else parsed]
