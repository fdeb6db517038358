"""Evaluating moves the moving statistics.

The ops that update the moving averages run with the evaluation, too. So the evaluation's data leaks into the model, and
a second evaluation gives another result.

Wrong:

    logits = batch_norm(x, is_training=True, updates_collections=None, reuse=True)  # in the evaluation tower

Right:

    logits = batch_norm(x, is_training=False, updates_collections=None, reuse=True)
"""

from bn_graph.audit.evidence import Problem
from bn_graph.audit.graph.ops import GRADIENT_NAME, MERGE_OPS, SAME_VALUE_OPS
from bn_graph.audit.instructions import update_where_it_trains, use_moving_statistics
from bn_graph.audit.rules.wrong_statistics import TRAINING_NAME

NAME = "updates-in-evaluation"
SEVERITY = "error"


def check(layer, audit):
    if not audit.trains:
        return
    training = audit.selectors(layer)
    evaluating = {(node, not value) for node, value in training}
    # Where the branches are exchanged, is_training says so, and not what the branches do.
    evaluating |= {
        (node, value) for node, value in training if not value and TRAINING_NAME.search(audit.graph.names[node])
    }
    predicates = {node for node, _ in training}

    def runs_in_evaluation(update):
        if update.conditions & evaluating:
            return True
        if update.conditions & training:
            return False
        kept = update.decay_in_evaluation
        if not update.depends_on.isdisjoint(predicates) and (kept is None or kept > 1 - 1e-6):
            return False  # what is_training chooses in it lets it change nothing
        if update.node in audit.fact(_run_by_evaluation):
            return True
        return bool(training) and update.node in audit.fact(_run_by_choosing)

    wrong = [update.node for update in layer.updates if runs_in_evaluation(update)]
    if wrong:
        message = "Evaluating moves the moving statistics: the evaluation data leaks into the model."
        towers = [use for use in layer.uses if audit.step.roles[use] == "evaluation"]
        if any(update.node in wrong and not set(towers).isdisjoint(update.uses) for update in layer.updates):
            fix = use_moving_statistics(audit, layer, "in the evaluation tower")
        else:
            fix = update_where_it_trains()
        yield Problem(wrong, message, fix)


def _run_by_evaluation(audit):
    return _run_by(audit, [use for use, role in audit.step.roles.items() if role == "evaluation"])


def _run_by_choosing(audit):
    """What runs with the output of the towers that are for training and evaluation, as is_training says."""
    choosing = []
    for layer in audit.layers:
        selectors = audit.selectors(layer)
        either = selectors | {(node, not value) for node, value in selectors}
        choosing += [use for use in layer.uses if any(conditions & either for _, conditions in use.statistics())]
    return _run_by(audit, choosing)


def _run_by(audit, uses):
    """What fetching the output of `uses` runs; nothing, where it runs whole training steps on purpose."""
    graph = audit.graph
    outputs = {use.output for use in uses}
    stack = list(outputs)
    while stack:
        for user in graph.consumers[stack.pop()]:
            # In-place updates are often waited for behind the result.
            handed_on = graph.ops[user] in SAME_VALUE_OPS or graph.ops[user] in MERGE_OPS
            if handed_on and user not in outputs and not GRADIENT_NAME.search(graph.names[user]):
                outputs.add(user)
                stack.append(user)
    run = graph.ancestors(outputs)
    return set() if run.intersection(audit.step.optimizer_ops) else run
