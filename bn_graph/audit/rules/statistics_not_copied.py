"""A copy of a layer gets its gamma, beta or weights from another one, and its moving statistics from nobody.

Target networks, teachers and averaged models are updated by copying the trained network's variables. A list of
trainable variables leaves the moving mean and variance out. The copy then normalises by 0 and 1 for ever.

Wrong:

    for target, online in zip(tf.trainable_variables("target"), tf.trainable_variables("online")):
        tf.assign(target, online)

Right:

    for target, online in zip(tf.global_variables("target"), tf.global_variables("online")):
        tf.assign(target, online)
"""

from bn_graph.audit.evidence import Doubt, Problem
from bn_graph.audit.instructions import copy_statistics
from bn_graph.audit.layers.normalizations import parameters_of
from bn_graph.audit.layers.statistics import made_of_variables
from bn_graph.audit.layers.updates import made_of

NAME = "statistics-not-copied"
SEVERITY = "error"


def check(layer, audit):
    forgotten = [variable for variable in layer.statistics if not _is_followed(variable, layer, audit)]
    if not audit.trains or not forgotten:
        return
    parameters = set().union(*(parameters_of(audit.graph, use) for use in layer.uses))
    copied = [v for v in sorted(parameters) if _is_copied(v, audit)]
    usages = [conditions for _, kind, conditions in audit.usages(layer) if kind == "moving"]
    if not copied or not usages:
        return
    opposites = {(node, not value) for node, value in audit.selectors(layer)}
    if all(conditions & opposites for conditions in usages):
        yield Doubt("its parameters are copied from another layer, and its moving statistics from nobody: wrong if the "
                    "copy is run with is_training False")  # fmt: skip
        return
    message = (
        "Its parameters are copied from another layer, and its moving statistics from nobody: the copy normalises by "
        "their initial values."
    )
    yield Problem([*forgotten, *copied], message, copy_statistics(audit, layer, copied))


def _is_followed(variable, layer, audit):
    """Whether anything assigns a moving statistic, but for updates from the copy's own batch that no step runs."""
    from_batch = [u for u in layer.updates if u.variable == variable and u.uses and not u.through]
    idle = {update.node for update in from_batch if update.node not in audit.step.run}
    return not idle.issuperset(audit.assignments.get(variable, ()))


def _is_copied(variable, audit):
    """Whether a variable is assigned from other variables, all at once or a bit at a time."""
    for node in audit.assignments.get(variable, ()):
        value = audit.graph.inputs[node][1]
        if made_of(audit.graph, value).variables - {variable} and made_of_variables(audit.graph, value):
            return True
    return False
