"""Reports in SARIF 2.1.0, which code-scanning tools read: https://docs.oasis-open.org/sarif/sarif/v2.1.0/."""

import json
from pathlib import PurePath
from urllib.parse import quote

from bn_graph import __version__
from bn_graph.audit import rules

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


def render(reports, colour=False, several=False) -> str:
    """One log with one run, whose artifacts are the files that were audited."""
    driver = {"name": "bn_graph", "version": __version__, "rules": [_rule(rule) for rule in rules.RULES]}
    run = {
        "tool": {"driver": driver},
        "artifacts": [{"location": _location(report)} for report in reports],
        "results": [result for report in reports for result in _results(report)],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(rule):
    first, _, rest = rules.docstring(rule).partition("\n\n")
    return {
        "id": rule.NAME,
        "shortDescription": {"text": first},
        "fullDescription": {"text": rest.partition("\n\nWrong:")[0]},
        "help": {"text": rest},
        "defaultConfiguration": {"level": rule.SEVERITY},
    }


def _results(report):
    for f in report.findings:
        result = _result(report, f.rule, f.layer, f"{f.message}\n\nfix:\n{f.fix}", f.evidence)
        yield {**result, "level": f.severity, "properties": {"fix": f.fix}}
    for u in report.undecided:
        yield {**_result(report, u.rule, u.layer, u.message), "level": "none", "kind": "review"}


def _result(report, rule, layer, message, evidence=()):
    logical = [{"name": layer, "kind": "module"}] if layer else []
    logical += [{"fullyQualifiedName": name} for name in evidence]
    return {
        "ruleId": rule,
        "message": {"text": f"{layer}: {message}" if layer else message},
        "locations": [{"physicalLocation": {"artifactLocation": _location(report)}, "logicalLocations": logical}],
    }


def _location(report):
    return {"uri": quote(PurePath(report.subject).as_posix(), errors="surrogateescape")}
