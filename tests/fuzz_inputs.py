"""Every parser of what a user gives, and the inputs that it is fuzzed with: see fuzzing.py.

The inputs are mutations that know the format, drawn by `random.Random`. Hypothesis takes 10 ms to draw a record with
three values of JSON in it, and this 0.06 ms: 20 000 inputs would be minutes. What else it is good at, to make a failing
input smaller, needs the parser in its own process, which an input may end.
"""

import bz2
import functools
import gzip
import io
import json
import pickle
import struct
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
from digit_files import IDX_FILES, PARTS, idx
from fuzzing import NUMBERS, Parser, damaged, varint

from bn_graph.errors import InputError

BOMB = bytes(20_000_000)  # packed, a thousandth of it


@functools.cache
def digits():
    """A few made-up digits, as Keras' mnist.npz has them."""
    rng = np.random.default_rng(1)
    parts = {}
    for name, rows in (("train", 3), ("test", 2)):
        parts[f"x_{name}"] = rng.integers(0, 256, (rows, 28, 28), np.uint8)
        parts[f"y_{name}"] = np.arange(rows, dtype=np.uint8)
    return parts


def load(name):
    """Reads the digits from `name` in the folder, and looks at them."""

    def parse(folder):
        from bn_graph.mnist import load_mnist

        mnist = load_mnist(folder / name)
        data, target = np.asarray(mnist.data), mnist.target
        assert (data.dtype, target.dtype) == (np.uint8, np.float64) and data.shape == (len(target), 784)
        assert set(np.unique(target)) <= set(range(10))

    return parse


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# IDX


def idx_seeds():
    plain = {name: idx(part) for name, part in zip(IDX_FILES, digits().values(), strict=True)}
    packed = {f"{name}.gz": gzip.compress(content) for name, content in plain.items()}
    mixed = dict([*list(plain.items())[:2], *list(packed.items())[2:]])
    return [{f"mnist/{name}": content for name, content in files.items()} for files in (plain, packed, mixed)]


def damage_idx(rng, seeds):
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


# npz


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


def npz_seeds():
    members = [(f"{name}.npy", npy_of(part)) for name, part in digits().items()]
    return [{"digits.npz": zipped(members, kind)} for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]


@functools.cache
def traps():
    array = np.array([Trap()], object)
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=True)
    return file.getvalue(), pickle.dumps(Trap()), pickle.dumps(digits())


def damage_npz(rng, seeds):
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


# mat


def element(order, kind, content, size=None):
    return struct.pack(f"{order}2I", kind, len(content) if size is None else size) + content + bytes(-len(content) % 8)


def mat(rng, arrays, order="<"):
    """A MATLAB 5 file. With a `random.Random` it lies."""

    def lie(right, *lies):
        return rng.choice(lies) if rng and rng.random() < 0.06 else right

    numbers = [number & 0xFFFFFFFF for number in NUMBERS]
    variables = b""
    for name, array in arrays.items():
        dimensions = [lie(length, -1, 0, 1 << 30, (1 << 31) - 1, length + 1) for length in array.shape]
        dimensions = lie(dimensions, dimensions * 2, dimensions[:1], [], dimensions * 40)
        content = array.T.astype(array.dtype.newbyteorder(order)).tobytes()
        number = {1: 2, 8: 9}[array.dtype.itemsize]
        flags = struct.pack(f"{order}2I", lie(6, *numbers, 0x0806), 0)
        parts = [
            element(order, lie(6, *range(20)), flags),
            element(order, lie(5, *range(20)), struct.pack(f"{order}{len(dimensions)}i", *dimensions)),
            element(order, lie(1, *range(20)), lie(name.encode(), b"", b"\xff" * 9, b"data", b"x" * 9999)),
            element(order, lie(number, *range(20), 60000), content, lie(None, *numbers)),
        ]
        parts = lie(parts, parts[:3], parts[1:], parts * 2, [])
        variable = element(order, lie(14, *range(20)), b"".join(parts), lie(None, *numbers))
        if rng and rng.random() < 0.3:
            packed = zlib.compress(lie(variable, variable * 2, variable[:-9], b""))
            if rng.random() < 0.004:
                packed = bomb_of_mat(order, name)
            # MATLAB does not pad what is packed.
            variable = struct.pack(f"{order}2I", 15, lie(len(packed), *numbers)) + lie(
                packed, packed[:-4], packed + b"x"
            )
        variables += variable
    version = lie({"<": b"\x00\x01IM", ">": b"\x01\x00MI"}[order], b"\x00\x02IM", b"\x01\x00MI", b"IM\0\0")
    return b"MATLAB 5.0 MAT-file".ljust(124) + version + variables


