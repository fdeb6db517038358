"""Mutations of a MetaGraphDef: it still parses, and one thing of it is wrong.

Each mutation is called with a `Place` and a `random.Random`. It returns False where the place has nothing to change.
"""

from typing import Any, NamedTuple


class Place(NamedTuple):
    """Where a graph is mutated: a body (the graph's nodes, or a function's) and two nodes of it."""

    meta: Any
    body: Any
    node: Any
    other: Any

    @property
    def functions(self):
        return self.meta.graph_def.library.function


def mutate(meta, draw):
    """Changes one thing, or nothing where a body without nodes is drawn."""
    bodies = [meta.graph_def.node, *(function.node_def for function in meta.graph_def.library.function)]
    body = draw.choice(bodies)
    if not len(body):
        return
    place = Place(meta, body, draw.choice(body), draw.choice(body))
    if MUTATIONS[draw.randrange(len(MUTATIONS))](place, draw) is False:
        without_attributes(place, draw)


# Inputs.


def cycle(place, draw):
    if not place.node.input:
        return False
    place.node.input[draw.randrange(len(place.node.input))] = place.other.name


def input_of_itself(place, draw):
    place.node.input.append(place.node.name)


def input_from_nowhere(place, draw):
    node, name = place.node, place.other.name
    if not node.input:
        return False
    # fmt: off
    node.input[draw.randrange(len(node.input))] = draw.choice([
        "nowhere", "", "^", "^^w", ":0", "w:", "w:x", f"{name}:999999999999999999999", "^" + node.name, "a:b:c:d",
    ])
    # fmt: on


def without_inputs(place, draw):
    del place.node.input[:]


# Attributes, names and ops.


def without_an_attribute(place, draw):
    if not place.node.attr:
        return False
    del place.node.attr[draw.choice(sorted(place.node.attr))]


def another_nodes_attribute(place, draw):
    attr, other = place.node.attr, place.other.attr
    if not attr or not other:
        return False
    attr[draw.choice(sorted(attr))].CopyFrom(other[draw.choice(sorted(other))])


def another_kind_of_attribute(place, draw):
    if not place.node.attr:
        return False
    value = place.node.attr[draw.choice(sorted(place.node.attr))]
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


def without_attributes(place, draw):
    place.node.ClearField("attr")


def another_name(place, draw):
    place.node.name = draw.choice(["", place.other.name, "x" * 10_000, "\u00e9/\n", "^x", "x:0", "/"])


OPS = (
    " Merge Switch If While PartitionedCall Const Assign AssignVariableOp StopGradient FusedBatchNormV3 "
    "Rsqrt VariableV2 VarHandleOp Enter NextIteration SaveV2 Identity ApplyAdam PlaceholderWithDefault "
    "ResourceApplyGradientDescent Mean Mul Sub Placeholder"
).split(" ")


def another_op(place, draw):
    place.node.op = draw.choice(OPS)


# Constants and shapes.


def another_constant(place, draw):
    constants = [node for node in place.body if node.op == "Const"]
    if not constants:
        return
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


def another_shape(place, draw):
    shape = draw.choice(place.body).attr["shape"].shape
    {
        0: lambda: shape.dim.add(size=2**62),
        1: lambda: shape.dim.add(size=-(2**62)),
        2: lambda: setattr(shape, "unknown_rank", True),
        3: lambda: [shape.dim.add(size=0) for _ in range(1000)],
    }[draw.randrange(4)]()


# Functions.


def call_of_a_function(place, draw):
    """In a function, so that it may come to call itself."""
    if not place.functions:
        return False
    function = draw.choice(place.functions)
    call = draw.choice(function.node_def) if function.node_def else place.node
    call.op = draw.choice([function.signature.name, draw.choice(place.functions).signature.name])


def other_branches(place, draw):
    if not place.functions:
        return False
    names = [function.signature.name for function in place.functions]
    bodies = [place.meta.graph_def.node, *(function.node_def for function in place.functions)]
    for call in [node for body in bodies for node in body if node.op in ("If", "StatelessIf", "While")]:
        for key in ("then_branch", "else_branch", "body", "cond"):
            if key in call.attr:
                call.attr[key].func.name = draw.choice(names)


def another_function(place, draw):
    if not place.functions:
        return False
    function = draw.choice(place.functions)
    draw.choice(
        [
            lambda: function.ret.clear(),
            lambda: function.signature.Clear(),
            lambda: function.node_def.append(place.node),
            lambda: place.functions.append(function),
            lambda: function.signature.input_arg.add(name="more"),
            lambda: [function.ret.__setitem__(key, "nowhere:out:0") for key in list(function.ret)],
        ]
    )()


# Collections, and the Saver.


def another_collection(place, draw):
    if not place.meta.collection_def:
        return False
    collection = place.meta.collection_def[draw.choice(sorted(place.meta.collection_def))]
    draw.choice(
        [
            lambda: collection.bytes_list.value.append(b"\xff\xff\xff"),
            lambda: collection.node_list.value.extend(["nowhere", "", "w:9"]),
            lambda: collection.Clear(),
            lambda: collection.float_list.value.append(float("nan")),
            lambda: collection.any_list.value.add(type_url="x", value=b"\xff"),
        ]
    )()


def another_train_op(place, draw):
    names = place.meta.collection_def["train_op"].node_list.value
    names.append(draw.choice(["nowhere", "", place.other.name, "^w"]))


def another_saver(place, draw):
    place.meta.saver_def.save_tensor_name = draw.choice(["nowhere", "", "w:0"])


# Nodes.


def without_a_node(place, draw):
    del place.body[draw.randrange(len(place.body))]


def a_node_twice(place, draw):
    place.body.add().CopyFrom(place.node)


MUTATIONS = [
    cycle,
    input_of_itself,
    input_from_nowhere,
    without_inputs,
    without_an_attribute,
    another_nodes_attribute,
    another_kind_of_attribute,
    another_name,
    another_op,
    another_constant,
    another_shape,
    call_of_a_function,
    other_branches,
    another_function,
    another_collection,
    another_train_op,
    another_saver,
    without_a_node,
    a_node_twice,
    without_attributes,
]
