"""In which loop's frame each op of a graph runs, where loops are made of Enter and Exit."""

from bn_graph.audit.graph.conditions import topological_order
from bn_graph.audit.graph.ops import MERGE_OPS, NEXT_ITERATION_OPS, SAME_VALUE_OPS

_ENTER_OPS, _EXIT_OPS = {"Enter", "RefEnter"}, {"Exit", "RefExit"}
_DEEPEST = 20  # loops in loops


def find_frames(graph):
    """Per node the frames that it is in, a tuple of names, outermost first; () outside of all loops."""
    frames = [()] * len(graph.ops)
    for node in topological_order(graph):
        frame = max((frames[source] for source in _sources(graph, node)), key=len, default=())
        if graph.ops[node] in _ENTER_OPS:
            attr = graph.attrs[node]
            frame = (*frame, attr["frame_name"].s if "frame_name" in attr else b"")[:_DEEPEST]
        elif graph.ops[node] in _EXIT_OPS:
            frame = frame[:-1]
        frames[node] = frame
    return frames


def waited_for_from_other_frames(graph, frames, nodes):
    """The ops in a loop that some of `nodes` wait for together with ops outside of it. No session can run that."""
    stack = []
    for node in nodes:
        sources = list(_sources(graph, node))
        if graph.top_level[node] == node and len({frames[source] for source in sources}) > 1:
            stack += [source for source in sources if frames[source]]
    reached = set()
    while stack:
        node = stack.pop()
        if node not in reached:
            reached.add(node)
            # A constant or a group is where it is for what it waits for, and so is what reads a variable afterwards.
            if not graph.inputs[node] or graph.ops[node] in SAME_VALUE_OPS:
                stack += [source for source in _sources(graph, node) if frames[source]]
    return reached


def _sources(graph, node):
    """What a node takes, or waits for; of a loop's Merge without what comes around."""
    merges = graph.ops[node] in MERGE_OPS
    for output in graph.inputs[node]:
        if not (merges and graph.ops[output.node] in NEXT_ITERATION_OPS):
            yield output.node
    yield from graph.controls[node]
