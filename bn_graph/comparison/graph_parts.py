"""The graph that TensorFlow 0.12.1 built beside the port's, part by part.

The parts are the variables, the collections, the ops that update moving averages, and the random ops with their seeds.
One more part is the kinds of op that differ between then and now.
"""

from bn_graph.comparison.graph_2016 import Graph2016
from bn_graph.graph import TutorialGraph
from bn_graph.tf1 import ancestors, tf

_UPDATE_KINDS = ("AssignSub", "AssignSubVariableOp")  # what moves a moving average, then and now


def compare_graphs(recorded: dict, imported: Graph2016, tutorial: TutorialGraph) -> dict:
    """By part, rows of name, original, port, same, and why: why a difference is harmless, or empty.

    recorded: the `recording` of the run. imported: its graph of 2016.
    """
    original, port = _parts_of_2016(recorded, imported), _parts_of_port(tutorial)
    return {
        part: [
            _row(part, name, original[part].get(name), port[part].get(name))
            for name in dict.fromkeys([*original[part], *port[part]])
        ]
        for part in original
    }


def _row(part, name, original, port):
    same = original == port
    return {
        "name": name,
        "original": original,
        "port": port,
        "same": same,
        "why": "" if same else why_harmless(part, original, port),
    }


def why_harmless(part: str, original, port) -> str:
    """Why a difference between the graphs changes no number; empty where that is not known."""
    if None in (original, port):
        return ""
    if part == "update ops" and all(original[key] == port[key] for key in ("in_update_ops", "run_by_train_op")):
        return (
            "Only the op's name differs. It subtracts the same number from the same average, and the same op runs it."
        )
    if part == "kinds of op" and (original, port) == (["Variable"], ["VarHandleOp"]):
        return "Today's TensorFlow keeps a variable as a resource, not as a reference. Its values are the same."
    if part == "kinds of op" and (original, port) == (["AssignSub"], ["AssignSubVariableOp"]):
        return "It is the same subtraction, for a variable that is a resource."
    return ""


def _parts_of_2016(recorded, imported):
    with imported.graph.as_default():
        variable_kinds = {variable.op.type for variable in tf.global_variables()}
    return {
        "variables": {v["name"]: _variable(v["dtype"], v["shape"], v["trainable"]) for v in recorded["variables"]},
        "collections": recorded["collections"],
        "update ops": _update_ops(imported.graph, imported.end_point("train_op")),
        "random ops": {op["name"]: _random(op["type"], op["seed"], op["seed2"]) for op in recorded["random_ops"]},
        "kinds of op": {"a variable": sorted(variable_kinds), "an update": _update_kinds(imported.graph)},
    }


def _parts_of_port(tutorial):
    graph, variables = tutorial.graph, tutorial.variables
    with graph.as_default():
        trainable = {variable.op.name for variable in tf.trainable_variables()}
    variable_kinds = {variable.op.type for variable in variables.values()}
    return {
        "variables": {
            name: _variable(v.dtype.base_dtype.name, v.shape.as_list(), name in trainable)
            for name, v in variables.items()
        },
        "collections": {
            key: [member.name for member in graph.get_collection(key)]
            for key in sorted(graph.get_all_collection_keys())
        },
        "update ops": _update_ops(graph, tutorial.train_op),
        "random ops": {
            op.name: _random(op.type, op.get_attr("seed"), op.get_attr("seed2"))
            for op in graph.get_operations()
            if {"seed", "seed2"} <= set(op.node_def.attr)
        },
        "kinds of op": {"a variable": sorted(variable_kinds), "an update": _update_kinds(graph)},
    }


def _variable(dtype, shape, trainable):
    return {"dtype": dtype, "shape": shape, "trainable": trainable}


def _random(kind, seed, op_seed):
    return {"kind": kind, "seed": seed, "op_seed": op_seed}


def _update_ops(graph, train_op):
    """From each moving average to the op that updates it, and who runs that op."""
    collected = ancestors(getattr(member, "op", member) for member in graph.get_collection(tf.GraphKeys.UPDATE_OPS))
    run_by_train_op = ancestors([train_op])
    return {
        op.inputs[0].op.name: {
            "name": op.name,
            "in_update_ops": op in collected,
            "run_by_train_op": op in run_by_train_op,
        }
        for op in graph.get_operations()
        if op.type in _UPDATE_KINDS
    }


def _update_kinds(graph):
    return sorted({op.type for op in graph.get_operations() if op.type in _UPDATE_KINDS})