@functools.cache
def bomb_of_mat(order, name):
    dimensions = struct.pack(f"{order}2i", 784, len(BOMB) // 784)
    head = element(order, 6, struct.pack(f"{order}2I", 6, 0)) + element(order, 5, dimensions)
    return zlib.compress(element(order, 14, head + element(order, 1, name.encode()) + element(order, 2, BOMB)))


@functools.cache
def mat_arrays():
    data = np.concatenate([digits()["x_train"], digits()["x_test"]]).reshape(-1, 784).T
    return {"data": data, "label": np.arange(5.0)[None] % 3}


def mat_seeds():
    from scipy.io import savemat

    seeds = [{"digits.mat": mat(None, mat_arrays(), order)} for order in "<>"]
    for packed in (False, True):
        file = io.BytesIO()
        savemat(file, mat_arrays(), do_compression=packed)
        seeds.append({"digits.mat": file.getvalue()})
    return seeds


def damage_mat(rng, seeds):
    if rng.random() < 0.4:
        return {"digits.mat": damaged(rng, rng.choice(seeds)["digits.mat"])}
    content = mat(rng, mat_arrays(), rng.choice("<>"))
    return {"digits.mat": damaged(rng, content) if rng.random() < 0.2 else content}


# Records


def record_seeds():
    from bn_graph.config import NOTEBOOK, PAGE
    from bn_graph.record import TrainingRecord

    measured = dict(train_loss=[2.5, 0.5], train_accuracy=[0.1, 0.9], valid_step=[0], valid_accuracy=[0.25])
    measured |= dict(learning_rate=[0.001], test_accuracy=0.5, seconds=1.5)
    records = [
        TrainingRecord(PAGE, "stratified", "embedded"),
        TrainingRecord(NOTEBOOK, "original", "openml", **measured),
    ]
    return [{"record.json": record.to_json().encode()} for record in records]


WORDS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "9" * 400,
    "-" + "9" * 400,
    "9" * 5000,
    "1e-999",
    "-0",
    "-0.0",
]
WORDS += [
    "null",
    "true",
    "false",
    '""',
    '"page"',
    '"\\ud800"',
    '"\\u0000\\n"',
    '"' + "x" * 100_000 + '"',
    "{}",
    "[]",
    "[null]",
]
WORDS += [
    "[NaN]",
    "[1e999]",
    "[" + "9" * 400 + "]",
    "[true]",
    '["1"]',
    "[[1]]",
    '{"a": 1}',
    "0",
    "1",
    "-1",
    "0.5",
    "2",
    "2.0",
]
WORDS += [
    "2147483647",
    "2147483648",
    "1" + "0" * 30,
    "01",
    "+1",
    "1.",
    ".5",
    "0x10",
    "1_000",
    "'x'",
    "undefined",
    "",
    "\u0663",
]


def json_words(rng, depth=0):
    """A value, in JSON or nearly."""
    way = rng.random()
    if way < 0.01 and not depth:
        length = rng.choice([50, 900, 990, 5000, 100_000])
        opening, closing = rng.choice([("[", "]"), ('{"a":', "}")])
        return opening * length + "1" + closing * rng.choice([length, 0, length - 1])
    if way < 0.2 and depth < 4:
        values = [json_words(rng, depth + 1) for _ in range(rng.randrange(4))]
        if rng.random() < 0.5:
            return f"[{', '.join(values)}]"
        return "{" + ", ".join(f"{rng.choice(WORDS)}: {value}" for value in values) + "}"
    return rng.choice(WORDS)


