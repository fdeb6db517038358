"""Malformed graphs of any size and depth are audited or refused, in little time and memory. (More: tests/fuzzing.)"""

import resource as process_resource
import signal
import threading

import pytest

from bn_graph import InputError
from bn_graph.audit import audit_graph
from bn_graph.tf1 import tf
from tests.audit.cases.case import BOTH
from tests.audit.findings import NEVER_RUN, check_form, kinds
from tests.audit.networks import network


class Hang(BaseException):
    """An audit that takes too long. Not an Exception, so that nobody catches it."""


@pytest.fixture
def within():
    """Calls a function; raises Hang where it takes longer than so many seconds."""
    assert threading.current_thread() is threading.main_thread()

    def ring(*_):
        raise Hang

    def call(seconds, function, *arguments, **options):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return function(*arguments, **options)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, ring)
    yield call
    signal.signal(signal.SIGALRM, before)


def survives(within, graph, **arguments):
    """Whether the audit reports (True) or raises InputError (False). Whatever else it does fails the test."""
    try:
        report = within(20, audit_graph, graph, **arguments)
        check_form(report)
        return True
    except InputError as error:
        assert str(error).strip() and "\n" not in str(error).strip()
        return False


def function_def(name, calls):
    function = tf.GraphDef().library.function.add()
    function.signature.name = name
    function.signature.input_arg.add(name="x", type=1)
    function.signature.output_arg.add(name="y", type=1)
    last = "x"
    for index, (op, attrs) in enumerate(calls):
        node = function.node_def.add(name=f"call_{index}", op=op)
        node.input.append(last)
        for key, value in attrs.items():
            node.attr[key].func.name = value
        last = f"call_{index}:output:0"
    function.ret["y"] = last
    return function


def chain(op, length, start="X"):
    definition = network("hand", **BOTH).graph.as_graph_def()
    last = start
    for index in range(length):
        node = definition.node.add(name=f"link_{index}", op=op)
        node.input.append(last)
        node.attr["T"].type = 1
        last = node.name
    return definition, last


def deep_chain():
    """The training hangs at the end of 100 000 nodes."""
    definition, last = chain("Identity", 100_000)
    for node in definition.node:
        if node.op == "MatMul" and node.input[0] == "X":
            node.input[0] = last
    return definition


def deep_control_chain():
    definition, _ = chain("NoOp", 0)
    for index in range(100_000):
        node = definition.node.add(name=f"link_{index}", op="NoOp")
        node.input.append(f"^link_{index - 1}" if index else "^X")
    next(node for node in definition.node if node.op == "MatMul").input.append("^link_99999")
    return definition


def wide():
    """One node with 100 000 inputs, many times over the same ones."""
    definition, _ = chain("Identity", 1000)
    node = definition.node.add(name="wide", op="AddN")
    node.input.extend(f"link_{index % 1000}" for index in range(100_000))
    next(node for node in definition.node if node.op == "MatMul").input[0] = "wide"
    return definition


def calls(functions, first="f0", op=None):
    definition, _ = chain("Identity", 0)
    definition.library.function.extend(functions)
    node = definition.node.add(name="call", op=op or first)
    node.input.append("X")
    if op:
        node.attr["f"].func.name = first
    next(node for node in definition.node if node.op == "MatMul").input[0] = "call"
    return definition


def branches(functions):
    definition, _ = chain("Identity", 0)
    definition.library.function.extend(functions)
    node = definition.node.add(name="call", op="If")
    node.input.extend(["X", "X"])
    node.attr["then_branch"].func.name = node.attr["else_branch"].func.name = functions[0].signature.name
    next(node for node in definition.node if node.op == "MatMul").input[0] = "call"
    return definition


def diamonds():
    """2^2000 paths."""
    definition, _ = chain("Identity", 0)
    last = "X"
    for index in range(2000):
        for side in ("a", "b"):
            definition.node.add(name=f"{side}{index}", op="Identity").input.append(last)
        join = definition.node.add(name=f"join_{index}", op="Add")
        join.input.extend([f"a{index}", f"b{index}"])
        last = join.name
    next(node for node in definition.node if node.op == "MatMul").input[0] = last
    return definition


def complete():
    """Each of 700 nodes depends on all others, itself too."""
    definition, _ = chain("Identity", 0)
    names = [f"node_{index}" for index in range(700)]
    for name in names:
        definition.node.add(name=name, op="Mul").input.extend(names)
    next(node for node in definition.node if node.op == "MatMul").input[0] = "node_0"
    return definition


