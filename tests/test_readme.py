"""What the READMEs say is so: their commands, programs, samples, links and tables.

A command that no line of `COMMANDS` covers fails, and so does a program or a sample that is in no table here.
"""

import ast
import configparser
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bn_graph import MovingStatisticsHook, MovingStatisticsSession, audit_graph
from bn_graph.audit.rules import RULES, docstring
from bn_graph.cluster.tf_config import cluster_of
from bn_graph.tf1 import tf
from tests import markdown
from tests.helpers import handlers_restored, run, run_python
from tests.paths import REFERENCE, ROOT

PAGES = {path: markdown.read(path) for path in markdown.readmes()}
SCRIPTS = ROOT / "scripts"
SHORT = ["--steps", "1"]


def named(path):
    return str(path.relative_to(ROOT))


# The commands. Each check is called with a `Terminal` and the words of a command.


class Terminal:
    """A folder in which a command finds what is in a clone. What it writes stays there.

    Commands of ours run in this process, which has TensorFlow already.
    """

    def __init__(self, folder, capfd, monkeypatch):
        self.folder, self._capfd, self._monkeypatch = folder, capfd, monkeypatch
        for name in ("bn_graph", "scripts", "tests"):
            (folder / name).symlink_to(ROOT / name)
        for path in (REFERENCE / "checkpoint").glob("notebook.ckpt*"):
            shutil.copy(path, folder)
        monkeypatch.chdir(folder)

    def run(self, words):
        """Runs `python PATH ...` or `python -m MODULE ...`. Returns the finished process that it would have been."""
        self._capfd.readouterr()
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            with handlers_restored():
                self._execute(patch, words)
        return subprocess.CompletedProcess(words, ended.value.code or 0, *self._capfd.readouterr())

    def parse(self, words):
        """Lets the parser of a command of ours parse its arguments, and does not run it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bn_graph.cli.run", lambda parser, command: (_ for _ in ()).throw(_Begun(parser)))
            with pytest.raises(_Begun) as begun:
                self._execute(patch, words)
        parser = begun.value.args[0]
        arguments = words[3:] if words[1] == "-m" else words[2:]
        try:
            return parser.parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{words}: {self._capfd.readouterr().err}")

    def _execute(self, patch, words):
        patch.setattr(sys, "path", [str(SCRIPTS), str(ROOT), *sys.path])
        patch.delitem(sys.modules, "run_tutorial", raising=False)  # its parser becomes a part of run_cluster's
        if words[1] == "-m":
            patch.setattr(sys, "argv", words[2:])
            runpy.run_module(words[2], run_name="__main__")
        else:
            patch.setattr(sys, "argv", words[1:])
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")


class _Begun(Exception):
    pass


@pytest.fixture
def terminal(tmp_path, capfd, monkeypatch):
    return Terminal(tmp_path, capfd, monkeypatch)


def runs(*shorter, codes=(0,)):
    """It is run, with these arguments behind the others, and ends with one of these exit codes."""

    def check(terminal, words):
        process = terminal.run([*words, *shorter])
        assert process.returncode in codes, process.stderr
        return process

    return check


def parses(terminal, words):
    """Its own parser accepts it. It would take minutes, or needs other machines or another file."""
    terminal.parse(words)


def is_installed(terminal, words):
    """A command that the wheel brings: its own parser accepts it."""
    assert f'"scripts/{words[0]}"' in (ROOT / "setup.py").read_text()
    if words[1:] == ["--rules"]:
        runs()(terminal, ["python", f"scripts/{words[0]}", *words[1:]])
    else:
        terminal.parse(["python", f"scripts/{words[0]}", *words[1:]])


def draws(terminal, words):
    """It draws into another file than the one that is committed."""
    words = [("page.png" if word.endswith(".png") else word) for word in words]
    runs("--steps", "2")(terminal, words)
    assert (terminal.folder / "page.png").exists()


def is_shell(terminal, words):
    """No command of ours. `test_every_command_is_one_that_bash_can_read` lets bash read it."""


def installs(terminal, words):
    """What is to be installed has such an extra, or is a requirement."""
    from packaging.requirements import Requirement

    for word in words[words.index("install") + 1 :]:
        if word.startswith("."):
            (extras,) = re.fullmatch(r"\.(?:\[([\w,]+)\])?", word).groups()
            for extra in filter(None, (extras or "").split(",")):
                assert f'        "{extra}": [' in (ROOT / "setup.py").read_text(), extra
        elif word != "-e":
            Requirement(word)


def pytest_runs(terminal, words):
    """The paths are there, and so are the marker and the word."""
    arguments = iter(words[words.index("pytest") + 1 :])
    for argument in arguments:
        if argument == "-m":
            markers = configparser.ConfigParser()
            markers.read(ROOT / ".pytest.ini")
            assert f"\n{next(arguments)}:" in markers["pytest"]["markers"]
        elif argument == "-k":
            word = next(arguments)
            assert any(word in path.read_text() for path in (ROOT / "tests").rglob("test_*.py")), word
        else:
            assert (ROOT / argument.partition("::")[0]).exists(), argument


def python2_runs(terminal, words):
    """The module is there, and its parser has the options: Python 2.7 is not."""
    source = (ROOT / words[2].replace(".", "/") / "__main__.py").read_text()
    for word in words[3:]:
        if word.startswith("--"):
            assert f'"{word}"' in source, word
        elif "/" in word:
            assert (ROOT / word).exists(), word


def is_a_cluster(terminal, words):
    (assignment,) = words[1:]
    name, _, value = assignment.partition("=")
    assert json.loads(value) and cluster_of({name: value})


def is_a_file(terminal, words):
    """Its last word is the path of something in a clone."""
    assert (ROOT / words[-1]).exists(), words[-1]
    if words[-1] == ".ci/run":
        assert os.access(ROOT / words[-1], os.X_OK)


# What a command begins with, and how it is checked. The first line that fits counts.
COMMANDS = (
    (r"git clone |cd |python3 -m (venv|virtualenv) |\. venv/bin/activate|for \w+ in |XZ_OPT=-9e tar -cJf ", is_shell),
    (r"(\S*/)?(python3 -m )?pip install ", installs),
    (r"tensorboard --logdir logs$", is_shell),
    (r"export TF_CONFIG=", is_a_cluster),
    (r"python scripts/run_tutorial.py --(sync|data SOURCE)", parses),
    (r"python scripts/run_tutorial.py --data notes.txt", runs(codes=(2,))),
    (r"python scripts/run_tutorial.py.* --(steps (0|100)$|help)", runs()),
    (r"python scripts/run_tutorial.py", runs(*SHORT)),
    (r"python scripts/audit_graph.py", runs(codes=(0, 1))),
    (r"python scripts/export_model.py", runs()),
    (r"python scripts/recalibrate.py notebook.ckpt", runs("--batches", "2")),
    (r"python scripts/recalibrate.py", parses),
    (r"python scripts/(compare_with_notebook.py|run_cluster.py|benchmark)", parses),
    (r"(audit_graph|run_tutorial|run_cluster|compare_with_notebook|export_model|recalibrate)\.py ", is_installed),
    (r"python -m bn_graph.comparison.page ", draws),
    (r"python -m tests.(fuzzing|kill_and_resume|lessons|recalibration|audit$)", parses),
    (r"(python -m )?pytest", pytest_runs),
    (r"\S*python -m tests.(recording\.|audit.advice)", python2_runs),
    (r"ruff (check|format) \.|jupyter lab |\.ci/run", is_a_file),
)

SIMPLE = {}  # the words of each simple command, to where it is first
for page in PAGES.values():
    for part in page.commands:
        for simple in markdown.words(part.text):
            SIMPLE.setdefault(tuple(simple), part)


def check_of(words):
    return next((check for pattern, check in COMMANDS if re.match(pattern, " ".join(words))), None)


@pytest.mark.parametrize("words", SIMPLE, ids=" ".join)
def test_a_command_does_what_is_said_or_is_accepted(terminal, words):
    check = check_of(words)
    assert check, f"{SIMPLE[words]}: no line of COMMANDS covers {' '.join(words)}"
    check(terminal, list(words))


def test_every_command_is_one_that_bash_can_read():
    commands = [part for page in PAGES.values() for part in page.commands]
    assert len(commands) > 40
    for part in commands:
        process = run("bash", "-n", "-c", part.text)
        assert process.returncode == 0, (str(part), process.stderr)


def test_what_is_printed_under_a_command_is_what_it_prints(terminal):
    printed = [(part, lines) for page in PAGES.values() for part, lines in page.printed.items()]
    for part, lines in printed:
        (words,) = markdown.words(part.text)
        process = terminal.run(words)
        assert (process.stdout + process.stderr).splitlines() == lines, str(part)


def test_the_gate_finds_the_two_commands_of_the_readme():
    commands = re.findall(r"^    (pip install -e .*)", (ROOT / "README.md").read_text(), re.M)
    assert commands == [
        "pip install -e '.[test]' && python scripts/run_tutorial.py",
        "pip install -e '.[test]' && python -m pytest",
    ]


# Programs and samples.


@pytest.fixture
def a_graph():
    """What the programs are in the middle of: a graph with a batch norm, its loss, and three batches to train on."""
    from bn_graph import batch_norm

    with tf.Graph().as_default():
        data = tf.data.Dataset.from_tensor_slices(
            [[1.0, 2.0], [3.0, 5.0], [4.0, 9.0], [7.0, 1.0], [5.0, 5.0], [1.0, 0.0]]
        )
        x = tf.data.make_one_shot_iterator(data.batch(2)).get_next()
        logits = batch_norm(x, decay=0.9, is_training=True)
        learning_rate, global_step = tf.constant(0.1), tf.train.get_or_create_global_step()
        train_loss = loss = tf.reduce_mean((logits - x) ** 2)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train_op = tf.train.AdamOptimizer(learning_rate).minimize(loss, global_step=global_step)
        yield {**locals(), "tf": tf, "steps": 2}


def runs_in_a_graph(part, a_graph):
    ours = dict(audit_graph=audit_graph, MovingStatisticsHook=MovingStatisticsHook)
    exec(part.text, a_graph | ours | {"MovingStatisticsSession": MovingStatisticsSession})


def runs_with_one_step(part, a_graph):
    assert part.text.count("seed=1") == 1
    exec(part.text.replace("seed=1", "seed=1, steps=1"), {})


def is_of_the_recorder(part, a_graph):
    """Python 2.7 runs the like. What it uses is there."""
    sources = "".join(path.read_text() for path in (ROOT / "tests" / "recording" / "audit_graphs").glob("*.py"))
    for node in ast.walk(ast.parse(part.text)):
        if isinstance(node, ast.Name):
            assert re.search(rf"^(def {node.id}\(|{node.id} =)", sources, re.M), node.id


PROGRAMS = {  # by their README and their first line
    ("README.md", "with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):"): runs_in_a_graph,
    ("README.md", "import dataclasses"): runs_with_one_step,
    ("bn_graph/audit/README.md", "print(audit_graph(tf.get_default_graph()))"): runs_in_a_graph,
    (
        "bn_graph/audit/README.md",
        "with tf.train.MonitoredTrainingSession(hooks=[MovingStatisticsHook()]) as session:",
    ): runs_in_a_graph,
    ("bn_graph/audit/README.md", "session = MovingStatisticsSession(tf.Session())"): runs_in_a_graph,
    ("tests/README.md", "@case(NEVER_RUN)"): is_of_the_recorder,
}


def beginning(part):
    return named(part.path), part.text.splitlines()[0]


@pytest.mark.parametrize("part", [part for page in PAGES.values() for part in page.programs], ids=str)
def test_a_program_runs(part, a_graph, capfd):
    assert beginning(part) in PROGRAMS, f"{part}: not in PROGRAMS"
    PROGRAMS[beginning(part)](part, a_graph)


def is_what_the_tutorial_prints(part, terminal):
    """Each line is one of the first 51 steps, but for what the processor may change; the last one has its form."""
    printed = terminal.run(["python", "scripts/run_tutorial.py", "--seed", "1", "--steps", "51"]).stdout.splitlines()
    number = re.compile(r"\d+(?:\.\d+)?")

    def is_like(line, other):
        numbers, others = ([float(text) for text in number.findall(text)] for text in (line, other))
        return number.sub("", line) == number.sub("", other) and numbers == pytest.approx(others, rel=0.05)

    *shown, test = [line for line in part.text.splitlines() if line != "..."]
    for line in shown:
        assert any(is_like(line, other) for other in printed), line
    assert re.fullmatch(r"Test accuracy: 96\.\d{6}%", test) and re.fullmatch(
        r"Test accuracy: \d\d\.\d{6}%", printed[-1]
    )


def is_compared_elsewhere(part, terminal):
    """tests/audit/test_recorded.py compares it, as a process of its own."""
    assert "test_the_readme_shows_what_the_command_prints" in (ROOT / "tests/audit/test_recorded.py").read_text()


def has_the_columns(part, terminal):
    """The report's columns; to have the numbers again takes ten seeds."""
    source = (ROOT / "bn_graph" / "comparison" / "report.py").read_text()
    for title in re.split(r"\s{2,}", part.text.splitlines()[0].strip()):
        assert f'"{title}"' in source or f"'{title}'" in source, title


