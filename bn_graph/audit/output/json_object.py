"""Reports as JSON: one object, or, of several paths, a list of them with their `path`."""

import json

from bn_graph.audit.report import AuditReport


def render(reports: list[AuditReport], colour: bool = False) -> str:
    if len(reports) == 1:
        return json.dumps(reports[0].to_json(), indent=2)
    return json.dumps([{"path": report.subject, **report.to_json()} for report in reports], indent=2)
