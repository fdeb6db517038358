"""The batch-norm layers of a checkpoint: those of its graph, or else what its variables are called."""

from bn_graph.audit.evidence import SavedLayer
from bn_graph.audit.layers.names import MEAN_NAME, VARIANCE_NAME, scope_of
from bn_graph.audit.layers.normalizations import parameters_of


def find_saved_layers(graph, layers, saved_as, names):
    """The `SavedLayer`s of a checkpoint.

    layers: the `BatchNorm`s of the graph, if there is one. saved_as: variable to the name under which a Saver saves it.
    names: those in the checkpoint.
    """
    known = [_of_graph(graph, layer, saved_as, names) for layer in layers if layer.statistics]
    if any(saved.has_companions or len(saved.missing) < len(saved.statistics) for saved in known):
        return known
    return _by_names(names)


def _of_graph(graph, layer, saved_as, names):
    statistics = [saved_as.get(variable, graph.names[variable]) for variable in layer.statistics]
    missing = [name for name in statistics if name not in names]
    companions = {saved_as.get(variable, graph.names[variable]) for variable in companions_of(graph, layer)}
    parameters = {"gamma": layer.gamma, "beta": layer.beta}
    return SavedLayer(layer.name, statistics, missing, not companions.isdisjoint(names), layer, parameters)


def companions_of(graph, layer):
    """The variables that are saved with a layer wherever it is saved at all."""
    return set().union(*(parameters_of(graph, use) for use in layer.uses))


def _by_names(names):
    """The layers of a checkpoint without a graph that fits it."""
    variances = {_scope(name): name for name in sorted(names) if VARIANCE_NAME.search(name)}
    saved = []
    for mean in sorted(name for name in names if MEAN_NAME.search(name)):
        scope = _scope(mean)
        parameters = {}
        for part in ("gamma", "beta"):
            variable = f"{scope}/{part}".lstrip("/")
            parameters[part] = variable if variable in names else None
        statistics = [mean, variances[scope]] if scope in variances else [mean]
        saved.append(SavedLayer(scope_of(mean), statistics, [], False, None, parameters))
    return saved


def _scope(name):
    return scope_of(name) if "/" in name else ""
