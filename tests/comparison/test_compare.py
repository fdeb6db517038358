"""scripts/compare_with_notebook.py: what it measured, against computations of the tests' own."""

import dataclasses
import json
import os
import re
import statistics
from html.parser import HTMLParser

import markupsafe
import numpy as np
import pytest

from bn_graph import NOTEBOOK, InputError, TrainingRecord, __version__, build_graph, recording, train
from bn_graph.comparison.compare import compare
from bn_graph.comparison.graph_2016 import Graph2016
from bn_graph.comparison.measurements import equivalence, two_samples
from bn_graph.comparison.measurements import summarize as summary
from bn_graph.comparison.report import FILES, html_page, summary_lines
from bn_graph.comparison.rules import accuracy_rule, envelope_rule
from tests.comparison.texts import STEPS
from tests.helpers import compare_with_notebook, largest_so_far, recorded_config
from tests.paths import PACKAGED, ROOT

SAMPLE = ROOT / "bn_graph" / "comparison" / "sample_report.html"

# What the command leaves behind.


def test_the_command_prints_a_short_table_and_names_its_files(comparison):
    process, folder, found = comparison
    # No progress bar, where there is no terminal, and nothing of TensorFlow's.
    (warning,) = process.stderr.splitlines()
    assert "text.ipynb is somebody's program. It runs now, in a process of its own" in warning
    printed = process.stdout.splitlines()
    assert printed[:-1] == list(summary_lines(found)) and len(printed) < 25
    assert printed[-2] == "The port is the original, by every rule."
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_its_files_are_known_as_ours_and_may_be_replaced(comparison):
    _, folder, _ = comparison
    assert all(ours(folder / name) for name, ours in FILES.items())


def test_the_verdict_names_three_rules_for_each_run_that_was_repeated(comparison):
    found = comparison[2]
    assert found["verdict"] == {"same": True, "broken": []}
    expected = {
        (run, rule)
        for run in ("notebook", "page", "page_control_dependencies")
        for rule in ("envelope", "one step", "accuracy")
    }
    assert {(rule["run"], rule["rule"]) for rule in found["rules"]} == expected
    assert all(rule["kept"] and 0 < rule["worst"] <= 1 for rule in found["rules"])


# Step by step.


def test_the_port_and_the_2016_graph_were_trained_live(comparison, original):
    losses = comparison[2]["losses"]
    config = recorded_config("notebook", steps=12)
    port = train(build_graph(config, original), original)
    assert losses["port"][:12] == pytest.approx(port.train_loss, rel=1e-4)
    assert losses["graph_2016"][:12] == pytest.approx(
        Graph2016("notebook", config).train(original).train_loss, rel=1e-4
    )
    assert losses["port"] != losses["recorded"] != losses["graph_2016"]
    assert len(losses["port"]) == len(losses["graph_2016"]) == 1000


def test_differences_and_envelope_are_those_of_the_recordings(comparison):
    losses, recorded = comparison[2]["losses"], recording("notebook")
    assert losses["recorded"] == recorded["train_loss"]
    for side in ("port", "graph_2016"):
        np.testing.assert_allclose(losses[f"{side}_apart"], largest_so_far(losses[side], recorded["train_loss"]))
    drift = [largest_so_far(run["train_loss"], recorded["train_loss"]) for run in recorded["one_ulp"]]
    np.testing.assert_allclose(losses["envelope"], np.max(drift, axis=0))
    first = losses["chaos_step"]
    assert losses["envelope"][first - 1] <= 1e-4 < losses["envelope"][first]
    rule = next(rule for rule in comparison[2]["rules"] if (rule["run"], rule["rule"]) == ("notebook", "envelope"))
    ratios = [a / max(3 * e, 1e-4) for a, e in zip(losses["port_apart"], losses["envelope"], strict=True)]
    assert rule["worst"] == pytest.approx(max(ratios))


