"""The audit of graphs that TensorFlow 0.12.1 to 1.15.0 and their libraries built.

`tests/recording/audit_graphs` built them, ran those that can be run, and says what should be found in each.
"""

import shutil
import sys

import pytest

from bn_graph import InputError, audit_graph
from bn_graph.formats.tf_checkpoint import Checkpoint
from tests.helpers import recorded_config, run
from tests.paths import PACKAGED, ROOT

pytestmark = pytest.mark.release

RULES = {
    "updates-never-run",
    "no-updates",
    "updates-in-evaluation",
    "wrong-statistics",
    "unshared-towers",
    "trainable-statistics",
    "statistics-not-saved",
    "statistics-untouched",
    "cancelled-bias",
    "unused-parameter",
    "slow-decay",
    "duplicate-updates",
    "tiny-batch",
    "mixed-variance",
    "updates-of-another-input",
    "updates-in-loop",
    "statistics-not-copied",
    "unused-layer",
    "frozen-layer-updates",
    "dropout-before-batch-norm",
    "updates-of-one-tower",
}
FEWEST_GRAPHS = {"0.12.1": 300, "1.4.1": 500, "1.5.0": 80, "1.8.0": 80, "1.12.0": 100, "1.14.0": 100, "1.15.0": 700}


def pairs(listed):
    return {tuple(pair) for pair in listed}


@pytest.mark.parametrize("release", FEWEST_GRAPHS)
def test_what_is_found_in_the_graphs_of_old_releases_is_what_should_be(corpus, release):
    folder, expected = corpus
    wrong, looked_at = {}, 0
    for name, entry in expected.items():
        if not name.startswith(f"{release}_"):
            continue
        looked_at += 1
        report = audit_graph(folder / name, train_op=entry["train_op"], num_steps=entry["num_steps"])
        found = {(finding.rule, finding.severity) for finding in report.findings}
        doubts = {item.rule for item in report.undecided}
        undecided = doubts & set(entry.get("undecided", ()))
        missing = {pair for pair in pairs(entry["findings"]) - found if pair[0] not in undecided}
        extra = found - pairs(entry["findings"]) - pairs(entry.get("may", ()))
        layers = {layer["name"] for layer in report.layers}
        others = entry["layers"] is not None and layers != set(entry["layers"])
        if missing or extra or others or doubts != set(entry.get("doubts", doubts)):
            wrong[name] = {"missing": missing, "extra": extra, "doubts": doubts, "layers": layers, "why": entry["why"]}
    assert not wrong
    assert looked_at > FEWEST_GRAPHS[release]


def test_every_rule_is_broken_and_kept_in_the_corpus(corpus):
    _, expected = corpus
    broken = [{rule for rule, _ in entry["findings"]} for entry in expected.values()]
    assert set().union(*broken) == RULES
    assert sum(not rules for rules in broken) > 800


def test_every_finding_names_ops_of_the_graph_or_variables_of_the_checkpoint(corpus):
    from bn_graph.formats.tf_graph import source_of
    from bn_graph.saving.restore import read_checkpoint

    folder, expected = corpus
    for name in sorted(expected)[::7]:
        report = audit_graph(folder / name, train_op=expected[name]["train_op"])
        source = source_of(folder / name)
        names = {node.name for node in source.graph_def.node} if source.graph_def is not None else set()
        if source.checkpoint:
            names |= set(read_checkpoint(source.checkpoint))
        for finding in report.findings:
            assert finding.evidence
            for evidence in finding.evidence:
                assert evidence.split("->")[0] in names, (name, finding)
            assert finding.message.endswith((".", "?")) and finding.fix


