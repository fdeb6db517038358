"""How the audit is asked and what it says: from Python, and by scripts/audit_graph.py."""

import json
import runpy
import sys

import pytest

import bn_graph
from bn_graph import InputError
from bn_graph.audit import audit_graph
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


def test_help_names_every_option(command):
    code, out, _ = command("--help")
    assert code == 0 and all(option in out for option in ("--train-op", "--loss", "--num-steps", "--json"))


def test_the_command_in_a_process_of_its_own(metas, tmp_path):
    """No line of TensorFlow on stderr."""
    process = run(sys.executable, SCRIPT_PATH, metas / "error.meta", "--json", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (1, "")
    assert json.loads(process.stdout)["findings"][0]["rule"] == "updates-never-run"
