"""Update ops are there twice, or UPDATE_OPS holds those of an evaluation tower.

Where an update runs twice in a step, the averages forget twice as fast as `decay` says. Where the updates of an
evaluation tower run, its data gets into the averages.

Wrong:

    logits = network(x, is_training=True)
    valid_logits = network(valid_x, is_training=True, reuse=True)
    update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)

Right:

    logits = network(x, is_training=True)
    update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    valid_logits = network(valid_x, is_training=False, reuse=True)
"""

import collections

from bn_graph.audit.advice import run_these, run_without
from bn_graph.audit.evidence import UPDATE_OPS, Problem, only_evaluates
from bn_graph.audit.graph.ops import MERGE_OPS

NAME = "duplicate-updates"
SEVERITY = "warning"


def check(layer, audit):
    if not audit.trains:
        return
    evaluation, twice = {}, {}  # members of UPDATE_OPS, to their places in it
    for update in layer.updates:
        for place, member, count in audit.fact(_members_of).get(update.node, ()):
            if update.uses and only_evaluates(audit, update):
                evaluation[member] = place
            if count > 1:
                twice[member] = place
    run = audit.step.run
    if evaluation:
        averaging = "training steps average" if run.intersection(evaluation) else "whoever runs them all averages"
        message = f"UPDATE_OPS holds updates of an evaluation tower: {averaging} its data, too."
        yield Problem(sorted(evaluation, key=evaluation.get), message, audit.fact(_run_without_evaluation))
        return
    same = _same_updates(layer, run)
    if twice or same:
        message = "Update ops are there twice: where both run, a step moves the averages twice."
        again = {node for nodes in same for node in nodes[1:]}
        fix = run_these(audit, [update for update in layer.updates if update.node in run - again])
        evidence = [*sorted(twice, key=twice.get), *(node for nodes in same for node in nodes)]
        yield Problem(evidence, message, audit.fact(_run_each_once) if twice else fix)


def _same_updates(layer, run):
    """Lists of the updates of one variable by the same uses, where a training step runs several."""
    alike = {}
    for update in layer.updates:
        if update.node in run and update.uses:
            key = (update.variable, update.conditions, *sorted(use.node for use in update.uses))
            alike.setdefault(key, []).append(update.node)
    return [nodes for nodes in alike.values() if len(nodes) > 1]


def _run_each_once(audit):
    return run_without(audit, set())


def _run_without_evaluation(audit):
    """How UPDATE_OPS is run without the members that are updates of evaluation towers."""
    members_of = audit.fact(_members_of)
    updates = [u for layer in audit.layers for u in layer.updates if u.uses and only_evaluates(audit, u)]
    return run_without(audit, {member for u in updates for _, member, _ in members_of.get(u.node, ())})


def _members_of(audit):
    """Update ops to the members of UPDATE_OPS that stand for them: (place, member, how often it is there)."""
    updates = {update.node for layer in audit.layers for update in layer.updates}
    members_of = {}
    members = collections.Counter(audit.collections.get(UPDATE_OPS, ())).items()
    for place, (member, count) in enumerate(members):
        for update in _stands_for(audit.graph, member, updates):
            members_of.setdefault(update, []).append((place, member, count))
    return members_of


def _stands_for(graph, member, updates):
    """The update ops that a member of UPDATE_OPS stands for: itself, or what the cond or group that it is runs."""
    reached, stack, seen = [], [member], set()
    while stack and len(seen) < 12:
        node = stack.pop()
        if node in updates:
            reached.append(node)
        elif node not in seen and graph.ops[node] in {"Identity", "NoOp", "ReadVariableOp", *MERGE_OPS}:
            seen.add(node)
            stack += [*(source.node for source in graph.inputs[node]), *graph.waits_for(node)]
    return reached
