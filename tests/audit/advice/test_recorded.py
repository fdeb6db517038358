"""What the audit says to write works where it is written, in the graphs of old releases."""

import collections

import pytest

from bn_graph.audit import audit_graph
from tests.audit.advice.fix import Fix
from tests.audit.sessions import CannotRun, imported, initialize, moving_statistics, run, session_of, still, values

pytestmark = pytest.mark.release

UPDATES = {"updates-never-run", "no-updates", "updates-of-another-input", "statistics-untouched", "duplicate-updates"}
# How many findings there are at least whose fix is executed, and how many graphs cannot be run.
FEWEST = {"0.12.1": (33, 4), "1.4.1": (43, 6), "1.15.0": (55, 9)}


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
                said = after_following(Fix(fix), folder / name, entry, {finding.layer for finding in findings})
            except CannotRun as error:
                left_out[name] = str(error)
                continue
            wrong.update({name: said} if said else {})
            proven.update(finding.rule for finding in findings)
    assert not wrong
    assert proven.total() >= FEWEST[release][0] and proven.keys() >= UPDATES - {"updates-of-another-input"}
    assert set(left_out.values()) <= {"it is no MetaGraph", "it waits for a queue", "the fix is an instruction"}


def after_following(fix, path, entry, layers):
    """What is wrong after a fix was followed, or None."""
    built = imported(path, entry)
    if not fix.is_executable:
        raise CannotRun("the fix is an instruction")
    with session_of(built.graph) as session:
        train_op = fix.execute()["train_op"]
        initialize(session, built)
        statistics = moving_statistics(layers)
        before = values(session, statistics)
        for _ in range(10):
            run(session, train_op, built.feed)
        idle = still(before, values(session, statistics))
        report = audit_graph(built.graph, train_op=train_op)
    found = [finding for finding in report.findings if finding.rule in UPDATES and finding.layer in layers]
    if idle or not before or found:
        return f"{sorted(idle)} did not move; {found}\n{fix.text}"
    return None