@pytest.mark.parametrize("name", ["page", "page_control_dependencies", "script", "notebook"])
def test_of_the_recorded_editions_only_the_page_as_printed_is_wrong(name):
    report = audit_graph(PACKAGED / "graph" / f"{name}.meta", num_steps=1000)
    found = {(finding.rule, finding.severity, finding.layer) for finding in report.findings}
    layers = "hidden_layer", "output_layer"
    expected = {("cancelled-bias", "note", layer) for layer in layers}
    expected.add(("dropout-before-batch-norm", "note", "output_layer"))
    if name != "notebook":
        expected |= {("unused-parameter", "note", layer) for layer in layers}
    if name == "page":
        expected |= {("updates-never-run", "error", layer) for layer in layers}
    assert found == expected
    assert report.clean == (name != "page")
    for layer in report.layers:
        assert [(tower["role"], tower["statistics"]) for tower in layer["towers"]] == [
            ("training", "batch"),
            ("evaluation", "moving"),
            ("evaluation", "moving"),
        ]
        assert [(update["decay"], update["run_by_train_op"]) for update in layer["updates"]] == 2 * [
            (0.9, name != "page")
        ]


@pytest.mark.parametrize("name", ["page", "page_control_dependencies", "script", "notebook"])
def test_the_port_and_the_recorded_graph_get_the_same_report(original, name):
    from bn_graph import build_graph

    port = audit_graph(build_graph(recorded_config(name), original).graph, num_steps=1000)
    recorded = audit_graph(PACKAGED / "graph" / f"{name}.meta", num_steps=1000)

    def told(report):
        return sorted((f.rule, f.severity, f.layer, f.message, f.fix) for f in report.findings)

    assert told(port) == told(recorded)
    for mine, theirs in zip(port.layers, recorded.layers, strict=True):
        assert mine["variables"] == theirs["variables"]


def test_several_train_ops_are_taken_together(corpus):
    """A GAN has two, and each runs the updates of its own network. One alone leaves the rest to whoever runs both."""
    path = corpus[0] / "1.15.0_gan.meta"
    alone = audit_graph(path, train_op="g_optimizer")
    (undecided,) = (one for one in alone.undecided if one.rule == "updates-never-run")
    assert undecided.layer == "discriminator/bn"
    assert "d_optimizer" in undecided.message
    both = audit_graph(path, train_op=["g_optimizer", "d_optimizer:0"])
    assert (alone.findings, both.findings) == ((), ())
    assert {one.rule for one in both.undecided} == {"wrong-statistics"}  # nobody evaluates the discriminator here
    assert all(update["run_by_train_op"] for layer in both.layers for update in layer["updates"])
    process = run(
        sys.executable, ROOT / "scripts" / "audit_graph.py", path, "--train-op", "g_optimizer", "--train-op", "d"
    )
    assert process.returncode == 2 and "found 'd'" in process.stderr and process.stderr.count("\n") == 1


def test_a_checkpoint_may_be_named_by_any_of_its_files(corpus):
    prefix = corpus[0] / "1.15.0_ckpt_v2_untouched" / "model.ckpt-5"
    reports = [audit_graph(f"{prefix}{end}") for end in ("", ".index", ".data-00000-of-00001")]
    assert "statistics-untouched" in {finding.rule for finding in reports[0].findings}
    assert reports[0].to_json() == reports[1].to_json() == reports[2].to_json()


def test_of_a_checkpoint_only_the_statistics_are_read(corpus, tmp_path):
    """The weights may be damaged, or gigabytes."""
    folder = corpus[0] / "1.15.0_ckpt_v2_trained"
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    data = tmp_path / "model.ckpt-5.data-00000-of-00001"
    clean = audit_graph(tmp_path / "model.ckpt-5")
    weights = Checkpoint(tmp_path / "model.ckpt-5").read("net/logits/w").tobytes()
    assert clean.clean and weights in data.read_bytes()
    data.write_bytes(data.read_bytes().replace(weights, bytes(len(weights))))
    with pytest.raises(InputError):
        Checkpoint(tmp_path / "model.ckpt-5").read_all()
    assert audit_graph(tmp_path / "model.ckpt-5").to_json() == clean.to_json()


def test_the_readme_shows_what_the_command_prints():
    process = run(sys.executable, "scripts/audit_graph.py", "bn_graph/comparison/reference/graph/page.meta", cwd=ROOT)
    assert (process.returncode, process.stderr) == (1, "")
    shown = (ROOT / "README.md").read_text()
    first, *_, last = process.stdout.rstrip("\n").split("\n\n")
    assert f"{first}\n\n...\n\n{last}\n```" in shown
