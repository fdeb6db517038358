"""The package as Python sees it: its names, what it prints of itself, what it refuses, and who imports whom."""

import ast
import dataclasses
import re
import sys
from pathlib import Path

import pytest

import bn_graph
from bn_graph import PAGE, AuditReport, Finding, Mnist, Splits, TutorialGraph, audit_graph, build_graph, split, train
from tests.helpers import run, run_python
from tests.paths import ROOT

PACKAGE = ROOT / "bn_graph"
SMALL = dict(seed=1, hidden_size=8, steps=2)


def test_dir_shows_the_public_names_and_each_is_there():
    names = set(dir(bn_graph))
    assert names >= {"__version__", "AuditReport", "Finding", "TutorialGraph", "Splits", "plot_record", "recalibrate"}
    assert all(getattr(bn_graph, name) is not None for name in names)
    assert not any(name.startswith("_") for name in names - {"__version__"})


def test_the_commands_and_the_package_say_the_same_version():
    for script in (ROOT / "scripts").glob("*.py"):
        process = run(sys.executable, script, "--version")
        assert (process.returncode, process.stdout) == (0, f"bn_graph {bn_graph.__version__}\n")


def test_importing_the_package_imports_no_tensorflow():
    run_python("import bn_graph, sys; dir(bn_graph); bn_graph.load_mnist(); assert 'tensorflow' not in sys.modules")


def test_what_it_prints_of_itself_is_short(mnist, splits):
    tutorial = build_graph(dataclasses.replace(PAGE, **SMALL), splits)
    record, report = train(tutorial, splits), audit_graph(tutorial.graph)
    assert repr(mnist) == "<Mnist embedded: 70000 digits>"
    assert re.fullmatch(r"<Splits stratified of embedded: \d+ to train, 500 to validate, 700 to test>", repr(splits))
    for value, kind in ((tutorial, TutorialGraph), (record, bn_graph.TrainingRecord), (report, AuditReport)):
        assert isinstance(value, kind) and len(repr(value).splitlines()) <= 24 and len(repr(value)) < 2000
    assert isinstance(mnist, Mnist) and isinstance(splits, Splits)
    assert all(isinstance(finding, Finding) for finding in report.findings)


def test_swapped_arguments_are_one_clear_type_error(mnist, splits):
    tutorial = build_graph(dataclasses.replace(PAGE, **SMALL), splits)
    with pytest.raises(TypeError, match="^train: tutorial: expected a TutorialGraph, found a Splits$"):
        train(splits, tutorial)
    with pytest.raises(TypeError, match="^build_graph: splits: expected a Splits, found a Mnist$"):
        build_graph(PAGE, mnist)
    with pytest.raises(TypeError, match="^build_graph: config: expected a TutorialConfig, found a Splits$"):
        build_graph(splits, PAGE)
    with pytest.raises(TypeError, match="^split: mnist: expected a Mnist, found a Splits$"):
        split(splits)


# who imports whom

GROUND = {"tf1", "errors", "files", "memory", "arithmetic", "cli", "pictures"}
WINGS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def imports_of(path):
    """The parts of the package that a module imports: a wing, or a module of the core or the ground."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "bn_graph":
            names = [node.module] if "." in node.module else [f"bn_graph.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("bn_graph.")]
        yield from (name.split(".")[1] for name in names)


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(Path(path).relative_to(PACKAGE)))
def test_no_module_imports_from_a_higher_floor(path):
    part = part_of(path)
    imported = {name for name in imports_of(path) if name != part and not name.startswith("__")}
    if part in GROUND:
        assert imported <= GROUND | {"config"}  # `__version__` and two constants
    elif part == "audit":
        assert imported <= GROUND | {"formats"}
    elif part == "formats":
        assert imported <= GROUND | {"config", "lazy_rows"}
    elif part not in WINGS and part != "__init__":  # the core, which knows the engines by name alone
        assert not imported & (WINGS - {"formats"})
