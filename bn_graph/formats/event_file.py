"""The graph in an event file of TensorBoard: a file of records, each an Event."""

import os
import struct

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.util.event_pb2 import Event

from bn_graph.errors import InputError
from bn_graph.files import open_file
from bn_graph.formats.crc32c import check_masked

_LARGEST_RECORD = 2**31 - 1  # bytes; no protocol buffer is larger


def read_graphs(path):
    """(MetaGraphDef, GraphDef) as bytes, each the last one in the event file `path`, or None where it has none.

    A file that is still written may end anywhere. Raises `InputError` where it is no event file.
    """
    meta_graph = graph = None
    for number, record in enumerate(_records(path)):
        event = Event()
        try:
            event.ParseFromString(record)
        except DecodeError:
            raise InputError(f"{path}: not an event file (record {number} is no Event)") from None
        meta_graph = event.meta_graph_def or meta_graph
        graph = event.graph_def or graph
    return meta_graph, graph


def _records(path):
    """The records of a TFRecord file: length, checksum of that, bytes, checksum of these."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            while len(header := file.read(12)) == 12:
                length, checksum = struct.unpack("<QI", header)
                check_masked(np.frombuffer(header[:8], np.uint8), checksum)
                if length > _LARGEST_RECORD:
                    raise ValueError(f"a record of {length} bytes")
                if length > size - file.tell() - 4:  # the rest is not written yet
                    return
                record, footer = file.read(length), file.read(4)
                check_masked(np.frombuffer(record, np.uint8), struct.unpack("<I", footer)[0])
                yield record
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise InputError(f"{path}: not an event file ({error})") from None
