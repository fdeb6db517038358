"""Finds the normalisations of a graph: (x - mean) / sqrt(variance + epsilon), in the spellings of libraries and people.

Mean and variance are those of the batch (a reduction over axis 0), or variables (the moving ones), or one of the two as
a condition says. What follows, `* gamma` and `+ beta`, belongs to it.
"""

import dataclasses
import math
from typing import NamedTuple

from bn_graph.audit.graph.flat_graph import Output
from bn_graph.audit.graph.ops import (
    ADD_OPS,
    DIVIDE_OPS,
    FUSED_OPS,
    GLOBAL_OPS,
    MERGE_OPS,
    SAME_VALUE_OPS,
    SELECT_OPS,
)
from bn_graph.audit.layers.statistics import Statistic, holds_data, reductions_of, sources, statistics_of


@dataclasses.dataclass(frozen=True, eq=False)
class Normalization:
    """One use of a batch norm. Nodes by number."""

    node: int  # Rsqrt, Sqrt, Pow or the fused op
    fused: bool
    x: Output
    output: int
    mean: tuple  # of `Statistic`
    variance: tuple
    gamma: int | None  # variable
    beta: int | None
    constants: tuple = ()  # gamma and beta of a frozen graph
    reductions: frozenset = frozenset()  # the nodes that reduce the batch
    conditions: frozenset = frozenset()  # under which it runs, or its output is taken

    def statistics(self):
        """(kind, conditions) of each variance that it may normalise by."""
        return [(s.kind, s.conditions | self.conditions) for s in self.variance]

    def moving(self):
        """The moving statistics that it may normalise by."""
        return {s.node for s in (*self.mean, *self.variance) if s.kind == "moving"}


def find_normalizations(graph):
    """The `Normalization`s of a `FlatGraph`, in the order of their nodes."""
    normalizations = []
    for node, op in enumerate(graph.ops):
        if op in FUSED_OPS:
            normalization = _fused(graph, node)
        elif op in GLOBAL_OPS:
            normalization = _global(graph, node)
        elif op in ("Rsqrt", "Sqrt", "Pow"):
            normalization = _decomposed(graph, node)
        else:
            continue
        if normalization:
            normalizations.append(_conditional(normalization, graph.conditions[node]))
    return _with_choices(graph, normalizations)


def _conditional(normalization, conditions):
    """The normalisation under its conditions, which its statistics need not name again."""
    mean, variance = (
        tuple(s._replace(conditions=s.conditions - conditions) for s in statistics)
        for statistics in (normalization.mean, normalization.variance)
    )
    return dataclasses.replace(normalization, mean=mean, variance=variance, conditions=conditions)


def _with_choices(graph, normalizations):
    """Where a condition chooses between the outputs of two normalisations, it is theirs."""
    by_output = {normalization.output: place for place, normalization in enumerate(normalizations)}
    choices = {
        user
        for output in by_output
        for user in _users(graph, output)
        if graph.ops[user] in MERGE_OPS or graph.ops[user] in SELECT_OPS
    }
    normalizations = list(normalizations)
    for choice in sorted(choices):
        chosen = [
            (by_output[output.node], conditions)
            for output, conditions in sources(graph, Output(choice, 0), by_output)
            if output.node in by_output
        ]
        if len({place for place, _ in chosen}) > 1:
            for place, conditions in chosen:
                conditions = normalizations[place].conditions | (conditions - graph.conditions[choice])
                normalizations[place] = dataclasses.replace(normalizations[place], conditions=conditions)
    return normalizations


def _users(graph, node):
    """Consumers of a node, those behind ops that hand its value on included."""
    users, stack = [], [node]
    while stack and len(users) < 100:
        for user in graph.consumers[stack.pop()]:
            if graph.ops[user] in SAME_VALUE_OPS and len(users) + len(stack) < 100:
                stack.append(user)
            else:
                users.append(user)
    return users


def weights_before(graph, use):
    """The nearest variables in front of a normalisation, through at most a few ops, as a frozenset; None for none."""
    front, seen = [use.x.node], set()
    for _ in range(12):
        variables = {graph.variable[node] for node in front if node in graph.variable}
        if variables:
            return frozenset(variables)
        following = []
        for node in front:
            if node not in seen:
                seen.add(node)
                following += [source.node for source in graph.inputs[node]]
        front = following[:100]
    return None


def parameters_of(graph, use):
    """The variables by which a layer is known in all its towers: gamma, beta, and the weights in front."""
    parameters = {variable for variable in (use.gamma, use.beta) if variable is not None}
    return parameters | (weights_before(graph, use) or set())


