"""Folders of IDX files."""

import bz2
import functools
import gzip
import struct

from tests.formats.digit_files import IDX_FILES, idx
from tests.fuzzing.damage import NUMBERS, damaged
from tests.fuzzing.digits import BOMB, digits, load


def seeds():
    plain = {name: idx(part) for name, part in zip(IDX_FILES, digits().values(), strict=True)}
    packed = {f"{name}.gz": gzip.compress(content) for name, content in plain.items()}
    mixed = dict([*list(plain.items())[:2], *list(packed.items())[2:]])
    return [{f"mnist/{name}": content for name, content in files.items()} for files in (plain, packed, mixed)]


def damage(rng, seeds):
    files = dict(rng.choice(seeds))
    for _ in range(rng.choice([1, 1, 2])):
        name = rng.choice(sorted(files))
        content, packed = files.pop(name), name.endswith(".gz")
        way = rng.randrange(10)
        if way < 5:  # what is in the file, before it is packed
            try:
                content = gzip.decompress(content) if packed else content
            except Exception:  # packed and damaged already
                packed = False
            if way < 3:  # a header that lies
                place = 4 * rng.randrange(4)
                number = rng.choice([*NUMBERS, 3, 28, 784, rng.randrange(256)]) & 0xFFFFFFFF
                content = content[:place] + struct.pack(">I", number) + content[place + 4 :]
            else:
                content = damaged(rng, content)
            content = gzip.compress(content, rng.choice([0, 1, 9])) if packed else content
        elif way == 5:
            content = files.get(rng.choice(sorted(files) or [name]), b"")  # another file's
        elif way == 6:
            name = rng.choice([name, name.removesuffix(".gz") if packed else f"{name}.gz"])  # the name says otherwise
        elif way == 7:
            content = rng.choice([content * 2, content + b"more", gzip.compress(content), bz2.compress(content)])
        elif way == 8 and rng.random() < 0.02:
            name, content = f"{name.removesuffix('.gz')}.gz", bomb_of_idx(name.count("images"))
        elif way == 8:
            continue  # no such file
        else:
            content = damaged(rng, content, list(seeds[0].values()))
        files[name] = content
    return files


@functools.cache
def bomb_of_idx(images):
    head = struct.pack(">4I", 0x803, len(BOMB) // 784, 28, 28) if images else struct.pack(">2I", 0x801, 2)
    return gzip.compress(head + BOMB)


parse = load("mnist")
