"""What the audit says to write works where it is written, in the graphs of old releases."""

import collections

import pytest

from bn_graph.audit import audit_graph
from tests.audit.advice.fix import Fix
from tests.audit.sessions import CannotRun, imported, initialize, loss_of, run, session_of, statistics_of, still, values

pytestmark = pytest.mark.release

UPDATES = {"updates-never-run", "no-updates", "updates-of-another-input", "statistics-untouched", "duplicate-updates"}
LEFT_OUT = {
    "it is no MetaGraph",
    "it waits for a queue",
    "its variables are known by name alone",
    "its loss waits for the wrong updates",
    "the fix is an instruction",
}
# How many findings there are at least whose fix is executed.
FEWEST = {"0.12.1": 54, "1.4.1": 71, "1.5.0": 2, "1.8.0": 2, "1.12.0": 18, "1.14.0": 18, "1.15.0": 104}


def fixes_of(report, rules):
    """The fixes of a report, to the findings that have them."""
    fixes = {}
    for finding in report.findings:
        if finding.rule in rules:
            fixes.setdefault(finding.fix, []).append(finding)
    return fixes


@pytest.mark.parametrize("release", FEWEST)
def test_the_updates_run_where_the_fix_is_executed(corpus, release):
    folder, expected = corpus
    proven, left_out, wrong = collections.Counter(), {}, {}
    for name, entry in expected.items():
        if not name.startswith(release) or not UPDATES.intersection(rule for rule, _ in entry["findings"]):
            continue
        report = audit_graph(folder / name, train_op=entry["train_op"])
        for fix, findings in fixes_of(report, UPDATES).items():
            try:
                said = after_following(Fix(fix), folder / name, entry, {f.layer for f in findings}, report)
            except CannotRun as error:
                left_out[name] = str(error)
                continue
            wrong.update({name: said} if said else {})
            proven.update(finding.rule for finding in findings)
    assert not wrong
    assert proven.total() >= FEWEST[release]
    assert set(left_out.values()) <= LEFT_OUT


def waits_for_evidence(graph, report):
    """Whether the loss itself was made where it waits for the updates of another input, so that no new step is free."""
    wrong = {name for f in report.findings if f.rule == "updates-of-another-input" for name in f.evidence}
    with graph.as_default():
        stack, seen = [loss_of(graph).op], set()
    while stack and wrong:
        op = stack.pop()
        if op.name in wrong:
            return True
        more = {*(tensor.op for tensor in op.inputs), *op.control_inputs} - seen
        seen |= more
        stack += more
    return False


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