def damage_record(rng, seeds):
    content = rng.choice(seeds)["record.json"]
    way = rng.randrange(10)
    if way < 2:
        content = damaged(rng, content, [seed["record.json"] for seed in seeds])
    elif way == 2:
        content = json_words(rng).encode("utf-8", "surrogatepass")
    else:
        items = [(json.dumps(key), json.dumps(value)) for key, value in json.loads(content).items()]
        for _ in range(min(rng.choice([1, 1, 2, 5]), len(items))):
            place = rng.randrange(len(items))
            how = rng.randrange(8)
            if how == 0:
                del items[place]
            elif how == 1:
                items.append((items[place][0], json_words(rng)))  # a key twice
            elif how == 2:
                items[place] = json_words(rng), items[place][1]
            else:
                items[place] = items[place][0], json_words(rng)
        content = ("{" + ", ".join(f"{key}: {value}" for key, value in items) + "}").encode()
        if way == 3:
            content = rng.choice(
                [b"\xef\xbb\xbf" + content, content.decode().encode("utf-16"), content + content, b"\xff"]
            )
    return {"record.json": content}


def parse_record(folder):
    from bn_graph.record import TrainingRecord, record_written_by_us

    path = folder / "record.json"
    record_written_by_us(path)
    record = TrainingRecord.load(path)
    assert TrainingRecord.from_json(record.to_json()) is not None  # what was loaded can be written and loaded again


# What is found at a path that is to be written: is it ours?


def output_seeds():
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


def damage_output(rng, seeds):
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


def parse_output(folder):
    from bn_graph.comparison.report import json_written_by_us, page_written_by_us
    from bn_graph.pictures import picture_written_by_us

    found = (
        picture_written_by_us(folder / "out.png"),
        page_written_by_us(folder / "out.html"),
        json_written_by_us(folder / "out.json"),
    )
    if not all(found):
        raise InputError(f"{folder}: not ours")


# Checkpoints


def v2_seeds():
    return checkpoint_seeds("v2", "v2_sharded", "hidden16_v2.ckpt")


def v1_seeds():
    return checkpoint_seeds("v1", "v1_sharded", "hidden16_v1.ckpt")


@functools.cache
def checkpoint_seeds(*kinds):
    """Checkpoints of these kinds, each beside what is in it: path, values and the files."""
    from checkpoints import KINDS, REFERENCE, save_all_sorts

    seeds = []
    for kind in kinds:
        if kind not in KINDS:
            seeds.append({path.name: path.read_bytes() for path in (REFERENCE / "checkpoint").glob(f"{kind}*")})
            continue
        with tempfile.TemporaryDirectory() as folder:
            save_all_sorts(Path(folder, "all.ckpt"), kind)
            seeds.append(files_of(Path(folder)))
    return seeds


@functools.cache
def values_of(kind, seed):
    """What is in a seed that is not damaged."""
    from fuzzing import write

    with tempfile.TemporaryDirectory() as folder:
        write({"v1": v1_seeds, "v2": v2_seeds}[kind]()[seed], Path(folder))
        return checkpoint_in(Path(folder)).read_all()


def checkpoint_in(folder):
    from bn_graph.formats.tf_checkpoint import Checkpoint

    names = sorted(path.name for path in folder.iterdir() if path.name.startswith(("all", "hidden")))
    name = names[0] if names else "all.ckpt"
    if "-?????-of-" not in name and "-of-" in name and ".data-" not in name:  # V1 in parts is named by its pattern
        name = f"{name[: -len('00000-of-00002')]}?????-of-{name[-5:]}"
    return Checkpoint(folder / name.removesuffix(".index"))


@functools.cache
def table_of(content):
    from bn_graph.formats.leveldb_table import Table

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return list(Table(file.name).items())


def lying(rng, content):
    """A message with numbers changed: whatever field it is, its place on the wire is a number's or a length's."""
    if rng.random() < 0.3 or not content:
        return content[: rng.randrange(len(content) + 1)] + varint(rng.choice(NUMBERS))
    place = rng.randrange(min(len(content), 200))
    return content[:place] + varint(rng.choice(NUMBERS)) + content[place + 1 :]


