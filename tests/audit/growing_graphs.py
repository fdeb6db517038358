"""Graphs in which two parts grow together, so that a careless audit costs their product.

`FAMILIES` maps a name to a function of n, which returns a GraphDef whose size grows in proportion to n. Each once cost
n * n, or is a product that somebody could think of.
"""

import numpy as np
from tensorflow.core.framework import graph_pb2, types_pb2

FLOAT, INT32, BOOL, STRING = types_pb2.DT_FLOAT, types_pb2.DT_INT32, types_pb2.DT_BOOL, types_pb2.DT_STRING
CHANNELS = 2


class Builder:
    """Adds nodes to a GraphDef, or to the body of a function."""

    def __init__(self, nodes, suffix=""):
        self._nodes, self._suffix = nodes, suffix

    def node(self, name, op, *inputs, **attr):
        node = self._nodes.add(name=name, op=op, input=inputs)
        for key, value in attr.items():
            if isinstance(value, bool):
                node.attr[key].b = value
            elif isinstance(value, str):
                node.attr[key].func.name = value
            elif isinstance(value, list):
                for function in value:
                    node.attr[key].list.func.add(name=function)
            elif isinstance(value, tuple):
                for size in value:
                    node.attr[key].shape.dim.add(size=size)
            else:
                node.attr[key].type = value
        return name + self._suffix

    def constant(self, name, values):
        values = np.asarray(values)
        node = self._nodes.add(name=name, op="Const")
        proto = node.attr["value"].tensor
        for size in values.shape:
            proto.tensor_shape.dim.add(size=size)
        if values.dtype.kind in "US":
            proto.dtype = STRING
            proto.string_val.extend(value.encode() for value in values.ravel().tolist())
        else:
            proto.dtype = {"f": FLOAT, "i": INT32, "b": BOOL}[values.dtype.kind]
            proto.tensor_content = values.astype(
                {"f": np.float32, "i": np.int32, "b": np.bool_}[values.dtype.kind]
            ).tobytes()
        return name + self._suffix

    def variable(self, name):
        return self.node(name, "VariableV2", dtype=FLOAT, shape=(CHANNELS,))


def new_graph():
    """(graph_def, builder of it), with a placeholder x, and variables of one layer."""
    graph_def = graph_pb2.GraphDef()
    build = Builder(graph_def.node)
    build.node("x", "Placeholder", dtype=FLOAT)
    for name in ("bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance"):
        build.variable(name)
    build.constant("axes", [0])
    build.constant("epsilon", 0.001)
    return graph_def, build


NAMES = ("bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance")


def trained(build, loss, name="step"):
    """An optimizer that takes `loss` for its gradient, and moves gamma by it."""
    build.node(name, "ApplyGradientDescent", "bn/gamma", "epsilon", loss)


def add_function(graph_def, name, num_inputs, outputs, num_nodes=1, controls=0, name_length=1):
    """A function of Identity nodes; `outputs` are the names of the nodes that it returns."""
    function = graph_def.library.function.add()
    function.signature.name = name
    for number in range(num_inputs):
        function.signature.input_arg.add(name=f"a{number}", type=FLOAT)
    build = Builder(function.node_def)
    for number in range(num_nodes):
        build.node(f"{'n' * name_length}{number}", "Identity", "a0", T=FLOAT)
    for number in range(outputs):
        function.signature.output_arg.add(name=f"r{number}", type=FLOAT)
        function.ret[f"r{number}"] = f"{'n' * name_length}{number % num_nodes}:output:0"
    for number in range(controls):
        function.signature.control_output.append(f"c{number}")
        function.control_ret[f"c{number}"] = f"{'n' * name_length}{number % num_nodes}"
    return function


def outputs_and_control_outputs(n):
    """A function with n outputs and n control outputs."""
    graph_def, build = new_graph()
    add_function(graph_def, "f", 1, outputs=n, num_nodes=n, controls=n)
    build.node("call", "StatefulPartitionedCall", "x", f="f")
    for number in range(n):
        build.node(f"result{number}", "Identity", f"call:{number}", T=FLOAT)
    return graph_def


def loop_variables_and_control_outputs(n):
    """A While with n variables, whose body has n control outputs."""
    graph_def, build = new_graph()
    function = add_function(graph_def, "body", n, outputs=n, num_nodes=n, controls=n)
    for number, node in enumerate(function.node_def):
        node.input[0] = f"a{(number + 1) % n}"
    add_function(graph_def, "condition", n, outputs=1)
    build.node("loop", "While", *["x"] * n, body="body", cond="condition")
    return graph_def


