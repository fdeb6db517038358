"""Event files: the graph that TensorBoard shows is found, and damaged files are refused in one line."""

import struct
import tracemalloc

import pytest

from bn_graph import InputError
from bn_graph.audit import audit_graph
from bn_graph.formats.event_file import read_graphs
from bn_graph.tf1 import tf
from tests.audit.cases.case import BOTH
from tests.audit.findings import kinds
from tests.audit.networks import network
from tests.formats.checkpoint_files import event_record as event
from tests.formats.checkpoint_files import masked_crc, record

pytestmark = pytest.mark.release

NEVER_RUN = ("updates-never-run", "error")


@pytest.fixture(scope="module")
def built():
    return network(**BOTH, updates="collected")


@pytest.fixture
def written(built, tmp_path):
    """The event file that TensorFlow's own FileWriter makes."""
    with built.graph.as_default(), tf.summary.FileWriter(str(tmp_path), built.graph) as writer:
        writer.add_meta_graph(tf.train.export_meta_graph())
        writer.add_summary(tf.Summary(value=[tf.Summary.Value(tag="loss", simple_value=1.0)]), 1)
    (path,) = tmp_path.iterdir()
    return path


def test_the_graph_of_a_file_writer_is_audited(built, written):
    """By the file or its folder; and it is the MetaGraph that counts, which has the collections."""
    for path in (written, written.parent):
        assert NEVER_RUN in kinds(audit_graph(path))
    meta_graph, graph_def = read_graphs(written)
    assert tf.GraphDef.FromString(graph_def).node == built.graph.as_graph_def(add_shapes=True).node
    assert tf.GraphKeys.UPDATE_OPS in tf.MetaGraphDef.FromString(meta_graph).collection_def


def test_the_last_graph_counts(tmp_path):
    """A program that goes on writes its graph again."""
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(event(graph_def=b"old") + event(step=3) + event(graph_def=b"new") + event(step=4))
    assert read_graphs(path) == (None, b"new")


def test_a_file_that_is_still_written_may_end_anywhere(tmp_path):
    path = tmp_path / "events.out.tfevents.1"
    first, second = event(graph_def=b"graph"), event(graph_def=b"half of it")
    for size in range(len(second)):
        path.write_bytes(first + second[:size])
        assert read_graphs(path) == (None, b"graph"), size


# What is in the file, and what is said.
DAMAGED = {
    "text": (b"The quick brown fox.\n" * 9, "not an event file (damaged: a checksum is wrong)"),
    "zeros": (bytes(1000), "not an event file (damaged: a checksum is wrong)"),
    "a changed length": (b"\x01" + event(step=300)[1:], "not an event file (damaged: a checksum is wrong)"),
    "a changed byte": (event(graph_def=b"a").replace(b"a", b"b"), "not an event file (damaged: a checksum is wrong)"),
    "records of something else": (
        event(step=1) + record(b"\xff\xff\xff"),
        "not an event file (record 1 is no Event)",
    ),
    "a record of terabytes": (
        (length := struct.pack("<Q", 2**42)) + struct.pack("<I", masked_crc(length)) + b"x" * 100,
        f"not an event file (a record of {2**42} bytes)",
    ),
    "no graph": (
        event(file_version="brain.Event:2"),
        "has no graph in it; expected one, as tf.summary.FileWriter(folder, graph) writes it",
    ),
    "nothing": (b"", "has no graph in it; expected one, as tf.summary.FileWriter(folder, graph) writes it"),
    "a graph of something else": (
        event(graph_def=b"\xff\xff"),
        "expected a GraphDef with nodes in it, found something else or damaged bytes",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_damaged_is_refused(case, tmp_path):
    content, line = DAMAGED[case]
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        audit_graph(path)
    assert str(raised.value) == f"{path}: {line}"


def test_no_memory_is_taken_for_a_record_that_the_file_cannot_hold(tmp_path):
    """Its length and the checksum of that are right; the rest of the 2 GB is not there."""
    length, path = struct.pack("<Q", 2**31 - 1), tmp_path / "events.out.tfevents.1"
    path.write_bytes(event(graph_def=b"graph") + length + struct.pack("<I", masked_crc(length)) + b"x" * 100)
    tracemalloc.start()
    try:
        assert read_graphs(path) == (None, b"graph")
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()
