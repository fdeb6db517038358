"""Finds the batch-norm layers of a graph by what they compute, whatever they are called and whoever wrote them.

A batch norm is (x - mean) / sqrt(variance + epsilon), in any of the spellings that libraries and people use, where mean
and variance are those of the batch (a reduction over axis 0), or variables (the moving ones), or one of the two as a
condition says. A layer is known by its variables: all uses of one moving variance, or else of one gamma or beta.
"""

import dataclasses
import operator
import re
from typing import NamedTuple

from bn_graph.audit.graph.flat_graph import (
    ASSIGN_OPS,
    FUSED_OPS,
    GLOBAL_OPS,
    MERGE_OPS,
    SAME_VALUE_OPS,
    SELECT_OPS,
    SWITCH_OPS,
    Tensor,
    is_optimizer_op,
)

_ADD = {"Add", "AddV2", "BiasAdd"}
_DIVIDE = {"RealDiv", "Div", "DivNoNan"}
_REDUCE = {"Mean", "Sum"}
_ARITHMETIC = (
    SAME_VALUE_OPS
    | MERGE_OPS
    | SELECT_OPS
    | _ADD
    | _DIVIDE
    | {"Sub", "Mul", "Square", "SquaredDifference", "Neg", "Reciprocal", "Maximum", "Minimum", "AddN", "Pow"}
    | {"NcclAllReduce", "CollectiveReduce", "CollectiveReduceV2", "HorovodAllreduce", "IdentityN"}
)
_COMPUTE = {
    **dict.fromkeys(_ADD, operator.add),
    **dict.fromkeys(_DIVIDE, operator.truediv),
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Neg": operator.neg,
}
_INPUT_FREE = {"Const", "Placeholder", "PlaceholderWithDefault", "Fill", "ZerosLike", "OnesLike", "Shape"}
_RESTORE = {"RestoreV2", "Restore", "RestoreSlice"}
_EMA = re.compile(r"/(ExponentialMovingAverage|EMA)(_\d+)?$")
MEAN_NAME = re.compile(r"(^|[/_])(moving_mean|running_mean|pop_mean|mean/EMA|movingmean|moving_avg)(_\d+)?$", re.I)
VARIANCE_NAME = re.compile(
    r"(^|[/_])(moving_variance|moving_var|running_var(iance)?|pop_var(iance)?|variance/EMA)(_\d+)?$", re.I
)


class Statistic(NamedTuple):
    """Where a mean or variance comes from: kind is batch, moving or constant."""

    kind: str
    node: int  # of a batch statistic its last op, else the variable or constant
    conditions: frozenset  # under which it is this one


@dataclasses.dataclass(eq=False)
class Use:
    """One normalisation. Nodes by number; tensors as `Tensor`."""

    node: int  # Rsqrt, Sqrt, Pow or the fused op
    fused: bool
    x: Tensor
    output: int
    mean: list  # of Statistic
    variance: list
    gamma: int | None  # variable
    beta: int | None
    conditions: frozenset = frozenset()
    reductions: frozenset = frozenset()  # the nodes that reduce the batch
    role: str = ""  # training, evaluation, inference or other: whoever knows the train op says it

    def statistics(self):
        """(kind, conditions) of each variance that it may normalise by."""
        return [(s.kind, s.conditions | self.conditions) for s in self.variance]

    def moving(self):
        return {s.node for s in self.mean + self.variance if s.kind == "moving"}


@dataclasses.dataclass(eq=False)
class Update:
    """An op that assigns a moving statistic."""

    node: int
    variable: int
    uses: list  # whose batch statistics it takes
    conditions: frozenset
    depends_on: frozenset  # the nodes that the assigned value is made of, predicates that choose in it included
    decay: float | None
    debiased: bool  # zero_debias: the average has forgotten its start from the first step on