def branches_and_outputs(n):
    """A Case with n branches, all of them one function with n outputs."""
    graph_def, build = new_graph()
    build.constant("index", 0)
    add_function(graph_def, "f", 1, outputs=n)
    build.node("case", "Case", "index", "x", branches=["f"] * n)
    return graph_def


def branches_with_calls(n):
    """A Case with n branches, each a function that calls another."""
    graph_def, build = new_graph()
    build.constant("index", 0)
    add_function(graph_def, "g", 1, outputs=1)
    for number in range(n):
        function = add_function(graph_def, f"f{number}", 1, outputs=1)
        Builder(function.node_def).node("call", "PartitionedCall", "a0", f="g")
    build.node("case", "Case", "index", "x", branches=[f"f{number}" for number in range(n)])
    return graph_def


def calls_of_wide_function(n):
    """n calls of a function in which a node has n inputs."""
    graph_def, build = new_graph()
    function = add_function(graph_def, "f", 1, outputs=1)
    Builder(function.node_def).node("sum", "AddN", *["a0"] * n, T=FLOAT)
    for number in range(n):
        build.node(f"call{number}", "PartitionedCall", "x", f="f")
    return graph_def


def calls_of_long_names(n):
    """n calls of a function in which a node has a name of 10 n letters."""
    graph_def, build = new_graph()
    add_function(graph_def, "f", 1, outputs=1, name_length=10 * n)
    for number in range(n):
        build.node(f"call{number}", "PartitionedCall", "x", f="f")
    return graph_def


def long_call_of_nodes(n):
    """A call with a name of 10 n letters, of a function with n nodes."""
    graph_def, build = new_graph()
    add_function(graph_def, "f", 1, outputs=1, num_nodes=n)
    build.node("c" * 10 * n, "PartitionedCall", "x", f="f")
    return graph_def


def fused_layers_on_one_set_of_variables(n):
    """n training and n evaluation uses of one layer, in which the training ones update."""
    graph_def, build = new_graph()
    build.constant("rate", 0.1)
    previous = "x"
    for number in range(n):
        for training in (True, False):
            statistics = ["epsilon"] * 2 if training else ["bn/moving_mean", "bn/moving_variance"]
            name = f"bn_{number}_{training}"
            build.node(name, "FusedBatchNorm", previous, "bn/gamma", "bn/beta", *statistics, is_training=training)
        name = f"bn_{number}_True"
        for index, statistic in ((1, "moving_mean"), (2, "moving_variance")):
            build.node(f"{name}/sub{index}", "Sub", f"bn/{statistic}", f"{name}:{index}", T=FLOAT)
            build.node(f"{name}/mul{index}", "Mul", f"{name}/sub{index}", "rate", T=FLOAT)
            build.node(f"{name}/update{index}", "AssignSub", f"bn/{statistic}", f"{name}/mul{index}", T=FLOAT)
        build.node(f"gradient{number}", "Identity", name, T=FLOAT)
        build.node(f"step{number}", "ApplyGradientDescent", "bn/gamma", "rate", f"gradient{number}", T=FLOAT)
    return graph_def


def layers_that_share_their_batch(n):
    """n normalisations by one batch's moments, of n layers, and n updates that average these moments."""
    graph_def, build = new_graph()
    build.constant("rate", 0.1)
    build.node("mean", "Mean", "x", "axes", T=FLOAT)
    build.node("squares", "SquaredDifference", "x", "mean", T=FLOAT)
    build.node("variance", "Mean", "squares", "axes", T=FLOAT)
    build.node("centred", "Sub", "x", "mean", T=FLOAT)
    for number in range(n):
        scope = f"layer{number}"
        build.node(f"{scope}/add", "Add", "variance", "epsilon", T=FLOAT)
        build.node(f"{scope}/rsqrt", "Rsqrt", f"{scope}/add", T=FLOAT)
        build.variable(f"{scope}/beta")
        build.node(f"{scope}/product", "Mul", "centred", f"{scope}/rsqrt", T=FLOAT)
        build.node(f"{scope}/output", "Add", f"{scope}/product", f"{scope}/beta", T=FLOAT)
        for statistic in ("mean", "variance"):
            build.variable(f"{scope}/moving_{statistic}")
            build.node(f"{scope}/sub_{statistic}", "Sub", f"{scope}/moving_{statistic}", statistic, T=FLOAT)
            build.node(f"{scope}/mul_{statistic}", "Mul", f"{scope}/sub_{statistic}", "rate", T=FLOAT)
            inputs = f"{scope}/moving_{statistic}", f"{scope}/mul_{statistic}"
            build.node(f"{scope}/update_{statistic}", "AssignSub", *inputs, T=FLOAT)
        build.node(f"{scope}/step", "ApplyGradientDescent", f"{scope}/beta", "rate", f"{scope}/output", T=FLOAT)
    return graph_def


