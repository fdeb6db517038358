"""A report as text for a terminal."""

import textwrap

from bn_graph.audit.graph.flat_graph import printable
from bn_graph.audit.report import AuditReport, shortened, summary

_WIDTH = 100
_MOST_FIX_LINES = 12
_COLOURS = {"error": "31;1", "warning": "33;1", "note": "36;1", "undecided": "35;1"}  # ANSI: red, yellow, cyan, magenta


def render(reports: list[AuditReport], colour: bool = False) -> str:
    """The reports one after the other. What is the same for several layers is printed once."""
    return "\n\n".join(render_one(report, colour) for report in reports)


def render_one(report: AuditReport, colour: bool = False) -> str:
    """One report. colour: whether the severities are coloured by ANSI sequences."""
    blocks = [_finding_block(findings, colour) for findings in _alike(report.findings, "severity rule message fix")]
    blocks += [_undecided_block(items, colour) for items in _alike(report.undecided, "rule message")]
    blocks += [_step_block(report.steps)] if report.steps else []
    return "\n\n".join(["\n".join(block) for block in blocks] + [f"{printable(report.subject)}: {summary(report)}"])


def _alike(items, fields):
    """The items in groups that have the same values of these fields, in the order of their first ones."""
    groups = {}
    for item in items:
        groups.setdefault(tuple(getattr(item, field) for field in fields.split()), []).append(item)
    return groups.values()


def _finding_block(findings, colour):
    first = findings[0]
    yield f"{_coloured(first.severity, first.rule, colour)}: {shortened([finding.layer for finding in findings])}"
    yield from _wrapped(first.message)
    evidence = shortened([name for finding in findings for name in finding.evidence])
    yield from _wrapped(f"at: {evidence}", hanging="    ")
    lines = first.fix.splitlines()
    if len(lines) > _MOST_FIX_LINES:
        lines[_MOST_FIX_LINES // 2 : 3 - _MOST_FIX_LINES // 2] = ["    ...  # --format json has all lines"]
    for place, line in enumerate(lines):
        yield f"    {'    ' if place else 'fix:'} {line}"


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
