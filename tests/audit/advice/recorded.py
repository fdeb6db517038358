"""The fixes of recorded graphs, followed: `python -m tests.audit` does so with all of them."""

from bn_graph.audit import audit_graph
from tests.audit.advice.fix import Fix
from tests.audit.sessions import (
    CannotRun,
    imported,
    initialize,
    loss_of,
    names_behind,
    run,
    session_of,
    statistics_of,
    still,
    values,
)

UPDATES = {"updates-never-run", "no-updates", "updates-of-another-input", "statistics-untouched", "duplicate-updates"}
# Why a fix may not be followed here.
LEFT_OUT = {
    "it is no MetaGraph",
    "it waits for a queue",
    "it reads what is not there",
    "its variables are known by name alone",
    "its loss waits for the wrong updates",
    "the fix is an instruction",
}


def is_about_updates(entry):
    """Whether expected.json says of a graph that something is wrong with its updates."""
    return not UPDATES.isdisjoint(rule for rule, _ in entry["findings"])


def follow_fixes(path, entry):
    """(rules, what is wrong after their fix was followed or None, why it was not followed or None) of each fix."""
    report = audit_graph(path, train_op=entry["train_op"])
    for fix, findings in fixes_of(report, UPDATES).items():
        rules, wrong, reason = [finding.rule for finding in findings], None, None
        try:
            wrong = after_following(Fix(fix), path, entry, {finding.layer for finding in findings}, report)
        except CannotRun as error:
            reason = str(error)
        yield rules, wrong, reason


def fixes_of(report, rules):
    """The fixes of a report, to the findings that have them."""
    fixes = {}
    for finding in report.findings:
        if finding.rule in rules:
            fixes.setdefault(finding.fix, []).append(finding)
    return fixes


def waits_for_evidence(graph, report):
    """Whether the loss itself was made where it waits for the updates of another input, so that no new step is free."""
    wrong = {name for f in report.findings if f.rule == "updates-of-another-input" for name in f.evidence}
    with graph.as_default():
        return not wrong.isdisjoint(names_behind(loss_of(graph)))


def after_following(fix, path, entry, layers, report):
    """What is wrong after a fix was followed, or None. layers: the names of those that it is for."""
    built = imported(path, entry)
    if not fix.is_executable:
        raise CannotRun("the fix is an instruction")
    if waits_for_evidence(built.graph, report):
        raise CannotRun("its loss waits for the wrong updates")
    with session_of(built.graph) as session:
        train_op = fix.execute()["train_op"]
        initialize(session, built)
        statistics = statistics_of(report, layers)
        before = values(session, statistics)
        for _ in range(10):
            run(session, train_op, built.feed)
        idle = still(before, values(session, statistics))
        report = audit_graph(built.graph, train_op=train_op)
    found = [finding for finding in report.findings if finding.rule in UPDATES and finding.layer in layers]
    if idle or not before or found:
        return f"{sorted(idle)} did not move; {found}\n{fix.text}"
    return None
