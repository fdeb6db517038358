"""Which normalisations are thrown away: nothing takes their result, and the network goes on with their input."""

from bn_graph.audit.graph.ops import (
    ADD_OPS,
    DIVIDE_OPS,
    FUSED_OPS,
    GRADIENT_NAME,
    MERGE_OPS,
    SAME_VALUE_OPS,
    SELECT_OPS,
)

# What may follow a layer and be thrown away with it: activations, pooling, what dropout and leaky units are made of.
_ACTIVATIONS = {
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Abs", "Neg"),
    *("Mul", "Sub", "Maximum", "Minimum", "Floor", "MaxPool", "AvgPool", "Pad"),
    *(ADD_OPS | DIVIDE_OPS | MERGE_OPS | SELECT_OPS | SAME_VALUE_OPS),
}
# What these take beside the layer's result: constants, rates, random masks, and the phase.
_RATES = {
    *("Const", "Fill", "Shape", "RandomUniform", "Less", "GreaterEqual"),
    *("Placeholder", "PlaceholderWithDefault", "LogicalNot"),
}
_MOST_NODES = 100  # that are looked at behind one result


def find_unused(graph, layers):
    """The `Normalization`s whose result nothing takes, where the network goes on with their input."""
    by_input = {}
    for layer in layers:
        for use in layer.uses:
            by_input.setdefault(graph.origin(use.x), []).append((use, layer))
    unused = set()
    for x, members in by_input.items():
        outputs = {use.output for use, _ in members}
        thrown_away = {use: layer for use, layer in members if _is_thrown_away(graph, use.output, outputs)}
        if thrown_away:
            # The towers of one layer may all be fetched, whatever they share; and so may results that end here.
            their_layers = set(thrown_away.values())
            their_own = [use for use, layer in members if layer in their_layers]
            own = {x}.union(*(use.reductions | _between(graph, use, x) for use in their_own))
            if _is_taken(graph, x, own):
                unused.update(thrown_away)
    return unused


def _between(graph, use, x):
    """The ops from what is normalised to the result."""
    ops, stack = set(), [use.output]
    while stack and len(ops) < _MOST_NODES:
        node = stack.pop()
        if node not in ops and node != x:
            ops.add(node)
            stack += [source.node for source in graph.inputs[node]]
    return ops


def _consumers(graph, node):
    """Who takes the first output of a node, but for its shape, its gradient and summaries."""
    for user in graph.consumers[node]:
        op = graph.ops[user]
        # The other outputs of a fused op are the statistics of its batch.
        if graph.ops[node] in FUSED_OPS and all(source != (node, 0) for source in graph.inputs[user]):
            continue
        if user in graph.followed or op in ("Shape", "ShapeN", "Assert") or op.endswith(("Summary", "SummaryV2")):
            continue
        if not GRADIENT_NAME.search(graph.names[user]):
            yield user


def _is_thrown_away(graph, output, siblings):
    """Whether nothing takes a result, but for activations that are thrown away with it.

    siblings: results of the layer for the same input, of which a condition may choose one.
    """
    reached, order = {output}, [output]
    for node in order:  # grows
        if len(graph.consumers[node]) > _MOST_NODES:
            return False
        for user in _consumers(graph, node):
            if graph.ops[user] not in _ACTIVATIONS or len(order) > _MOST_NODES:
                return False
            if user not in reached:
                reached.add(user)
                order.append(user)
    return all(_is_alone(graph, node, (reached, siblings)) for node in order[1:])


def _is_alone(graph, node, of_layer):
    """Whether all that an op takes comes out of the layer, or is a constant, a rate or a random mask.

    of_layer: sets of the nodes that come out of it.
    """
    stack, seen = [source.node for source in graph.inputs[node][:_MOST_NODES]], set()
    while stack:
        source = stack.pop()
        if source in seen or graph.ops[source] in ("Const", "Shape") or any(source in nodes for nodes in of_layer):
            continue
        seen.add(source)
        if graph.ops[source] not in _ACTIVATIONS | _RATES or len(seen) > 30:
            return False
        stack += [more.node for more in graph.inputs[source]]
    return True


def _is_taken(graph, x, excluded):
    """Whether anything takes a value, but for these ops."""
    stack, seen = [x], set()
    while stack and len(seen) < _MOST_NODES:
        for user in _consumers(graph, stack.pop()):
            if user in seen or user in excluded:
                continue
            if graph.ops[user] not in SAME_VALUE_OPS:
                return True
            seen.add(user)
            stack.append(user)
    return False
