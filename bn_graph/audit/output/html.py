"""A report as HTML, for notebooks."""

from html import escape

from bn_graph.audit.graph.flat_graph import printable
from bn_graph.audit.summary import shortened, summary
from bn_graph.pictures import ORANGE, SKY, VERMILION

_COLOURS = {"error": VERMILION, "warning": ORANGE, "note": SKY, "undecided": "#999999"}
_HEADER = "<tr><th>severity</th><th>rule</th><th>layer</th><th>what follows, and what to write</th></tr>"


def render_one(report) -> str:
    """A table of the findings of an `AuditReport`, and of what is undecided."""
    rows = [
        _row(
            f.severity, f.rule, f.layer, f"{escape(f.message)}<pre>{escape(f.fix)}</pre>{escape(shortened(f.evidence))}"
        )
        for f in report.findings
    ]
    rows += [_row("undecided", u.rule, u.layer, escape(u.message)) for u in report.undecided]
    table = f"<table><thead>{_HEADER}</thead><tbody>{''.join(rows)}</tbody></table>" if rows else ""
    return f"<p><b>{escape(printable(report.subject))}</b>: {escape(summary(report))}</p>{table}"


def _row(severity, rule, layer, text):
    return (
        f'<tr style="text-align: left; vertical-align: top"><td style="color: {_COLOURS[severity]}">{severity}</td>'
        f"<td>{escape(rule)}</td><td>{escape(printable(layer))}</td><td>{text}</td></tr>"
    )