def test_each_printed_step_has_the_four_sides(comparison):
    found = comparison[2]
    printed = json.loads((PACKAGED / "notebook_printed.json").read_text())
    recorded = recording("notebook")
    assert [row["step"] for row in found["steps"]] == printed["step"]
    for i, row in enumerate(found["steps"]):
        step = row["step"]
        assert row["printed"]["train_loss"] == printed["train_loss"][i]
        assert 100 * row["printed"]["valid_accuracy"] == pytest.approx(printed["valid_accuracy_percent"][i])
        assert row["recorded"]["valid_accuracy"] == recorded["valid_accuracy"][step // 50]
        for side in ("port", "graph_2016"):
            assert row[side]["train_loss"] == found["losses"][side][step]
            assert row[side]["valid_accuracy"] == pytest.approx(row["recorded"]["valid_accuracy"], abs=0.003)
        assert (row["apart"], row["envelope"]) == (
            found["losses"]["port_apart"][step],
            found["losses"]["envelope"][step],
        )


# Over the seeds.


def test_the_seeds_are_summed_up_as_the_standard_library_does(comparison):
    seeds = comparison[2]["seeds"]
    recorded = json.loads((PACKAGED / "notebook_seeds_1_to_10.json").read_text())
    assert seeds["port"]["seeds"] == [1, 2] and seeds["original"]["seeds"] == list(range(1, 11))
    assert seeds["original"]["test_accuracy"] == [recorded[str(seed)]["test_accuracy"] for seed in range(1, 11)]
    assert [curve[-1] for curve in seeds["original"]["valid_accuracy"]] == [
        recorded[str(seed)]["valid_accuracy"][900 // 50] for seed in range(1, 11)
    ]
    for side in ("port", "original"):
        values, found = seeds[side]["test_accuracy"], seeds[side]["test"]
        assert found["n"] == len(values)
        assert found["mean"] == pytest.approx(statistics.mean(values))
        assert found["std"] == pytest.approx(statistics.stdev(values))
        assert (found["lowest"], found["highest"]) == (min(values), max(values))
        last = [curve[-1] for curve in seeds[side]["valid_accuracy"]]
        assert seeds[side]["valid"][-1]["mean"] == pytest.approx(statistics.mean(last))
    assert seeds["port"]["test_accuracy"][0] == comparison[2]["losses"]["test_accuracy"]["port"]


def test_welchs_t_is_the_textbooks(comparison):
    found = comparison[2]["split"]
    first, second = found["original"]["test_accuracy"], found["stratified"]["test_accuracy"]
    difference = statistics.mean(first) - statistics.mean(second)
    error = (statistics.variance(first) / len(first) + statistics.variance(second) / len(second)) ** 0.5
    test = found["test"]
    assert test["difference"] == pytest.approx(difference)
    assert test["welch"]["statistic"] == pytest.approx(difference / error)
    assert test["low"] < difference < test["high"] and 0 < test["mann_whitney"]["p"] <= 1


def test_two_samples_far_apart_are_told_apart_and_equal_ones_are_not():
    near, far = [0.970, 0.971, 0.972, 0.973, 0.974], [0.870, 0.871, 0.872, 0.873, 0.874]
    apart, same = two_samples(near, far), two_samples(near, near)
    assert apart["welch"]["p"] < 1e-6 and apart["mann_whitney"]["p"] < 0.01 and apart["low"] > 0
    assert same["welch"]["p"] == same["mann_whitney"]["p"] == 1 and same["low"] < 0 < same["high"]
    assert summary(near)["std"] == pytest.approx(statistics.stdev(near))


def test_the_printed_curve_is_inside_a_range_where_a_number_that_rounds_to_it_is(comparison):
    seeds = comparison[2]["seeds"]
    for i, row in enumerate(seeds["printed"]["valid"]):
        for side in ("port", "original"):
            at = [curve[i] for curve in seeds[side]["valid_accuracy"]]
            inside = min(at) <= row["accuracy"] + 0.005 and row["accuracy"] - 0.005 <= max(at)
            assert row[side] is inside
    test = seeds["printed"]["test"]
    assert test["accuracy"] == pytest.approx(0.9721, abs=1e-6) and test["original"] is True
    assert test["port"] is (min(seeds["port"]["test_accuracy"]) <= 0.9721 <= max(seeds["port"]["test_accuracy"]))


# The splits.


def test_the_splits_are_counted_and_their_rows_told_apart(comparison, original):
    found = comparison[2]["split"]
    training = set(original.train_rows.tolist())
    shared = [row in training for row in original.test_rows.tolist()]
    rows = found["original"]["rows"]
    assert rows["test"] == {
        "rows": 10000,
        "distinct": len(set(original.test_rows.tolist())),
        "in_training": sum(shared),
    }
    assert rows["train"] == {"rows": 50000, "distinct": len(training)}
    assert found["stratified"]["rows"]["test"] == {"rows": 10000, "distinct": 10000, "in_training": 0}
    assert (found["seen"]["rows"], found["unseen"]["rows"]) == (sum(shared), 10000 - sum(shared))
    # The two groups are all of the test set.
    for i, accuracy in enumerate(found["original"]["test_accuracy"]):
        weighted = sum(found[group]["accuracy"][i] * found[group]["rows"] / 10000 for group in ("seen", "unseen"))
        assert weighted == pytest.approx(accuracy, abs=1e-6)
    distinct = sum(found[group]["first_seed"]["distinct"] for group in ("seen", "unseen"))
    assert distinct == rows["test"]["distinct"]
    for group in ("seen", "unseen"):
        first = found[group]["first_seed"]
        assert first["low"] < first["accuracy"] == first["right"] / first["distinct"] < first["high"]
    assert found["stratified"]["seeds"] == found["original"]["seeds"] == [1, 2]


# The limits, and ports that were broken on purpose.


def test_every_limit_is_a_number_with_its_reason(comparison):
    limits = {row["what"]: row for row in comparison[2]["limits"]}
    assert [row["limit"] for row in limits.values()] == [
        "3 one-ulp envelopes",
        "1e-4 relative",
        "1 × rounding",
        "0.3 points",
        "5.0 points",
        "± 0.2 points",
    ]
    assert all(len(row["reason"]) > 80 for row in limits.values())
    # The drifts that are said are those of the recordings.
    for name, what in (("notebook", "validation and test"), ("page", "of the page as printed")):
        run = recording(name)
        drift = max(abs(other["test_accuracy"] - run["test_accuracy"]) for other in run["one_ulp"])
        (said,) = re.findall(r"by up to ([\d.]+) points", limits[f"accuracy: {what}"]["reason"])
        assert 0 < 100 * drift <= float(said) + 0.005


def test_each_port_that_was_broken_on_purpose_breaks_a_rule_and_the_whole_one_none(comparison):
    broken = {
        port["name"]: {rule["rule"] for rule in port["rules"] if not rule["kept"]}
        for port in comparison[2]["controls"]["ports"]
    }
    assert broken.pop("none") == set()
    assert broken["bessel"] == {"one step"}  # it changes no training loss
    assert {"envelope", "one step"} <= broken["epsilon"] and {"accuracy", "one step"} <= broken["decay"]
    assert "Broken on purpose, and the rules that break: epsilon (" in comparison[0].stdout


def test_means_are_equivalent_where_the_interval_is_within_the_margin_and_only_there():
    values = [0.970, 0.971, 0.972, 0.973, 0.974]
    higher = [value + 0.01 for value in values]
    assert equivalence(values, values, 0.003)["verdict"] == "equivalent"
    assert equivalence(values, values, 0.001)["verdict"] == "undecided"
    assert equivalence(values, higher, 0.003)["verdict"] == "different"
    test = equivalence(values, higher, 0.02)
    assert test["verdict"] == "equivalent" and test["difference"] == pytest.approx(-0.01)
    half = 1.8595 * (2 * 0.0025e-3 / 5) ** 0.5  # the 95 % quantile of t with 8 degrees of freedom; both variances
    assert (test["low"], test["high"]) == pytest.approx((-0.01 - half, -0.01 + half), rel=1e-3)
    # The p-value is below 5 % where the 90 % interval is within the margin, by the same arithmetic.
    assert (
        equivalence(values, higher, 0.01 + half * 1.001)["p"]
        < 0.05
        < equivalence(values, higher, 0.01 + half / 1.001)["p"]
    )


# A program of 2016.


def test_the_program_ran_and_its_losses_are_the_ports_from_the_seed_of_the_recording(comparison):
    process, _, found = comparison
    (original,) = found["originals"]
    recorded = recording("notebook")
    assert (original["name"], original["recorded"], original["seed"]) == ("text.ipynb", "notebook", 1)
    assert (original["updates"], original["num_steps"]) == ("in_place", STEPS)
    assert original["from_port"]["largest"] < 1e-5 and original["from_port"]["test_accuracy"] is None  # it ended early
    (row,) = original["steps"]
    for side in ("text", "port"):
        assert row[side]["train_loss"] == pytest.approx(recorded["train_loss"][0], rel=1e-5)
        assert row[side]["valid_accuracy"] == pytest.approx(recorded["valid_accuracy"][0], abs=5e-4)
    assert [rule["rule"] for rule in original["rules"]] == ["envelope", "accuracy"]
    assert all(rule["kept"] for rule in original["rules"])
    assert f"tested: {original['test_accuracy']:.2}"[:11] in original["printed"]
    assert (
        f"text.ipynb, run today from seed 1: {original['from_port']['steps_that_differ']} of 3 losses" in process.stdout
    )


def test_the_report_shows_what_of_the_program_was_changed_and_what_it_printed(comparison):
    _, folder, found = comparison
    (original,) = found["originals"]
    assert "cell 2, line 2" in [change["place"] for change in original["syntax"]["changes"]]
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "each in a process of its own" in text and "digits: (70000, 784)" in text
    assert "--original text.ipynb</code>" in text  # the command that made it


def test_a_program_whose_seeds_cannot_be_mapped_is_one_draw_beside_the_ports_range(comparison):
    found = json.loads(json.dumps(comparison[2]))
    (original,) = found["originals"]
    why_not = "its variables are not those of the recorded run"
    original |= {"recorded": None, "why_not": why_not, "seed": None, "from_port": None, "steps": [], "rules": []}
    assert f"Its seeds could not be mapped: {why_not}." in html_page(found)
    assert any("text.ipynb, run today, its seed unknown" in line for line in summary_lines(found))


# The code, side by side.


def test_the_ports_lines_are_those_of_the_package_at_the_number_that_is_said(comparison):
    for pairs in comparison[2]["code"]["parts"].values():
        for pair in pairs:
            lines = (ROOT / "bn_graph" / pair["module"]).read_text().splitlines()
            shown = pair["port"].splitlines()
            there = lines[pair["line"] - 1 :][: len(shown)]
            assert [line.strip() for line in there] == [line.strip() for line in shown]


# The graph and the page.


def test_the_graphs_are_beside_each_other_and_differences_marked(comparison):
    graph, recorded = comparison[2]["graph"], recording("notebook")
    assert [row["name"] for row in graph["variables"]] == [v["name"] for v in recorded["variables"]]
    assert {row["name"]: row["original"] for row in graph["collections"]} == recorded["collections"]
    assert [row["port"]["op_seed"] for row in graph["random ops"]] == [10, 39, 104, 196, 230]
    moving = [f"{layer}_layer/moving_{what}" for layer in ("hidden", "output") for what in ("mean", "variance")]
    assert [row["name"] for row in graph["update ops"]] == moving
    for row in graph["update ops"]:
        for side in ("original", "port"):
            assert not row[side]["in_update_ops"] and row[side]["run_by_train_op"]
    for rows in graph.values():
        assert all(row["same"] is (row["original"] == row["port"]) for row in rows)
    assert all(row["same"] for part in ("variables", "collections", "random ops") for row in graph[part])
    assert not any(row["same"] for row in graph["kinds of op"])  # variables are resources today


def test_the_missing_line_costs_what_it_cost(comparison):
    found = comparison[2]["page"]
    assert found["cost"] == found["mended"]["test_accuracy"] - found["printed"]["test_accuracy"] > 0.1
    recorded = [recording(name)["test_accuracy"] for name in ("page", "page_control_dependencies")]
    assert found["recorded_cost"] == recorded[1] - recorded[0]
    assert found["cost"] == pytest.approx(found["recorded_cost"], abs=0.053)


# The rules.


def test_losses_beyond_the_envelope_and_losses_that_are_no_numbers_break_the_rule():
    recorded = recording("notebook")["train_loss"]
    assert envelope_rule("notebook", recorded)["kept"]
    assert envelope_rule("notebook", recorded)["worst"] == 0
    for step, wrong in ((3, recorded[3] * 1.0002), (500, recorded[500] * 1.2), (7, float("nan"))):
        rule = envelope_rule("notebook", recorded[:step] + [wrong] + recorded[step + 1 :])
        assert rule["kept"] is False and f"at step {step} " in rule["says"]


def test_accuracies_away_from_the_recorded_ones_break_the_rule():
    recorded = recording("notebook")
    measured = {name: recorded[name] for name in ("valid_step", "valid_accuracy", "test_accuracy")}
    record = TrainingRecord(NOTEBOOK, "original", "embedded", **measured)
    assert accuracy_rule("notebook", record)["kept"]
    wrong = dataclasses.replace(record, test_accuracy=recorded["test_accuracy"] - 0.004)
    assert not accuracy_rule("notebook", wrong)["kept"]
    assert not accuracy_rule("notebook", dataclasses.replace(record, test_accuracy=float("nan")))["kept"]


def test_a_port_with_bessels_correction_is_found_out(tmp_path):
    """fused=True averages the variance with Bessel's correction: the loss of training is the same, one step is not.

    The rules look at the first run of each page. So the runs of other seeds and of the other split, half of the work,
    are not trained here, but take the first one's record with another test accuracy; `comparison` trains them.
    """
    (tmp_path / "sitecustomize.py").write_text(
        "import dataclasses, functools, wrapt\n"
        "@wrapt.when_imported('bn_graph.graph')\n"
        "def bessel(graph):\n"
        "    graph.batch_norm = functools.partial(graph.batch_norm, fused=True)\n"
        "@wrapt.when_imported('bn_graph.comparison.controls')\n"
        "def first_control(controls):\n"
        "    controls.CONTROLS = controls.CONTROLS[:1]\n"
        "@wrapt.when_imported('bn_graph.comparison.runs')\n"
        "def first_runs(runs_module):\n"
        "    trained, runs = runs_module.train_port, {}\n"
        "    def once(tutorial, *arguments, **options):\n"
        "        config = tutorial.config\n"
        "        if config.updates not in runs:\n"
        "            runs[config.updates] = trained(tutorial, *arguments, **options)\n"
        "            return runs[config.updates]\n"
        "        record, right = runs[config.updates]\n"
        "        accuracy = record.test_accuracy - config.seed / 10000\n"
        "        return dataclasses.replace(record, config=config, test_accuracy=accuracy), right\n"
        "    runs_module.train_port = once\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    out = tmp_path / "out"
    process = compare_with_notebook("--edition", "page", "--seeds", "2", "--out", out, env={"PYTHONPATH": path})
    assert process.returncode == 1, process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("compare_with_notebook.py: the port is not the original: ")
    assert "one step: " in line and "/moving_variance after step " in line
    found = json.loads((out / "comparison.json").read_text())
    assert found["verdict"]["same"] is False
    assert {rule["rule"] for rule in found["rules"] if not rule["kept"]} >= {"one step"}
    assert "yes, wrongly" in (out / "report.html").read_text()  # the port that nobody broke on purpose
    # Another edition: what nobody printed is left out, and the report is there all the same.
    assert all(row["printed"] is None for row in found["steps"]) and found["seeds"]["printed"] is None
    text = (out / "report.html").read_text()
    assert "The port is not the original." in text and "exist for the notebook only" in text
    assert "printed, 2016" not in process.stdout


# The page.


class Page(HTMLParser):
    """What a test needs of a page: its tags with their attributes, and the number of rows of each table."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows = [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "table":
            self.table = dict(attributes)["id"]
            self.rows[self.table] = 0
        if tag == "tr":
            self.rows[self.table] += 1


def test_the_page_is_self_contained_and_complete(comparison):
    _, folder, found = comparison
    text = (folder / "report.html").read_text(encoding="utf-8")
    seen = Page(text)
    assert ("html", {"lang": "en"}) in seen.tags
    assert "viewport" in {attributes.get("name") for tag, attributes in seen.tags if tag == "meta"}
    assert not {"script", "iframe", "object"} & {tag for tag, _ in seen.tags}
    addresses = {a[key] for _, a in seen.tags for key in ("src", "href", "srcset") if key in a}
    ids = [a["id"] for _, a in seen.tags if "id" in a]
    assert len(ids) == len(set(ids)) and "url(" not in text
    outside = {a for a in addresses if not a.startswith("data:") and a[1:] not in ids}
    assert outside == {"https://creativecommons.org/licenses/by-sa/3.0/"}  # to read, not fetched
    pictures = [attributes for tag, attributes in seen.tags if tag == "img"]
    assert len(pictures) == 3 and all(len(picture["alt"]) > 20 for picture in pictures)
    assert text.count("<caption>") == len(seen.rows) == text.count("<table")
    assert seen.rows["table-losses"] == 1 + len(found["steps"])
    assert seen.rows["witnesses"] == 2 + len(found["steps"]) + 1
    assert seen.rows["pages"] == 2 + len(found["page"]["step"]) + 1
    assert seen.rows["graph-variables"] == 1 + len(found["graph"]["variables"])
    assert seen.rows["rules"] == 1 + len(found["rules"])
    (original,) = found["originals"]
    amber = [row["why"] for rows in found["graph"].values() for row in rows if not row["same"]]
    amber += [pair["why"] for pairs in found["code"]["parts"].values() for pair in pairs if pair["why"]]
    assert all(len(why) > 20 for why in amber)  # each says why it is harmless
    assert text.count('<tr class="differs">') == len(amber) + bool(original["syntax"]["divisions"])
    for version in (*found["made"]["versions"].values(), found["made"]["data"]["sha256"], "0.12.1"):
        assert version in text
    assert str(folder) not in text


def test_the_sample_of_the_report_is_what_this_version_writes(comparison):
    """Its numbers are those of one machine and one day, and of other programs. The rest is compared."""
    _, folder, found = comparison
    sample, report = (path.read_text(encoding="utf-8") for path in (SAMPLE, folder / "report.html"))
    assert SAMPLE.stat().st_size < 300_000
    assert f"bn_graph {__version__} made this page" in sample and "<strong>The port is the original.</strong>" in sample
    for pattern in (r"<h2 id=.*?</h2>", r'<table id="(?!original-)[^"]+'):
        assert set(re.findall(pattern, sample)) == set(re.findall(pattern, report)) != set()
    written = [row["reason"] for row in found["limits"]]
    pairs = [pair for part in found["code"]["parts"].values() for pair in part]
    written += [pair[name] for pair in pairs for name in ("page", "port", "why")]
    for words in written:
        assert str(markupsafe.escape(words)) in sample, "make the sample again, as bn_graph/comparison/README.md says"


def test_a_page_of_numbers_that_are_not_finite_is_still_a_page(comparison):
    found = json.loads(json.dumps(comparison[2]))
    for i in range(5, 1000):
        found["losses"]["port"][i] = found["losses"]["port_apart"][i] = None
    found["seeds"]["port"]["test"]["mean"] = None
    found["steps"][3]["port"]["train_loss"] = None
    for name in ("test", "valid"):
        test = found["seeds"]["tests"][name]
        test["low"] = test["high"] = test["p"] = None
    found["split"]["test"]["welch"]["p"] = None
    assert "–" in html_page(found)
    assert list(summary_lines(found))


# Mistakes.


def test_from_python_a_mistake_is_an_input_error(mnist):
    with pytest.raises(InputError, match="edition must be page or script or notebook, found 'book'"):
        compare(mnist, "book")
    with pytest.raises(InputError, match="seeds must be a whole number from 2"):
        compare(mnist, "notebook", 1)


def test_a_recording_can_be_had_by_name_and_no_other():
    for name, test_accuracy in {"page": 0.8033, "notebook": 0.9716}.items():
        assert recording(name)["test_accuracy"] == pytest.approx(test_accuracy, abs=5e-5)
        assert len(recording(name)["train_loss"]) == 1000
    with pytest.raises(InputError, match="page_control_dependencies or script or notebook, found 'bnexample'"):
        recording("bnexample")
