"""The audit, from its specification: graphs that break a rule, and near-identical ones that do not.

What a case expects is proved in a session where that is cheap: the moving statistics do or do not move when the train
op runs once, and when the evaluation runs.
"""

import pytest

from bn_graph.audit import audit_graph
from bn_graph.tf1 import tf
from tests.audit.cases import (
    accumulation,
    averages,
    copies,
    loops,
    no_layers,
    other_spellings,
    phases,
    thrown_away,
    update_ops,
    variables,
    wrong_statistics,
)
from tests.audit.cases.case import BOTH
from tests.audit.cases.update_ops import by_hand
from tests.audit.findings import IN_EVALUATION, IN_LOOP, NEVER_RUN, NO_UPDATES, audit, kinds
from tests.audit.networks import depends_on_batch, network, step_of

ALL = [
    *update_ops.CASES,
    *wrong_statistics.CASES,
    *variables.CASES,
    *no_layers.CASES,
    *other_spellings.CASES,
    *copies.CASES,
    *accumulation.CASES,
    *thrown_away.CASES,
    *phases.CASES,
    *loops.CASES,
    *averages.CASES,
]
assert len({case.name for case in ALL}) == len(ALL)


def marked(cases):
    return [pytest.param(case, marks=case.marks) for case in cases]


@pytest.mark.parametrize("case", marked(ALL), ids=str)
def test_a_rule_and_its_near_identical_opposite(case):
    built = case.built
    report = audit(built)
    found = kinds(report)
    assert case.expected <= found <= case.expected | set(case.optional), str(report)
    if case.doubts is not None:
        assert {one.rule for one in report.undecided} == case.doubts, str(report)
    if case.layer is not None:
        accepted = (case.layer,) if isinstance(case.layer, str) else case.layer
        for finding in report.findings:
            if (finding.rule, finding.severity) in case.expected:
                assert finding.layer in accepted, finding


def about_updates(case):
    """Whether a session can say more of a case than of the others."""
    other = (
        "bias",
        "unused",
        "used",
        "no ",
        "slow",
        "not slow",
        "decay",
        "1 -",
        "collection has",
        "batch",
        "evaluation b",
    )
    other += ("one picture", "two pictures", "four pictures", "pictures", "fused", "saved", "not saved", "inference")
    return case.session and not case.name.startswith(other)


@pytest.mark.parametrize("case", marked(filter(about_updates, ALL)), ids=str)
def test_what_the_cases_expect_is_what_a_session_does(case):
    built = case.built
    still, evaluation_moves = step_of(built)
    if built.train is not None:
        accepted = (case.layer,) if isinstance(case.layer, str) else case.layer
        if case.still is not None:
            assert still == set(case.still)
        elif {NEVER_RUN, NO_UPDATES} & case.expected:
            assert still and (accepted is None or still <= set(accepted))
        else:
            assert not still
    assert evaluation_moves == (IN_EVALUATION in case.expected)


@pytest.mark.parametrize("case", marked(case for case in ALL if case.on_batch is not None), ids=str)
def test_a_prediction_depends_on_its_batch_where_the_cases_say_so(case):
    assert depends_on_batch(case.built) == case.on_batch


@pytest.mark.parametrize("case", marked(loops.CASES), ids=str)
def test_a_session_refuses_to_run_what_waits_for_an_op_inside_of_a_loop(case):
    built = case.built
    with tf.Session(graph=built.graph) as session:
        session.run(built.init)
        if IN_LOOP in case.expected:
            with pytest.raises(tf.errors.InvalidArgumentError, match="frame"):
                session.run(built.train, built.feed)
        else:
            session.run(built.train, built.feed)


def test_gradients_that_no_optimizer_applies_are_judged_rightly_or_undecided():
    """An op that assigns to the weights may be taken for the train op; who does not should ask for its name."""
    for updates, right in ((False, {NEVER_RUN}), (True, set())):
        report = audit(by_hand(updates, False))
        if kinds(report) != right or not updates and not kinds(report):
            assert not report.findings
            assert any("train op" in one["message"] for one in report.to_json()["undecided"])


def test_custom_ops_are_no_obstacle():
    built = network(**BOTH, updates="collected")
    definition = built.graph.as_graph_def()
    node = definition.node.add()
    node.name, node.op = "mine", "AnOpOfMyOwn"
    node.input.extend(["X", "^w"])
    relu = next(node for node in definition.node if node.op == "Relu")
    relu.op = "MyOwnRelu"
    relu.attr["my_attr"].func.name = "nowhere"
    assert kinds(audit_graph(definition)) == {NEVER_RUN}
