"""What the audit says to write works where it is written: programs that save, freeze, serve, or use Keras' phase."""

import os
import shlex

import numpy as np
import pytest

from bn_graph.audit import audit_graph
from bn_graph.formats.tf_checkpoint import Checkpoint
from bn_graph.tf1 import tf
from tests.audit.advice import programs, proofs
from tests.audit.advice.fix import Fix
from tests.audit.advice.libraries import KERAS, LAYERS, SLIM
from tests.audit.advice.test_programs import by_rule
from tests.audit.cases.case import BOTH
from tests.audit.networks import network, new_graph
from tests.audit.pieces import dense, done, inputs
from tests.audit.sessions import initialize, session_of
from tests.helpers import in_process


def train_and_save(built, path, saver=None):
    with session_of(built.graph) as session:
        saver = saver or tf.train.Saver()
        initialize(session, built)
        proofs.train(session, built)
        return saver.save(session, str(path), write_state=False)


def only_fix(report, rule):
    (fix,) = set(by_rule(report, rule))
    return Fix(fix)


@pytest.mark.parametrize("layer", ["slim", "hand", "tensorpack", "sonnet"])
def test_the_statistics_are_saved_by_the_saver_of_the_fix(layer, tmp_path):
    built = network(layer, **BOTH, after=lambda: tf.train.Saver(tf.trainable_variables()))
    fix = only_fix(audit_graph(built.graph), "statistics-not-saved")
    with built.graph.as_default():
        broken = train_and_save(built, tmp_path / "broken", tf.train.Saver(tf.trainable_variables()))
        assert not by_rule(audit_graph(broken), "updates-never-run")
        assert only_fix(audit_graph(broken), "statistics-not-saved").text == fix.text
        mended = train_and_save(built, tmp_path / "mended", fix.execute()["saver"])
    statistics = [name for name in Checkpoint(mended).variables if "mean" in name or "var" in name]
    assert len(statistics) == 2 and not set(statistics) & set(Checkpoint(broken).variables)
    assert not by_rule(audit_graph(mended), "statistics-not-saved")


@pytest.mark.parametrize("layer", ["slim", "hand", "ema", "fused_v3", "tensorpack", "sonnet"])
def test_the_statistics_of_the_next_checkpoint_are_no_longer_untouched(layer, tmp_path):
    built = network(layer, **BOTH, updates="collected")
    before = train_and_save(built, tmp_path / "before")
    with built.graph.as_default():
        built.train = only_fix(audit_graph(before), "statistics-untouched").execute()["train_op"]
        built.arguments["train_op"] = built.train
    after = train_and_save(built, tmp_path / "after")
    report = audit_graph(after, train_op=built.train.name)
    assert not by_rule(report, "statistics-untouched") and not by_rule(report, "updates-never-run")


def follow_command(capfd, fix, built, folder):
    """Runs the first line of a fix, a command; the checkpoint that it writes."""
    np.savez(folder / "rows.npz", **{tensor.op.name: rows for tensor, rows in built.feed.items()})
    program, *arguments = shlex.split(fix.text.splitlines()[0].removeprefix("# python scripts/"))
    places = {name: folder / name for name in ("rows.npz", "recalibrated.ckpt", "train.meta")}
    process = in_process(capfd, program, *(places.get(argument, argument) for argument in arguments))
    assert process.returncode == 0, process.stderr
    return folder / "recalibrated.ckpt"


@pytest.mark.parametrize("graph", ["beside it", "elsewhere"])
@pytest.mark.parametrize("layer", ["slim", "hand", "fused_v3"])
def test_the_first_way_is_to_estimate_the_statistics_of_the_checkpoint_anew(layer, graph, tmp_path, capfd):
    """The command finds the graph where it lies beside the checkpoint, and else asks for it."""
    built = network(layer, **BOTH, updates="collected")
    path = train_and_save(built, tmp_path / "my model")
    if graph == "elsewhere":
        os.rename(f"{path}.meta", tmp_path / "train.meta")
    fix = only_fix(audit_graph(path), "statistics-untouched")
    assert ("--graph train.meta" in fix.text) == (graph == "elsewhere")
    report = audit_graph(follow_command(capfd, fix, built, tmp_path))
    assert not by_rule(report, "statistics-untouched") and report.layers