SAMPLES = {  # by their README and a word of their first line
    ("README.md", "MNIST"): is_what_the_tutorial_prints,
    ("README.md", "error[updates-never-run]"): is_compared_elsewhere,
    ("bn_graph/comparison/README.md", "printed"): has_the_columns,
}


@pytest.mark.parametrize("part", [part for page in PAGES.values() for part in page.samples], ids=str)
def test_a_sample_is_what_is_printed(part, terminal):
    readme, first = beginning(part)
    checks = [check for (path, word), check in SAMPLES.items() if path == readme and word in first]
    assert len(checks) == 1, f"{part}: not in SAMPLES"
    checks[0](part, terminal)


def test_the_error_messages_are_those_of_tensorflow():
    """Those that are in code of TensorFlow and tf-slim, from a process without bn_graph and without tf-keras."""
    said = run_python(
        """
import importlib.util
import tensorflow, tf_slim
import tensorflow.compat.v1 as tf

def say(call):
    try:
        call()
    except Exception as error:
        print(error)

say(lambda: tensorflow.contrib)
say(lambda: __import__("tensorflow.contrib"))
say(lambda: tensorflow.placeholder(tf.float32, [None, 4]))
say(lambda: tf.placeholder(tf.float32, [None, 4]))
say(lambda: tf_slim.batch_norm(tf.zeros([2, 4])))
if importlib.util.find_spec("tf_keras") is None:
    say(lambda: tf.layers.batch_normalization)
"""
    )
    shown = (ROOT / "README.md").read_text().partition("## Troubleshooting")[2].partition("## ")[0]
    lines = said.strip().splitlines()
    assert len(lines) >= 5
    for line in lines:
        assert line.rstrip(".") in shown, line


