"""What is found at a path that is to be written: is it ours?"""

import functools
import io
import struct
import zlib

from bn_graph.errors import InputError
from tests.fuzzing.damage import damaged
from tests.fuzzing.digits import BOMB
from tests.fuzzing.records import json_words


def seeds():
    from PIL import Image, PngImagePlugin

    from bn_graph.comparison.report import GENERATOR
    from bn_graph.pictures import SOFTWARE

    about, file = PngImagePlugin.PngInfo(), io.BytesIO()
    about.add_text("Software", SOFTWARE)
    about.add_itxt("Title", "made up", zip=True)
    Image.new("RGB", (20, 10)).save(file, "png", pnginfo=about)
    page = f"<!DOCTYPE html><html><head>{GENERATOR}</head></html>".encode()
    return [{"out.png": file.getvalue(), "out.html": page, "out.json": b'{"generator": "bn_graph", "steps": [1, 2]}'}]


@functools.cache
def bomb_of_png():
    return b"Software\0\0" + zlib.compress(BOMB)


def damage(rng, seeds):
    files = dict(seeds[0])
    name = rng.choice(["out.png", "out.png", "out.html", "out.json"])
    if name == "out.png" and rng.random() < 0.7:  # with checksums that are right
        content, place, chunks = files[name], 8, []
        while place < len(content):
            (length,) = struct.unpack_from(">I", content, place)
            chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
            place += length + 12
        place = rng.randrange(len(chunks))
        kind, data = chunks[place]
        kind = rng.choice([kind, kind, kind, b"zTXt", b"tEXt", b"iTXt", b"iCCP", b"acTL", b"fcTL", b"eXIf", b"xxxx"])
        data = rng.choice([damaged(rng, data), damaged(rng, data), b"", bomb_of_png()])
        chunks[place : place + rng.randrange(2)] = [(kind, data)] * rng.choice([1, 1, 1, 100])
        files[name] = content[:8] + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    elif name == "out.json" and rng.random() < 0.7:
        files[name] = f'{{"generator": {json_words(rng)}, {json_words(rng)}: 1}}'.encode("utf-8", "surrogatepass")
    else:
        files[name] = damaged(rng, files[name])
    return files


def parse(folder):
    from bn_graph.comparison.report import json_written_by_us, page_written_by_us
    from bn_graph.pictures import picture_written_by_us

    found = (
        picture_written_by_us(folder / "out.png"),
        page_written_by_us(folder / "out.html"),
        json_written_by_us(folder / "out.json"),
    )
    if not all(found):
        raise InputError(f"{folder}: not ours")
