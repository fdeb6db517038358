"""scripts/run_tutorial.py, as a user types it."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest

from bn_graph import TrainingRecord
from tests.helpers import RECORDED, in_process, run, run_python, run_tutorial
from tests.paths import REFERENCE, ROOT

ONE_TOWER = ["--is-training", "placeholder"]  # three are twice as long in building
MEASURES = ("train_loss", "train_accuracy", "valid_step", "valid_accuracy", "learning_rate", "test_accuracy")
QUICK = ["--steps", "60", "--hidden-size", "8", "--seed", "1", *ONE_TOWER]


def without_numbers(text):
    """The text with every number, and the padding in front of a narrow one, replaced."""
    return re.sub(r"(?<=Valid Acc:) +\d+%|\d+(\.\d+)?", "#", text)


def test_stdout_is_the_recorded_console_but_for_the_numbers(recorded_run):
    name, process, _ = recorded_run
    recorded = (REFERENCE / "console" / f"{name}.txt").read_text()
    assert without_numbers(process.stdout) == without_numbers(recorded)
    # Up to 'Initialized' the numbers are exact too, and the first printed step is within rounding.
    head = recorded.index("Initialized")
    assert process.stdout[:head] == recorded[:head]
    assert process.stdout[head:].splitlines()[1][:20] == recorded[head:].splitlines()[1][:20]
    assert process.stderr == ""


def test_the_printed_numbers_are_those_of_the_record(recorded_run):
    _, process, record = recorded_run
    losses = [float(x) for x in re.findall(r"Loss: ([\d.]+)", process.stdout)]
    steps = [int(x) for x in re.findall(r"Epoch: (\d+)", process.stdout)]
    assert steps == list(range(0, 1000, record["print_every"]))
    assert losses == [round(record["train_loss"][step], 6) for step in steps]
    test = float(re.search(r"Test accuracy: ([\d.]+)%", process.stdout).group(1))
    assert test == pytest.approx(100 * record["test_accuracy"], abs=0.005)


def test_the_record_holds_every_setting_and_version_and_measure(recorded_run):
    name, _, record = recorded_run
    assert set(record) == {
        "edition", "batch_norm", "updates", "center", "scale", "decay", "is_training", "split", "data", "seed", "steps",
        "batch_size", "hidden_size", "initial_learning_rate", "keep_prob", "eval_every", "print_every", "versions",
        "train_loss", "train_accuracy", "valid_step", "valid_accuracy", "learning_rate", "test_accuracy", "seconds",
        "restored", "steps_per_second", "engine",
    }  # fmt: skip
    assert record["edition"] == name.split("_")[0]
    assert record["updates"] == {"page": "collected", "page_control_dependencies": "control_dependencies"}.get(
        name, "in_place"
    )
    assert (record["split"], record["data"], record["initial_learning_rate"]) == ("original", "embedded", 0.001)
    assert set(record["versions"]) == {"python", "tensorflow", "tf-slim", "numpy", "scikit-learn"}
    assert record["versions"]["numpy"] == np.__version__
    assert len(record["train_loss"]) == len(record["train_accuracy"]) == 1000
    assert len(record["valid_step"]) == len(record["valid_accuracy"]) == len(record["learning_rate"]) == 20
    assert 0 < record["test_accuracy"] < 1 and record["seconds"] > 0 and record["steps_per_second"] > 0


def test_the_command_gives_a_recorded_runs_numbers_with_either_engine(capfd, recorded_runs, tmp_path):
    process, record = recorded_runs("notebook")
    options = [*RECORDED["notebook"], "--split", "original", "--seed", "1", "--record", tmp_path / "record.json"]
    other = in_process(capfd, "run_tutorial.py", *options, "--engine", "in_graph")
    assert (other.returncode, other.stderr) == (0, "")
    assert other.stdout == process.stdout
    found = json.loads((tmp_path / "record.json").read_text())
    assert [found[name] for name in MEASURES] == [record[name] for name in MEASURES]
    assert (record["engine"], found["engine"]) == ("session", "in_graph")


def test_without_options_it_runs_the_mended_page_on_disjoint_sets_with_a_seed_that_it_drew(tmp_path):
    path = tmp_path / "record.json"
    process = run_tutorial("--record", path)
    assert process.returncode == 0, process.stderr
    record = TrainingRecord.load(path)
    assert (record.config.edition, record.config.updates) == ("page", "control_dependencies")
    assert (record.split, record.data, record.config.is_training) == ("stratified", "embedded", "bool")
    assert 0 <= record.config.seed < 2**31 - 1
    assert record.test_accuracy > 0.95
    assert process.stdout.splitlines()[-1] == f"Test accuracy: {100 * record.test_accuracy:.6f}%"


def test_every_option_reaches_the_record(capfd, tmp_path):
    path = tmp_path / "record.json"
    settings = dict(edition="script", updates="control_dependencies", center=False, scale=True, decay=0.5, seed=9,
                    is_training="placeholder", split="original", steps=20, batch_size=32, hidden_size=5,
                    learning_rate=0.01, keep_prob=0.9, eval_every=4, print_every=8)  # fmt: skip
    options = ["--no-center", "--scale"]
    for name, value in settings.items():
        if not isinstance(value, bool):
            options += [f"--{name.replace('_', '-')}", str(value)]
    process = in_process(capfd, "run_tutorial.py", *options, "--record", path)
    assert process.returncode == 0, process.stderr
    record = json.loads(path.read_text())
    settings["initial_learning_rate"] = settings.pop("learning_rate")
    assert {name: record[name] for name in settings} == settings
    assert record["valid_step"] == [0, 4, 8, 12, 16]
    assert re.findall(r"Epoch: (\d+)", process.stdout) == ["0", "8", "16"]


def test_help_answers_without_tensorflow_and_names_every_option(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('--help imported TensorFlow')")
    process = run_tutorial("--help", env={"PYTHONPATH": str(tmp_path)})
    assert (process.returncode, process.stderr) == (0, "")
    for option in ("edition", "batch-norm", "no-batch-norm", "updates", "center", "no-center", "scale", "no-scale",
                   "decay", "is-training", "data", "split", "seed", "steps", "batch-size", "hidden-size",
                   "learning-rate", "keep-prob", "eval-every", "print-every",
                   "engine", "record", "plot", "logdir", "restore",
                   "checkpoint-dir", "checkpoint-every", "force", "quiet"):  # fmt: skip
        assert f"--{option}" in process.stdout


def test_quiet_prints_nothing_and_still_writes(tmp_path):
    process = run_tutorial(*QUICK, "--quiet", "--record", tmp_path / "record.json")
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    assert TrainingRecord.load(tmp_path / "record.json").config.steps == 60


def test_a_progress_bar_is_shown_on_a_terminal_and_on_stderr_only():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))  # a terminal without width shows nothing
    command = [sys.executable, ROOT / "scripts" / "run_tutorial.py", *QUICK]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    terminal = b""
    try:
        while chunk := os.read(ours, 4096):
            terminal += chunk
    except OSError:  # how Linux says that the other end was closed
        pass
    stdout, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert b"/60 [" in terminal
    assert stdout.decode().splitlines()[-1].startswith("Test accuracy: ")
    assert b"step/s" not in stdout and b"Epoch" not in terminal


def test_a_plot_and_a_record_of_ours_are_replaced(capfd, tmp_path):
    from PIL import Image

    record, plot = tmp_path / "record.json", tmp_path / "plot.png"
    files = ["--record", record, "--plot", plot]
    process = run_tutorial(*QUICK, "--seed", "1", *files)
    assert process.returncode == 0, process.stderr
    process = in_process(capfd, "run_tutorial.py", *QUICK, "--seed", "2", *files)
    assert process.returncode == 0, process.stderr
    assert TrainingRecord.load(record).config.seed == 2
    with Image.open(plot) as image:
        assert image.format == "PNG" and min(image.size) > 400
    assert sorted(os.listdir(tmp_path)) == ["plot.png", "record.json"]


def test_the_plot_shows_what_was_measured(recorded_run):
    from bn_graph.saving.plot import record_figure

    record = TrainingRecord.from_json(json.dumps(recorded_run[2]))
    loss, accuracy = record_figure(record).axes
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), record.train_loss)
    curves = {line.get_label(): line for line in accuracy.lines}
    np.testing.assert_allclose(curves["training batch"].get_ydata(), 100 * np.array(record.train_accuracy))
    np.testing.assert_array_equal(curves["validation"].get_xdata(), record.valid_step)
    np.testing.assert_allclose(curves["validation"].get_ydata(), 100 * np.array(record.valid_accuracy))
    assert f"{record.test_accuracy:.2%} of the test rows are right" in record_figure(record).get_suptitle()


def test_the_curves_of_the_plot_have_colours_that_the_colour_blind_tell_apart(recorded_run):
    from bn_graph.pictures import BLUE, GREEN, VERMILION
    from bn_graph.saving.plot import record_figure

    figure = record_figure(TrainingRecord.from_json(json.dumps(recorded_run[2])))
    loss, accuracy = figure.axes
    assert [line.get_color() for line in (*loss.lines, *accuracy.lines)] == [BLUE, BLUE, VERMILION, GREEN]


def test_ctrl_c_sigterm_and_a_reader_that_went_away_end_it_without_a_traceback():
    def terminate_while_it_imports(process):
        time.sleep(0.5)
        process.terminate()

    ends = [
        ("Epoch: 50:", lambda process: process.stdout.close(), 141),
        ("Epoch: 50:", lambda process: process.send_signal(signal.SIGINT), 130),
        ("Testing set:", terminate_while_it_imports, 143),
    ]
    for line, end, code in ends:
        command = [sys.executable, ROOT / "scripts" / "run_tutorial.py", "--hidden-size", "8", *ONE_TOWER]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while line not in process.stdout.readline():
            pass
        end(process)
        assert process.wait(timeout=300) == code
        assert process.stderr.read() == ""
        process.stderr.close()


def test_a_programming_error_keeps_its_traceback(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import bn_graph.mnist\nbn_graph.mnist.load_mnist = None\n")
    process = run_tutorial(env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert process.returncode == 1
    assert "Traceback" in process.stderr and "TypeError" in process.stderr


def test_a_wheel_carries_all_it_needs_and_runs_from_another_folder(tmp_path):
    source, wheels, site = tmp_path / "source", tmp_path / "wheels", tmp_path / "site"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", "tests", "build", "*.egg-info", ".*"))
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", wheels, source]
    assert run(*build, cwd=tmp_path).returncode == 0
    (wheel,) = wheels.iterdir()
    shutil.rmtree(source)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel]
    assert run(*install, cwd=tmp_path).returncode == 0
    assert {path.name for path in (site / "bn_graph" / "data").iterdir()} >= {"mnist.npz", "LICENSE"}
    reference = ROOT / "bn_graph" / "comparison" / "reference"
    carried = {path.relative_to(reference) for path in reference.rglob("*") if path.is_file()}
    installed = site / "bn_graph" / "comparison" / "reference"
    assert {path.relative_to(installed) for path in installed.rglob("*") if path.is_file()} == carried
    for name in ("bn_graph/comparison/report.html", "bn_graph/comparison/report.css", "bin/compare_with_notebook.py"):
        assert (site / name).exists()
    env = {"PYTHONPATH": str(site)}
    process = run(sys.executable, site / "bin" / "run_tutorial.py", *QUICK, cwd=tmp_path, env=env)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1].startswith("Test accuracy: ")
    where = [sys.executable, "-c", "import bn_graph; print(bn_graph.__file__)"]
    assert Path(run(*where, cwd=tmp_path, env=env).stdout.strip()).is_relative_to(site)


EVERY_COMMAND = sorted(path.name for path in (ROOT / "scripts").glob("*.py"))


@pytest.mark.parametrize("script", EVERY_COMMAND)
def test_without_docstrings_every_command_has_its_help(script):
    process = run(sys.executable, "-OO", ROOT / "scripts" / script, "--help")
    assert process.returncode == 0 and process.stdout.startswith(f"usage: {script}"), process.stderr


@pytest.mark.parametrize("script", EVERY_COMMAND)
def test_ctrl_c_at_any_moment_of_its_start_leaves_no_traceback(script):
    """Before its first line, it is Python's; from there on the command is asked to end at each import."""
    program = f"""
import os, runpy, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
for name in ("bn_graph", "bn_graph.cli", "bn_graph.errors"):
    sys.modules.pop(name, None)
sys.path.insert(0, {str(ROOT / "scripts")!r})
runpy.run_path({str(ROOT / "scripts" / script)!r}, run_name="__main__")
"""
    for name in ("bn_graph", "bn_graph.cli", "bn_graph.errors"):
        process = run(sys.executable, "-c", program, name)
        assert process.returncode == -signal.SIGINT and process.stderr == "", (name, process.stderr)


def test_ctrl_c_while_tensorflow_is_imported_leaves_no_traceback():
    program = f"""
import os, runpy, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow.python":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["run_tutorial.py", "--steps", "1"]
runpy.run_path({str(ROOT / "scripts" / "run_tutorial.py")!r}, run_name="__main__")
"""
    process = run(sys.executable, "-c", program)
    assert process.returncode == -signal.SIGINT and process.stderr == "", process.stderr


def test_a_command_imports_tensorflow_without_what_it_can_do_without_and_leaves_no_trace(tmp_path):
    """JAX is not installed here: one stands in for it that says when it is imported."""
    (tmp_path / "jax.py").write_text("print('imported')")
    printed = run_python(
        """
import gc, os, sys
from bn_graph.cli import import_tensorflow
import_tensorflow()
loaded = {"jax", "keras", "sklearn", "matplotlib", "pandas"} & set(sys.modules)
assert loaded == set(), loaded
assert gc.isenabled() and "TF_USE_LEGACY_KERAS" not in os.environ
import jax, sklearn.metrics
""",
        env={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
    )
    assert printed == "imported\n"
