"""Reports as workflow commands of GitHub Actions, which shows them beside the code.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from bn_graph.audit.report import AuditReport

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def render(reports: list[AuditReport], colour: bool = False) -> str:
    """A line for each finding and each thing that is undecided."""
    lines = []
    for report in reports:
        for f in report.findings:
            message = f"{f.layer}: {f.message}\n{f.fix}"
            lines.append(_command(_COMMANDS[f.severity], report.subject, f.rule, message))
        for u in report.undecided:
            lines.append(
                _command("notice", report.subject, f"undecided: {u.rule}", f"{u.layer}: {u.message}".lstrip(": "))
            )
    return "\n".join(lines)


def _command(command, path, title, message):
    properties = f"file={_escaped(path, ',:')},title={_escaped(title, ',:')}"
    return f"::{command} {properties}::{_escaped(message)}"


def _escaped(text, more=""):
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
