"""A report in all its formats, for people and for tools."""

import json
import re

import pytest
import sarif_pydantic
from pydantic import BaseModel

import bn_graph
from bn_graph.audit import AuditReport, Finding, Undecided, audit_graph
from bn_graph.audit.output import github, json_object, sarif, text
from bn_graph.audit.rules import RULES
from bn_graph.audit.selection import FORMATS
from tests.audit.cases.case import BOTH
from tests.audit.cases.update_ops import gan
from tests.audit.networks import network
from tests.paths import PACKAGED

PAGE = PACKAGED / "graph" / "page.meta"


@pytest.fixture(scope="module")
def page():
    return audit_graph(PAGE)


def report_of(*findings, undecided=(), subject="graph", layers=("bn",), **options):
    described = [{"name": name, "variables": {}, "towers": [{"op": "x"}], "updates": []} for name in layers]
    return AuditReport(subject, tuple(findings), tuple(described), tuple(undecided), **options)


def finding(layer="bn", rule="slow-decay", severity="warning", evidence=("op",), message="It is so.", fix="x = 1"):
    return Finding(rule, severity, layer, tuple(evidence), message, fix)


ODD = "50% of\r\nthem, a:b <b>&amp;</b> \x1b[31m \u2028 é"


# SARIF.


def of_models(value):
    """All models of sarif_pydantic in a value."""
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from of_models(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            yield from of_models(item)


def validated(log):
    """A log as sarif_pydantic reads it, in which every property is one of SARIF's."""
    parsed = sarif_pydantic.Sarif.model_validate_json(log)
    for model in of_models(parsed):
        assert not model.model_extra, (type(model).__name__, model.model_extra)
    assert parsed.version == "2.1.0" and parsed.schema_uri.endswith("sarif-schema-2.1.0.json")
    return parsed


def test_sarif_of_all_recorded_graphs_is_valid(corpus):
    folder, expected = corpus
    reports = [
        audit_graph(folder / name, train_op=entry["train_op"], num_steps=entry["num_steps"])
        for name, entry in sorted(expected.items())[::5]
    ]
    assert sum(len(report.findings) for report in reports) > 50
    (run,) = validated(sarif.render(reports, several=True)).runs
    results = [(f.rule, f.severity) for r in reports for f in r.findings]
    assert sorted((one.rule_id, one.level.value) for one in run.results if one.kind is None) == sorted(results)
    assert sum(one.kind == "review" for one in run.results) == sum(len(report.undecided) for report in reports)
    assert [artifact.location.uri for artifact in run.artifacts] == [report.subject for report in reports]


def test_sarif_describes_every_rule():
    (run,) = validated(sarif.render([report_of()])).runs
    described = {rule.id: rule for rule in run.tool.driver.rules}
    assert list(described) == [rule.NAME for rule in RULES]
    assert run.tool.driver.version == bn_graph.__version__
    for rule in RULES:
        one = described[rule.NAME]
        assert one.default_configuration.level == rule.SEVERITY
        assert one.short_description.text and one.full_description.text and "Right:" in one.help.text
        assert "Wrong:" not in one.full_description.text


def test_sarif_has_evidence_fixes_and_what_is_undecided():
    undecided = Undecided("no-updates", "", "nobody knows"), Undecided("no-updates", "bn", "nobody knows")
    log = sarif.render([report_of(finding(evidence=("a", "b")), undecided=undecided, subject="my models/50%é.meta")])
    first, *others = validated(log).runs[0].results
    assert first.message.text == "bn: It is so.\n\nfix:\nx = 1" and first.properties == {"fix": "x = 1"}
    (location,) = first.locations
    assert location.physical_location.artifact_location.uri == "my%20models/50%25%C3%A9.meta"
    names = [(one.name, one.fully_qualified_name) for one in location.logical_locations]
    assert names == [("bn", None), (None, "a"), (None, "b")]
    assert [(one.kind, one.level.value, one.message.text) for one in others] == [
        ("review", "none", "nobody knows"),
        ("review", "none", "bn: nobody knows"),
    ]


# GitHub.


def unescaped(text):
    return re.sub("%([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text)


def test_workflow_commands_escape_what_would_end_them():
    report = report_of(
        finding(layer=ODD, message=ODD, fix="a\nb: c, d"),
        undecided=[Undecided("all", "", "50%")],
        subject="a:b,c%.meta",
    )
    first, second = github.render([report]).split("\n")
    command, properties, message = re.fullmatch("::(\\w+) (.*?)::(.*)", first).groups()
    assert command == "warning"
    assert properties == "file=a%3Ab%2Cc%25.meta,title=slow-decay"
    assert unescaped(message) == f"{ODD}: {ODD}\na\nb: c, d"
    assert second == "::notice file=a%3Ab%2Cc%25.meta,title=undecided%3A all::50%25"


def test_every_finding_is_a_workflow_command(page):
    lines = github.render([page, page]).splitlines()
    kinds = {"error": "error", "warning": "warning", "note": "notice"}
    expected = [f"::{kinds[f.severity]} file={str(PAGE)},title={f.rule}::{f.layer}: " for f in page.findings]
    assert len(lines) == 2 * len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, 2 * expected, strict=True))


