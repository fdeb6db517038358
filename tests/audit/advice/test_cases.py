"""What the audit says to write works where it is written, in the graphs of tests/audit/cases."""

import pytest

from bn_graph.audit import audit_graph
from tests.audit.advice.fix import Fix
from tests.audit.findings import audit
from tests.audit.sessions import initialize, run, session_of, statistics_of, still, values
from tests.audit.test_rules import ALL

RULES = {"updates-never-run", "no-updates", "duplicate-updates", "updates-of-another-input", "updates-of-one-tower"}
# In a branch or loop, where the fix is an instruction: see test_programs.
INSIDE = ("while loop, not run", "updates in ", "never run: assigned and dropped in the branch")


def is_about_updates(case):
    return case.session and RULES.intersection(rule for rule, _ in case.expected)


@pytest.mark.parametrize("case", [pytest.param(c, marks=c.marks) for c in filter(is_about_updates, ALL)], ids=str)
def test_the_updates_run_where_the_fix_is_executed(case):
    built = case.build()
    findings = [finding for finding in audit(built).findings if finding.rule in RULES]
    for text in dict.fromkeys(finding.fix for finding in findings):
        layers = {finding.layer for finding in findings if finding.fix == text}
        fix = Fix(text)
        inside = case.name.startswith(INSIDE)
        assert fix.is_executable != inside
        if fix.is_executable:
            with built.graph.as_default():
                built.train = fix.execute()["train_op"]
            check_that_they_move(built, layers)


def check_that_they_move(built, layers):
    with session_of(built.graph) as session:
        initialize(session, built)
        statistics = statistics_of(audit_graph(built.graph), layers)
        before = values(session, statistics)
        for _ in range(10):
            run(session, built.train, built.feed)
        assert before and not still(before, values(session, statistics))
    report = audit_graph(built.graph, train_op=built.train)
    assert not [finding for finding in report.findings if finding.rule in RULES and finding.layer in layers], report