@dataclasses.dataclass(eq=False)
class BatchNorm:
    """A layer: variables as node numbers or None."""

    name: str
    uses: list
    mean: int | None
    variance: int | None
    gamma: int | None
    beta: int | None
    updates: list
    unused: list  # variables beside the moving statistics that are called gamma or beta and used by no tower

    @property
    def statistics(self):
        """The moving mean and variance, as far as there are any."""
        return [variable for variable in (self.mean, self.variance) if variable is not None]

    @property
    def variables(self):
        return {"moving_mean": self.mean, "moving_variance": self.variance, "gamma": self.gamma, "beta": self.beta}


class Finder:
    """Finds the uses, the updates and the layers of a `FlatGraph`, in that order."""

    def __init__(self, graph):
        self.graph = graph
        self.uses = []
        for node, op in enumerate(graph.ops):
            if op in FUSED_OPS:
                use = self._fused(node)
            elif op in GLOBAL_OPS:
                use = self._global(node)
            elif op in ("Rsqrt", "Sqrt", "Pow"):
                use = self._decomposed(node)
            else:
                use = None
            if use:
                base = use.conditions = graph.conditions[node]
                use.mean = [s._replace(conditions=s.conditions - base) for s in use.mean]
                use.variance = [s._replace(conditions=s.conditions - base) for s in use.variance]
                self.uses.append(use)
        self._find_choices()
        self._find_assignments()
        self._find_updates()
        self.layers = self._group()

    # Uses

    def _fused(self, node):
        graph = self.graph
        x, scale, offset, mean, variance = graph.inputs[node][:5]
        attr = graph.attrs[node]
        training = attr["is_training"].b if "is_training" in attr else True
        if training:
            batch = [Statistic("batch", node, frozenset())]
            means, variances, reductions = batch, batch, frozenset([node])
        else:
            means, variances, reductions = self._statistics(mean), self._statistics(variance), frozenset()
            if not variances:
                return None
        return Use(
            node, True, x, node, means, variances, self._variable(scale), self._variable(offset), reductions=reductions
        )

    def _global(self, node):
        x, mean, variance, beta, gamma = self.graph.inputs[node][:5]
        means, variances = self._statistics(mean), self._statistics(variance)
        if not variances:
            return None
        reductions = self._reductions_of(means) | self._reductions_of(variances)
        return Use(
            node, False, x, node, means, variances, self._variable(gamma), self._variable(beta), reductions=reductions
        )

    def _decomposed(self, root):
        graph = self.graph
        divides = graph.ops[root] == "Sqrt"
        if graph.ops[root] == "Pow":
            power = graph.scalar(graph.inputs[root][1])
            if power not in (0.5, -0.5):
                return None
            divides = power == 0.5
        variances = self._variance_under(graph.inputs[root][0])
        if not variances:
            return None
        match = self._match(root, divides)
        if match is None:
            return None
        x, output, means, gamma, beta = match
        if not self.holds_data(x):
            return None  # weights that are standardised
        reductions = self._reductions_of(means) | self._reductions_of(variances)
        return Use(root, False, x, output, means, variances, gamma, beta, reductions=reductions)

    def _variance_under(self, tensor):
        """The variance of a tensor that is variance + epsilon, or max(variance, epsilon), or the variance itself."""
        graph = self.graph
        node = graph.origin(tensor)
        if graph.ops[node] in _ADD | {"Maximum"}:
            left, right = graph.inputs[node]
            for one, other in ((left, right), (right, left)):
                if graph.scalar(other) is not None or graph.ops[graph.origin(other)] == "Const":
                    return self._statistics(one)
            return self._statistics(left) or self._statistics(right)
        return self._statistics(tensor)

    def _match(self, root, divides):
        """Follows 1/sqrt(variance + epsilon) to the result: (x, output, means, gamma, beta), or None.

        Gradients take 1/sqrt(...) too, but never beside the mean.
        """
        graph = self.graph
        inverses, others, seen = [(root, divides, None)], [], set()
        while (inverses or others) and len(seen) < 100:
            if not inverses:
                inverses, others = others, []  # a factor that is no plain gamma: batch renormalisation's r
            inverse, divides, gamma = inverses.pop(0)
            if inverse in seen:
                continue
            seen.add(inverse)
            for user in graph.consumers[inverse]:
                op, inputs = graph.ops[user], graph.inputs[user]
                if op in SAME_VALUE_OPS and inputs[0].node == inverse:
                    inverses.append((user, divides, gamma))
                elif op in _ADD | {"Maximum"} and divides and any(graph.scalar(t) is not None for t in inputs):
                    inverses.append((user, divides, gamma))  # sqrt(variance) + epsilon
                elif op == "Reciprocal" and divides:
                    inverses.append((user, False, gamma))
                elif op in _DIVIDE and divides and inputs[1].node == inverse or op == "Mul" and not divides:
                    other = inputs[0] if inputs[1].node == inverse else inputs[1]
                    found = self._match_mean(user, other, inverse)
                    if found:
                        x, output, means, beta = found
                        if gamma is None or beta is None:
                            output, later_gamma, later_beta = self._parameters_after(output)
                            gamma = later_gamma if gamma is None else gamma
                            beta = later_beta if beta is None else beta
                        return x, output, means, gamma, beta
                    origin = graph.origin(other)
                    if origin in graph.variable or graph.ops[origin] == "Const":
                        inverses.append((user, False, graph.variable.get(origin, gamma)))
                    else:
                        others.append((user, False, gamma))
        return None

    def _match_mean(self, product, other, inverse):
        """Whether `product` is (x - mean) * inverse, or the mean's part of x * inverse + (beta - mean * inverse)."""
        graph = self.graph
        origin = graph.origin(other)
        op, inputs = graph.ops[origin], graph.inputs[origin]
        if op == "Sub":
            means = self._statistics(inputs[1])
            if means:
                return inputs[0], product, means, None
        if op in _ADD:  # x + (-mean)
            for x, term in (inputs, reversed(inputs)):
                negated = graph.origin(term)
                means = self._statistics(graph.inputs[negated][0]) if graph.ops[negated] == "Neg" else None
                if means:
                    return x, product, means, None
        negative = op == "Neg"
        means = self._statistics(inputs[0] if negative else other)
        if not means:
            return None
        for user in graph.consumers[product]:
            beta = None
            operands = graph.inputs[user]
            if len(operands) != 2:
                continue
            if negative:
                if graph.ops[user] not in _ADD:
                    continue
                total, scaled = user, operands[0] if operands[1].node == product else operands[1]
            elif graph.ops[user] == "Sub" and operands[1].node == product:
                first = graph.origin(operands[0])
                if self._times(first, inverse):
                    total, scaled = user, operands[0]
                else:
                    beta = graph.variable.get(first)
                    sums = [n for n in self._users(user) if graph.ops[n] in _ADD]
                    if not sums:
                        continue
                    total = sums[0]
                    left, right = graph.inputs[total]
                    scaled = left if graph.origin(right) == user or right.node == user else right
            else:
                continue
            x = self._times(graph.origin(scaled), inverse)
            if x:
                return x, total, means, beta
        return None

    def _find_choices(self):
        """Where a condition chooses between the outputs of two uses, it is theirs."""
        graph = self.graph
        by_output = {use.output: use for use in self.uses}
        choices = {
            user for output in by_output for user in self._users(output) if graph.ops[user] in MERGE_OPS | SELECT_OPS
        }
        for choice in sorted(choices):
            chosen = [
                (by_output[t.node], c) for t, c in self._sources(Tensor(choice, 0), by_output) if t.node in by_output
            ]
            if len({use for use, _ in chosen}) > 1:
                for use, conditions in chosen:
                    use.conditions |= conditions - graph.conditions[choice]

    def _users(self, node):
        """Consumers of a node, those behind ops that hand its value on included."""
        found, stack = [], [node]
        while stack and len(found) < 100:
            for user in self.graph.consumers[stack.pop()]:
                if self.graph.ops[user] in SAME_VALUE_OPS and len(found) + len(stack) < 100:
                    stack.append(user)
                else:
                    found.append(user)
        return found

    def _times(self, node, inverse):
        """The x of x * inverse or x / inverse, or None."""
        graph = self.graph
        if graph.ops[node] not in _DIVIDE | {"Mul"}:
            return None
        left, right = graph.inputs[node]
        target = graph.origin(Tensor(inverse, 0))
        if right.node == inverse or graph.origin(right) == target:
            return left
        if left.node == inverse or graph.origin(left) == target:
            return right
        return None

    def _parameters_after(self, output):
        """Follows (x - mean) / deviation through `* gamma` and `+ beta`."""
        graph = self.graph
        gamma = beta = None
        for _ in range(6):
            for user in graph.consumers[output]:
                op, inputs = graph.ops[user], graph.inputs[user]
                if op == "Identity":
                    continue
                if op not in _ADD | {"Mul"}:
                    continue
                other = graph.origin(inputs[0] if inputs[1].node == output else inputs[1])
                if other not in graph.variable:
                    continue
                if op == "Mul" and gamma is None and beta is None:
                    gamma = graph.variable[other]
                elif op != "Mul" and beta is None:
                    beta = graph.variable[other]
                else:
                    continue
                output = user
                break
            else:
                break
        return output, gamma, beta

    def _variable(self, tensor):
        node = self.graph.origin(tensor)
        return self.graph.variable.get(node)

    # Statistics

    def _sources(self, tensor, stops=()):
        """(node, tensor, conditions) of everything that a tensor may be, through ops that hand it on or choose."""
        graph = self.graph
        found, seen = [], set()
        stack = [(tensor, frozenset())]
        while stack and len(seen) < 400:
            tensor, conditions = stack.pop()
            if (tensor, conditions) in seen:
                continue
            seen.add((tensor, conditions))
            node, op = tensor.node, graph.ops[tensor.node]
            inputs = graph.inputs[node]
            if node in stops:
                found.append((tensor, conditions))
            elif op in MERGE_OPS:
                for source in inputs:
                    more = conditions | graph.condition_of(source)
                    if graph.possible(more):
                        stack.append((source, more))
            elif op in SELECT_OPS:
                for source, value in ((inputs[1], True), (inputs[2], False)):
                    more = conditions | {graph.predicate(inputs[0], value)}
                    if graph.possible(more):
                        stack.append((source, more))
            elif op == "IdentityN" and tensor.index < len(inputs):
                stack.append((inputs[tensor.index], conditions))
            elif op in SAME_VALUE_OPS | ASSIGN_OPS:
                stack.append((inputs[0], conditions))
            else:
                found.append((tensor, conditions))
        return found

    def _statistics(self, tensor):
        """The `Statistic`s that a mean or variance may be; empty where it is something else."""
        graph, found = self.graph, []
        for source, conditions in self._sources(tensor):
            node = source.node
            if node in graph.variable:
                found.append(Statistic("moving", graph.variable[node], conditions))
            elif graph.ops[node] == "Const":
                if graph.constant(source, 1 << 20) is not None and graph.constant(source, 1) is None:
                    found.append(Statistic("constant", node, conditions))
            elif self._reductions(source):
                found.append(Statistic("batch", node, conditions))
        return found

    def _reductions(self, tensor):
        """The nodes that reduce the batch on the way to a tensor, through arithmetic only."""
        graph = self.graph
        found, stack, seen = set(), [tensor], set()
        while stack and len(seen) < 80:
            tensor = stack.pop()
            node = tensor.node
            if node in seen:
                continue
            seen.add(node)
            op = graph.ops[node]
            if op in _REDUCE:
                if self._over_the_batch(node):
                    found.add(node)
            elif op in FUSED_OPS and tensor.index in (1, 2):
                found.add(node)
            elif op in _ARITHMETIC:
                stack += graph.inputs[node]
        return found

    def holds_data(self, tensor):
        """Whether a value is made of anything but variables and constants, as far as arithmetic goes."""
        graph = self.graph
        stack, seen = [tensor.node], set()
        while stack and len(seen) < 80:
            node = stack.pop()
            if node in seen or node in graph.variable or graph.ops[node] == "Const":
                continue
            seen.add(node)
            if graph.ops[node] not in _ARITHMETIC | ASSIGN_OPS | _REDUCE:
                return True
            stack += [t.node for t in graph.inputs[node]]
        return bool(stack)

    def _reductions_of(self, statistics):
        found = set()
        for statistic in statistics:
            if statistic.kind == "batch":
                found |= self._reductions(Tensor(statistic.node, 1))
        return frozenset(found)

    def _over_the_batch(self, node):
        values, axes = self.graph.inputs[node]
        rank = self.rank(values)
        if rank == 1:  # one row
            return False
        axes = self._axes(axes)
        return 0 in axes or (rank is not None and -rank in axes)

    def _axes(self, tensor, depth=0):
        """The axes of a reduction, as far as they are constants: tf.range(rank - 1) begins with its first one."""
        graph = self.graph
        node = graph.origin(tensor)
        values = graph.constant(tensor)
        if values is not None:
            return values.reshape(-1).tolist() if values.dtype.kind == "i" else []
        if depth > 3 or graph.ops[node] not in ("Range", "Pack", "ConcatV2") or not graph.inputs[node]:
            return []
        if graph.ops[node] == "Range":
            return self._axes(graph.inputs[node][0], depth + 1)
        parts = graph.inputs[node][: -1 if graph.ops[node] == "ConcatV2" else None]
        return [axis for part in parts[:8] for axis in self._axes(part, depth + 1)]

    def shape(self, tensor):
        """The static shape of a tensor as a list, None for what is not known; None where nothing is."""
        attr = self.graph.attrs[tensor.node]
        if "_output_shapes" in attr and tensor.index < len(attr["_output_shapes"].list.shape):
            shape = attr["_output_shapes"].list.shape[tensor.index]
        elif "shape" in attr and self.graph.ops[tensor.node] in ("Placeholder", "PlaceholderWithDefault"):
            shape = attr["shape"].shape
            if not shape.dim:  # TF 1.0 and older write no shape as this, too
                return None
        else:
            return None
        return None if shape.unknown_rank else [dim.size if dim.size >= 0 else None for dim in shape.dim]

    def rank(self, tensor):
        shape = self.shape(tensor)
        return None if shape is None else len(shape)

    # Assignments and updates

    def _find_assignments(self):
        """For each variable, the ops that assign it other than by its initializer, a checkpoint or a feed."""
        graph = self.graph
        self.assignments = {}
        for node, op in enumerate(graph.ops):
            if op in ASSIGN_OPS and graph.possible(graph.conditions[node]):
                if op in ("Assign", "AssignVariableOp") and self._from_outside(graph.inputs[node][1]):
                    continue
                for variable in graph.variables_of(graph.inputs[node][0]):
                    self.assignments.setdefault(variable, []).append(node)

    def _from_outside(self, tensor):
        """Whether a value is an initial one, restored or fed: made of constants, random numbers and files alone."""
        graph = self.graph
        stack, seen = [tensor.node], set()
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            op = graph.ops[node]
            if op in _RESTORE or op in _INPUT_FREE:
                continue
            if node in graph.variable or op in _REDUCE or op in FUSED_OPS or len(seen) > 60:
                return False
            stack += [t.node for t in graph.inputs[node]]
        return True

    def _slice(self, value):
        """What an assigned value is made of: (nodes, reductions, variables read)."""
        graph = self.graph
        reductions, chosen, read = set(), set(), set()
        stack, seen = [value], set()
        while stack and len(seen) < 300:
            tensor = stack.pop()
            if tensor in seen:
                continue
            seen.add(tensor)
            node, op, inputs = tensor.node, graph.ops[tensor.node], graph.inputs[tensor.node]
            if node in graph.variable:
                read.add(graph.variable[node])
                continue
            if op in ("ReadVariableOp", "Identity"):
                # What a variable holds after an assignment is read behind a control edge.
                stack += [Tensor(c, 0) for c in graph.controls[node] if graph.ops[c] in ASSIGN_OPS]
            if op in _REDUCE and self._over_the_batch(node):
                reductions.add(node)
            elif op in FUSED_OPS:
                reductions.add(node)
            elif op in MERGE_OPS:
                chosen |= {c for t in inputs for c, _ in graph.condition_of(t) - graph.conditions[node]}
                stack += inputs
            elif op in SELECT_OPS:
                chosen.add(graph.predicate(inputs[0], True)[0])
                stack += inputs[1:]
            elif op in _ARITHMETIC | ASSIGN_OPS | _REDUCE:
                stack += inputs
            elif op in SWITCH_OPS:
                stack.append(inputs[0])
        return {t.node for t in seen} | chosen, reductions, read

    def variables_read(self, value):
        """The variables that a value is made of, through arithmetic only."""
        return self._slice(value)[2]

    def _find_updates(self):
        """Which assignments take the batch statistics of which uses."""
        graph = self.graph
        by_reduction = {}
        for use in self.uses:
            for reduction in use.reductions:
                by_reduction.setdefault(reduction, []).append(use)
        moving = set().union(*(use.moving() for use in self.uses)) if self.uses else set()
        parameters = {p for use in self.uses for p in (use.gamma, use.beta)}
        leaves = {s.node for use in self.uses for s in use.mean + use.variance if s.kind == "batch"}
        self.updates = {}  # variable to its updates
        for variable, assignments in self.assignments.items():
            if variable in parameters:
                continue
            for node in assignments:
                nodes, reductions, _ = self._slice(graph.inputs[node][1])
                uses = list(dict.fromkeys(use for r in sorted(reductions) for use in by_reduction.get(r, ())))
                if not uses and variable not in moving:
                    continue
                decay, debiased = self._decay(node, variable, leaves, nodes)
                update = Update(node, variable, uses, graph.conditions[node], frozenset(nodes), decay, debiased)
                self.updates.setdefault(variable, []).append(update)

    def _decay(self, node, variable, leaves, nodes):
        """(decay, debiased). decay is what is left of the old value: the result where that is 1 and the new one 0."""
        graph = self.graph
        kept = self._kept(node, variable, leaves)
        if kept is None:  # zero_debias averages in a variable of its own
            for biased in sorted(nodes):
                if graph.ops[biased] in ASSIGN_OPS:
                    other = graph.origin(graph.inputs[biased][0])
                    if graph.names[other].endswith("/biased") and other in graph.variable:
                        return self._kept(biased, graph.variable[other], leaves), True
        return kept, False

    def _kept(self, node, variable, leaves):
        value = self._evaluate(self.graph.inputs[node][1], variable, leaves, {})
        if value is None:
            return None
        op = self.graph.ops[node]
        kept = 1 - value if "Sub" in op else 1 + value if "Add" in op else value
        return kept if -1e-6 <= kept <= 1 + 1e-6 else None

    def _evaluate(self, tensor, variable, leaves, known, depth=0):
        graph, node = self.graph, tensor.node
        if node in known:
            return known[node]
        known[node] = None  # until it is known; a cycle finds this
        if depth > 40:
            return None
        op, inputs = graph.ops[node], graph.inputs[node]
        value = None
        if node in leaves or op in FUSED_OPS or (op in _REDUCE and self._over_the_batch(node)):
            value = 0.0
        elif node in graph.variable:
            value = 1.0 if graph.variable[node] == variable else None
        elif op == "Const":
            value = graph.scalar(tensor)
        elif op in MERGE_OPS | SELECT_OPS:
            # Of several branches, the one that moves.
            branches = inputs[1:] if op in SELECT_OPS else inputs
            values = [self._evaluate(branch, variable, leaves, known, depth + 1) for branch in branches]
            values = sorted((value for value in values if value is not None), key=lambda value: value == 1)
            value = values[0] if values else None
        elif op in SAME_VALUE_OPS:
            value = self._evaluate(inputs[0], variable, leaves, known, depth + 1)
        elif op in _COMPUTE:
            values = [self._evaluate(operand, variable, leaves, known, depth + 1) for operand in inputs]
            if op == "Mul" and 0.0 in values:
                value = 0.0
            elif None not in values and not (op in _DIVIDE and values[1] == 0):
                value = _COMPUTE[op](*values)
        known[node] = value
        return value

    # Layers

    def _group(self):
        graph = self.graph
        self._is_variance = {s.node for use in self.uses for s in use.variance if s.kind == "moving"}
        self._is_mean = {s.node for use in self.uses for s in use.mean if s.kind == "moving"}
        fed = {}  # use to the variables that its batch statistics move
        for variable, updates in self.updates.items():
            if graph.names[variable].endswith(("/biased", "/local_step")):
                continue  # zero_debias keeps these beside the moving average
            for update in updates:
                for use in update.uses:
                    fed.setdefault(use, []).append(variable)
        keys = {use: sorted(use.moving()) or sorted(self._known(fed.get(use, []))) for use in self.uses}
        by_name = {graph.names[node]: node for node in set(graph.variable.values())}
        by_parameter, by_weights, members = {}, {}, {}
        for use in self.uses:
            if keys[use]:
                for parameter in (use.gamma, use.beta):
                    if parameter is not None:
                        by_parameter.setdefault(parameter, keys[use])
                weights = self.weights(use)
                if weights:
                    by_weights.setdefault(weights, keys[use])
        for use in self.uses:
            own = keys[use]
            if not own:  # a use with batch statistics that nothing keeps
                parameters = [p for p in (use.gamma, use.beta) if p is not None]
                own = next((by_parameter[p] for p in parameters if p in by_parameter), None)
                own = own or self._siblings(parameters, by_name)
                own = own or by_weights.get(self.weights(use)) or [("parameter", p) for p in parameters[:1]]
            if not own and any(s.kind == "constant" for s in use.variance):
                own = [("constant", s.node) for s in use.variance]
            if own and self._is_batch_norm(use):
                # Whoever shares a variable is of one layer.
                others = {id(members[v]): members[v] for v in own if v in members}
                joined = [*(member for group in others.values() for member in group), (use, own)]
                for _, variables in joined:
                    members.update(dict.fromkeys(variables, joined))
        groups = {id(group): group for group in members.values()}
        return [self._layer(group, by_name) for group in groups.values()]

    def _is_batch_norm(self, use):
        """Whether it is one; else it is an input that is standardised by running statistics."""
        if use.fused or use.gamma is not None or use.beta is not None:
            return True
        names = {self.graph.names[node] for node in use.moving()}
        return any(s.kind != "moving" for s in use.variance) or any(MEAN_NAME.search(name) for name in names)

    def _known(self, variables):
        normal = [v for v in variables if v in self._is_mean or v in self._is_variance]
        return normal or variables

    def _variance_like(self, variable):
        if not isinstance(variable, int):
            return False
        if variable in self._is_variance:
            return True
        if variable in self._is_mean:
            return False
        return self._role(variable) == "variance"

    def _role(self, variable):
        """Whether a variable that only updates name keeps the mean or the variance."""
        for update in self.updates.get(variable, ()):
            for use in update.uses:
                if use.fused:
                    indices = self._fused_indices(update)
                    if indices:
                        return "variance" if 2 in indices else "mean"
                if any(s.node in update.depends_on for s in use.variance):
                    return "variance"
                if any(s.node in update.depends_on for s in use.mean):
                    return "mean"
        return "variance" if VARIANCE_NAME.search(self.graph.names[variable]) else "mean"

    def _fused_indices(self, update):
        graph = self.graph
        return {
            t.index
            for node in update.depends_on
            for t in graph.inputs[node]
            if graph.ops[t.node] in FUSED_OPS and t.index in (1, 2)
        }

    def _siblings(self, parameters, by_name):
        """The variables in a parameter's scope that are named as moving statistics are."""
        for parameter in parameters:
            scope = self.graph.names[parameter].rpartition("/")[0]
            found = [
                by_name[f"{scope}/{name}"]
                for name in ("moving_mean", "moving_variance", "mean/EMA", "variance/EMA")
                if f"{scope}/{name}" in by_name
            ]
            if found:
                return found
        return []

    def weights(self, use):
        """The nearest variables in front of a use, through at most a few ops."""
        graph = self.graph
        front, seen = [use.x.node], set()
        for _ in range(12):
            found = {graph.variable[node] for node in front if node in graph.variable}
            if found:
                return frozenset(found)
            following = []
            for node in front:
                if node not in seen:
                    seen.add(node)
                    following += [t.node for t in graph.inputs[node]]
            front = following[:100]
        return None

    def _layer(self, members, by_name):
        graph = self.graph
        uses = [use for use, _ in members]
        own = list(dict.fromkeys(v for _, variables in members for v in variables if isinstance(v, int)))
        constants = [v[1] for _, variables in members for v in variables if isinstance(v, tuple) and v[0] == "constant"]
        variance = next((v for v in own if self._variance_like(v)), None)
        mean = next((v for v in own if v != variance and not self._variance_like(v)), None)
        gamma = next((use.gamma for use in uses if use.gamma is not None), None)
        beta = next((use.beta for use in uses if use.beta is not None), None)
        order = (mean, variance, gamma, beta)
        if mean is not None and graph.names[mean].endswith("ExponentialMovingAverage"):
            order = (gamma, beta, mean, variance)  # these averages are named after the tensor, not after the layer
        named = next((v for v in (*order, *constants) if v is not None), uses[0].node)
        name = scope_of(graph.names[named])
        if name == graph.names[named]:  # a variable without a scope
            name = scope_of(re.sub(r"/batchnorm(_\d+)?/", "/", graph.names[uses[0].node]))
        updates = [u for v in (mean, variance) if v is not None for u in self.updates.get(v, ())]
        unused, scopes = [], {name, *(graph.names[v].rpartition("/")[0] for v in (mean, variance) if v is not None)}
        for part, used in (("gamma", gamma), ("beta", beta)):
            variables = [by_name.get(f"{scope}/{part}".lstrip("/")) for scope in sorted(scopes)]
            if used is None:
                unused += [v for v in dict.fromkeys(variables) if v is not None and not self._read(v)]
        return BatchNorm(name, uses, mean, variance, gamma, beta, updates, unused)

    def _read(self, variable):
        """Whether anything but a Saver, an initializer or an optimizer takes a variable's value."""
        graph = self.graph
        stack, seen = [node for node, of in graph.variable.items() if of == variable], set()
        while stack and len(seen) < 200:
            node = stack.pop()
            for user in graph.consumers[node]:
                op = graph.ops[user]
                if user in seen or op in ASSIGN_OPS or op.startswith(("Save", "VarIsInit", "IsVariableInit")):
                    continue
                if is_optimizer_op(op) or op in ("DestroyResourceOp", "Shape", "VariableShape"):
                    continue
                if op not in SAME_VALUE_OPS:
                    return True
                seen.add(user)
                stack.append(user)
        return False


def scope_of(name):
    """The layer that a moving statistic, gamma or beta belongs to, by its name."""
    name = re.sub(r"^.*->", "", name)
    shorter = _EMA.sub("", name)
    if shorter != name:
        # tensorpack: bn/mean/EMA. ExponentialMovingAverage of a tensor: bn/moments/Squeeze/ExponentialMovingAverage.
        shorter = re.sub(r"/(moments(_\d+)?|batchnorm(_\d+)?|cond(_\d+)?|normalize)(/.*)?$", "/x", shorter)
        name = shorter
    return name.rpartition("/")[0] or name
