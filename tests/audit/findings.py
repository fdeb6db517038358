"""What the audit may find, and what every report of it keeps."""

import json

from bn_graph.audit import audit_graph

NEVER_RUN = ("updates-never-run", "error")
NO_UPDATES = ("no-updates", "error")
IN_EVALUATION = ("updates-in-evaluation", "error")
WRONG = ("wrong-statistics", "error")
SUSPECT = ("wrong-statistics", "warning")
UNSHARED = ("unshared-towers", "error")
TRAINABLE = ("trainable-statistics", "error")
NOT_SAVED = ("statistics-not-saved", "error")
UNTOUCHED = ("statistics-untouched", "error")
BIAS = ("cancelled-bias", "note")
UNUSED = ("unused-parameter", "note")
SLOW = ("slow-decay", "warning")
DUPLICATE = ("duplicate-updates", "warning")
TINY = ("tiny-batch", "warning")
MIXED = ("mixed-variance", "warning")
ANOTHER_INPUT = ("updates-of-another-input", "error")
IN_LOOP = ("updates-in-loop", "error")
NOT_COPIED = ("statistics-not-copied", "error")
DEAD = ("unused-layer", "warning")
FROZEN = ("frozen-layer-updates", "warning")
DROPOUT = ("dropout-before-batch-norm", "note")
ONE_TOWER = ("updates-of-one-tower", "note")


RULES = {
    "updates-never-run": {"error"},
    "no-updates": {"error"},
    "updates-in-evaluation": {"error"},
    "wrong-statistics": {"error", "warning"},
    "unshared-towers": {"error"},
    "trainable-statistics": {"error"},
    "statistics-not-saved": {"error"},
    "statistics-untouched": {"error"},
    "cancelled-bias": {"note"},
    "unused-parameter": {"note"},
    "slow-decay": {"warning"},
    "duplicate-updates": {"warning"},
    "tiny-batch": {"warning"},
    "mixed-variance": {"warning"},
    "updates-of-another-input": {"error"},
    "updates-in-loop": {"error"},
    "statistics-not-copied": {"error"},
    "unused-layer": {"warning"},
    "frozen-layer-updates": {"warning"},
    "dropout-before-batch-norm": {"note"},
    "updates-of-one-tower": {"note"},
}


def kinds(report):
    """The rules that the report finds broken, with their severities."""
    return {(finding.rule, finding.severity) for finding in report.findings}


def errors(report):
    return [finding for finding in report.findings if finding.severity == "error"]


def names_of(graph_def):
    names = {node.name for node in graph_def.node}
    for function in graph_def.library.function:
        names.update(node.name for node in function.node_def)
    return names


def check_form(report, names=None):
    """What every report keeps, whatever it finds."""
    for finding in report.findings:
        assert finding.rule in RULES and finding.severity in RULES[finding.rule], finding
        assert isinstance(finding.layer, str)
        assert finding.evidence and all(isinstance(name, str) and name for name in finding.evidence), finding
        for text in (finding.message, finding.fix):
            assert isinstance(text, str) and text.strip(), finding
        if names is not None:
            for name in finding.evidence:  # inside a function: call->node, or the call's name in front of the node's
                assert name in names or all(part in names for part in name.split("->")), (finding, name)
    found = report.to_json()
    for one in found["undecided"]:
        assert one["rule"] in {*RULES, "all"} and isinstance(one["layer"], str) and one["message"].strip()
    assert set(found) >= {"findings", "layers", "undecided"}
    assert found == json.loads(json.dumps(found, allow_nan=False))
    assert len(found["findings"]) == len(report.findings)
    for finding, one in zip(report.findings, found["findings"], strict=True):
        assert set(one) >= {"rule", "severity", "layer", "evidence", "message", "fix"}
        assert (one["rule"], one["severity"], one["layer"]) == (finding.rule, finding.severity, finding.layer)
        assert one["evidence"] == list(finding.evidence)
    assert len(found["layers"]) == len(report.layers) and len(found["undecided"]) == len(report.undecided)
    assert isinstance(str(report), str) and str(report).strip()
    for finding in report.findings:
        assert finding.rule in str(report)


def audit(built):
    """The report on a built graph, its form checked."""
    report = audit_graph(built.graph, **built.arguments)
    check_form(report, names_of(built.graph.as_graph_def()))
    return report
