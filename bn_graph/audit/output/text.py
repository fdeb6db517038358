"""A report as text for a terminal."""

import textwrap

from bn_graph.audit.graph.flat_graph import printable
from bn_graph.audit.summary import is_shortened, shortened, summary

_WIDTH = 100
_MOST_FIX_LINES = 12
_COLOURS = {"error": "31;1", "warning": "33;1", "note": "36;1", "undecided": "35;1"}  # ANSI: red, yellow, cyan, magenta
_WHOLE_LISTS = "Some lists are cut short here; --format json, or to_json() in Python, has the whole ones."


def render(reports, colour=False, several=False) -> str:
    """The reports one after the other. What is the same for several layers is printed once."""
    return "\n\n".join(render_one(report, colour) for report in reports)


def render_one(report, colour=False) -> str:
    """One `AuditReport`. colour: whether the severities are coloured by ANSI sequences."""
    findings, undecided = _alike(report.findings, "severity rule message fix"), _alike(report.undecided, "rule message")
    blocks = [_finding_block(alike, colour) for alike in findings]
    blocks += [_undecided_block(alike, colour) for alike in undecided]
    blocks += [_step_block(report.steps)] if report.steps else []
    blocks += [textwrap.wrap(_WHOLE_LISTS, _WIDTH)] if _is_cut_short(findings, undecided, report.steps) else []
    return "\n\n".join(["\n".join(block) for block in blocks] + [f"{printable(report.subject)}: {summary(report)}"])


def _alike(items, fields):
    """The items in groups that have the same values of these fields, in the order of their first ones."""
    groups = {}
    for item in items:
        groups.setdefault(tuple(getattr(item, field) for field in fields.split()), []).append(item)
    return list(groups.values())


def _is_cut_short(findings, undecided, steps):
    return (
        any(is_shortened([item.layer for item in alike]) for alike in [*findings, *undecided])
        or any(is_shortened(_evidence(alike)) or _is_long(alike[0].fix) for alike in findings)
        or any(is_shortened(step["trains"]) or is_shortened(step["moves"]) for step in steps)
    )


def _is_long(fix):
    return len(fix.splitlines()) > _MOST_FIX_LINES


def _evidence(findings):
    return [name for finding in findings for name in finding.evidence]


def _finding_block(findings, colour):
    first = findings[0]
    yield f"{_coloured(first.severity, first.rule, colour)}: {shortened([finding.layer for finding in findings])}"
    yield from _wrapped(first.message)
    yield from _wrapped(f"at: {shortened(_evidence(findings))}", hanging="    ")
    lines = first.fix.splitlines()
    if _is_long(first.fix):
        shown = _MOST_FIX_LINES // 2
        lines[shown:-shown] = [f"    ...  # and {len(lines) - 2 * shown} more"]
    for place, line in enumerate(lines):
        yield f"    {'    ' if place else 'fix:'} {line}".rstrip()


def _undecided_block(items, colour):
    first = items[0]
    layers = shortened([item.layer for item in items])
    yield f"{_coloured('undecided', first.rule, colour)}: {layers}".removesuffix(": ")
    yield from _wrapped(first.message)


def _step_block(steps):
    yield "whose step moves whose averages:"
    for step in steps:
        trains, moves = (shortened(step[key]) or "no layer" for key in ("trains", "moves"))
        line = f"{printable(step['train_op'])} trains {trains}, and moves the averages of {moves}"
        yield from _wrapped(line, hanging="    ")


def _coloured(severity, rule, colour):
    text = f"{severity}[{rule}]"
    return f"\x1b[{_COLOURS[severity]}m{text}\x1b[0m" if colour else text


def _wrapped(message, hanging=""):
    return textwrap.wrap(
        message,
        _WIDTH,
        initial_indent="    ",
        subsequent_indent="    " + hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
