"""What an audit found, as values, as text for a terminal, and as JSON for tools."""

import collections
import dataclasses
import importlib

from bn_graph.audit.graph.flat_graph import printable

SEVERITIES = ("error", "warning", "note")
EVERY_RULE = "all"  # what is undecided for all rules
_MOST_NAMES = 4  # in a list, before it says how many more there are


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    rule: str
    severity: str  # error, warning or note
    layer: str
    evidence: tuple  # names of ops and variables
    message: str  # what follows from it, in a sentence
    fix: str  # the lines to write


@dataclasses.dataclass(frozen=True)
class Undecided:
    """What the graph does not say, and what would."""

    rule: str
    layer: str
    message: str


@dataclasses.dataclass(frozen=True, repr=False)
class AuditReport:
    """What an audit found. str() is the text for a terminal, to_json() the object for tools.

    subject: the path, or "graph". findings: `Finding`s, errors first. undecided: `Undecided`s. layers: a dict for each
    batch-norm layer: `name`; `variables`, their names or None, by part; `towers`, dicts of op, role (training,
    evaluation, inference in a graph that does not train, other), statistics (batch, moving or constant), condition and
    fused; `updates`, dicts of op, variable, condition, decay and run_by_train_op. steps: where there are several train
    ops, a dict for each: `train_op`, `trains` and `moves`, the layers whose parameters and whose averages it changes.
    """

    subject: str
    findings: tuple
    layers: tuple
    undecided: tuple
    steps: tuple = ()

    @property
    def clean(self) -> bool:
        """Whether there is no error and no warning; notes may be there."""
        return all(finding.severity == "note" for finding in self.findings)

    def to_json(self) -> dict:
        """The report as an object for JSON."""
        return {
            "findings": [{**dataclasses.asdict(f), "evidence": list(f.evidence)} for f in self.findings],
            "layers": list(self.layers),
            "undecided": [dataclasses.asdict(u) for u in self.undecided],
            **({"steps": list(self.steps)} if self.steps else {}),
        }

    def reduced(self, rules, severity: str = "note") -> "AuditReport":
        """The report with the findings of these rules alone, that are as severe as `severity` or more."""
        severities = SEVERITIES[: SEVERITIES.index(severity) + 1]
        findings = tuple(f for f in self.findings if f.rule in rules and f.severity in severities)
        undecided = tuple(u for u in self.undecided if u.rule in rules or u.rule == EVERY_RULE)
        return dataclasses.replace(self, findings=findings, undecided=undecided)

    def __str__(self):
        return importlib.import_module("bn_graph.audit.output.text").render_one(self)

    def _repr_html_(self):
        return importlib.import_module("bn_graph.audit.output.html").render_one(self)

    def __repr__(self):
        return f"<AuditReport {self.subject}: {summary(self)}>"


def shortened(names):
    """Names in a list for a line of text: the first few, and how many more there are."""
    names = [printable(name) for name in dict.fromkeys(names)]
    return ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if names[_MOST_NAMES:] else "")


def summary(report):
    """What a report has, counted, in a line."""
    if not report.layers:
        parts = ["no batch-norm layer found"]
    else:
        towers = {tower["op"] for layer in report.layers for tower in layer["towers"]}
        parts = [_count(len(report.layers), "batch-norm layer")] + ([_count(len(towers), "use")] if towers else [])
    counts = collections.Counter(finding.severity for finding in report.findings)
    parts += [_count(counts[severity], severity) for severity in SEVERITIES if counts[severity]]
    if report.layers and not counts:
        parts.append("nothing wrong, as far as the graph says" if report.undecided else "nothing wrong")
    if report.undecided:
        parts.append(f"{len(report.undecided)} undecided")
    return ", ".join(parts)


def _count(count, name):
    return f"{count} {name}{'' if count == 1 else 's'}"
