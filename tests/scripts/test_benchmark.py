"""scripts/benchmark, as a user types it."""

import argparse
import importlib.util
import json
import os
import re
import sys

import numpy as np
import pytest

from bn_graph import load_mnist
from tests.audit.growing_graphs import FAMILIES
from tests.helpers import run
from tests.paths import ROOT

PACKAGES = {"keras_fit": "keras", "keras_train_on_batch": "keras", "torch": "torch", "torch_compile": "torch"}
PACKAGES |= {"jax": "optax", "jax_loop": "optax"}


def benchmark(*arguments, **options):
    return run(sys.executable, ROOT / "scripts" / "benchmark", *arguments, **options)


def path_with(folder):
    """A PYTHONPATH on which `folder` comes before what is there."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


def test_training_prints_a_table_and_writes_all_it_measured_and_says_what_is_missing(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    found, picture = tmp_path / "found.json", tmp_path / "picture.png"
    process = benchmark(
        "--steps", 100, "--rounds", 1, "--systems", "compiled,torch,floor", "--json", found, "--plot", picture,
        env=path_with(tmp_path),
    )  # fmt: skip
    assert (process.returncode, process.stderr) == (0, "")
    assert "PyTorch: left out: torch is not installed" in process.stdout
    assert "this port, engine compiled" in process.stdout and "floor: two products and Adam" in process.stdout
    found = json.loads(found.read_text())
    assert found["missing"] == {"torch": "torch"} and found["failed"] == {}
    assert set(found["results"]) == {"compiled", "floor"}
    for (run_of_system,) in found["results"].values():
        assert [steps for _, steps, _ in run_of_system["blocks"]] == [1, 50, 49]
        assert all(seconds > 0 for *_, seconds in run_of_system["blocks"])
        begin, steps, seconds = run_of_system["blocks"][-1]  # what comes after the warm-up
        assert run_of_system["steps_per_second"] == pytest.approx(steps / seconds)
        assert 0 < run_of_system["seconds"] < run_of_system["process_seconds"]
        assert run_of_system["peak_bytes"] > 1e8
    (port,) = found["results"]["compiled"]
    assert len(port["valid_accuracy"]) == 2 and port["valid_accuracy"][-1] > 0.88 and port["test_accuracy"] > 0.88

    from bn_graph.pictures import picture_written_by_us

    assert picture_written_by_us(picture)


@pytest.mark.parametrize("system", PACKAGES)
def test_a_peer_that_is_installed_learns(system):
    if importlib.util.find_spec(PACKAGES[system]) is None or PACKAGES[system] == "keras":
        pytest.importorskip("torch", reason="the extra `bench` is not installed")  # Keras comes with TensorFlow
    process = benchmark("--steps", 100, "--rounds", 1, "--systems", system)
    assert (process.returncode, process.stderr) == (0, "")
    assert "left out" not in process.stdout


def test_a_system_that_fails_is_named_with_what_it_said_and_the_others_go_on(tmp_path):
    (tmp_path / "torch.py").write_text("raise ValueError('no good')")
    process = benchmark("--steps", 100, "--rounds", 1, "--systems", "torch,floor", env=path_with(tmp_path))
    assert process.returncode == 1
    assert "benchmark: torch: ended with 1" in process.stderr and "ValueError: no good" in process.stderr
    assert "floor: two products and Adam" in process.stdout


PLAYER = """
import os, sys, threading, time
name, seconds, dies = sys.argv[1:]
for turn in range(3):
    if dies == f"turn {turn}":
        sys.exit(f"{name} dies")
    if dies == "waiting":
        threading.Timer(0.2, os._exit, [3]).start()
    print("ready", flush=True)
    sys.stdin.readline()
    open("turns.txt", "a").write(name)
    time.sleep(float(seconds))
