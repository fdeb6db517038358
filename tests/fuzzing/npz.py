""".npz files."""

import functools
import io
import pickle
import struct
import warnings
import zipfile

import numpy as np

from tests.formats.digit_files import PARTS
from tests.fuzzing.damage import NUMBERS, damaged
from tests.fuzzing.digits import BOMB, digits, load


class Trap:
    """Unpickling it would make a folder."""

    def __reduce__(self):
        import os

        return os.mkdir, ("sprung",)


DTYPES = ["'|O'", "object", "'<f8'", "'>f4'", "'|b1'", "'<c16'", "'|V3'", "'|S0'", "'<U999999999'", "'<M8[s]'", "'<f2'"]
DTYPES += ["[('a', '<i4')]", "[('a', '|u1', (28, 28))]", "'|u1,' * 9", "None", "('|u1', 999999999)", "[]", "'<x8'", "7"]
DTYPES += ["__import__('os').system('true')", "'|u1'", "'<i8'", "'<u8'", "[" * 300 + "]" * 300]
SHAPES = ["()", "(3,)", "(3, 28, 28)", "(0, 28, 28)", "(-3, 28, 28)", "(10**12, 28, 28)", "(3.0, 28, 28)", "(True,)"]
SHAPES += [
    "(1000000000000, 28, 28)",
    "(9223372036854775807, 2)",
    "(4294967296, 4294967296)",
    "3",
    "'x'",
    "(2,) * 99",
    "[2]",
]
SHAPES += ["(2352,)", "(3, 784)", "(" + "1, " * 70 + ")", "(0, 9999999999, 9999999999)", "(2,)"]


def npy(rng, data):
    """An array file that lies."""
    descr, order, shape = rng.choice(DTYPES), rng.choice(["True", "False", "None"]), rng.choice(SHAPES)
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if rng.random() < 0.1:
        header = rng.choice([header + "\n" * 70000, "(" * 3000, header[:-9], header.replace("shape", "x"), "{}", "\0"])
    header = header.encode("latin-1") + b"\n"
    version = rng.choice([(1, 0), (1, 0), (2, 0), (3, 0), (9, 9)])
    wide = version != (1, 0)
    length = rng.choice([len(header)] * 6 + NUMBERS) & (0xFFFFFFFF if wide else 0xFFFF)
    return b"\x93NUMPY" + bytes(version) + struct.pack("<I" if wide else "<H", length) + header + data


def npy_of(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def zipped(members, kind=zipfile.ZIP_STORED):
    """A zip file of (name, content)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, kind)
    return file.getvalue()


def seeds():
    members = [(f"{name}.npy", npy_of(part)) for name, part in digits().items()]
    return [{"digits.npz": zipped(members, kind)} for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]


@functools.cache
def traps():
    array = np.array([Trap()], object)
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue(), pickle.dumps(Trap()), pickle.dumps(digits())


def damage(rng, seeds):
    way = rng.randrange(10)
    if way < 3:
        return {"digits.npz": damaged(rng, rng.choice(seeds)["digits.npz"], traps())}
    arrays = digits()
    members = [(f"{name}.npy", npy_of(part)) for name, part in arrays.items()]
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(len(members))
        name, content = members[place]
        how = rng.randrange(8)
        if how < 3:
            content = npy(rng, rng.choice([content[128:], b"", rng.randbytes(2352), traps()[0][80:]]))
        elif how == 3:
            content = rng.choice(traps())
        elif how == 4:
            part = arrays[rng.choice(PARTS)]
            content = npy_of(rng.choice([part.astype(rng.choice("?bhifdFDSUe")), part[..., None], part.T, part[1:]]))
        elif how == 5:
            content = (
                npy_of(np.zeros(len(BOMB) // 784 * 784, np.uint8).reshape(-1, 28, 28)) if rng.random() < 0.02 else b""
            )
        elif how == 6:
            name = rng.choice([name, f"../{name}", f"/{name}", name[:-4], members[0][0], "x" * 60000, "é\n"])
        else:
            content = damaged(rng, content)
        members[place] = name, content
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, of names that are there twice
        kinds = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED] * 5 + [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]  # these are slow
        kind = rng.choice(kinds)
        archive = zipped(members, kind)
    if way == 3:  # the directory at the end: sizes, places, ways of packing, passwords
        archive = archive[:-250] + damaged(rng, archive[-250:])
    return {"digits.npz": archive}


parse = load("digits.npz")