# Links and tables.


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_link_leads_somewhere(path):
    for part in PAGES[path].links:
        target, _, heading = part.text.partition("#")
        if target.startswith(("http:", "https:")):
            continue
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), str(part)
        if heading:
            headings = re.findall(r"^#+ (.*)", found.read_text(), re.M)
            assert heading in [re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in headings], str(part)


def test_the_readme_is_short_and_leads_to_all_others():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
    linked = {(ROOT / part.text).resolve() for part in PAGES[ROOT / "README.md"].links}
    assert linked >= set(PAGES) - {ROOT / "README.md"}


def test_the_table_of_rules_is_that_of_the_rules():
    text = (ROOT / "bn_graph" / "audit" / "README.md").read_text()
    rows = [
        f"| `{rule.NAME}` | {rule.SEVERITY} | {docstring(rule).splitlines()[0].removesuffix('.')} |" for rule in RULES
    ]
    _, _, table = text.partition("| rule | severity | what it finds |\n| --- | --- | --- |\n")
    assert table.partition("\n\n")[0].splitlines() == rows, "expected:\n" + "\n".join(rows)


def test_the_audits_page_has_every_option_of_its_command(terminal):
    text = (ROOT / "bn_graph" / "audit" / "README.md").read_text()
    help_text = terminal.run(["python", "scripts/audit_graph.py", "--help"]).stdout
    for option in set(re.findall(r"--[a-z-]+", help_text)) - {"--help", "--version"}:
        assert option in text, option


def test_the_map_has_every_module_and_folder_and_no_other():
    text = (ROOT / "bn_graph" / "README.md").read_text().partition("## How to contribute")[0]
    package = ROOT / "bn_graph"
    modules = {path.name for path in package.glob("*.py")}
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert set(re.findall(r"`(\w+\.py)`", text)) == modules
    assert set(re.findall(r"^\| \[`(\w+)/`\]", text, re.M)) == folders


def test_every_lesson_and_every_command_has_a_row():
    lessons = (SCRIPTS / "notebooks" / "README.md").read_text()
    for path in (SCRIPTS / "notebooks").glob("*.ipynb"):
        assert f"]({path.name})" in lessons
    commands = (SCRIPTS / "README.md").read_text()
    installed = re.findall(r'"scripts/(\w+\.py)"', (ROOT / "setup.py").read_text())
    for name in installed:
        assert f"| `{name}` |" in commands and f"python scripts/{name} " in commands
    shown = {Path(word).name for words in SIMPLE for word in words if word.startswith("scripts/")}
    assert set(installed) <= shown
