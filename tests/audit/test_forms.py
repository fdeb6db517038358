"""One graph in many forms: files of every kind, other orders and names, round trips."""

import itertools
import random

import numpy as np
import pytest
from google.protobuf import text_format

from bn_graph.audit import audit_graph
from bn_graph.tf1 import tf
from tests.audit.cases.case import BOTH
from tests.audit.cases.update_ops import no_updates, two_layers, update_branch
from tests.audit.cases.variables import trainable
from tests.audit.cases.wrong_statistics import unshared
from tests.audit.findings import NEVER_RUN, NOT_SAVED, UNTOUCHED, WRONG, check_form, kinds, names_of
from tests.audit.networks import control_flow, network
from tests.audit.pieces import dense, inputs

# Checkpoints, SavedModels, frozen graphs.


def saved(built, folder, steps=3, meta=True, **saver_arguments):
    """Trains some steps and saves; the checkpoint's prefix."""
    with built.graph.as_default():
        if saver_arguments.get("var_list") == "trainable":
            saver_arguments["var_list"] = tf.trainable_variables()
        saver = tf.train.Saver(**saver_arguments)
        with tf.Session() as session:
            session.run(built.init)
            for _ in range(steps):
                session.run(built.train, built.feed)
            return saver.save(session, str(folder / "model.ckpt"), write_meta_graph=meta, write_state=False)


@pytest.mark.parametrize("version", [tf.train.SaverDef.V1, tf.train.SaverDef.V2], ids=["V1", "V2"])
@pytest.mark.parametrize("layer", ["slim", "hand", "tensorpack", "sonnet"])
def test_checkpoints(layer, version, tmp_path):
    for updates, meta, expected in (
        ("control_dependencies", True, set()),
        ("control_dependencies", False, set()),
        ("collected", True, {NEVER_RUN, UNTOUCHED}),
        ("collected", False, {UNTOUCHED}),
    ):
        folder = tmp_path / f"{updates}{meta}"
        folder.mkdir()
        path = saved(network(layer, updates=updates, **BOTH), folder, meta=meta, write_version=version)
        for spelling in (path, folder / "model.ckpt"):
            report = audit_graph(spelling)
            check_form(report)
            assert kinds(report) == expected, (updates, meta, str(report))
            assert {finding.layer for finding in report.findings} <= {"bn"}


def test_a_checkpoint_without_its_statistics(tmp_path):
    report = audit_graph(saved(network(**BOTH), tmp_path, var_list="trainable"))
    check_form(report)
    assert kinds(report) == {NOT_SAVED}


def test_a_checkpoint_of_two_layers_of_which_one_is_untouched(tmp_path):
    path = saved(two_layers("between"), tmp_path)
    report = audit_graph(path)
    assert {(one.rule, one.layer) for one in report.findings} == {
        ("updates-never-run", "bn2"),
        ("statistics-untouched", "bn2"),
    }
    for file in tmp_path.glob("*.meta"):
        file.unlink()
    assert {(one.rule, one.layer) for one in audit_graph(path).findings} == {("statistics-untouched", "bn2")}


def test_a_checkpoint_before_the_first_step(tmp_path):
    built = network(**BOTH, updates="create_train_op")
    path = saved(built, tmp_path, steps=0)
    report = audit_graph(path)
    check_form(report)
    assert report.findings == ()
    assert [(one["rule"], one["layer"]) for one in report.to_json()["undecided"]] == [("statistics-untouched", "bn")]
    assert audit_graph(saved(built, tmp_path, steps=1)).findings == ()


def test_a_checkpoint_whose_mean_is_still_0_and_whose_variance_is_not_1(tmp_path):
    built = network(**BOTH)
    next_feed = {key: np.zeros_like(value) for key, value in built.feed.items()}
    built.feed = next_feed  # the batch's mean is 0, its variance too: the moving variance leaves 1
    assert audit_graph(saved(built, tmp_path)).findings == ()


def test_the_checkpoints_graph_is_audited_too(tmp_path):
    path = saved(network(train=True, valid=True, updates="early"), tmp_path)
    assert WRONG in kinds(audit_graph(path))


@pytest.mark.parametrize("updates", ["control_dependencies", "collected"])
def test_saved_models(updates, tmp_path):
    built = network(**BOTH, updates=updates)
    with built.graph.as_default(), tf.Session() as session:
        session.run(built.init)
        session.run(built.train, built.feed)
        (x,) = built.evaluation_feed
        tf.saved_model.simple_save(session, str(tmp_path / "saved"), {"x": x}, {"y": built.evaluate})
    report = audit_graph(tmp_path / "saved")
    check_form(report)
    assert kinds(report) - {NEVER_RUN} == ({UNTOUCHED} if updates == "collected" else set())
    assert (NEVER_RUN in kinds(report)) == (updates == "collected")


@pytest.mark.parametrize("layer", ["slim", "slim_unfused", "hand", "tensorpack"])
@pytest.mark.parametrize("updates", ["control_dependencies", "collected"])
def test_frozen_graphs(layer, updates, tmp_path):
    built = network(layer, **BOTH, updates=updates)
    with built.graph.as_default(), tf.Session() as session:
        session.run(built.init)
        session.run(built.train, built.feed)
        constant = tf.graph_util.convert_variables_to_constants(
            session, built.graph.as_graph_def(), [built.evaluate.op.name]
        )
    (tmp_path / "frozen.pb").write_bytes(constant.SerializeToString())
    report = audit_graph(tmp_path / "frozen.pb")
    check_form(report, names_of(constant))
    assert kinds(report) == ({UNTOUCHED} if updates == "collected" else set())
    assert {finding.layer for finding in report.findings} <= {"bn"}
    assert report.to_json() == audit_graph(constant).to_json()


