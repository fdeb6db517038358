"""Graphs, in every kind of file that is audited."""

import functools
import tempfile
from pathlib import Path

from google.protobuf import text_format

from tests.fuzzing.damage import damaged, varint
from tests.fuzzing.harness import files_of


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


def damage(rng, seeds):
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


def parse(folder):
    from bn_graph.audit import audit_graph
    from tests.audit.findings import check_form

    names = sorted(path.name for path in folder.iterdir())
    name = next((name for name in names if name.startswith(("graph", "saved"))), "model.ckpt")
    check_form(audit_graph(folder / name, num_steps=1000))
