"""Graphs that are trained in a session that watches their moving statistics."""

from bn_graph.audit.audit import audit_of
from bn_graph.audit.monitor import STEPS, MovingStatisticsError, MovingStatisticsSession
from bn_graph.formats.tf_graph import source_of
from tests.audit.sessions import CannotRun, imported, initialize, run, session_of

IDLE = {"updates-never-run", "no-updates"}
EXCHANGED = {"slow-decay", "updates-in-evaluation"}  # the decay is 1 in training, and less in evaluation


def said_in(built, steps=STEPS, **arguments):
    """What is said by the session within so many steps, or None."""
    with session_of(built.graph) as session:
        watched = MovingStatisticsSession(session, **arguments)
        initialize(watched, built)
        try:
            for _ in range(steps):
                run(watched, built.train, built.feed)
        except MovingStatisticsError as error:
            return str(error)
    return None


def watch_recording(path, entry):
    """(whether moving statistics of a recorded graph are idle, what is said). Raises `CannotRun`.

    entry: what expected.json says of it.
    """
    rules = {rule for rule, _ in entry["findings"]}
    if entry.get("may") or entry.get("undecided"):
        raise CannotRun("nobody knows whether it is right")
    if "updates-in-loop" in rules:
        raise CannotRun("no session can run it")
    built = imported(path, entry)
    built.train = what_trains(built.graph, entry["train_op"])
    if not built.train:
        raise CannotRun("it does not train")
    return bool(IDLE & rules or rules >= EXCHANGED), said_in(built, train_op=entry["train_op"])


def what_trains(graph, train_op):
    """What a program runs to train: the train ops, the groups around them, and what adds up gradients for them."""
    audit = audit_of(source_of(graph), train_op)
    flat, run = audit.graph, audit.step.run
    last = [op for op in run if flat.top_level[op] == op and run.isdisjoint(flat.consumers[op] + flat.waiters[op])]
    return [graph.get_operation_by_name(flat.names[op]) for op in last] if audit.step.has_train_op else []