def damage_checkpoint(kind):
    def damage(rng, seeds):
        from checkpoints import block, table, with_index, with_trailer

        number = rng.choice([*range(len(seeds)), *[len(seeds) - 1] * 4])  # the last one is the smallest
        files = dict(seeds[number])
        name = rng.choice(sorted(files))
        content, way = files[name], rng.randrange(7)
        if ".data-" in name or way < 2:
            # Blind damage, which checksums find: what is read all the same must be right.
            files[name] = damaged(rng, content) if rng.random() < 0.8 else content[:-60] + damaged(rng, content[-60:])
            values_of(kind, number)  # found out here, where nobody watches
            files["seed"] = str(number).encode()
        elif way == 2:
            handles = b"".join(varint(rng.choice([*NUMBERS, rng.randrange(1000)])) for _ in range(4))
            files[name] = content[:-48] + handles[:40].ljust(40, b"\0") + content[-8:]
        elif way == 3:
            content = with_trailer(damaged(rng, block(table_of(content)[: rng.choice([3, 999])])))
            files[name] = with_index(content, block([(b"\xff" * 99, b"\0" + varint(len(content) - 5))]))
        else:
            entries = list(table_of(content))
            for _ in range(rng.choice([1, 1, 3])):
                place = rng.choice([0, rng.randrange(len(entries))])
                key, value = entries[place]
                entries[place] = (
                    (lying(rng, key), value) if rng.random() < 0.2 else (key, rng.choice([lying, damaged])(rng, value))
                )
            entries += entries[: rng.choice([0, 0, 0, 0, 2])]
            files[name] = table(entries, rng.choice([1, 5, 1000]))
        if rng.random() < 0.02:
            del files[rng.choice(sorted(files))]
        return files

    return damage


def parse_checkpoint(kind):
    def parse(folder):
        found = checkpoint_in(folder).read_all()
        if (folder / "seed").exists():
            expected = values_of(kind, int((folder / "seed").read_bytes()))
            for name, value in found.items():
                assert value.tobytes() == expected[name].tobytes(), f"{name} is read, and is wrong"

    return parse


# The folder of one of a run's checkpoints


@functools.cache
def run_seeds():
    from bn_graph.config import NOTEBOOK
    from bn_graph.record import TrainingRecord
    from bn_graph.saving.checkpoints import CheckpointFolder

    class Data:
        def sha256(self):
            return "0" * 64

    record = TrainingRecord(NOTEBOOK, "original", "embedded", train_loss=[2.5, 0.5], train_accuracy=[0.1, 0.9])
    record.valid_step, record.valid_accuracy, record.learning_rate = [0], [0.25], [0.001]
    with tempfile.TemporaryDirectory() as folder:
        with CheckpointFolder(folder) as checkpoints:
            checkpoints.latest_for(record, Data())
            checkpoints.save({"weights": np.ones([2, 3], np.float32), "Variable": np.int32(2)}, record)
        return [{f"step-2/{name}": content for name, content in files_of(Path(folder, "step-2")).items()}]


def damage_run(rng, seeds):
    """Damage that checksums find; and damage whose checksums are right, which whoever made it has computed."""
    from bn_graph.saving.saved_run import encode_state, sha256

    files, state = dict(seeds[0]), "step-2/state.json"
    name = rng.choice(sorted(files))
    if rng.random() < 0.3:
        files[name] = damaged(rng, files[name], list(files.values()))
        if rng.random() < 0.1:
            del files[name]
        return files
    found = json.loads(files[state])["state"]
    if name != state:
        files[name] = damaged(rng, files[name])
        found["files"][name.removeprefix("step-2/")] = sha256(files[name])
    else:
        part = rng.choice(["record", "record", "files", None])
        content = damage_record(rng, [{"record.json": json.dumps(found[part] if part else found).encode()}])
        try:
            changed = json.loads(content["record.json"])
        except (ValueError, RecursionError):
            changed = []
        found = found | {part: changed} if part else changed
    try:
        files[state] = json.dumps({"sha256": sha256(encode_state(found)), "state": found}).encode()
    except (ValueError, RecursionError):  # NaN, which no checksum of ours is of
        files[state] = json.dumps({"sha256": "0" * 64, "state": None}).encode()
    return files


def parse_run(folder):
    from bn_graph.saving.checkpoints import read_saved_run
    from bn_graph.saving.restore import read_checkpoint

    saved = read_saved_run(folder / "step-2")
    for validation in range(len(saved.record.valid_step)):
        assert saved.record.step_line(validation).isascii()
    assert len(saved.record.train_loss) == 2 and saved.record.to_json()
    read_checkpoint(saved.prefix)


# TF_CONFIG


def tf_config_seeds():
    jobs = {"chief": ["127.0.0.1:2222"], "worker": ["worker-0.local:2222", "10.0.0.3:2222"], "ps": ["10.0.0.4:2222"]}
    tasks = [{"type": "ps", "index": 0}, {"type": "worker", "index": "1"}]
    return [{"TF_CONFIG": json.dumps({"cluster": jobs, "task": task}).encode()} for task in tasks]