def updates_that_share_a_sum(n):
    """n assignments of the moving mean, of one sum of n terms."""
    graph_def, build = new_graph()
    terms = [build.node(f"term{number}", "Neg", "epsilon", T=FLOAT) for number in range(n)]
    level = 0
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [build.node(f"sum{level}_{k}", "Add", *pair, T=FLOAT) for k, pair in enumerate(pairs)]
        level += 1
    name = build.node("bn", "FusedBatchNorm", "x", "bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance",
                      is_training=False)  # fmt: skip
    for number in range(n):
        build.node(f"update{number}", "Assign", "bn/moving_mean", terms[0], T=FLOAT)
    build.node("step", "ApplyGradientDescent", "bn/gamma", "epsilon", name, T=FLOAT)
    return graph_def


def frozen_layers_on_one_constant(n):
    """n layers for inference, by one constant of 1000 n values."""
    graph_def, build = new_graph()
    build.constant("statistics", np.zeros(1000 * n, np.float32))
    previous = "x"
    for number in range(n):
        name = f"bn_{number}"
        build.node(name, "FusedBatchNorm", previous, *["statistics"] * 4, is_training=False)
        previous = name
    return graph_def


def predicates_on_one_set_of_variables(n):
    """n uses of one layer, each under a condition of its own."""
    graph_def, build = new_graph()
    build.constant("rate", 0.1)
    for number in range(n):
        scope = f"use{number}"
        build.node(f"{scope}/is_training", "Placeholder", dtype=BOOL)
        build.node(f"{scope}/mean", "Mean", "x", "axes", T=FLOAT)
        build.node(f"{scope}/squares", "SquaredDifference", "x", f"{scope}/mean", T=FLOAT)
        build.node(f"{scope}/variance", "Mean", f"{scope}/squares", "axes", T=FLOAT)
        for statistic in ("mean", "variance"):
            inputs = f"{scope}/is_training", f"{scope}/{statistic}", f"bn/moving_{statistic}"
            build.node(f"{scope}/chosen_{statistic}", "Select", *inputs, T=FLOAT)
            build.node(f"{scope}/sub_{statistic}", "Sub", f"bn/moving_{statistic}", f"{scope}/{statistic}", T=FLOAT)
            build.node(f"{scope}/mul_{statistic}", "Mul", f"{scope}/sub_{statistic}", "rate", T=FLOAT)
            inputs = f"bn/moving_{statistic}", f"{scope}/mul_{statistic}"
            build.node(f"{scope}/update_{statistic}", "AssignSub", *inputs, T=FLOAT)
        build.node(f"{scope}/add", "Add", f"{scope}/chosen_variance", "epsilon", T=FLOAT)
        build.node(f"{scope}/rsqrt", "Rsqrt", f"{scope}/add", T=FLOAT)
        build.node(f"{scope}/centred", "Sub", "x", f"{scope}/chosen_mean", T=FLOAT)
        build.node(f"{scope}/product", "Mul", f"{scope}/centred", f"{scope}/rsqrt", T=FLOAT)
        build.node(f"{scope}/output", "Add", f"{scope}/product", "bn/beta", T=FLOAT)
        build.node(f"{scope}/step", "ApplyGradientDescent", "bn/beta", "rate", f"{scope}/output", T=FLOAT)
    return graph_def


def idle_updates_in_a_chain(n):
    """n layers whose updates nobody runs, each waited for by the next layer's evaluation."""
    graph_def, build = new_graph()
    build.constant("rate", 0.1)
    x, waited_for = "x", ()
    for number in range(n):
        scope = f"layer{number}"
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            build.variable(f"{scope}/{part}")
        parameters = f"{scope}/gamma", f"{scope}/beta"
        build.node(f"{scope}/train", "FusedBatchNorm", x, *parameters, "epsilon", "epsilon", is_training=True)
        x = f"{scope}/train"
        updates = []
        for index, statistic in ((1, "moving_mean"), (2, "moving_variance")):
            build.node(f"{scope}/sub{index}", "Sub", f"{scope}/{statistic}", f"{x}:{index}", T=FLOAT)
            build.node(f"{scope}/mul{index}", "Mul", f"{scope}/sub{index}", "rate", T=FLOAT)
            inputs = f"{scope}/{statistic}", f"{scope}/mul{index}"
            updates.append(build.node(f"{scope}/update{index}", "AssignSub", *inputs, *waited_for, T=FLOAT))
        waited_for = tuple(f"^{update}" for update in updates)
        build.node(f"{scope}/step", "ApplyGradientDescent", f"{scope}/beta", "rate", x, T=FLOAT)
    return graph_def