# One op that does it all.


def _fused(graph, node):
    x, scale, offset, mean, variance = graph.inputs[node][:5]
    attr = graph.attrs[node]
    parameters = _parameters(graph, graph.origin(scale), graph.origin(offset))
    if attr["is_training"].b if "is_training" in attr else True:
        batch = (Statistic("batch", node, frozenset()),)
        return Normalization(node, True, x, node, batch, batch, *parameters, frozenset([node]))
    means, variances = statistics_of(graph, mean), statistics_of(graph, variance)
    return Normalization(node, True, x, node, means, variances, *parameters) if variances else None


def _global(graph, node):
    x, mean, variance, beta, gamma = graph.inputs[node][:5]
    means, variances = statistics_of(graph, mean), statistics_of(graph, variance)
    if not variances:
        return None
    reductions = reductions_of(graph, means) | reductions_of(graph, variances)
    parameters = _parameters(graph, graph.origin(gamma), graph.origin(beta))
    return Normalization(node, False, x, node, means, variances, *parameters, reductions)


def _parameters(graph, gamma, beta):
    """(variable of gamma, variable of beta, constants in their place); gamma and beta are nodes or None."""
    constants = [node for node in (gamma, beta) if node is not None and _is_vector(graph, node)]
    return graph.variable.get(gamma), graph.variable.get(beta), tuple(constants)


def _is_vector(graph, node):
    values = graph.constant(Output(node, 0), math.inf) if graph.ops[node] == "Const" else None
    return values is not None and values.size > 1


# Several ops: from 1 / sqrt(variance + epsilon), the root, forward to the result.


class _Product(NamedTuple):
    """x * inverse + (beta - mean * inverse), or (x - mean) * inverse, as far as it is read."""

    x: Output
    output: int
    means: list
    gamma: int | None  # the variable or the constant
    beta: int | None


def _decomposed(graph, root):
    divides = graph.ops[root] == "Sqrt"
    if graph.ops[root] == "Pow":
        power = graph.scalar(graph.inputs[root][1])
        if power not in (0.5, -0.5):
            return None
        divides = power == 0.5
    variances = _variance_under(graph, graph.inputs[root][0])
    if not variances:
        return None
    product = _follow_inverse(graph, root, divides)
    if product is None or not holds_data(graph, product.x):  # else weights that are standardised
        return None
    reductions = reductions_of(graph, product.means) | reductions_of(graph, variances)
    parameters = _parameters(graph, product.gamma, product.beta)
    return Normalization(root, False, product.x, product.output, product.means, variances, *parameters, reductions)


def _variance_under(graph, output):
    """The variance of an output that is variance + epsilon, or max(variance, epsilon), or the variance itself."""
    node = graph.origin(output)
    if graph.ops[node] in ADD_OPS or graph.ops[node] == "Maximum":
        left, right = graph.inputs[node]
        for one, other in ((left, right), (right, left)):
            if graph.scalar(other) is not None or graph.ops[graph.origin(other)] == "Const":
                return statistics_of(graph, one)
        return statistics_of(graph, left) or statistics_of(graph, right)
    return statistics_of(graph, output)


def _follow_inverse(graph, root, divides):
    """Follows 1 / sqrt(variance + epsilon) to the result, a `_Product` or None.

    Gradients take 1 / sqrt(...) too, but never beside the mean.
    """
    inverses, others, seen = [(root, divides, None)], [], set()
    while (inverses or others) and len(seen) < 100:
        if not inverses:
            inverses, others = others, []  # a factor that is no plain gamma: batch renormalisation's r
        inverse, divides, gamma = inverses.pop(0)
        if inverse in seen:
            continue
        seen.add(inverse)
        for user in graph.consumers[inverse]:
            following = _inverse_after(graph, user, inverse, divides)
            if following is not None:
                inverses.append((user, following, gamma))
            elif _multiplies(graph, user, inverse, divides):
                left, right = graph.inputs[user]
                other = left if right.node == inverse else right
                product = _product(graph, user, other, inverse, gamma)
                if product:
                    return product
                source = graph.origin(other)
                if source in graph.variable or graph.ops[source] == "Const":
                    is_gamma = source in graph.variable or _is_vector(graph, source)
                    inverses.append((user, False, source if is_gamma else gamma))
                else:
                    others.append((user, False, gamma))
    return None