def damage_tf_config(rng, seeds):
    content = rng.choice(seeds)["TF_CONFIG"]
    if rng.random() < 0.5:
        found = json.loads(content)
        part = found[rng.choice(["cluster", "task"])]
        key = rng.choice(sorted(part))
        mark = json.dumps(part.pop(key) if rng.random() < 0.9 else "")
        value = rng.choice([json_words(rng), f"[{json_words(rng)}]", mark.replace("2222", str(rng.choice(NUMBERS)))])
        part["HERE"] = "HERE"
        content = json.dumps(found).replace('"HERE": "HERE"', f"{json.dumps(key)}: {value}")
        return {"TF_CONFIG": content.encode("utf-8", "surrogatepass")}
    return {"TF_CONFIG": damage_record(rng, [{"record.json": content}])["record.json"]}


def parse_tf_config(folder):
    from bn_graph.cluster.tf_config import cluster_of

    cluster = cluster_of({"TF_CONFIG": (folder / "TF_CONFIG").read_bytes().decode("utf-8", "surrogateescape")})
    if cluster:
        assert cluster.me in (*cluster.replicas, *cluster.ps) and (cluster.replica is None) == (
            cluster.me in cluster.ps
        )
        assert all(task.host and 0 < task.port < 65536 for task in (*cluster.replicas, *cluster.ps))


# Graphs


@functools.cache
def graph_seeds():
    """Graphs in every kind of file that is audited."""
    from audit_graphs import INPUTS, Built, network, new_graph
    from google.protobuf import text_format

    from bn_graph.tf1 import tf, tf_slim

    with new_graph() as graph:
        X = tf.placeholder(tf.float32, [16, INPUTS])
        w = tf.get_variable("w", [INPUTS, INPUTS])

        def body(i, h):
            return i + 1, tf_slim.batch_norm(tf.matmul(h, w), scope="bn", reuse=tf.AUTO_REUSE, updates_collections=None)

        tf_slim.batch_norm(tf.matmul(X, w), scope="bn")
        _, output = tf.while_loop(lambda i, _: i < 3, body, (0, X))
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(output**2))
    built = [
        network("slim_list", train="placeholder", version=1, resource=False, updates="collected"),
        network("slim_unfused", train="placeholder", version=2),
        network("hand", train=True, valid=False, optimizer="adam"),
        Built(graph),
    ]
    seeds = []
    for number, one in enumerate(built):
        with one.graph.as_default(), tempfile.TemporaryDirectory() as name:
            folder, saver = Path(name), tf.train.Saver()
            meta = tf.train.export_meta_graph(saver_def=saver.as_saver_def())
            if number:
                seeds.append({"graph.meta": meta.SerializeToString()})
                seeds.append({"graph.pb": meta.graph_def.SerializeToString()})
                continue
            seeds.append({"graph.pbtxt": text_format.MessageToString(meta).encode()})
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                saver.save(session, str(folder / "model.ckpt"), write_state=False)
                (x,) = (tensor for tensor in one.feed if tensor.op.name == "X")
                tf.saved_model.simple_save(session, str(folder / "saved"), {"x": x}, {"y": x})
            files = files_of(folder)
            seeds.append({name: content for name, content in files.items() if name.startswith("model")})
            seeds.append({name: content for name, content in files.items() if name.startswith("saved")})
    return seeds


