"""Checkpoints of any kind: read as TensorFlow reads them, and refused where TensorFlow's own reader may end Python."""

import functools
import os
import resource
import shutil
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from bn_graph import InputError
from bn_graph.formats.crc32c import crc32c
from bn_graph.formats.leveldb_table import Table
from bn_graph.formats.tf_checkpoint import Checkpoint
from bn_graph.formats.tf_checkpoint_v1 import SavedTensorSlices
from bn_graph.formats.tf_checkpoint_v2 import BundleEntryProto, BundleHeaderProto
from bn_graph.saving.restore import read_checkpoint
from bn_graph.tf1 import tf
from tests.formats.checkpoint_files import (
    CHECKPOINT,
    KINDS,
    SMALL_V1,
    SMALL_V2,
    block,
    save_all_sorts,
    table,
    with_index,
    with_trailer,
)
from tests.fuzzing.damage import varint
from tests.paths import REFERENCE


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Of each kind: the path that the Saver returned, and the value of each variable."""
    return {kind: save_all_sorts(tmp_path_factory.mktemp(kind) / "all.ckpt", kind) for kind in KINDS}


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        assert found[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_was_saved_is_listed_and_read(saved, kind):
    path, values = saved[kind]
    checkpoint = Checkpoint(path)
    assert_same(read_checkpoint(path), values)
    listed = {name: (value.shape, value.dtype) for name, value in values.items()}
    assert checkpoint.variables == listed | ({"text": ((3,), "string")} if kind.startswith("v2") else {})
    assert list(checkpoint.variables) == sorted(checkpoint.variables)
    for name, value in values.items():
        np.testing.assert_array_equal(checkpoint.read(name), value)
        assert checkpoint.read(name).flags.writeable


@pytest.mark.parametrize("path", [CHECKPOINT, *(REFERENCE / "checkpoint" / f"hidden16_v{n}.ckpt" for n in (1, 2))])
def test_recorded_checkpoints_are_read_as_tensorflow_reads_them(path):
    reader = tf.train.NewCheckpointReader(str(path))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    assert_same(read_checkpoint(path), {name: reader.get_tensor(name) for name in shapes})
    listed = {name: (tuple(shape), np.dtype(dtypes[name].as_numpy_dtype)) for name, shape in shapes.items()}
    assert Checkpoint(path).variables == listed


def test_a_saved_model_of_tensorflow_2_and_the_names_of_its_files_are_read(tmp_path):
    import tensorflow as tf2

    module = tf2.Module()
    module.kernel = tf2.Variable(tf2.reshape(tf2.range(6.0), [2, 3]))
    tf2.saved_model.save(module, str(tmp_path))
    prefix = tmp_path / "variables" / "variables"
    expected = {"kernel/.ATTRIBUTES/VARIABLE_VALUE": module.kernel.numpy()}
    for name in (prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001"):
        assert_same(read_checkpoint(name), expected)
    assert Checkpoint(prefix).variables["_CHECKPOINTABLE_OBJECT_GRAPH"] == ((), "string")


def test_what_cannot_be_read_by_name_is_refused(saved):
    checkpoint = Checkpoint(saved["v2"][0])
    with pytest.raises(InputError, match=r"all.ckpt: .*\(text: of type string, not numbers\)"):
        checkpoint.read("text")
    with pytest.raises(InputError, match=r"all.ckpt: .*\(no/such: no such variable\)"):
        checkpoint.read("no/such")


def test_the_list_needs_no_values(saved, tmp_path):
    path, values = saved["v2"]
    shutil.copy(f"{path}.index", tmp_path / "alone.index")
    assert set(Checkpoint(tmp_path / "alone").variables) == {*values, "text"}
    with pytest.raises(InputError, match=r"float32/1: No such file"):
        Checkpoint(tmp_path / "alone").read("float32/1")


def test_the_checksum_is_crc_32c():
    numbers = np.random.default_rng(1).integers(0, 256, (1 << 20) + 70, dtype=np.uint8)
    crc, prefixes = 0xFFFFFFFF, [0]  # byte by byte, of every prefix
    steps = [functools.reduce(lambda c, _: c >> 1 ^ (0x82F63B78 if c & 1 else 0), range(8), n) for n in range(256)]
    for byte in numbers.tolist():
        crc = crc >> 8 ^ steps[(crc ^ byte) & 255]
        prefixes.append(crc ^ 0xFFFFFFFF)
    for length in [*range(70), 999, 4096, *range((1 << 20) - 2, (1 << 20) + 70)]:
        assert crc32c(numbers[:length]) == prefixes[length]
    assert crc32c(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283  # the check value in every catalogue of CRCs
    assert crc32c(np.zeros(32, np.uint8)) == 0x8A9136AA  # RFC 3720, B.4


# Damaged ones. (Thousands of them: tests/fuzzing.)


def refused(path, said):
    """Nothing of `path` is read; the one line that says so has `said` in it."""
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: not a checkpoint that can be read (") and len(line.splitlines()) == 1
    assert said in line


DATA = ".data-00000-of-00001"


def rewritten(path, name, /, **fields):
    """The table `path` with other fields in the message of a variable, or, with the name '', in its header."""
    entries = list(Table(path).items())
    for number, (key, value) in enumerate(entries):
        if path == SMALL_V1 and not key:
            message = SavedTensorSlices.FromString(value)
            (target,) = [tensor for tensor in message.meta.tensor if tensor.name == name] or [message.meta]
        elif path != SMALL_V1 and key == name.encode():
            target = message = (BundleEntryProto if name else BundleHeaderProto).FromString(value)
        else:
            continue
        for field, content in fields.items():
            change(target, field, content)
        entries[number] = key, message.SerializeToString()
    return table(entries)


def change(message, field, content):
    if field == "shape":
        del message.shape.dim[:]
        for size in content:
            message.shape.dim.add().size = size
    elif field == "slices":
        slices = message.slice if hasattr(message, "slice") else message.slices
        del slices[:]
        for extents in content:
            part = slices.add()
            for start, length in extents:
                part.extent.add(start=start, length=length)
    elif field in ("version", "versions"):
        getattr(message, field).min_consumer = content
    else:
        setattr(message, field, content)


V2_LIES = {
    "shape": ({"shape": [1 << 40, 1 << 40]}, "output_layer/beta: float32 [1099511627776, 1099511627776] in 40 bytes"),
    "shape_and_size": ({"shape": [1 << 40], "size": 1 << 42}, "output_layer/beta: hidden16_v2.ckpt"),
    "small_shape": ({"shape": [15]}, "output_layer/beta: float32 [15] in 40 bytes"),
    "negative": ({"shape": [-10]}, "a shape that is none"),
    "dimensions": ({"shape": [1] * 255}, "a shape that is none"),
    "more_than_numpy_s": ({"shape": [1] * 70, "size": 4}, "output_layer/beta"),
    "nothing_of_much": ({"shape": [0, 1 << 62, 1 << 62], "size": 0}, "output_layer/beta"),
    "offset": ({"offset": 1 << 62}, f"output_layer/beta: hidden16_v2.ckpt{DATA}: 40 bytes from 4611686018427387904 on"),
    "negative_offset": ({"offset": -8}, "40 bytes from -8 on"),
    "elsewhere": ({"offset": 0}, "output_layer/beta: damaged"),
    "shard": ({"shard_id": 1}, "in file 1 of 1"),
    "negative_shard": ({"shard_id": -1}, "in file -1 of 1"),
    "type": ({"dtype": 2}, "float64 [10] in 40 bytes"),
    "no_type": ({"dtype": 0}, ""),
    "type_of_the_future": ({"dtype": 99}, "99"),
    "reference": ({"dtype": 101}, "type 101"),
    "slice": ({"slices": [[(0, 5)], [(5, 5)]]}, "one of its slices is missing"),
    "slice_outside": ({"slices": [[(5, 6)]]}, "a slice from 5 to 11 of [10]"),
    "slice_dimensions": ({"slices": [[]]}, "a slice of 0 dimensions of [10]"),
}


@pytest.mark.parametrize("lie", V2_LIES)
def test_a_v2_checkpoint_that_lies_about_a_variable_gets_one_line(tmp_path, lie):
    fields, said = V2_LIES[lie]
    shutil.copy(f"{SMALL_V2}{DATA}", tmp_path)
    (tmp_path / "hidden16_v2.ckpt.index").write_bytes(rewritten(f"{SMALL_V2}.index", "output_layer/beta", **fields))
    refused(tmp_path / "hidden16_v2.ckpt", said)


V1_LIES = {
    "shape": ({"shape": [1 << 40, 1 << 40]}, "a slice of 1 dimensions of [1099511627776, 1099511627776]"),
    "large": ({"shape": [1 << 40]}, "1099511627776 in [1099511627776], room for "),
    "small_shape": ({"shape": [9]}, "output_layer/beta: its slices do not fit together"),
    "negative": ({"shape": [-10]}, "a shape that is none"),
    "type": ({"type": 9}, "output_layer/beta: its slices do not fit together"),  # no int64 values are there
    "unread_type": ({"type": 22}, "uint32 in a V1 checkpoint"),
    "no_type": ({"type": 0}, ""),
    "slice": ({"slices": [[(0, 5)], [(5, 5)]]}, "it is not in the file"),
    "too_few": ({"slices": [[(0, 5)]]}, "5 values in slices, 10 in [10]"),
    "none": ({"slices": []}, "0 values in slices, 10 in [10]"),
    "twice": ({"slices": [[(0, 5)], [(0, 5)]]}, "it is not in the file"),
    "slice_outside": ({"slices": [[(5, 6)]]}, "a slice from 5 to 11 of [10]"),
    "name": ({"name": "hidden_layer/beta"}, "hidden_layer/beta: two shapes or types"),
}


@pytest.mark.parametrize("lie", V1_LIES)
def test_a_v1_checkpoint_that_lies_about_a_variable_gets_one_line(tmp_path, lie):
    fields, said = V1_LIES[lie]
    (tmp_path / "lie.ckpt").write_bytes(rewritten(SMALL_V1, "output_layer/beta", **fields))
    refused(tmp_path / "lie.ckpt", said)


def test_a_table_that_is_none_gets_one_line(tmp_path):
    content, entries = Path(f"{SMALL_V2}.index").read_bytes(), list(Table(f"{SMALL_V2}.index").items())
    swapped = [*entries[:1], entries[2], entries[1], *entries[3:]]
    one = block(entries)
    cases = {
        "cut": (content[:-1], "it does not end as a checkpoint does"),
        "short": (content[-40:], "it does not end as a checkpoint does"),
        "bit": (content[:100] + bytes([content[100] ^ 1]) + content[101:], "damaged: a checksum is wrong"),
        "far": (with_index(b"", block([(b"z", varint(1 << 60) + varint(1 << 60))])), "and it has"),
        "handle": (content[:-48] + varint(-1) * 4 + content[-8:], "and it has 999"),
        "endless": (content[:-48] + b"\xff" * 40 + content[-8:], "a number without an end"),
        "empty": (with_index(b"", block([])), "it does not begin with its header"),
        "no_header": (table(entries[1:]), "it does not begin with its header"),
        "swapped": (table(swapped), "its names are not in order"),
        "twice": (table([*entries[:2], *entries[1:]]), "its names are not in order"),
        "snappy": (with_index(b"", block([]), compression=1), "a compressed block"),
        "restarts": (with_index(b"", b"\xff" * 4), "a block without its end"),
        "shared": (with_index(b"", b"\x01\0\0" + struct.pack("<2I", 0, 1)), "a block with more in it than its size"),
        "beyond": (with_index(b"", b"\0\x7f\0" + struct.pack("<2I", 0, 1)), "a block with more in it than its size"),
        "overlap": (
            with_index(with_trailer(one), block([(b"y", b"\0" + varint(len(one))), (b"z", b"\0" + varint(len(one)))])),
            "its blocks are not in order",
        ),
        "newer": (rewritten(f"{SMALL_V2}.index", "", version=2), "written for readers of version 2"),
        "big_endian": (rewritten(f"{SMALL_V2}.index", "", endianness=1), "big-endian"),
        "shards": (rewritten(f"{SMALL_V2}.index", "", num_shards=0), "in file 0 of 0"),
        "name": (table([entries[0], (b"\xff", entries[1][1])]), "utf-8"),
        "message": (table([entries[0], (b"x", b"\xff" * 9)]), ""),
    }
    for name, (content, said) in cases.items():
        (tmp_path / f"{name}.index").write_bytes(content)
        shutil.copy(f"{SMALL_V2}{DATA}", tmp_path / f"{name}{DATA}")
        refused(tmp_path / name, said)
    (tmp_path / "newer").write_bytes(rewritten(SMALL_V1, "", versions=2))
    (tmp_path / "newer.index").unlink()
    refused(tmp_path / "newer", "written for readers of version 2")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a file")  # and nobody waits for a writer


def test_a_name_that_would_write_lines_of_its_own_is_quoted(tmp_path):
    header, (_, entry), *_ = Table(f"{SMALL_V2}.index").items()
    (tmp_path / "x.index").write_bytes(table([header, (b"a\n\x1b[2Jb", entry)]))
    refused(tmp_path / "x", r"a\n\x1b[2Jb: No such file")


def test_small_files_that_claim_much_take_little_time_and_memory(tmp_path):
    entries = list(Table(f"{SMALL_V2}.index").items())
    shutil.copy(f"{SMALL_V2}{DATA}", tmp_path / f"many{DATA}")
    weights = next(value for key, value in entries if key == b"hidden_layer/weights")
    many = [entries[0], *((f"{number:05}".encode(), weights) for number in range(20000))]
    (tmp_path / "many.index").write_bytes(table(many, 20000))  # 20000 variables, all of them the same 50 000 bytes
    # Each name is the one before, of 50 000 letters, and one letter more.
    names = block([entries[0], (b"x" * 50000, b"")])[:-8]
    names += b"".join(varint(50000 + number) + b"\x01\0x" for number in range(50000)) + struct.pack("<2I", 0, 1)
    index = block([(b"y", varint(0) + varint(len(names)))])
    (tmp_path / "names.index").write_bytes(with_index(with_trailer(names), index))
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(tmp_path / "many", "more values than bytes")
    refused(tmp_path / "names", "names too long for the file")
    assert time.monotonic() - started < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
