"""LevelDB's table: a file of sorted keys and their values, as TensorFlow's checkpoints have it.

The format is https://github.com/google/leveldb/blob/main/doc/table_format.md. The end of the file, its footer, leads to
the index: for each block its last key, and its handle, which is where it is and how large.
"""

import bisect
import os
from collections.abc import Iterator

import numpy as np

from bn_graph.formats.crc32c import check_masked

_MAGIC = 0xDB4775248B80FB57  # kTableMagicNumber in leveldb/table/format.h
_FOOTER = 48  # bytes
_TRAILER = 5  # bytes behind a block: how it is compressed, and its checksum
# A key is stored as what differs from the one before. So a small file can claim long keys; no real one comes near this.
_LARGEST_EXPANSION = 64


class Table:
    """The table in the file `path`. Raises `ValueError` or OSError where it cannot be read."""

    def __init__(self, path):
        self.path = path
        self._latest_block = None, {}  # the number of the block that was looked into last, and its entries
        size = os.path.getsize(path)
        footer = read_bytes(path, max(size - _FOOTER, 0), min(size, _FOOTER)).tobytes()
        if len(footer) < _FOOTER or int.from_bytes(footer[-8:], "little") != _MAGIC:
            raise ValueError("it does not end as a checkpoint does")
        _, _, position = _read_handle(footer, 0)  # of the metaindex, which TensorFlow leaves empty
        self._last_keys, self._handles, end = [], [], 0
        for key, value in _entries(self._read_block(*_read_handle(footer, position)[:2])):
            offset, size, _ = _read_handle(value, 0)
            if offset < end or (self._last_keys and key < self._last_keys[-1]):
                raise ValueError("its blocks are not in order")
            end = offset + size + _TRAILER
            self._last_keys.append(key)
            self._handles.append((offset, size))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values, in the order of the keys."""
        last = None
        for handle in self._handles:
            for key, value in _entries(self._read_block(*handle)):
                if last is not None and key <= last:
                    raise ValueError("its names are not in order")
                last = key
                yield key, value

    def __getitem__(self, key: bytes) -> bytes:
        number = bisect.bisect_left(self._last_keys, key)  # the first block whose last key is not before this one
        if number < len(self._last_keys):
            if self._latest_block[0] != number:
                self._latest_block = number, dict(_entries(self._read_block(*self._handles[number])))
            entries = self._latest_block[1]
            if key in entries:
                return entries[key]
        raise ValueError("it is not in the file" if key else "its list of variables is not in the file")

    def _read_block(self, offset, size):
        content = read_bytes(self.path, offset, size + _TRAILER)
        check_masked(content[:-4], int.from_bytes(content[-4:].tobytes(), "little"))
        if content[size]:
            raise ValueError("a compressed block, which TensorFlow never wrote")
        return content[:size].tobytes()


def read_bytes(path, offset: int, size: int) -> np.ndarray:
    """A part of a file, uint8 [size]. No memory is asked for what the file does not have.

    Raises `ValueError` where the file does not have that part, OSError where it cannot be read.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("not a file")  # to open a pipe would wait for whoever writes to it
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        if offset < 0 or offset + size > length:
            raise ValueError(f"{os.path.basename(path)}: {size} bytes from {offset} on, and it has {length}")
        content = np.fromfile(file, np.uint8, size, offset=offset)
    if len(content) != size:
        raise ValueError(f"{os.path.basename(path)}: cannot be read to its end")
    return content


def _entries(block):
    """The keys and values of a block. Each key is stored as what it shares with the one before, and its own rest."""
    end = len(block) - 4 * (1 + int.from_bytes(block[-4:], "little"))
    if len(block) < 4 or end < 0:
        raise ValueError("a block without its end")
    position, key, bytes_of_keys = 0, b"", 0
    while position < end:
        num_shared, position = _read_varint(block, position)
        num_rest, position = _read_varint(block, position)
        size, position = _read_varint(block, position)
        if num_shared > len(key) or position + num_rest + size > end:
            raise ValueError("a block with more in it than its size")
        key = key[:num_shared] + block[position : position + num_rest]
        position += num_rest
        bytes_of_keys += len(key)
        if bytes_of_keys > _LARGEST_EXPANSION * len(block):
            raise ValueError("names too long for the file")
        yield key, block[position : position + size]
        position += size


def _read_handle(content, position):
    """Offset and size of a block, and the position after them."""
    offset, position = _read_varint(content, position)
    size, position = _read_varint(content, position)
    return offset, size, position


def _read_varint(content, position):
    """A number, seven bits to a byte, the lowest first; and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(content):
            break
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("a number without an end")
