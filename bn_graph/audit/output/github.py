"""Reports as workflow commands of GitHub Actions, which shows them beside the code.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def render(reports, colour=False, several=False) -> str:
    """A line for each finding and each thing that is undecided."""
    return "\n".join(line for report in reports for line in _lines(report))


def _lines(report):
    for f in report.findings:
        yield _command(_COMMANDS[f.severity], report.subject, f.rule, f"{f.layer}: {f.message}\n{f.fix}")
    for u in report.undecided:
        message = f"{u.layer}: {u.message}" if u.layer else u.message
        yield _command("notice", report.subject, f"undecided: {u.rule}", message)


def _command(command, path, title, message):
    return f"::{command} file={_escaped(path, ',:')},title={_escaped(title, ',:')}::{_escaped(message)}"


def _escaped(text, more=""):
    for character in "%\r\n" + more:  # the per cent sign first: the others become one
        text = text.replace(character, f"%{ord(character):02X}")
    return text
