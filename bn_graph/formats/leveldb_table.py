"""TODO."""

import bisect
import os

import numpy as np

from bn_graph.formats.crc32c import _check

_MAGIC = 0xDB4775248B80FB57

_FOOTER = 48

_TRAILER = 5  # of a block: how it is compressed, and its checksum

# Names are stored as what differs from the one before. A small file can claim much by that: no real one comes near.
_LARGEST_EXPANSION = 64


class _Table:
    """A file of sorted keys and their values."""

    def __init__(self, path):
        self.path = path
        self._block = None, {}  # the last one that was looked into
        size = os.path.getsize(path)
        footer = _read(path, max(size - _FOOTER, 0), min(size, _FOOTER)).tobytes()
        if len(footer) < _FOOTER or int.from_bytes(footer[-8:], "little") != _MAGIC:
            raise ValueError("it does not end as a checkpoint does")
        _, _, position = _handle(footer, 0)
        self._keys, self._handles, end = [], [], 0
        for key, value in _entries(self._read_block(*_handle(footer, position)[:2])):
            offset, size, _ = _handle(value, 0)
            if offset < end or (self._keys and key < self._keys[-1]):
                raise ValueError("its blocks are not in order")
            end = offset + size + _TRAILER
            self._keys.append(key)
            self._handles.append((offset, size))

    def items(self):
        last = None
        for handle in self._handles:
            for key, value in _entries(self._read_block(*handle)):
                if last is not None and key <= last:
                    raise ValueError("its names are not in order")
                last = key
                yield key, value

    def __getitem__(self, key):
        found = bisect.bisect_left(self._keys, key)  # the first block whose last key is not before this one
        if found < len(self._keys):
            if self._block[0] != found:
                self._block = found, dict(_entries(self._read_block(*self._handles[found])))
            if key in self._block[1]:
                return self._block[1][key]
        raise ValueError("it is not in the file" if key else "its list of variables is not in the file")

    def _read_block(self, offset, size):
        content = _read(self.path, offset, size + _TRAILER)
        _check(content[:-4], int.from_bytes(content[-4:].tobytes(), "little"))
        if content[size]:
            raise ValueError("a compressed block, which TensorFlow never wrote")
        return content[:size].tobytes()


def _entries(block):
    """The keys and values of a block: each key is what it shares with the one before, and its own rest."""
    end = len(block) - 4 * (1 + int.from_bytes(block[-4:], "little"))
    if len(block) < 4 or end < 0:
        raise ValueError("a block without its end")
    position, key, unpacked = 0, b"", 0
    while position < end:
        shared, position = _varint(block, position)
        own, position = _varint(block, position)
        size, position = _varint(block, position)
        if shared > len(key) or position + own + size > end:
            raise ValueError("a block with more in it than its size")
        key = key[:shared] + block[position : position + own]
        position += own
        unpacked += len(key)
        if unpacked > _LARGEST_EXPANSION * len(block):
            raise ValueError("names too long for the file")
        yield key, block[position : position + size]
        position += size


def _handle(content, position):
    """Offset and size of a block, and the position after them."""
    offset, position = _varint(content, position)
    size, position = _varint(content, position)
    return offset, size, position


def _varint(content, position):
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


def _read(path, offset, size):
    """These bytes of the file. No memory is asked for what the file does not have."""
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
