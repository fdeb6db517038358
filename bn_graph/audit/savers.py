"""Which variables a graph's Savers save, and under which names."""

_SAVE_OPS = {"SaveV2": 3, "Save": 2, "SaveSlices": 3}  # where the saved tensors begin among the inputs
CHECKPOINT_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"  # of every variable in a checkpoint that TensorFlow 2 wrote


def find_savers(graph, saver):
    """The ops of the Saver that wrote the file, where `saver` names its op, else of all that there are."""
    every = [node for node, op in enumerate(graph.ops) if op in _SAVE_OPS]
    own = graph.ancestors([graph.number[saver]]) if saver in graph.number else ()
    return [node for node in every if node in own] or every


def saved_names(graph, savers):
    """The variables that these ops save, to the names under which they do."""
    saved_as = {}
    for node in savers:
        names = graph.strings(graph.inputs[node][1], len(graph.inputs[node])) if len(graph.inputs[node]) > 1 else None
        for position, output in enumerate(graph.inputs[node][_SAVE_OPS[graph.ops[node]] :]):
            origin = graph.origin(output)
            if origin in graph.variable:
                name = names[position] if names and position < len(names) else graph.names[origin]
                saved_as[graph.variable[origin]] = name.removesuffix(CHECKPOINT_SUFFIX)
    return saved_as