# JSON.


def test_json_is_an_object_and_of_several_paths_a_list(page):
    assert json.loads(json_object.render([page])) == page.to_json()
    assert json.loads(json_object.render([page, page], several=True)) == 2 * [{"path": str(PAGE), **page.to_json()}]
    assert json.loads(json_object.render([page], several=True)) == [{"path": str(PAGE), **page.to_json()}]


# Text.


def test_colour_is_there_where_it_was_asked_for(page):
    coloured = text.render_one(page, colour=True)
    assert "\x1b[31;1merror[updates-never-run]\x1b[0m: hidden_layer" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == text.render_one(page) == str(page)
    assert "\x1b" not in str(page)
    for name, module in FORMATS.items():
        assert ("\x1b" in module.render([page], colour=True)) == (name == "text")


def test_what_a_file_calls_things_cannot_colour_a_terminal():
    report = report_of(finding(layer=ODD, evidence=(ODD,)), subject=ODD, layers=(ODD,))
    assert "\x1b" not in str(report) and "\u2028" not in str(report) and "\x1b" not in repr(report)


def test_what_is_the_same_for_several_layers_is_said_once():
    report = report_of(*(finding(layer=name, evidence=(f"{name}/op",)) for name in "abc"), layers="abc")
    assert str(report).splitlines() == [
        "warning[slow-decay]: a, b, c",
        "    It is so.",
        "    at: a/op, b/op, c/op",
        "    fix: x = 1",
        "",
        "graph: 3 batch-norm layers, 1 use, 3 warnings",
    ]


def test_long_lists_are_cut_short_and_it_is_said_how_to_see_all():
    names = [f"layer{number}" for number in range(9)]
    hint = "Some lists are cut short here; --format json, or to_json() in Python, has the whole ones."
    assert hint not in str(report_of(finding()))
    for report in (
        report_of(*(finding(layer=name) for name in names), layers=names),
        report_of(finding(evidence=names)),
        report_of(undecided=[Undecided("no-updates", name, "nobody knows") for name in names], layers=names),
        report_of(finding(fix="\n".join(names + names))),
        report_of(
            steps=({"train_op": "a", "trains": names, "moves": []}, {"train_op": "b", "trains": [], "moves": []})
        ),
    ):
        lines = str(report).splitlines()
        assert lines[-3:-1] == [hint, ""] and max(map(len, lines)) <= 100
    assert "layer0, layer1, layer2, layer3 and 5 more" in str(report_of(finding(evidence=names)))


def test_a_long_fix_keeps_its_beginning_and_its_end():
    lines = [f"line {number}" for number in range(13)]
    shown = str(report_of(finding(fix="\n".join(lines)))).splitlines()[3:-4]
    assert [line.strip() for line in shown] == [
        f"fix: {lines[0]}",
        *lines[1:6],
        "...  # and 1 more",
        *lines[7:],
    ]
    assert "..." not in str(report_of(finding(fix="\n".join(lines[:12]))))