print("done")
"""


def test_systems_work_in_turns_and_their_seconds_are_those_of_their_own_turns(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.chdir(tmp_path)
    from benchmark.processes import progress, side_by_side

    players = {"a": (0.5, "never"), "b": (0, "never"), "c": (0, "turn 1"), "d": (0, "waiting")}
    commands = {name: [sys.executable, "-c", PLAYER, name, *arguments] for name, arguments in players.items()}
    with progress(4) as bar:
        turns = side_by_side(commands, 1, lambda name, process: vars(process) | {"name": name}, bar)
    assert (tmp_path / "turns.txt").read_text() == "abc" + "ab" + "ab"
    assert turns.failed == {"c": "ended with 1\n  c dies", "d": "ended with 3"} and turns.missing == {}
    (a,), (b,) = turns.results.values()
    assert a["stdout"] == b["stdout"] == ["done\n"] and a["peak_bytes"] > 1e6
    assert b["seconds"] < 1.5 <= a["seconds"]


def test_the_data_of_scale_are_there_when_they_are_asked_for_and_are_the_digits(tmp_path, mnist, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from benchmark.scale import data_cases

    cases = data_cases(tmp_path)
    for _ in ("npz", "idx"):
        _, settings = next(cases)
        assert [path.name for path in tmp_path.iterdir()] == [settings["data"].name]
        found = load_mnist(str(settings["data"]))
        np.testing.assert_array_equal(found.target, mnist.target)
        np.testing.assert_array_equal(found.data[:100], mnist.data[:100])


def test_the_audit_says_what_each_family_of_graphs_costs_for_each_byte(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from benchmark import audit

    monkeypatch.setattr(audit, "NUM_LAYERS", (2,))
    monkeypatch.setattr(audit, "FAMILY_SIZES", (4, 8))
    measured = audit.measure(None)
    sizes = {(result["family"], result["n"]): result["bytes"] for result in measured["families"]}
    assert sizes == {(name, n): family(n).ByteSize() for name, family in FAMILIES.items() for n in (4, 8)}
    *_, header, first = list(audit.lines(measured))[: -len(FAMILIES) + 1]
    assert header.split() == ["n", "=", "4", "n", "=", "8"]
    assert re.fullmatch(r"outputs_and_control_outputs( +[0-9.]+ s +[0-9.]+ us){2}", first)


def test_what_watching_costs_is_a_small_part_of_a_step(monkeypatch):
    """Of what the session and the hook do themselves: two steps are never equally long."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from benchmark import monitor

    monkeypatch.setattr(monitor, "BLOCK", 5)
    measured = monitor.measure(argparse.Namespace(rounds=2))
    step = min(one["plain"] for one in measured["results"])
    assert len(measured["results"]) == 2 and measured["own"].keys() == {"session", "hook"}
    assert all(abs(seconds) < step / 100 for seconds in measured["own"].values())
    text = "\n".join(monitor.lines(measured))
    assert re.search(r"a watched session, after the tenth: [+-][0-9.]+%, the median of 2 rounds", text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["speed"], "speed"),
        (["--systems", "session,fast"], "found 'fast'; expected some of compiled, in_graph, session"),
        (["scale", "--systems", "torch"], "expected some of compiled, in_graph, session, jax_loop, floor"),
        (["--systems", "original"], "--systems original needs --original PYTHON"),
        (["--steps", "75"], "--steps must be a multiple of 50, 100 or more, found 75"),
        (["--rounds", "0"], "--rounds must be a whole number, 1 or more, found 0"),
        (["--json", "theirs.json"], "theirs.json: exists and was not written by bn_graph"),
        (["--plot", "theirs.png"], "theirs.png: exists and was not written by bn_graph"),
        (["comparison", "--plot", "new.png"], "--plot: there is no picture of comparison"),
    ],
)
def test_a_users_mistake_gets_one_line_and_exit_code_2(arguments, said, tmp_path):
    (tmp_path / "theirs.json").write_text("{}")
    (tmp_path / "theirs.png").write_bytes(b"not a picture")
    process = benchmark(*arguments, cwd=tmp_path)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1 and said in process.stderr
    assert process.stderr.startswith("benchmark: ")
    assert sorted(os.listdir(tmp_path)) == ["theirs.json", "theirs.png"]
    assert (tmp_path / "theirs.json").read_text() == "{}"
