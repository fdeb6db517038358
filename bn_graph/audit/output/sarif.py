"""Reports in SARIF 2.1.0, which code-scanning tools read: https://docs.oasis-open.org/sarif/sarif/v2.1.0/."""

import json
from pathlib import Path

from bn_graph import __version__
from bn_graph.audit import rules
from bn_graph.audit.report import AuditReport

_LEVELS = {"error": "error", "warning": "warning", "note": "note"}


def render(reports: list[AuditReport], colour: bool = False) -> str:
    """One log with one run, whose artifacts are the files that were audited."""
    driver = {"name": "bn_graph", "version": __version__, "rules": [_rule(rule) for rule in rules.RULES]}
    results = [result for report in reports for result in _results(report)]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    run["artifacts"] = [{"location": _location(report)} for report in reports]
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2)


def _rule(rule):
    first, _, rest = rules.docstring(rule).partition("\n\n")
    return {
        "id": rule.NAME,
        "shortDescription": {"text": first},
        "fullDescription": {"text": rest.partition("\n\nWrong:")[0]},
        "help": {"text": rest},
        "defaultConfiguration": {"level": _LEVELS[rule.SEVERITY]},
    }


def _results(report):
    for f in report.findings:
        result = _result(report, f.rule, f.layer, f"{f.layer}: {f.message}")
        result |= {"level": _LEVELS[f.severity], "properties": {"fix": f.fix}}
        result["locations"][0]["logicalLocations"] += [{"fullyQualifiedName": name} for name in f.evidence]
        yield result
    for u in report.undecided:
        yield _result(report, u.rule, u.layer, f"{u.layer}: {u.message}".lstrip(": ")) | {
            "kind": "review",
            "level": "none",
        }


def _result(report, rule, layer, text):
    location = {"physicalLocation": {"artifactLocation": _location(report)}, "logicalLocations": []}
    if layer:
        location["logicalLocations"].append({"name": layer, "kind": "module"})
    return {"ruleId": rule, "message": {"text": text}, "locations": [location]}


def _location(report):
    return {"uri": Path(report.subject).as_posix()}
