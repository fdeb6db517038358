"""Graphs, in every kind of file that is audited."""

import functools
import tempfile
from pathlib import Path

from google.protobuf import text_format

from tests.fuzzing.damage import damaged, varint
from tests.fuzzing.harness import files_of
from tests.fuzzing.mutations import mutate


@functools.cache
def seeds():
    """Graphs in every kind of file that is audited."""
    from bn_graph.tf1 import tf, tf_slim
    from tests.audit.networks import INPUTS, Built, network, new_graph

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


def growing(rng):
    """A graph in which two parts grow together, of any size up to one that a careless audit would not end for."""
    from bn_graph.tf1 import tf
    from tests.audit.growing_graphs import FAMILIES

    meta = tf.MetaGraphDef(graph_def=rng.choice(sorted(FAMILIES.items()))[1](rng.randint(2, 400)))
    for _ in range(rng.choice([0, 0, 1, 5])):
        mutate(meta, rng)
    return {"graph.meta": meta.SerializeToString()}


def event_file(rng, seeds):
    """An event file whose checksums are right, or nearly all; beside it a file `checkpoint` that names something."""
    from bn_graph.tf1 import tf
    from tests.formats.checkpoint_files import event_record

    graph = tf.MetaGraphDef.FromString(rng.choice([files["graph.meta"] for files in seeds if "graph.meta" in files]))
    mutate(graph, rng)
    field = {"meta_graph_def": graph.SerializeToString()}
    if rng.random() < 0.5:
        field = {"graph_def": graph.graph_def.SerializeToString()}
    content = event_record(file_version="brain.Event:2") + event_record(**field)
    files = {"graph/events.out.tfevents.1": damaged(rng, content) if rng.random() < 0.5 else content}
    if rng.random() < 0.3:
        files["graph/checkpoint"] = damaged(rng, b'model_checkpoint_path: "a\\x41\\"\\303\\251"\n')
    return files


def damage(rng, seeds):
    from bn_graph.tf1 import tf

    if rng.random() < 0.03:
        return growing(rng)
    if rng.random() < 0.05:
        return event_file(rng, seeds)
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
            mutate(meta, rng)
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


def parse(folder):
    from bn_graph.audit import audit_graph
    from tests.audit.findings import check_form

    names = sorted(path.name for path in folder.iterdir())
    name = next((name for name in names if name.startswith(("graph", "saved"))), "model.ckpt")
    check_form(audit_graph(folder / name, num_steps=1000))