def _inverse_after(graph, user, inverse, divides):
    """Whether what `user` makes of an inverse still is to be divided by; None where it is no inverse any more."""
    op, inputs = graph.ops[user], graph.inputs[user]
    if op in SAME_VALUE_OPS and inputs[0].node == inverse:
        return divides
    if (op in ADD_OPS or op == "Maximum") and divides and any(graph.scalar(source) is not None for source in inputs):
        return True  # sqrt(variance) + epsilon
    if op == "Reciprocal" and divides:
        return False
    return None


def _multiplies(graph, user, inverse, divides):
    op, inputs = graph.ops[user], graph.inputs[user]
    return (op in DIVIDE_OPS and divides and inputs[1].node == inverse) or (op == "Mul" and not divides)


def _product(graph, user, other, inverse, gamma):
    """The `_Product` of which `user`, `other` times `inverse`, is a part; None where it is something else."""
    product = _subtracted_before(graph, user, other) or _subtracted_after(graph, user, other, inverse)
    if product is None:
        return None
    output, beta = product.output, product.beta
    if gamma is None or beta is None:
        output, later_gamma, later_beta = _parameters_after(graph, output)
        gamma = later_gamma if gamma is None else gamma
        beta = later_beta if beta is None else beta
    return product._replace(output=output, gamma=gamma, beta=beta)


def _subtracted_before(graph, user, other):
    """(x - mean) * inverse, or (x + (-mean)) * inverse."""
    source = graph.origin(other)
    op, inputs = graph.ops[source], graph.inputs[source]
    if op == "Sub":
        means = statistics_of(graph, inputs[1])
        if means:
            return _Product(inputs[0], user, means, None, None)
    if op in ADD_OPS:
        for x, term in (inputs, reversed(inputs)):
            negated = graph.origin(term)
            means = statistics_of(graph, graph.inputs[negated][0]) if graph.ops[negated] == "Neg" else None
            if means:
                return _Product(x, user, means, None, None)
    return None


def _subtracted_after(graph, product, other, inverse):
    """x * inverse + (beta - mean * inverse), where `product` is mean * inverse, or -mean * inverse."""
    source = graph.origin(other)
    negative = graph.ops[source] == "Neg"
    means = statistics_of(graph, graph.inputs[source][0] if negative else other)
    if not means:
        return None
    for user in graph.consumers[product]:
        if len(graph.inputs[user]) != 2:
            continue
        total = _total(graph, user, product, inverse, negative)
        if total:
            node, scaled, beta = total
            x = _times(graph, graph.origin(scaled), inverse)
            if x:
                return _Product(x, node, means, None, beta)
    return None


def _total(graph, user, product, inverse, negative):
    """(sum, x * inverse in it, beta in it) where `user` takes the mean's part of it; else None."""
    left, right = graph.inputs[user]
    if negative:
        if graph.ops[user] not in ADD_OPS:
            return None
        return user, left if right.node == product else right, None
    if graph.ops[user] != "Sub" or right.node != product:
        return None
    minuend = graph.origin(left)
    if _times(graph, minuend, inverse):
        return user, left, None
    sums = [node for node in _users(graph, user) if graph.ops[node] in ADD_OPS]
    if not sums:
        return None
    left, right = graph.inputs[sums[0]]
    scaled = left if graph.origin(right) == user or right.node == user else right
    is_beta = minuend in graph.variable or _is_vector(graph, minuend)
    return sums[0], scaled, minuend if is_beta else None


def _times(graph, node, inverse):
    """The x of x * inverse or x / inverse, or None."""
    if graph.ops[node] not in DIVIDE_OPS and graph.ops[node] != "Mul":
        return None
    left, right = graph.inputs[node]
    target = graph.origin(Output(inverse, 0))
    if right.node == inverse or graph.origin(right) == target:
        return left
    if left.node == inverse or graph.origin(left) == target:
        return right
    return None


def _parameters_after(graph, output):
    """Follows (x - mean) / deviation through `* gamma` and `+ beta`: (output, gamma, beta)."""
    gamma = beta = None
    for _ in range(6):
        for user in graph.consumers[output]:
            op, inputs = graph.ops[user], graph.inputs[user]
            if op not in ADD_OPS and op != "Mul":
                continue
            other = graph.origin(inputs[0] if inputs[1].node == output else inputs[1])
            if other not in graph.variable and not _is_vector(graph, other):
                continue
            if op == "Mul" and gamma is None and beta is None:
                gamma = other
            elif op != "Mul" and beta is None:
                beta = other
            else:
                continue
            output = user
            break
        else:
            break
    return output, gamma, beta
