"""Damage that any bytes can come to."""

# Numbers at which something begins or ends.
# fmt: off
NUMBERS = [
    0, 1, -1, 2, 127, 128, 255, 1 << 15, 1 << 16, 1 << 28, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62,
    (1 << 63) - 1, -(1 << 63),
]
# fmt: on


def varint(number):
    """A number as protocol buffers and LevelDB's tables have it."""
    number &= (1 << 64) - 1
    content = b""
    while number > 127:
        content += bytes([number & 127 | 128])
        number >>= 7
    return content + bytes([number])


def damaged(rng, content, others=()):
    """Bytes, changed in one or more of the ways in which files break, or are broken by those who want to break us.

    others: of which pieces may be taken.
    """
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at, length = rng.randrange(len(content) + 1), rng.choice([1, 2, 4, 8, 100, 1000])
        way = rng.randrange(11)
        if way == 0:
            del content[at:]
        elif way == 1:
            for _ in range(rng.choice([1, 2, 10, 100])):
                if content:
                    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        elif way == 2:
            del content[at : at + length]
        elif way == 3:
            content[at:at] = rng.randbytes(length)
        elif way == 4:
            other = rng.choice([content, *others])
            start = rng.randrange(len(other) + 1)
            content[at : at + length * rng.randrange(2)] = other[start : start + length]
        elif way == 5:
            content[at : at + length] = rng.choice([b"\0", b"\xff", b"\x7f", b"("]) * length
        elif way in (6, 7):  # a number, of one of the widths and in one of the orders that there are
            width = rng.choice([1, 2, 4, 8])
            number = rng.choice([*NUMBERS, rng.randrange(2 * len(content) + 2)]) & (1 << 8 * width) - 1
            content[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))
        elif way == 8:
            content[at : at + rng.randrange(6)] = varint(rng.choice([*NUMBERS, len(content)]))
        elif way == 9:  # groups that open and never close
            content[at:at] = bytes([rng.randrange(1, 16) << 3 | 3]) * length
        elif rng.random() < 0.2:
            content = bytearray(rng.randbytes(rng.choice([0, 1, 8, 64, 300])))
    return bytes(content)
