"""Reports as JSON: one object, or, where several paths were asked about, a list of them with their `path`."""

import json


def render(reports, colour=False, several=False) -> str:
    """The objects that `AuditReport.to_json` returns."""
    if not several:
        (report,) = reports
        return json.dumps(report.to_json(), indent=2)
    return json.dumps([{"path": report.subject, **report.to_json()} for report in reports], indent=2)
