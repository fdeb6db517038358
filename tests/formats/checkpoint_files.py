"""Checkpoints for tests: some of every sort, and a writer of tables that takes any keys and values."""

import struct

import numpy as np

from bn_graph.formats.crc32c import crc32c
from bn_graph.tf1 import tf
from tests.fuzzing.damage import varint
from tests.paths import REFERENCE

CHECKPOINT = REFERENCE / "checkpoint" / "notebook.ckpt"  # the notebook's 1000 steps, without Adam's variables
SMALL_V1, SMALL_V2 = (REFERENCE / "checkpoint" / f"hidden16_v{n}.ckpt" for n in (1, 2))
KINDS = {
    "v1": {"write_version": tf.train.SaverDef.V1},
    "v1_sharded": {"write_version": tf.train.SaverDef.V1, "sharded": True},
    "v2": {},
    "v2_sharded": {"sharded": True},
}
V1_TYPES = "float32 float64 int8 int16 int32 int64 uint8 uint16 float16 bool complex64 complex128".split()
V2_TYPES = ["bfloat16", "uint32", "uint64", "qint8", "qint32"]


def save_all_sorts(path, kind):
    rng, v1 = np.random.default_rng(5), kind.startswith("v1")
    with tf.Graph().as_default():
        values, parts = {}, {}
        for dtype in map(tf.as_dtype, V1_TYPES + ([] if v1 else V2_TYPES)):
            for number, shape in enumerate([(), (3,), (0, 4), (2, 3, 4)]):
                with tf.device(f"/cpu:{number % 2}"):
                    value = rng.integers(0, 100, shape).astype(dtype.as_numpy_dtype)
                    variable = tf.Variable(tf.constant(value, dtype), name=f"{dtype.name}/{number}", use_resource=False)
                    values[variable.op.name] = value
        # The offsets of these take one, two and three bytes of a key.
        for name, shape, slices, axis in (("rows", [20000, 2], 3, 0), ("columns", [2, 3, 70], 70, 2)):
            partitioner = tf.fixed_size_partitioner(slices, axis)
            parts[name] = tf.get_variable(name, shape, partitioner=partitioner, use_resource=False)
        if not v1:
            tf.Variable([b"a", b"bcd", b""], name="text", use_resource=False)
        with tf.Session(config=tf.ConfigProto(device_count={"CPU": 2})) as session:
            session.run(tf.global_variables_initializer())
            values |= session.run({name: tf.convert_to_tensor(variable) for name, variable in parts.items()})
            path = tf.train.Saver(**KINDS[kind]).save(session, str(path), write_meta_graph=False, write_state=False)
    return path, values


# Its checksums are right.


def block(entries):
    content = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return content + struct.pack("<2I", 0, 1)


def masked_crc(content):
    crc = crc32c(np.frombuffer(content, np.uint8))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(content):
    """A record of a TFRecord file."""
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked_crc(length)) + content + struct.pack("<I", masked_crc(content))


def event_record(**fields):
    """A record of an event file: a tf.Event with these fields."""
    return record(tf.Event(**fields).SerializeToString())


def with_trailer(content, compression=0):
    content += bytes([compression])
    return content + struct.pack("<I", masked_crc(content))


def table(entries, per_block=5):
    content, index = b"", []
    for start in range(0, len(entries), per_block):
        part = block(entries[start : start + per_block])
        index.append((entries[start : start + per_block][-1][0], varint(len(content)) + varint(len(part))))
        content += with_trailer(part)
    return with_index(content, block(index))


def with_index(content, index, compression=0):
    handles = varint(0) * 2 + varint(len(content)) + varint(len(index))
    return content + with_trailer(index, compression) + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
