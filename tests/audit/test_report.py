"""How the audit is asked and what it says: from Python, and by scripts/audit_graph.py."""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys

import pytest

import bn_graph
from bn_graph import InputError
from bn_graph.audit import audit_graph
from bn_graph.audit.selection import FORMATS
from bn_graph.cli import has_colours
from bn_graph.tf1 import tf
from tests.audit.cases.case import BOTH
from tests.audit.cases.update_ops import by_hand
from tests.audit.findings import NEVER_RUN, check_form, errors, kinds
from tests.audit.networks import network
from tests.helpers import run
from tests.paths import ROOT


def test_the_loss_may_be_named():
    built = by_hand(False, False)
    loss = next(op.name for op in built.graph.get_operations() if op.type == "Mean" and not op.name.startswith("bn"))
    report = audit_graph(built.graph, train_op="my_step", loss=loss)
    check_form(report)
    assert kinds(report) == {NEVER_RUN}
    assert not errors(audit_graph(network(**BOTH).graph, loss="loss:0"))


@pytest.mark.parametrize("form", ["operation", "tensor", "name", "tensor name"])
def test_a_train_op_is_named_in_any_form(form):
    built = by_hand(False, False)
    with built.graph.as_default(), tf.control_dependencies([built.graph.get_operation_by_name("my_step")]):
        tensor = tf.identity(1.0, name="my_tensor")
    train_op = {"operation": built.train, "tensor": tensor, "name": "my_step", "tensor name": "my_tensor:0"}[form]
    assert kinds(audit_graph(built.graph, train_op=train_op)) == {NEVER_RUN}


def test_an_unknown_train_op_is_an_input_error():
    built = network()
    for arguments in (dict(train_op="nowhere"), dict(loss="nowhere"), dict(train_op="")):
        with pytest.raises(InputError) as raised:
            audit_graph(built.graph, **arguments)
        assert "\n" not in str(raised.value)
    for steps in (-1, "many"):
        with pytest.raises((InputError, TypeError)):
            audit_graph(built.graph, num_steps=steps)


def test_what_is_no_graph_is_an_input_error(tmp_path):
    for graph in (None, 3, object(), tmp_path / "nothing.meta", str(tmp_path), ""):
        with pytest.raises((InputError, TypeError)):
            audit_graph(graph)


def test_it_is_public():
    assert bn_graph.audit_graph is audit_graph and "audit_graph" in dir(bn_graph)


def test_an_empty_graph_has_no_layer_and_no_finding():
    for graph in (tf.Graph(), tf.GraphDef(), tf.MetaGraphDef()):
        report = audit_graph(graph)
        assert report.findings == () and report.layers == ()
        check_form(report)


# The command.


SCRIPT_PATH = ROOT / "scripts" / "audit_graph.py"


