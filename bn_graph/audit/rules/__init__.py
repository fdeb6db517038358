"""One file a rule, and the list of them.

A rule's docstring says what is wrong, what follows, and how it looks wrong and right; its first line stands in the
documentation's table. Its NAME and SEVERITY are what a report prints. It has one or more of

    check(layer, audit)         for each `BatchNorm` of the graph
    check_graph(audit)          once
    check_saved(saved, audit)   for each `SavedLayer` of the checkpoint

which yield what they have found: `Problem`s, each with its fix, and `Doubt`s. `audit` is an `Audit`, whose methods
are what there is to ask.
"""

import ast
import inspect

from bn_graph.audit.evidence import Doubt
from bn_graph.audit.graph.flat_graph import printable
from bn_graph.audit.report import Finding, Undecided
from bn_graph.audit.rules import (
    cancelled_bias,
    dropout_before_batch_norm,
    duplicate_updates,
    frozen_layer_updates,
    mixed_variance,
    no_updates,
    slow_decay,
    statistics_not_copied,
    statistics_not_saved,
    statistics_untouched,
    tiny_batch,
    trainable_statistics,
    unshared_towers,
    unused_layer,
    unused_parameter,
    updates_in_evaluation,
    updates_in_loop,
    updates_never_run,
    updates_of_another_input,
    updates_of_one_tower,
    wrong_statistics,
)
from bn_graph.errors import InputError

# In the order in which they are reported.
RULES = (
    no_updates,
    updates_never_run,
    updates_of_another_input,
    updates_in_loop,
    wrong_statistics,
    updates_in_evaluation,
    unshared_towers,
    statistics_not_copied,
    trainable_statistics,
    unused_layer,
    duplicate_updates,
    frozen_layer_updates,
    slow_decay,
    tiny_batch,
    mixed_variance,
    dropout_before_batch_norm,
    updates_of_one_tower,
    cancelled_bias,
    unused_parameter,
    statistics_not_saved,
    statistics_untouched,
)


def list_rules():
    """A line for each rule: its name, its severity, and what it finds."""
    width = max(len(rule.NAME) for rule in RULES)
    return "\n".join(f"{rule.NAME:{width}}  {rule.SEVERITY:7}  {docstring(rule).splitlines()[0]}" for rule in RULES)


def explain(name):
    """What the rule `name` finds, what follows from it, and how it looks wrong and right. Raises `InputError`."""
    by_name = {rule.NAME: rule for rule in RULES}
    if name not in by_name:
        raise InputError(f"expected a rule, one of {', '.join(by_name)}; found {name!r}")
    rule = by_name[name]
    return f"{rule.NAME} ({rule.SEVERITY})\n\n{docstring(rule)}"


def docstring(rule):
    """The docstring of a rule, which `python -OO` does not keep."""
    return ast.get_docstring(ast.parse(inspect.getsource(rule)))


def apply(audit):
    """What all rules have found: a list of `Finding`s and a list of `Undecided`s."""
    findings, undecided = [], []

    def collect(rule, layer, results):
        for result in results:
            if isinstance(result, Doubt):
                undecided.append(Undecided(rule.NAME, layer, result.message))
            else:
                severity = result.severity or rule.SEVERITY
                evidence = _names(result.evidence, audit.graph)
                findings.append(Finding(rule.NAME, severity, layer, evidence, result.message, result.fix))

    for layer in audit.layers:
        for rule in RULES:
            if hasattr(rule, "check"):
                collect(rule, layer.name, rule.check(layer, audit))
    for rule in RULES:
        if hasattr(rule, "check_graph"):
            collect(rule, "", rule.check_graph(audit))
    for saved in audit.saved_layers:
        for rule in RULES:
            if hasattr(rule, "check_saved"):
                collect(rule, saved.name, rule.check_saved(saved, audit))
    return findings, undecided


def _names(evidence, graph):
    """Names of nodes and variables, each once. Of what is inside a function, the op of the graph that calls it."""
    names = (graph.names[graph.top_level[item]] if isinstance(item, int) else item for item in evidence)
    return tuple(dict.fromkeys(map(printable, names)))
