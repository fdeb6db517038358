"""What the audit says to write works where it is written, in every library: programs with one fault, built again by it.

Of each program: with its fault the audit finds it, and a session shows it; built as the fix says, the audit finds it no
more, and a session shows that it is mended.
"""

import itertools

import pytest

from bn_graph.audit.rules import RULES
from bn_graph.tf1 import tf
from tests.audit.advice import programs, proofs
from tests.audit.advice.fix import Fix
from tests.audit.advice.libraries import KERAS, KERAS_3, LAYERS, SLIM
from tests.audit.findings import audit

ALL = (SLIM, LAYERS, KERAS, KERAS_3)
OF_LIBRARIES = [  # rule, program, libraries, what is proven
    ("wrong-statistics", programs.frozen_in_training, ALL, proofs.moves),
    ("wrong-statistics", programs.batch_in_evaluation, ALL, proofs.is_independent),
    ("wrong-statistics", programs.default_of_is_training(False), (SLIM, LAYERS, KERAS), proofs.asks_to_be_fed),
    ("wrong-statistics", programs.default_of_is_training(True), (SLIM, LAYERS, KERAS), proofs.asks_to_be_fed),
    ("updates-in-evaluation", programs.updates_in_evaluation, (SLIM,), proofs.leaves_statistics),
    ("unshared-towers", programs.unshared, ALL, proofs.moves),
    ("slow-decay", programs.slow(0.999, num_steps=100), ALL, proofs.forgets_its_start),
    ("slow-decay", programs.slow(0.1), ALL, proofs.forgets_its_start),
    ("mixed-variance", programs.mixed, (SLIM, LAYERS), proofs.nothing),
    ("frozen-layer-updates", programs.frozen_part, ALL, proofs.stays),
    ("tiny-batch", programs.tiny, ALL, proofs.nothing),
    ("unused-layer", programs.unused, ALL, proofs.trains_parameters),
    ("cancelled-bias", programs.biased, ALL, proofs.nothing),
    ("dropout-before-batch-norm", programs.dropped_out, (SLIM,), proofs.nothing),
    ("updates-of-one-tower", programs.one_tower, ALL, proofs.nothing),
    ("updates-of-another-input", programs.another_input, ALL, proofs.can_run),
    ("unused-parameter", programs.unused_gamma, (SLIM,), proofs.nothing),
    ("updates-never-run", programs.in_a_branch(1), (SLIM, LAYERS), proofs.moves),
    ("updates-never-run", programs.in_a_branch(2), (SLIM, LAYERS), proofs.moves),
    ("updates-never-run", programs.in_a_loop(1), (SLIM, LAYERS), proofs.moves),
    ("updates-never-run", programs.in_a_loop(2), (SLIM, LAYERS), proofs.moves),
    ("updates-in-loop", programs.in_a_loop(1, waited_for=True), (SLIM, LAYERS), proofs.can_run),
]
BY_HAND = [
    ("wrong-statistics", programs.hand_frozen_in_training, proofs.moves),
    ("wrong-statistics", programs.hand_batch_in_evaluation, proofs.is_independent),
    ("wrong-statistics", programs.hand_branches(1, "exchanged"), proofs.moves),
    ("wrong-statistics", programs.hand_branches(2, "exchanged"), proofs.moves),
    ("updates-in-evaluation", programs.hand_branches(1, "outside"), proofs.leaves_statistics),
    ("updates-in-evaluation", programs.hand_branches(2, "outside"), proofs.leaves_statistics),
    ("unshared-towers", programs.hand_unshared, proofs.moves),
    ("slow-decay", programs.hand_slow, proofs.forgets_its_start),
    ("no-updates", programs.hand_without_updates, proofs.moves),
    ("no-updates", programs.hand_without_updates_in_a_branch(1), proofs.moves),
    ("no-updates", programs.hand_without_updates_in_a_branch(2), proofs.moves),
    ("trainable-statistics", programs.hand_trainable, proofs.nothing),
    ("trainable-statistics", programs.listed_for_the_optimizer, proofs.stays),
    ("cancelled-bias", programs.hand_biased, proofs.nothing),
    ("unused-parameter", programs.hand_unused_gamma, proofs.nothing),
    ("updates-never-run", programs.hand_in_a_loop(1), proofs.moves),
    ("updates-never-run", programs.hand_in_a_loop(2), proofs.moves),
    ("statistics-not-copied", programs.target_network(tf.train.GradientDescentOptimizer), proofs.moves),
    ("statistics-not-copied", programs.target_network(tf.train.AdamOptimizer), proofs.moves),
]


def fix_of(rule, report):
    """The fix of the first finding of a rule, which there must be."""
    fixes = by_rule(report, rule)
    assert fixes, str(report)
    return Fix(fixes[0])


def by_rule(report, rule):
    return [finding.fix for finding in report.findings if finding.rule == rule]


def prove(rule, build, proof):
    broken = build(Fix())
    fix = fix_of(rule, audit(broken))
    if proof is not proofs.nothing:
        with pytest.raises((AssertionError, tf.errors.OpError, pytest.fail.Exception)):
            proof(broken)
    mended = build(fix)
    report = audit(mended)
    assert rule not in {finding.rule for finding in report.findings}, f"{fix.text}\n\n{report}"
    for fix in [fix for fix in map(Fix, by_rule(report, "updates-never-run")) if fix.is_executable]:
        with mended.graph.as_default():  # of a library that was not known: the next audit names the updates
            mended.train = fix.execute()["train_op"]
    proof(mended)


def test_of_every_rule_the_fix_is_proven():
    """Here, but for a few: in test_files and test_cases."""
    here = {rule for rule, *_ in [*OF_LIBRARIES, *BY_HAND]}
    assert here | {"statistics-not-saved", "statistics-untouched", "duplicate-updates"} == {rule.NAME for rule in RULES}


NAMED = itertools.count()


@pytest.mark.parametrize(
    "rule, program, library, proof",
    [
        pytest.param(rule, program, library, proof, marks=library.marks, id=f"{rule}-{library}-{next(NAMED)}")
        for rule, program, libraries, proof in OF_LIBRARIES
        for library in libraries
    ],
)
def test_a_layer_of_a_library_is_mended_by_the_words_of_the_fix(rule, program, library, proof):
    prove(rule, lambda fix: program(library, fix), proof)


@pytest.mark.parametrize(
    "rule, program, proof",
    [pytest.param(*one, id=f"{one[0]}-{next(NAMED)}") for one in BY_HAND],
)
def test_a_layer_by_hand_is_mended_by_the_lines_of_the_fix(rule, program, proof):
    prove(rule, program, proof)