def test_the_summary_counts_what_is_listed():
    many = [finding(severity=severity) for severity in ("error", "warning", "warning", "note", "note", "note")]
    undecided = [Undecided("no-updates", "bn", "nobody knows")]
    assert str(report_of(*many, undecided=undecided)).endswith(
        "\n\ngraph: 1 batch-norm layer, 1 use, 1 error, 2 warnings, 3 notes, 1 undecided"
    )
    assert str(report_of()) == "graph: 1 batch-norm layer, 1 use, nothing wrong"
    assert str(report_of(undecided=undecided)).endswith(", nothing wrong, as far as the graph says, 1 undecided")
    assert str(report_of(layers=())) == "graph: no batch-norm layer found"


def test_of_a_gan_it_is_said_whose_step_moves_whose_averages():
    report = audit_graph(gan("discriminator").graph)
    assert [(step["trains"], step["moves"]) for step in report.steps] == [
        (["discriminator/bn"], ["discriminator/bn"]),
        (["generator/bn"], []),
    ]
    assert report.to_json()["steps"] == list(report.steps)
    assert (
        "whose step moves whose averages:\n"
        "    GradientDescent trains discriminator/bn, and moves the averages of discriminator/bn\n"
        "    GradientDescent_1 trains generator/bn, and moves the averages of no layer\n"
    ) in str(report)
    assert (
        audit_graph(network(**BOTH).graph).steps == () and "steps" not in audit_graph(network(**BOTH).graph).to_json()
    )


# HTML.


def test_html_escapes_and_is_a_table():
    report = report_of(
        finding(layer=ODD, evidence=(ODD,), message=ODD, fix=ODD), undecided=[Undecided("all", ODD, ODD)], subject=ODD
    )
    html = report._repr_html_()
    assert "<b>&" not in html and "<b>5" in html
    assert html.count("&lt;b&gt;&amp;amp;&lt;/b&gt;") == 7
    tags = re.findall(r"<(/?\w+)", html)
    assert {tag.strip("/") for tag in tags} == {"p", "b", "table", "thead", "tbody", "tr", "th", "td", "pre"}
    assert all(tags.count(tag) == tags.count(f"/{tag}") for tag in tags if not tag.startswith("/"))
    assert tags.count("tr") == 3
    assert report_of()._repr_html_() == "<p><b>graph</b>: 1 batch-norm layer, 1 use, nothing wrong</p>"


def test_repr_is_short(page):
    assert repr(page) == f"<AuditReport {PAGE}: 2 batch-norm layers, 6 uses, 2 errors, 5 notes>"


# A part of a report.


def test_a_report_is_reduced_to_rules_and_severities(page):
    every = {rule.NAME for rule in RULES}
    assert page.reduced(every) == page
    only = page.reduced({"updates-never-run"})
    assert {f.rule for f in only.findings} == {"updates-never-run"} and not only.clean
    assert only.layers == page.layers and only.subject == page.subject
    assert str(only).endswith(": 2 batch-norm layers, 6 uses, 2 errors, 5 findings left out")
    assert page.reduced(every, "error").findings == only.findings
    notes = page.reduced(every - {"updates-never-run"})
    assert notes.clean and str(notes).endswith(": 2 batch-norm layers, 6 uses, 5 notes, 2 findings left out")
    nothing = notes.reduced(every, "warning")
    assert nothing.findings == () and str(nothing).endswith(": 2 batch-norm layers, 6 uses, 7 findings left out")


def test_what_is_undecided_for_all_rules_stays_in_every_part():
    undecided = [Undecided(rule, "bn", "nobody knows") for rule in ("all", "no-updates", "slow-decay")]
    report = report_of(undecided=undecided).reduced({"slow-decay"}, "error")
    assert [one.rule for one in report.undecided] == ["all", "slow-decay"]


def test_another_severity_is_refused(page):
    with pytest.raises(ValueError, match="severity must be error, warning or note, found 'fatal'"):
        page.reduced(set(), "fatal")