def nested_names():
    definition, _ = chain("Identity", 0)
    definition.node.add(name="/".join("a" * 100_000), op="VariableV2")
    return definition


def huge_constants():
    definition = network("slim_unfused", **BOTH).graph.as_graph_def()
    for node in definition.node:
        if node.op == "Const":
            del node.attr["value"].tensor.tensor_shape.dim[:]
            for _ in range(3):
                node.attr["value"].tensor.tensor_shape.dim.add(size=2**30)
    return definition


def switches(op):
    """A thousand conditions, one in another."""
    definition, _ = chain("Identity", 0)
    definition.node.add(name="condition", op="Placeholder").attr["dtype"].type = 10
    last = "X"
    for index in range(1000):
        definition.node.add(name=f"switch_{index}", op="Switch").input.extend([last, "condition"])
        last = f"switch_{index}:1"
    for index in range(1000):
        merge = definition.node.add(name=f"merge_{index}", op=op)
        merge.input.extend([last, f"switch_{999 - index}"])
        last = merge.name
    next(node for node in definition.node if node.op == "MatMul").input[0] = last
    return definition


def every_name_the_same():
    definition = network("slim", **BOTH).graph.as_graph_def()
    for node in definition.node:
        node.name = "w"
    return definition


def ring_of_loops():
    definition = network("slim", **BOTH).graph.as_graph_def()
    names = [node.name for node in definition.node]
    for node, name in zip(definition.node, names[1:] + names[:1], strict=True):
        node.input.append(name)
        node.input.append("^" + name)
    return definition


MONSTERS = {
    "deep chain": deep_chain,
    "deep control chain": deep_control_chain,
    "wide": wide,
    "diamonds": diamonds,
    "complete": complete,
    "a function that calls itself": lambda: calls([function_def("f0", [("f0", {})])]),
    "a function that calls itself, PartitionedCall": lambda: calls(
        [function_def("f0", [("PartitionedCall", {"f": "f0"})])], op="PartitionedCall"
    ),
    "two functions that call each other": lambda: calls(
        [function_def("f0", [("f1", {})]), function_def("f1", [("f0", {})])]
    ),
    "functions that double": lambda: calls(
        [function_def(f"f{i}", [(f"f{i + 1}", {})] * 2) for i in range(60)] + [function_def("f60", [("Identity", {})])]
    ),
    "branches that double": lambda: branches(
        [
            function_def(f"f{i}", [("If", {"then_branch": f"f{i + 1}", "else_branch": f"f{i + 1}"})] * 2)
            for i in range(60)
        ]
    ),
    "functions a thousand deep": lambda: calls([function_def(f"f{i}", [(f"f{i + 1}", {})]) for i in range(1000)]),
    "a name a hundred thousand deep": nested_names,
    "huge constants": huge_constants,
    "a thousand conditions": lambda: switches("Merge"),
    "a thousand conditions that never meet": lambda: switches("Add"),
    "every name the same": every_name_the_same,
    "ring of loops": ring_of_loops,
}


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "x" * 100_000])
def test_a_name_from_a_file_stays_on_one_line(name, within):
    for mistake in ("twice", "no input", "unknown input"):
        definition = network("slim", **BOTH).graph.as_graph_def()
        for _ in range(1 + (mistake == "twice")):
            node = definition.node.add(name=name, op="ReadVariableOp")
            node.input.extend({"twice": ["w"], "no input": [], "unknown input": [name + "?"]}[mistake])
        try:
            within(20, audit_graph, definition)
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) < 1000


@pytest.mark.parametrize("monster", MONSTERS)
def test_monsters(monster, within):
    definition = MONSTERS[monster]()
    before = process_resource.getrusage(process_resource.RUSAGE_SELF).ru_maxrss
    survives(within, definition)
    after = process_resource.getrusage(process_resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 1_000_000  # kilobytes


def test_a_deep_chain_hides_nothing():
    assert kinds(audit_graph(deep_chain())) == set()


def test_a_function_body_that_is_called_60_times_deep_is_still_found_out(within):
    built = network("slim", train="placeholder", updates="collected")
    definition = built.graph.as_graph_def()
    definition.library.function.extend(
        [function_def(f"f{i}", [(f"f{i + 1}", {})] * 2) for i in range(60)] + [function_def("f60", [("Identity", {})])]
    )
    assert kinds(within(20, audit_graph, definition)) == {NEVER_RUN}
