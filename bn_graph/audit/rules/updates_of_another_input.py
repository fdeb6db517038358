"""The train op runs update ops of another input than the one that is trained on.

A layer that is called on two inputs has update ops for each. Those of the wrong call average another batch, or ask
for a placeholder that training has no use for. In Keras, `model.updates` are those of the model's own placeholder,
whatever the model was called on.

Wrong:

    loss = loss_of(model(x))
    with tf.control_dependencies(model.updates):
        train_op = optimizer.minimize(loss)

Right:

    loss = loss_of(model(x))
    with tf.control_dependencies(model.get_updates_for(x)):
        train_op = optimizer.minimize(loss)
"""

from bn_graph.audit.advice import run_these
from bn_graph.audit.evidence import Problem, placeholders_beside_loss
from bn_graph.audit.graph.flat_graph import printable

NAME = "updates-of-another-input"
SEVERITY = "error"


def check(layer, audit):
    trained = set(audit.trained_by_batch(layer))
    if not trained:
        return
    right = [update for update in layer.updates if not trained.isdisjoint(update.uses)]
    others = [u for u in layer.updates if u.uses and trained.isdisjoint(u.uses) and u.node in audit.step.run]
    needs = audit.fact(placeholders_beside_loss)
    placeholders = sorted({needs[update.node] for update in others if update.node in needs})
    names = " and ".join(printable(audit.graph.names[node]) for node in placeholders[:2])
    asks = f"A step asks for a value of {names}, of which the loss has no use." if placeholders else ""
    followed = {update.variable for update in right if update.node in audit.step.run}
    wrong = [update for update in others if update.variable not in followed]
    if wrong:
        message = f"The train op runs update ops of another input, and none of what is trained on. {asks}".rstrip()
    else:
        # Of an evaluation tower that is always on its batch, that is reported, and what it costs.
        wrong = [u for u in others if placeholders and any(c for use in u.uses for _, c in use.statistics())]
        message = f"The train op also runs update ops of another input. {asks}"
    if wrong:
        yield Problem([update.node for update in wrong], message, run_these(audit, right))
