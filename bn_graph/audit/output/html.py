"""A report as HTML, for notebooks."""

from html import escape

from bn_graph.audit.report import AuditReport, shortened, summary

_COLOURS = {"error": "#d55e00", "warning": "#e69f00", "note": "#56b4e9", "undecided": "#999999"}  # Okabe and Ito's


def render_one(report: AuditReport) -> str:
    """A table of the findings, and of what is undecided."""
    rows = [
        (f.severity, f.rule, f.layer, f"{escape(f.message)}<pre>{escape(f.fix)}</pre>{escape(shortened(f.evidence))}")
        for f in report.findings
    ]
    rows += [("undecided", u.rule, u.layer, escape(u.message)) for u in report.undecided]
    cells = "".join(
        f'<tr style="text-align: left; vertical-align: top"><td style="color: {_COLOURS[severity]}">{severity}</td>'
        f"<td>{escape(rule)}</td><td>{escape(layer)}</td><td>{text}</td></tr>"
        for severity, rule, layer, text in rows
    )
    header = "<tr><th>severity</th><th>rule</th><th>layer</th><th>what follows, and what to write</th></tr>"
    table = f"<table><thead>{header}</thead><tbody>{cells}</tbody></table>" if rows else ""
    return f"<p><b>{escape(report.subject)}</b>: {escape(summary(report))}</p>{table}"