@pytest.fixture
def command(monkeypatch, capfd):
    """Runs the command in this process: its exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT_PATH), *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit:
            runpy.run_path(str(SCRIPT_PATH), run_name="__main__")
        captured = capfd.readouterr()
        return exit.value.code or 0, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def metas(tmp_path_factory):
    """Name to a .meta file."""
    folder = tmp_path_factory.mktemp("metas")
    builders = {
        "clean": lambda: network(**BOTH),
        "error": lambda: network(**BOTH, updates="collected"),
        "warning": lambda: network(**BOTH, decay=0.1),
        "note": lambda: network(**BOTH, bias="before"),
        "hand": lambda: by_hand(False, False),
    }
    for name, build in builders.items():
        built = build()
        with built.graph.as_default():
            tf.train.export_meta_graph(str(folder / f"{name}.meta"))
    return folder


def test_the_exit_codes(command, metas):
    for name, code in (("clean", 0), ("note", 0), ("warning", 1), ("error", 1)):
        returned, out, err = command(metas / f"{name}.meta")
        assert (returned, err) == (code, "")
        assert out.strip()
    assert "updates-never-run" in out and "bn" in out
    returned, out, _ = command(metas / "clean.meta", "--num-steps", "10")
    assert returned == 1 and "slow-decay" in out
    assert command(metas / "hand.meta", "--train-op", "my_step")[0] == 1


def test_json(command, metas):
    for name, arguments in (("clean", []), ("note", []), ("error", ["--num-steps", "10"]), ("hand", [])):
        code, out, err = command(metas / f"{name}.meta", "--json", *arguments)
        found = json.loads(out)
        steps = dict(num_steps=10) if arguments else {}
        assert found == audit_graph(metas / f"{name}.meta", **steps).to_json()
        assert code == any(one["severity"] != "note" for one in found["findings"]) and err == ""


def test_several_paths_are_reported_one_after_the_other(command, metas):
    paths = [metas / f"{name}.meta" for name in ("clean", "error", "note")]
    code, out, err = command(*paths)
    assert (code, err) == (1, "")
    assert out == "\n\n".join(str(audit_graph(path)) for path in paths) + "\n"
    assert command(paths[0], paths[2])[0] == 0


def test_of_several_paths_those_that_can_be_read_are_reported(command, metas, tmp_path):
    (tmp_path / "text.meta").write_text("nothing")
    code, out, err = command(tmp_path / "none.meta", metas / "clean.meta", tmp_path / "text.meta", metas / "note.meta")
    assert code == 2
    assert out == f"{audit_graph(metas / 'clean.meta')}\n\n{audit_graph(metas / 'note.meta')}\n"
    first, second = err.splitlines()
    assert first.startswith("audit_graph.py: ") and "none.meta: there is no such file; there is " in first
    assert "text.meta: expected a MetaGraphDef" in second
    code, out, _ = command(metas / "clean.meta", tmp_path / "none.meta", "--json")
    assert code == 2 and [one["path"] for one in json.loads(out)] == [str(metas / "clean.meta")]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_printed(command, metas, name):
    paths = [metas / "error.meta", metas / "note.meta"]
    code, out, err = command(*paths, "--format", name)
    assert (code, err) == (1, "")
    assert out == FORMATS[name].render([audit_graph(path) for path in paths], several=True) + "\n"
    assert command(paths[0], "--format", name)[1] == FORMATS[name].render([audit_graph(paths[0])]) + "\n"


def test_the_exit_code_is_that_of_what_is_reported(command, metas):
    error = metas / "error.meta"
    for arguments, code in (
        (["--select", "updates-never-run"], 1),
        (["--select", "slow-decay,tiny-batch"], 0),
        (["--ignore", "updates-never-run"], 0),
        (["--ignore", "slow-decay, tiny-batch"], 1),
        (["--select", "updates-never-run,slow-decay", "--ignore", "updates-never-run"], 0),
        (["--severity", "error"], 1),
    ):
        returned, out, _ = command(error, *arguments)
        assert (returned, "updates-never-run" in out) == (code, bool(code)), arguments
        assert out.endswith(", 1 error\n" if code else ", 1 finding left out\n")
    assert command(metas / "warning.meta")[0] == 1
    assert command(metas / "warning.meta", "--severity", "error")[0] == 0
    assert command(metas / "note.meta", "--severity", "warning")[1].endswith(", 1 finding left out\n")


def test_what_is_run_beside_the_train_op_is_told(command, tmp_path):
    built = network(**BOTH, updates="collected")
    with built.graph.as_default():
        tf.group(*tf.get_collection(tf.GraphKeys.UPDATE_OPS), name="update")
        tf.train.export_meta_graph(str(tmp_path / "apart.meta"))
    assert "undecided[updates-never-run]" in command(tmp_path / "apart.meta")[1]
    returned, out, _ = command(tmp_path / "apart.meta", "--also-run", "update", "--also-run", "loss:0")
    assert returned == 0 and "undecided" not in out


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_colours_unless_somebody_does_not_want_them(monkeypatch):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert has_colours(Terminal()) and not has_colours(io.StringIO())
    for name, value, colours in (
        ("NO_COLOR", "1", False),
        ("NO_COLOR", "", True),
        ("TERM", "dumb", False),
        ("TERM", "xterm", True),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert has_colours(Terminal()) == colours


def test_a_terminal_is_coloured(metas):
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, SCRIPT_PATH, metas / "error.meta"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": ""},
    )
    os.close(theirs)
    with os.fdopen(ours, "rb") as terminal, contextlib.suppress(OSError):  # as it ends
        assert terminal.readline() == b"\x1b[31;1merror[updates-never-run]\x1b[0m: bn\r\n"
        terminal.read()
    assert process.wait() == 1


def test_the_unknown_train_op(command, metas):
    for arguments in (["--train-op", "nowhere"], ["--loss", "nowhere"]):
        code, out, err = command(metas / "clean.meta", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "nowhere" in err
    assert "GradientDescent" in command(metas / "clean.meta", "--train-op", "nowhere")[2]


def unreadable(folder, metas):
    """Name to a path that is no graph."""
    good = (metas / "error.meta").read_bytes()
    picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde" + bytes(range(256))
    contents = {"empty": b"", "text": b"The quick brown fox.\n" * 9, "truncated": good[: len(good) // 2 + 1]}
    contents.update(picture=picture, one_byte=b"\n", zeros=bytes(1000), claim=b"\x0a\xff\xff\xff\xff\x07abc")
    paths = {"missing": folder / "missing.meta", "missing prefix": folder / "model.ckpt-7"}
    for name, content in contents.items():
        for suffix in (".meta", ".pb", ".pbtxt", ".ckpt"):
            if content or suffix != ".pbtxt":
                paths[name + suffix] = folder / (name + suffix)
                paths[name + suffix].write_bytes(content)
    for name in ("directory", "directory with rubbish", "directory with an empty model"):
        paths[name] = folder / name
        paths[name].mkdir()
    (paths["directory with rubbish"] / "notes.txt").write_text("nothing")
    (paths["directory with an empty model"] / "saved_model.pb").write_bytes(b"")
    (folder / "broken.index").write_bytes(b"rubbish")
    (folder / "broken.data-00000-of-00001").write_bytes(b"rubbish")
    paths["broken checkpoint"] = folder / "broken"
    (folder / "graph.pbtxt").write_text('node { name: "a" op: "Const" ')
    paths["truncated text"] = folder / "graph.pbtxt"
    return paths


def test_what_cannot_be_read_is_one_clear_line(command, metas, tmp_path):
    for name, path in unreadable(tmp_path, metas).items():
        code, out, err = command(path)
        assert (code, out, err.count("\n")) == (2, "", 1), (name, code, out, err)
        assert path.name in err and "Traceback" not in err, (name, err)
        with pytest.raises(InputError):
            audit_graph(path)


def test_a_path_through_a_file_is_one_clear_line(command, metas):
    """As is a file without permission; but who runs tests may be allowed everything."""
    for name in ("graph.meta", "graph.pb", "saved_model.pb", "model.ckpt"):
        code, out, err = command(metas / "clean.meta" / name)
        assert (code, out, err.count("\n")) == (2, "", 1) and name in err


OPTIONS = "train-op also-run loss num-steps select ignore severity format json rules explain".split()


def test_help_names_every_option(command):
    code, out, _ = command("--help")
    assert code == 0 and all(f"--{option}" in out for option in OPTIONS)


def test_the_command_in_a_process_of_its_own(metas, tmp_path):
    """No line of TensorFlow on stderr."""
    process = run(sys.executable, SCRIPT_PATH, metas / "error.meta", "--json", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (1, "")
    assert json.loads(process.stdout)["findings"][0]["rule"] == "updates-never-run"