def savers_of_one_list_of_names(n):
    """n ops that save, all by one constant of n names."""
    graph_def, build = new_graph()
    build.constant("names", [f"name{number}" for number in range(n)])
    build.constant("prefix", ["model"])
    for number in range(n):
        build.node(f"save{number}", "SaveV2", "prefix", "names", "names", "bn/moving_mean")
    return graph_def


def savers_of_one_shard(n):
    """n ops that restore, which are one shard, and n Savers of that shard, beside a layer that is trained frozen."""
    graph_def, build = new_graph()
    build.constant("prefix", ["model"])
    build.node("norm", "FusedBatchNorm", "x", *NAMES, is_training=False)
    for number in range(n):
        build.variable(f"v{number}")
        build.node(f"read{number}", "RestoreV2", "prefix", "prefix", "prefix")
        build.node(f"restore{number}", "Assign", f"v{number}", f"read{number}")
    build.node("shard", "NoOp", *(f"^restore{number}" for number in range(n)))
    for number in range(n):
        build.node(f"saver{number}", "NoOp", "^shard")
    trained(build, "norm")
    return graph_def


def assignments_of_one_constant(n):
    """n variables that begin with one constant of 100 n values, beside a layer that is trained frozen."""
    graph_def, build = new_graph()
    build.constant("values", np.arange(100 * n, dtype=np.float32))
    build.node("norm", "FusedBatchNorm", "x", *NAMES, is_training=False)
    for number in range(n):
        build.variable(f"v{number}")
        build.node(f"v{number}/Assign", "Assign", f"v{number}", "values")
    trained(build, "norm")
    return graph_def


def results_thrown_away(n):
    """n layers on one input, whose results a Merge takes, and n gradients of that."""
    graph_def, build = new_graph()
    for number in range(n):
        build.node(f"norm{number}", "FusedBatchNorm", "x", *NAMES, is_training=False)
    build.node("result", "Merge", *(f"norm{number}" for number in range(n)))
    for number in range(n):
        build.node(f"gradients/result{number}", "Identity", "result")
    trained(build, "x")
    return graph_def


def layers_behind_one_concatenation(n):
    """n layers that train on the concatenation of n parts."""
    graph_def, build = new_graph()
    build.node("parts", "ConcatV2", *["x"] * n, "axes")
    for number in range(n):
        scope = f"layer{number}"
        for part in ("gamma", "beta"):
            build.variable(f"{scope}/{part}")
        build.node(
            f"{scope}/norm", "FusedBatchNorm", "parts", f"{scope}/gamma", f"{scope}/beta", *NAMES[2:], is_training=True
        )
        trained(build, f"{scope}/norm", f"step{number}")
    return graph_def


def layers_for_inference(n):
    """n layers that normalise by their batch, where nothing trains."""
    graph_def, build = new_graph()
    previous = "x"
    for number in range(n):
        scope = f"layer{number}"
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            build.variable(f"{scope}/{part}")
        parameters = f"{scope}/gamma", f"{scope}/beta"
        previous = build.node(
            f"{scope}/norm", "FusedBatchNorm", previous, *parameters, "epsilon", "epsilon", is_training=True
        )
    return graph_def


def constant_predicates(n):
    """n choices by one constant of 100 n bytes."""
    graph_def, build = new_graph()
    build.constant("large", np.zeros(100 * n, np.bool_))
    for number in range(n):
        build.node(f"switch{number}", "Switch", "x", "large", T=FLOAT)
        build.node(f"merge{number}", "Merge", f"switch{number}", f"switch{number}:1", T=FLOAT)
    return graph_def


FAMILIES = {
    function.__name__: function
    for function in (
        outputs_and_control_outputs,
        loop_variables_and_control_outputs,
        branches_and_outputs,
        branches_with_calls,
        calls_of_wide_function,
        calls_of_long_names,
        long_call_of_nodes,
        fused_layers_on_one_set_of_variables,
        layers_that_share_their_batch,
        updates_that_share_a_sum,
        frozen_layers_on_one_constant,
        predicates_on_one_set_of_variables,
        idle_updates_in_a_chain,
        savers_of_one_list_of_names,
        savers_of_one_shard,
        assignments_of_one_constant,
        results_thrown_away,
        layers_behind_one_concatenation,
        layers_for_inference,
        constant_predicates,
    )
}