def damage_graph(rng, seeds):
    from google.protobuf import text_format

    from bn_graph.tf1 import tf

    files = dict(seeds[0] if rng.random() < 0.04 else rng.choice(seeds[1:]))  # text takes ten times as long
    name = rng.choice(sorted(files))
    kind, way = Path(name).suffix, rng.randrange(10)
    if kind in (".meta", ".pb", ".pbtxt") and not name.startswith("saved") and way < 6:
        meta = tf.MetaGraphDef()
        if kind == ".meta":
            meta.ParseFromString(files[name])
        elif kind == ".pb":
            meta.graph_def.ParseFromString(files[name])
        else:
            meta.CopyFrom(meta_of(files[name]))
        for _ in range(rng.choice([1, 1, 2, 5, 20])):
            confuse(meta, rng)
        if kind == ".pbtxt":
            text = text_format.MessageToString(meta, as_utf8=rng.random() < 0.5)
            files[name] = text.encode("utf-8", "surrogatepass")
        else:
            files[name] = (meta.graph_def if kind == ".pb" else meta).SerializeToString()
    elif way == 6 and rng.random() < 0.3:
        files[name] = deep(rng, kind == ".pbtxt")
    else:
        files[name] = damaged(rng, files[name])
    if rng.random() < 0.02:
        del files[rng.choice(sorted(files))]
    if rng.random() < 0.05:  # the name says otherwise
        other = rng.choice(["graph.meta", "graph.pb", "graph.pbtxt", "saved/saved_model.pb", "saved/saved_model.pbtxt"])
        files[other] = files.pop(name, b"")
    return files


@functools.cache
def meta_of(text):
    from google.protobuf import text_format

    from bn_graph.tf1 import tf

    return text_format.Parse(text.decode(), tf.MetaGraphDef())


def deep(rng, text):
    """A graph whose node has an attribute with an attribute with an attribute..."""
    depth = rng.choice([20, 90, 101, 1000, 3000])
    if text:
        return b'node { name: "x" op: "y" ' + b"attr { value { func { " * depth + b"} } } " * depth + b"}"
    content = b""
    for _ in range(depth):
        for field in (10, 2, 2):  # func, its attr, the value of this
            content = bytes([field << 3 | 2]) + varint(len(content)) + content
    node = b"\x0a\x01x\x12\x01y\x2a" + varint(len(content) + 3) + b"\x0a\x01k" + content
    graph = b"\x0a" + varint(len(node)) + node
    return rng.choice([graph, b"\x12" + varint(len(graph)) + graph])


