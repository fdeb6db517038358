"""Under which conditions each op of a graph runs, and each value is there."""

from bn_graph.audit.graph.ops import COMPARE_OPS, MERGE_OPS, NEXT_ITERATION_OPS, SAME_VALUE_OPS, SWITCH_OPS

_MAX_CONDITIONS = 16  # of one node; deeper nesting is cut off


def find_conditions(graph, call_conditions):
    """Fills in `graph.conditions`: of every node, those of what it needs, and of the branch that it was copied from.

    call_conditions: nodes from the bodies of functions to a frozenset of (`Output` of a predicate, value).
    """
    copied_from = {
        node: frozenset(predicate(graph, output, value) for output, value in conditions)
        for node, conditions in call_conditions.items()
        if conditions
    }
    for node in topological_order(graph):
        if graph.ops[node] in MERGE_OPS:
            conditions = _common_conditions(graph, node)
        else:
            conditions = _conditions_of_all(graph, node)
        if node in copied_from:
            conditions |= copied_from[node]
        if len(conditions) > _MAX_CONDITIONS:
            conditions = frozenset(sorted(conditions)[:_MAX_CONDITIONS])
        graph.conditions[node] = conditions


def _common_conditions(graph, merge):
    """A Merge gives out whichever input is there."""
    branches = [
        condition_of(graph, output)
        for output in graph.inputs[merge]
        if graph.ops[output.node] not in NEXT_ITERATION_OPS
    ]
    return frozenset.intersection(*branches) if branches else frozenset()


def _conditions_of_all(graph, node):
    conditions = frozenset()
    for output in graph.inputs[node]:
        more = condition_of(graph, output)
        if not more <= conditions:
            conditions |= more
    for control in graph.controls[node]:
        if not graph.conditions[control] <= conditions:
            conditions |= graph.conditions[control]
    return conditions


def topological_order(graph):
    """The nodes, inputs before consumers where there is no cycle; the edges that close a loop are left out."""
    waiting, following = [0] * len(graph.ops), [[] for _ in graph.ops]
    for node in range(len(graph.ops)):
        for source in _sources(graph, node):
            waiting[node] += 1
            following[source].append(node)
    ready = [node for node, count in enumerate(waiting) if not count]
    for node in ready:  # grows
        for after in following[node]:
            waiting[after] -= 1
            if not waiting[after]:
                ready.append(after)
    if len(ready) < len(graph.ops):
        ready += [node for node, count in enumerate(waiting) if count]
    return ready


def _sources(graph, node):
    """What a node waits for; a Merge does not wait for the next iteration."""
    merges = graph.ops[node] in MERGE_OPS
    for output in graph.inputs[node]:
        if not (merges and graph.ops[output.node] in NEXT_ITERATION_OPS):
            yield output.node
    if not merges:
        yield from graph.controls[node]


def condition_of(graph, output):
    """The conditions under which an output has a value."""
    conditions = graph.conditions[output.node]
    if graph.ops[output.node] in SWITCH_OPS:
        conditions = with_condition(conditions, predicate(graph, graph.inputs[output.node][1], output.index == 1))
    return conditions


def with_condition(conditions, condition):
    """The conditions and one more, as far as so many are kept."""
    return conditions if len(conditions) >= _MAX_CONDITIONS else conditions | {condition}


def predicate(graph, output, value):
    """(node, value): the op that a predicate comes from, and what it must say for the predicate to be `value`."""
    for _ in range(200):
        node = output.node
        if graph.ops[node] == "LogicalNot":
            value = not value
        elif graph.ops[node] not in SAME_VALUE_OPS:
            break
        output = graph.inputs[node][0]
    return _first_alike(graph, output.node), value


def _first_alike(graph, node, depth=0):
    """The first node that compares the same in the same way: predicates are often made anew for each layer."""
    node = graph.variable.get(node, node)
    if graph.ops[node] == "Const" and "value" in graph.attrs[node]:
        if node not in graph.first_alike:  # a constant may be large, and asked about by many
            key = graph.attrs[node]["value"].tensor.SerializeToString()
            graph.first_alike[node] = graph.first_alike.setdefault(key, node)
        return graph.first_alike[node]
    if graph.ops[node] in COMPARE_OPS and depth < 4:
        operands = (_first_alike(graph, graph.origin(output), depth + 1) for output in graph.inputs[node])
        return graph.first_alike.setdefault((graph.ops[node], *operands), node)
    return node


def possible(graph, conditions):
    """Whether conditions can hold together, given the predicates that are constants."""
    values = {}
    for node, value in conditions:
        known = graph.boolean(node)
        if (known is not None and known != value) or values.setdefault(node, value) != value:
            return False
    return True
