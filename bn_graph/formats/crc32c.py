"""CRC-32C, the checksum of TensorFlow's and LevelDB's files.

A CRC is linear. To get that of two halves, append as many zeros to the first as the second has bytes, and XOR both
CRCs. So all pairs of words become one word each at once, then all pairs of those, and numpy does the work.
"""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed
_MASK_DELTA = 0xA282EAD8  # tensorflow/core/lib/hash/crc32c.h
_CHUNK = 1 << 20  # bytes that are worked on at once


def check_masked(content: np.ndarray, masked: int) -> None:
    """Raises `ValueError` where the bytes have another checksum than `masked`.

    masked: the checksum as files have it, rotated right by 15 bits, plus a constant.
    """
    crc = crc32c(content)
    if ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF != masked:
        raise ValueError("damaged: a checksum is wrong")


def crc32c(content: np.ndarray) -> int:
    """CRC-32C of an array of bytes, uint8 [any]."""
    crc = 0xFFFFFFFF
    head = len(content) % 4
    for byte in content[:head].tolist():
        crc = _append_zero(crc ^ byte)
    for start in range(head, len(content), _CHUNK):
        words = np.frombuffer(content[start : start + _CHUNK].tobytes(), "<u4").astype(np.uint32)
        words[0] ^= np.uint32(crc)
        level = 0
        while len(words) > 1:
            if len(words) % 2:
                words = np.concatenate([np.zeros(1, np.uint32), words])
            words = _append_zeros(words[::2], level) ^ words[1::2]
            level += 1
        crc = int(_append_zeros(words, 0)[0])
    return crc ^ 0xFFFFFFFF


def _append_zero(crc):
    """The CRC after one more byte, a zero."""
    for _ in range(8):
        crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc


def _append_zeros(crcs, level):
    """The CRCs, uint32 [any], after 4 * 2**level more bytes, all zeros."""
    low, high = _tables(level)
    return low[crcs & 0xFFFF] ^ high[crcs >> 16]


@functools.cache
def _tables(level):
    """What `_append_zeros` makes of each lower and of each upper half of a CRC: two uint32 [65536]."""
    if level:
        # Twice as many zeros as the level below. XOR makes the rest of the table out of the 32 single bits.
        bits = _append_zeros(_append_zeros(np.uint32(1) << np.arange(32, dtype=np.uint32), level - 1), level - 1)
    else:
        bits = [functools.reduce(lambda crc, _: _append_zero(crc), range(4), 1 << bit) for bit in range(32)]
    halves = []
    for half in (bits[:16], bits[16:]):
        table = np.zeros(1, np.uint32)
        for bit in half:
            table = np.concatenate([table, table ^ np.uint32(bit)])
        halves.append(table)
    return halves
