"""What an audit found, as values, as text for a terminal, as a table for notebooks, and as JSON for tools."""

import dataclasses

from bn_graph.audit.graph.flat_graph import printable
from bn_graph.audit.output import html, text
from bn_graph.audit.summary import SEVERITIES, summary

EVERY_RULE = "all"  # what is undecided for all rules


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    rule: str
    severity: str  # error, warning or note
    layer: str
    evidence: tuple[str, ...]  # names of ops and variables
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

    In a notebook it shows itself as a table.

    Attributes:
        subject: the path, or "graph".
        findings: `Finding`s, errors first.
        layers: a dict for each batch-norm layer: `name`; `variables`, their names or None, by part; `towers`, dicts of
            op, role (training, evaluation, inference in a graph that does not train, unused, other), statistics (batch,
            moving or constant), condition and fused; `updates`, dicts of op, variable, condition, decay and
            run_by_train_op.
        undecided: `Undecided`s.
        steps: where there are several train ops, a dict for each: `train_op`, `trains` and `moves`, the layers whose
            parameters and whose averages it changes.
        left_out: how many findings `reduced` has left out.
    """

    subject: str
    findings: tuple[Finding, ...]
    layers: tuple[dict, ...]
    undecided: tuple[Undecided, ...]
    steps: tuple[dict, ...] = ()
    left_out: int = 0

    @property
    def clean(self) -> bool:
        """Whether there is no error and no warning; notes may be there."""
        return all(finding.severity == "note" for finding in self.findings)

    def to_json(self) -> dict:
        """The report as an object for JSON, with whole lists."""
        return {
            "findings": [{**dataclasses.asdict(f), "evidence": list(f.evidence)} for f in self.findings],
            "layers": list(self.layers),
            "undecided": [dataclasses.asdict(u) for u in self.undecided],
            **({"steps": list(self.steps)} if self.steps else {}),
        }

    def reduced(self, rules, severity: str = "note") -> "AuditReport":
        """The report with a part of its findings.

        Args:
            rules: names of rules, whose findings stay, and what is undecided for them or for all rules.
            severity: the least severe that stays: "error", "warning" or "note".

        Raises ValueError for another severity.
        """
        if severity not in SEVERITIES:
            raise ValueError(f"severity must be {', '.join(SEVERITIES[:-1])} or {SEVERITIES[-1]}, found {severity!r}")
        severities = SEVERITIES[: SEVERITIES.index(severity) + 1]
        findings = tuple(f for f in self.findings if f.rule in rules and f.severity in severities)
        undecided = tuple(u for u in self.undecided if u.rule in rules or u.rule == EVERY_RULE)
        left_out = self.left_out + len(self.findings) - len(findings)
        return dataclasses.replace(self, findings=findings, undecided=undecided, left_out=left_out)

    def __str__(self):
        return text.render_one(self)

    def _repr_html_(self):
        return html.render_one(self)

    def __repr__(self):
        return f"<AuditReport {printable(self.subject)}: {summary(self)}>"