# Properties.


PROPERTIES = {
    "clean": lambda: network("slim_unfused", **BOTH),
    "never run": lambda: network("slim", train="placeholder", version=1, resource=False, updates="collected"),
    "never run, v2": lambda: network("slim", train="placeholder", updates="collected", bias="before"),
    "wrong": lambda: network("hand", train=True, valid=True, updates="in_place"),
    "frozen": lambda: network("slim_unfused", train=False, valid=False),
    "unshared": lambda: unshared("named scope"),
    "no updates": lambda: no_updates(False),
    "other branch": lambda: update_branch("evaluation"),
    "notes": lambda: network("ema", **BOTH, scale=False, bias="before", decay=0.1),
    "mixed": lambda: network("slim_list", valid_layer="slim_unfused", **BOTH),
    "trainable": lambda: trainable("moving_mean", **BOTH),
}


@pytest.fixture(scope="module", params=PROPERTIES)
def known(request):
    """A graph, its MetaGraphDef, the train op's name, and the report."""
    built = PROPERTIES[request.param]()
    with built.graph.as_default():
        meta = tf.train.export_meta_graph(clear_devices=False)
    return built, meta, built.train.name, audit_graph(built.graph)


def broken(report, prefix=""):
    """The findings, without the texts and the collections' own."""
    return {
        (one.rule, one.severity, one.layer.removeprefix(prefix))
        for one in report.findings
        if one.rule != "trainable-statistics"
    }


def test_the_same_from_every_form(known, tmp_path):
    built, meta, train_op, report = known
    (tmp_path / "graph.meta").write_bytes(meta.SerializeToString())
    for one in (meta, tmp_path / "graph.meta", str(tmp_path / "graph.meta")):
        assert audit_graph(one).to_json() == report.to_json()
    definition = built.graph.as_graph_def(add_shapes=True)
    (tmp_path / "graph.pb").write_bytes(definition.SerializeToString())
    (tmp_path / "graph.pbtxt").write_text(text_format.MessageToString(definition))
    alone = audit_graph(definition, train_op=train_op)
    assert broken(alone) == broken(report)
    assert len(alone.layers) == len(report.layers)
    for name in ("graph.pb", "graph.pbtxt"):
        assert audit_graph(tmp_path / name, train_op=train_op).to_json() == alone.to_json()


def test_the_order_of_the_nodes_does_not_matter(known):
    _, meta, _, report = known
    for seed in range(3):
        shuffled = tf.MetaGraphDef()
        shuffled.CopyFrom(meta)
        for repeated in (shuffled.graph_def.node, shuffled.graph_def.library.function):
            order = list(repeated)
            random.Random(seed).shuffle(order)
            del repeated[:]
            repeated.extend(order)
        assert audit_graph(shuffled).to_json() == report.to_json()


def test_a_prefix_changes_the_names_and_nothing_else(known):
    built, _, train_op, report = known
    with control_flow(2), tf.Graph().as_default() as graph:
        tf.import_graph_def(built.graph.as_graph_def(add_shapes=True), name="pre/fix")
    prefixed = audit_graph(graph, train_op=f"pre/fix/{train_op}")
    check_form(prefixed, names_of(graph.as_graph_def()))
    assert broken(prefixed, "pre/fix/") == broken(report)
    assert all(finding.layer.startswith("pre/fix") for finding in prefixed.findings)


def test_unrelated_nodes_change_nothing(known):
    _, meta, _, report = known
    with tf.Graph().as_default() as other:
        X, _ = inputs(name="another_input")
        dense(X, scope="another")
        tf.cond(tf.placeholder(tf.bool, name="another_condition"), lambda: tf.zeros([3]), lambda: tf.ones([3]))
        tf.nn.moments(X, [0], name="another_moment")
    more = tf.MetaGraphDef()
    more.CopyFrom(meta)
    names = names_of(meta.graph_def)
    more.graph_def.node.extend(node for node in other.as_graph_def().node if node.name not in names)
    more.graph_def.library.function.extend(other.as_graph_def().library.function)
    assert audit_graph(more).to_json() == report.to_json()


def test_a_round_trip_through_import_meta_graph_changes_nothing(known):
    _, meta, _, report = known
    with tf.Graph().as_default() as graph:
        tf.train.import_meta_graph(meta)
    assert broken(audit_graph(graph)) == broken(report)


def test_the_audit_changes_nothing(known):
    built, meta, _, report = known
    before = built.graph.as_graph_def().SerializeToString(deterministic=True)
    collections = {key: list(built.graph.get_collection(key)) for key in built.graph.get_all_collection_keys()}
    text = meta.SerializeToString(deterministic=True)
    assert audit_graph(built.graph).to_json() == audit_graph(meta).to_json() == report.to_json()
    assert built.graph.as_graph_def().SerializeToString(deterministic=True) == before
    assert {key: list(built.graph.get_collection(key)) for key in built.graph.get_all_collection_keys()} == collections
    assert meta.SerializeToString(deterministic=True) == text


def test_a_graph_def_without_collections_says_the_same():
    for layer, (updates, expected) in itertools.product(
        ("slim", "hand"), (("group", set()), ("control_dependencies", set()), ("collected", {NEVER_RUN}))
    ):
        built = network(layer, updates=updates, **BOTH)
        report = audit_graph(built.graph.as_graph_def())
        check_form(report, names_of(built.graph.as_graph_def()))
        assert kinds(report) == expected
