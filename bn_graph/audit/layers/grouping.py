"""Which normalisations are one layer: those over one moving variance, or else over one gamma or beta."""

import dataclasses
import re

from bn_graph.audit.graph.ops import ASSIGN_OPS, FUSED_OPS, LOOP_OPS, SAME_VALUE_OPS, is_optimizer_op
from bn_graph.audit.layers.names import MEAN_NAME, VARIANCE_NAME, scope_of
from bn_graph.audit.layers.normalizations import weights_before


@dataclasses.dataclass(frozen=True, eq=False)
class BatchNorm:
    """A layer: variables as node numbers or None."""

    name: str
    uses: tuple  # of `Normalization`
    mean: int | None
    variance: int | None
    gamma: int | None
    beta: int | None
    updates: tuple  # of `Update`
    unused: tuple  # variables beside the moving statistics that are called gamma or beta and used by no tower

    @property
    def statistics(self):
        """The moving mean and variance, as far as there are any."""
        return [variable for variable in (self.mean, self.variance) if variable is not None]

    @property
    def variables(self):
        """Its variables by part."""
        return {"moving_mean": self.mean, "moving_variance": self.variance, "gamma": self.gamma, "beta": self.beta}


def group_layers(graph, normalizations, updates):
    """The `BatchNorm`s that the normalisations belong to, in the order of their nodes.

    updates: variable to `Update`s, as `find_updates` returns them.
    """
    layers = _Grouping(graph, normalizations, updates).layers()
    return sorted(layers, key=lambda layer: min(use.node for use in layer.uses))


class _Grouping:
    """Knows which variables are means and variances, and by what normalisations are known to be of one layer."""

    def __init__(self, graph, normalizations, updates):
        self._graph, self._normalizations, self._updates = graph, normalizations, updates
        self._variances = {s.node for use in normalizations for s in use.variance if s.kind == "moving"}
        self._means = {s.node for use in normalizations for s in use.mean if s.kind == "moving"}
        self._is_frozen = not graph.variable  # of a frozen graph all variables are constants
        self._by_name = {graph.names[node]: node for node in set(graph.variable.values())}

    def layers(self):
        keys = {use: own for use, own in self._keys().items() if own and self._is_batch_norm(use)}
        return [
            self._layer(uses, list(dict.fromkeys(key for use in uses for key in keys[use]))) for uses in joined(keys)
        ]

    def _keys(self):
        """For each normalisation what it has in common with the others of its layer: moving statistics, or else."""
        updated_by = self._updated_by()
        keys = {use: sorted(use.moving()) or sorted(updated_by.get(use, ())) for use in self._normalizations}
        by_parameter, by_weights = {}, {}
        for use, own in keys.items():
            if own:
                for parameter in (use.gamma, use.beta):
                    if parameter is not None:
                        by_parameter.setdefault(parameter, own)
                weights = weights_before(self._graph, use)
                if weights:
                    by_weights.setdefault(weights, own)
        for use, own in keys.items():
            if not own:  # batch statistics that nothing keeps
                parameters = [p for p in (use.gamma, use.beta) if p is not None]
                own = next((by_parameter[p] for p in parameters if p in by_parameter), None)
                own = own or self._named_beside(parameters)
                own = own or by_weights.get(weights_before(self._graph, use))
                own = own or [("parameter", p) for p in parameters[:1]]
            if not own and any(s.kind == "constant" for s in use.variance):
                own = [("constant", s.node) for s in use.variance]
            elif not own:
                own = [("constant", node) for node in use.constants[:1]]
            if self._is_frozen:  # what a condition chooses between has its input in common
                own = [*own, ("input", self._graph.origin(use.x) if use.conditions else use.node)]
            keys[use] = own
        return keys

    def _updated_by(self):
        """For each normalisation the variables that its batch statistics move: moving statistics, if any are known."""
        updated_by = {}
        for variable, updates in self._updates.items():
            if self._graph.names[variable].endswith(("/biased", "/local_step")):
                continue  # zero_debias keeps these beside the moving average
            for update in updates:
                for use in update.uses:
                    updated_by.setdefault(use, []).append(variable)
        known = self._means | self._variances
        return {use: [v for v in variables if v in known] or variables for use, variables in updated_by.items()}

    def _named_beside(self, parameters):
        """The variables in a parameter's scope that are named as moving statistics are."""
        for parameter in parameters:
            scope = self._graph.names[parameter].rpartition("/")[0]
            names = [f"{scope}/{name}" for name in ("moving_mean", "moving_variance", "mean/EMA", "variance/EMA")]
            variables = [self._by_name[name] for name in names if name in self._by_name]
            if variables:
                return variables
        return []

    def _is_batch_norm(self, use):
        """Whether it is one; else it is an input that is standardised, by running statistics or row by row."""
        if use.fused or use.gamma is not None or use.beta is not None or use.constants:
            return True
        if self._is_frozen:
            return not is_in_loop(self._graph, use)
        names = {self._graph.names[node] for node in use.moving()}
        return any(s.kind != "moving" for s in use.variance) or any(MEAN_NAME.search(name) for name in names)

    def _layer(self, uses, keys):
        variables = [key for key in keys if isinstance(key, int)]
        constants = [key[1] for key in keys if isinstance(key, tuple) and key[0] == "constant"]
        variance = next((v for v in variables if self._is_variance(v)), None)
        mean = next((v for v in variables if v != variance and not self._is_variance(v)), None)
        gamma = next((use.gamma for use in uses if use.gamma is not None), None)
        beta = next((use.beta for use in uses if use.beta is not None), None)
        name = self._name(mean, variance, gamma, beta, constants, uses)
        updates = tuple(u for v in (mean, variance) if v is not None for u in self._updates.get(v, ()))
        unused = self._unused_parameters(name, mean, variance, gamma, beta)
        return BatchNorm(name, uses, mean, variance, gamma, beta, updates, unused)

    def _name(self, mean, variance, gamma, beta, constants, uses):
        names = self._graph.names
        order = (mean, variance, gamma, beta)
        if mean is not None and names[mean].endswith("ExponentialMovingAverage"):
            order = (gamma, beta, mean, variance)  # these averages are named after the tensor, not after the layer
        named = next((node for node in (*order, *constants) if node is not None), uses[0].node)
        name = scope_of(names[named])
        if name == names[named]:  # a variable without a scope
            name = scope_of(re.sub(r"/batchnorm(_\d+)?/", "/", names[uses[0].node]))
        return name

    def _unused_parameters(self, name, mean, variance, gamma, beta):
        statistics = [v for v in (mean, variance) if v is not None]
        scopes = sorted({name, *(self._graph.names[v].rpartition("/")[0] for v in statistics)})
        unused = []
        for part, used in (("gamma", gamma), ("beta", beta)):
            if used is None:
                variables = dict.fromkeys(self._by_name.get(f"{scope}/{part}".lstrip("/")) for scope in scopes)
                unused += [v for v in variables if v is not None and not is_read(self._graph, v)]
        return tuple(unused)

    def _is_variance(self, variable):
        if variable in self._variances or variable in self._means:
            return variable in self._variances
        # Only updates name it: by which of the batch's statistics they take.
        for update in self._updates.get(variable, ()):
            for use in update.uses:
                if use.fused:
                    indices = self._fused_outputs(update)
                    if indices:
                        return 2 in indices
                if any(s.node in update.depends_on for s in use.variance):
                    return True
                if any(s.node in update.depends_on for s in use.mean):
                    return False
        return bool(VARIANCE_NAME.search(self._graph.names[variable]))

    def _fused_outputs(self, update):
        """Which of the fused op's outputs, 1 the batch's mean and 2 its variance, an update takes."""
        graph = self._graph
        return {
            source.index
            for node in update.depends_on
            for source in graph.inputs[node]
            if graph.ops[source.node] in FUSED_OPS and source.index in (1, 2)
        }


