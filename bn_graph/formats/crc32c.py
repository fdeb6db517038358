"""TODO."""

import functools

import numpy as np


def _check(content, masked):
    """Raises `ValueError` where the bytes have another checksum than the file says, rotated and moved as it does."""
    crc = crc32c(content)
    if ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF != masked:
        raise ValueError("damaged: a checksum is wrong")


def crc32c(content):
    """CRC-32C of an array of bytes."""
    crc = 0xFFFFFFFF
    head = len(content) % 4
    for byte in content[:head].tolist():
        crc = _one_byte(crc ^ byte)
    for start in range(head, len(content), 1 << 20):
        words = np.frombuffer(content[start : start + (1 << 20)].tobytes(), "<u4").astype(np.uint32)
        words[0] ^= np.uint32(crc)
        level = 0
        while len(words) > 1:
            if len(words) % 2:
                words = np.concatenate([np.zeros(1, np.uint32), words])
            words = _moved(words[::2], level) ^ words[1::2]
            level += 1
        crc = int(_moved(words, 0)[0])
    return crc ^ 0xFFFFFFFF


def _one_byte(crc):
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


def _moved(words, level):
    """CRCs moved on over 4 * 2**level bytes of zeros."""
    low, high = _tables(level)
    return low[words & 0xFFFF] ^ high[words >> 16]


@functools.cache
def _tables(level):
    """What becomes of each lower and each upper half of a CRC."""
    if level:
        # Twice as far as the level below. XOR makes the rest of the table out of the 32 single bits.
        bits = _moved(_moved(np.uint32(1) << np.arange(32, dtype=np.uint32), level - 1), level - 1)
    else:
        bits = [functools.reduce(lambda crc, _: _one_byte(crc), range(4), 1 << bit) for bit in range(32)]
    halves = []
    for half in (bits[:16], bits[16:]):
        table = np.zeros(1, np.uint32)
        for bit in half:
            table = np.concatenate([table, table ^ np.uint32(bit)])
        halves.append(table)
    return halves