def confuse(meta, draw):
    """Changes one thing of a MetaGraphDef that parses, and is wrong."""
    nodes = meta.graph_def.node
    functions = meta.graph_def.library.function
    bodies = [nodes, *(function.node_def for function in functions)]
    body = draw.choice(bodies)
    if not len(body):
        return
    node, other = draw.choice(body), draw.choice(body)
    way = draw.randrange(20)
    if way == 0 and node.input:  # cycles
        node.input[draw.randrange(len(node.input))] = other.name
    elif way == 1:
        node.input.append(node.name)
    elif way == 2 and node.input:
        node.input[draw.randrange(len(node.input))] = draw.choice(
            [
                "nowhere",
                "",
                "^",
                "^^w",
                ":0",
                "w:",
                "w:x",
                f"{other.name}:999999999999999999999",
                "^" + node.name,
                "a:b:c:d",
            ]
        )
    elif way == 3:
        del node.input[:]
    elif way == 4 and node.attr:
        del node.attr[draw.choice(sorted(node.attr))]
    elif way == 5 and node.attr and other.attr:
        node.attr[draw.choice(sorted(node.attr))].CopyFrom(other.attr[draw.choice(sorted(other.attr))])
    elif way == 6 and node.attr:
        value = node.attr[draw.choice(sorted(node.attr))]
        {
            0: lambda: setattr(value, "i", draw.choice([-1, 2**63 - 1])),
            1: lambda: setattr(value, "s", b"\xff\xfe\0"),
            2: lambda: setattr(value, "type", 9999),
            3: lambda: setattr(value, "f", float("nan")),
            4: lambda: setattr(value.func, "name", "nowhere"),
            5: lambda: value.list.i.extend(range(1000)),
            6: lambda: setattr(value.shape, "unknown_rank", True),
            7: lambda: value.Clear(),
        }[draw.randrange(8)]()
    elif way == 7:
        node.name = draw.choice(["", other.name, "x" * 10_000, "\u00e9/\n", "^x", "x:0", "/"])
    elif way == 8:
        node.op = draw.choice(
            (
                " Merge Switch If While PartitionedCall Const Assign AssignVariableOp StopGradient FusedBatchNormV3 "
                "Rsqrt VariableV2 VarHandleOp Enter NextIteration SaveV2 Identity ApplyAdam PlaceholderWithDefault "
                "ResourceApplyGradientDescent Mean Mul Sub Placeholder"
            ).split(" ")
        )
    elif way == 9:
        constants = [node for node in body if node.op == "Const"]
        if constants:
            tensor = draw.choice(constants).attr["value"].tensor
            {
                0: lambda: tensor.tensor_shape.dim.add(size=2**40),
                1: lambda: tensor.tensor_shape.dim.add(size=-5),
                2: lambda: setattr(tensor, "dtype", draw.choice([0, 7, 20, 23, 101, 9999])),
                3: lambda: setattr(tensor, "tensor_content", b"abc"),
                4: lambda: tensor.float_val.extend([float("nan"), float("inf"), 1e38]),
                5: lambda: tensor.tensor_shape.Clear(),
                6: lambda: [tensor.tensor_shape.dim.add(size=100_000) for _ in range(300)],
            }[draw.randrange(7)]()
    elif way == 10:
        shape = draw.choice(body).attr["shape"].shape
        {
            0: lambda: shape.dim.add(size=2**62),
            1: lambda: shape.dim.add(size=-(2**62)),
            2: lambda: setattr(shape, "unknown_rank", True),
            3: lambda: [shape.dim.add(size=0) for _ in range(1000)],
        }[draw.randrange(4)]()
    elif way == 11 and functions:
        function = draw.choice(functions)
        call = draw.choice(function.node_def) if function.node_def else node
        call.op = draw.choice([function.signature.name, draw.choice(functions).signature.name])
    elif way == 12 and functions:
        names = [function.signature.name for function in functions]
        for call in [node for body in bodies for node in body if node.op in ("If", "StatelessIf", "While")]:
            for key in ("then_branch", "else_branch", "body", "cond"):
                if key in call.attr:
                    call.attr[key].func.name = draw.choice(names)
    elif way == 13 and functions:
        function = draw.choice(functions)
        draw.choice(
            [
                lambda: function.ret.clear(),
                lambda: function.signature.Clear(),
                lambda: function.node_def.append(node),
                lambda: functions.append(function),
                lambda: function.signature.input_arg.add(name="more"),
                lambda: [function.ret.__setitem__(key, "nowhere:out:0") for key in list(function.ret)],
            ]
        )()
    elif way == 14 and meta.collection_def:
        key = draw.choice(sorted(meta.collection_def))
        collection = meta.collection_def[key]
        draw.choice(
            [
                lambda: collection.bytes_list.value.append(b"\xff\xff\xff"),
                lambda: collection.node_list.value.extend(["nowhere", "", "w:9"]),
                lambda: collection.Clear(),
                lambda: collection.float_list.value.append(float("nan")),
                lambda: collection.any_list.value.add(type_url="x", value=b"\xff"),
            ]
        )()
    elif way == 15:
        meta.collection_def["train_op"].node_list.value.append(draw.choice(["nowhere", "", other.name, "^w"]))
    elif way == 16:
        meta.saver_def.save_tensor_name = draw.choice(["nowhere", "", "w:0"])
    elif way == 17:
        del body[draw.randrange(len(body))]
    elif way == 18:
        body.add().CopyFrom(node)
    else:
        node.ClearField("attr")


def parse_graph(folder):
    from audit_graphs import check_form

    from bn_graph.audit import audit_graph

    names = sorted(path.name for path in folder.iterdir())
    name = next((name for name in names if name.startswith(("graph", "saved"))), "model.ckpt")
    check_form(audit_graph(folder / name, num_steps=1000))


PARSERS = {
    # Memory is asked for what a packed file says that it holds, a thousand times its size.
    "IDX": Parser(idx_seeds, damage_idx, load("mnist"), expansion=5000),
    "npz": Parser(npz_seeds, damage_npz, load("digits.npz"), expansion=5000),
    "mat": Parser(mat_seeds, damage_mat, load("digits.mat"), expansion=5000),
    "record": Parser(record_seeds, damage_record, parse_record),
    "output": Parser(output_seeds, damage_output, parse_output, expansion=5000),
    "checkpoint V1": Parser(v1_seeds, damage_checkpoint("v1"), parse_checkpoint("v1")),
    "checkpoint V2": Parser(v2_seeds, damage_checkpoint("v2"), parse_checkpoint("v2")),
    "TF_CONFIG": Parser(tf_config_seeds, damage_tf_config, parse_tf_config, named="TF_CONFIG"),
    "run": Parser(run_seeds, damage_run, parse_run),
    "graph": Parser(graph_seeds, damage_graph, parse_graph, expansion=200),
}