def test_both_rules_name_the_command_and_a_checkpoint_that_was_not_trained_has_nothing_to_rescue(tmp_path):
    built = network("slim", **BOTH, updates="collected")
    with built.graph.as_default():
        step = tf.train.get_or_create_global_step()
        saver, train_op = tf.train.Saver(), built.train.name
        with tf.Session() as session:
            initialize(session, built)
            session.run(step.initializer)
            new = saver.save(session, str(tmp_path / "new"))
            session.run(step.assign(7))
            trained = saver.save(session, str(tmp_path / "trained"))
    report = audit_graph(trained, train_op=train_op)
    fixes = {finding.rule: finding.fix for finding in report.findings}
    assert fixes.keys() == {"updates-never-run", "statistics-untouched"} and len(set(fixes.values())) == 1
    assert f"# python scripts/recalibrate.py {trained} recalibrated.ckpt --data" in fixes["updates-never-run"]
    (finding,) = audit_graph(new, train_op=train_op).findings
    assert finding.rule == "updates-never-run" and "recalibrate" not in finding.fix


def frozen(built, output, path):
    with session_of(built.graph) as session:
        initialize(session, built)
        proofs.train(session, built)
        graph_def = tf.graph_util.convert_variables_to_constants(session, built.graph.as_graph_def(), [output.op.name])
    path.write_bytes(graph_def.SerializeToString())
    return path


def test_a_graph_that_is_frozen_again_has_statistics(tmp_path):
    """The program that made it is not in a frozen graph, so that the fix is for UPDATE_OPS, where most have them."""
    built = network("slim", **BOTH, updates="collected")
    fix = only_fix(audit_graph(frozen(built, built.evaluate, tmp_path / "broken.pb")), "statistics-untouched")
    with built.graph.as_default():
        built.train = fix.execute()["train_op"]
    assert not audit_graph(frozen(built, built.evaluate, tmp_path / "mended.pb")).findings


@pytest.mark.parametrize("library", [pytest.param(one, marks=one.marks, id=str(one)) for one in (SLIM, LAYERS)])
def test_what_is_served_does_not_depend_on_its_batch(library, tmp_path):
    """`network` of the fix is the function that every program has; what it is called with is the fix."""

    def exported(name, fix):
        with new_graph() as graph:
            X, feed = inputs()
            norm = library.norm()
            x = norm(dense(X), fix.options.get("is_training", True))
            built = done(graph, None, feed, tf.nn.relu(x), feed)
            with tf.Session() as session:
                session.run(built.init)
                tf.saved_model.simple_save(session, str(tmp_path / name), {"x": X}, {"y": built.evaluate})
        return built

    broken = exported("broken", Fix())
    mended = exported("mended", only_fix(audit_graph(tmp_path / "broken"), "wrong-statistics"))
    with pytest.raises(AssertionError):
        proofs.is_independent(broken)
    proofs.is_independent(mended)
    assert not by_rule(audit_graph(tmp_path / "mended"), "wrong-statistics")


@pytest.mark.parametrize("library", [pytest.param(KERAS, marks=KERAS.marks, id="Keras 2")])
def test_the_phase_of_keras_is_fed_as_the_fix_says(library):
    """The graph stays as it is: what is fed is wrong or right."""
    with new_graph() as graph:
        X, feed = inputs()
        norm, h = library.norm(), dense(X)
        x = norm(h, None)
        train_op = Fix().train(programs.square(x), norm.get_updates_for(h))
        built = done(graph, train_op, feed)
        fix = only_fix(audit_graph(graph), "wrong-statistics")
        proofs.stays(built)
        built.feed = {**feed, **fix.execute(feed_dict={})["feed_dict"]}
        proofs.moves(built)


@pytest.mark.parametrize("library", [pytest.param(KERAS, marks=KERAS.marks, id="Keras 2")])
@pytest.mark.parametrize("version", [1, 2])
def test_the_updates_of_keras_are_run_by_their_names_and_by_its_own_way(library, version):
    for by_names in (True, False):
        with new_graph(version) as graph:
            X, feed = inputs()
            norm, h = library.norm(), dense(X)
            loss = programs.square(norm(h, None))
            built = done(graph, Fix().train(loss), {**feed, graph.get_tensor_by_name("keras_learning_phase:0"): True})
            fix = only_fix(audit_graph(graph), "updates-never-run")
            assert "UPDATE_OPS" not in fix.text and "model.get_updates_for(x)" in fix.text
            proofs.stays(built)
            if by_names:
                built.train = fix.execute()["train_op"]
            else:
                built.train = Fix().train(loss, norm.get_updates_for(h))
            proofs.moves(built)


def test_half_of_the_names_would_not_do():
    """The proofs see what is missing."""
    built = network("hand", **BOTH, updates="collected")
    with built.graph.as_default():
        built.graph.clear_collection(tf.GraphKeys.UPDATE_OPS)
        text = only_fix(audit_graph(built.graph), "updates-never-run").text
        lines = text.splitlines()
        built.train = Fix("\n".join([lines[0], *lines[2:]])).execute()["train_op"]
    with pytest.raises(AssertionError):
        proofs.moves(built)
    assert sum(line.startswith('    "') for line in lines) == 2