def is_in_loop(graph, use):
    """Whether a normalisation is in the body of a loop."""
    return any(graph.ops[node] in LOOP_OPS for node, _ in use.conditions)


def joined(keys):
    """Whoever shares a key, be it through others, is of one group: tuples of the keys of the dict `keys`, in order."""
    members = {}
    for item, own in keys.items():
        for key in own:
            members.setdefault(key, []).append(item)
    order, seen, groups = {item: place for place, item in enumerate(keys)}, set(), []
    for item in keys:
        if item in seen:
            continue
        seen.add(item)
        group = [item]
        for other in group:  # grows
            for key in keys[other]:
                new = [member for member in members.pop(key, ()) if member not in seen]
                seen.update(new)
                group += new
        groups.append(tuple(sorted(group, key=order.get)))
    return groups


def is_read(graph, variable, apart_from=()):
    """Whether anything but a Saver, an initializer, an optimizer or one of the ops `apart_from` takes its value."""
    stack, seen = list(graph.handles[variable]), set()
    while stack and len(seen) < 200:
        node = stack.pop()
        for user in graph.consumers[node]:
            op = graph.ops[user]
            if user in seen or user in graph.followed or op.startswith(("Save", "VarIsInit", "IsVariableInit")):
                continue
            if user in apart_from and op not in SAME_VALUE_OPS:  # one read is shared by all
                continue
            if op in ASSIGN_OPS and graph.inputs[user][1].node != node:
                continue
            if is_optimizer_op(op) or op in ("DestroyResourceOp", "Shape", "VariableShape", "ZerosLike", "OnesLike"):
                continue
            if op not in SAME_VALUE_OPS:
                return True
            seen.add(user)
            stack.append(user)
    return False
