"""What the audit says to write works where it is written, in some graphs of old releases."""

import collections

from tests.audit.advice.recorded import LEFT_OUT, UPDATES, follow_fixes, is_about_updates


def test_the_updates_run_where_the_fix_is_executed(corpus):
    """`python -m tests.audit` takes them all."""
    folder, expected = corpus
    proven, left_out, wrong = collections.Counter(), {}, {}
    names = [name for name in expected if is_about_updates(expected[name])]
    names.sort(key=lambda name: (expected[name]["findings"], name))  # so that all rules are among every fifth
    for name in names[::5]:
        for rules, fault, reason in follow_fixes(folder / name, expected[name]):
            if fault:
                wrong[name] = fault
            elif reason:
                left_out[name] = reason
            else:
                proven.update(rules)
    assert not wrong
    assert proven.total() >= 30 and proven.keys() >= UPDATES - {"updates-of-another-input"}
    assert set(left_out.values()) <= LEFT_OUT
