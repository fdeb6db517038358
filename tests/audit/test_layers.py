"""Layers of every kind and library are found, and judged as a session judges them."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from bn_graph import NOTEBOOK, PAGE, SCRIPT, build_graph
from bn_graph.audit import audit_graph
from bn_graph.mnist import Splits
from bn_graph.tf1 import tf, tf_slim
from tests.audit.findings import (
    BIAS,
    DROPOUT,
    DUPLICATE,
    IN_EVALUATION,
    NEVER_RUN,
    SLOW,
    SUSPECT,
    UNUSED,
    WRONG,
    audit,
    check_form,
    errors,
    kinds,
    names_of,
)
from tests.audit.networks import INPUTS, LAYERS, network, new_graph, step_of
from tests.audit.pieces import collected, dense, done, inputs, minimize, norm
from tests.paths import PACKAGED

VARIANTS = {
    "towers": dict(train=True, valid=False),
    "placeholder, v1, references": dict(train="placeholder", version=1, resource=False),
    "placeholder, v2": dict(train="placeholder", version=2),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("layer", list(LAYERS))
def test_every_kind_of_layer_says_whether_its_updates_run(layer, variant):
    expected = {"control_dependencies": set(), "collected": {NEVER_RUN}, "in_place": set()}
    thorough = layer in ("slim", "hand", "fused_v3")
    for updates in expected if thorough else random.Random(layer + variant).sample(list(expected), 2):
        built = network(layer, updates=updates, **VARIANTS[variant])
        report = audit(built)
        assert kinds(report) == expected[updates], (updates, str(report))
        assert len(report.layers) == 1
        assert {finding.layer for finding in report.findings} <= {"bn"}
        if thorough:
            assert step_of(built) == ({"bn"} if updates == "collected" else set(), False)


def random_network(draw):
    """Arguments of `network`, at random."""
    train = draw.choice([True, True, False, "placeholder", "placeholder", ("default", True), ("default", False)])
    version = draw.choice([1, 2])
    return dict(
        layer=draw.choice(list(LAYERS)),
        train=train,
        valid=draw.choice([None, False, False, False, True]) if isinstance(train, bool) else None,
        updates=draw.choice(
            ["control_dependencies", "collected", "in_place", "group", "loss", "create_train_op", "early"]
        ),
        version=version,
        resource=draw.random() < 0.5 or version == 2 and not isinstance(train, bool),
        optimizer=draw.choice(["sgd", "adam", "momentum"]),
        named=draw.random() < 0.3,
        collection=draw.random() < 0.8,
        bias=draw.choice([None, "before", "relu"]),
    )


@pytest.mark.parametrize("seed", range(12))
def test_a_random_network_is_judged_as_the_session_judges_it(seed):
    arguments = random_network(random.Random(seed))
    built = network(**arguments)
    report = audit(built)
    found = kinds(report)
    still, evaluation_moves = step_of(built)
    train, valid = arguments["train"], arguments["valid"]
    if train is not False:
        assert (NEVER_RUN in found) == bool(still), arguments
    if evaluation_moves or valid is not True:
        assert (IN_EVALUATION in found) == evaluation_moves, arguments
    assert (WRONG in found) == (train is False or valid is True), arguments
    assert (SUSPECT in found) == isinstance(train, tuple), arguments
    assert (BIAS in found) == (arguments["bias"] == "before" and train is not False) or valid is True, arguments
    rest = found - {NEVER_RUN, IN_EVALUATION, WRONG, SUSPECT, BIAS}
    assert not rest or valid is True and rest == {DUPLICATE}, arguments


# Keras, where the installed version has it.


def keras3(updates):
    """The installed Keras in a graph: its updates are in no collection."""
    with new_graph() as graph:
        X, feed = inputs()
        layer = tf.keras.layers.BatchNormalization(name="bn", momentum=0.9)
        output = layer(dense(X), training=True)
        valid = layer(dense(X, reuse=True), training=False)
        ops = [op for op in graph.get_operations() if op.type == "AssignVariableOp" and op.name.startswith("bn_")]
        train_op = minimize(tf.reduce_mean(output**2), ops if updates else [])
        return done(graph, train_op, feed, valid, feed)


@pytest.mark.keras
@pytest.mark.parametrize("updates", [False, True])
def test_keras_in_a_graph(updates):
    built = keras3(updates)
    report = audit(built)
    assert kinds(report) == (set() if updates else {NEVER_RUN})
    assert step_of(built)[0] == (set() if updates else {"bn"})


@pytest.mark.keras
@pytest.mark.parametrize("updates", [False, True])
def test_legacy_keras_in_a_graph(updates):
    keras = pytest.importorskip("tf_keras")
    with new_graph() as graph:
        layer = keras.layers.BatchNormalization(name="bn", momentum=0.9)
        x = keras.Input([INPUTS], name="X")
        model = keras.Model(x, keras.layers.Dense(3)(layer(x)))
        train_op = minimize(tf.reduce_mean(model.output**2), model.updates if updates else [])
        phase = graph.get_tensor_by_name("keras_learning_phase:0")
        feed = {x: np.random.RandomState(5).randn(16, INPUTS)}
        built = done(graph, train_op, {**feed, phase: True}, model.output, feed)
    report = audit(built)
    assert kinds(report) == ({SUSPECT} if updates else {NEVER_RUN})  # nobody need feed the phase
    assert step_of(built)[0] == (set() if updates else {"bn"})


@pytest.mark.keras
@pytest.mark.parametrize("updates", [False, True])
def test_tf_layers_in_a_graph(updates):
    batch_normalization = pytest.importorskip("tf_keras.src.legacy_tf_layers.normalization").batch_normalization
    with new_graph() as graph:
        X, feed = inputs()
        is_training = tf.placeholder(tf.bool, [], name="is_training")
        output = batch_normalization(dense(X), training=is_training, momentum=0.9, name="bn")
        train_op = minimize(tf.reduce_mean(output**2), collected() if updates else [])
        built = done(graph, train_op, {**feed, is_training: True}, output, {**feed, is_training: False})
    report = audit(built)
    assert kinds(report) == (set() if updates else {NEVER_RUN})
    assert step_of(built) == (set() if updates else {"bn"}, False)


# Graphs that nobody here wrote: the tutorial, TF 0.12.1, tf_slim.nets.


@pytest.fixture(scope="module")
def splits():
    draw = np.random.RandomState(6)

    def rows(n):
        return draw.rand(n, 784).astype(np.float32), np.eye(10, dtype=np.float32)[draw.randint(10, size=n)]

    (train_X, train_y), (valid_X, valid_y), (test_X, test_y) = rows(100), rows(20), rows(20)
    nobody = np.arange(0)
    return Splits(train_X, train_y, valid_X, valid_y, test_X, test_y, nobody, nobody, nobody, "stratified", "fake")


TUTORIALS = list(
    itertools.product((PAGE, SCRIPT, NOTEBOOK), ("control_dependencies", "in_place", "collected"), ("bool",))
)
TUTORIALS += [(PAGE, "collected", "placeholder"), (SCRIPT, "in_place", "placeholder")]
TUTORIALS += [(NOTEBOOK, "control_dependencies", "placeholder")]


@pytest.mark.parametrize("edition, updates, is_training", TUTORIALS, ids=lambda one: getattr(one, "edition", one))
def test_the_tutorial(splits, edition, updates, is_training):
    config = replace(edition, updates=updates, is_training=is_training, seed=1, hidden_size=16)
    tutorial = build_graph(config, splits)
    report = audit_graph(tutorial.graph, num_steps=1000)
    check_form(report, names_of(tutorial.graph.as_graph_def()))
    expected = {BIAS} | ({NEVER_RUN} if updates == "collected" else set()) | ({UNUSED} if not config.scale else set())
    found = {(finding.rule, finding.severity, finding.layer) for finding in report.findings}
    both = {(*kind, layer) for kind in expected for layer in ("hidden_layer", "output_layer")}
    assert found == both | {(*DROPOUT, "output_layer")}
    assert len(report.layers) == 2
    again = audit_graph(tutorial.graph, train_op=tutorial.train_op, num_steps=20)
    assert kinds(again) == expected | {SLOW, DROPOUT}


@pytest.mark.parametrize("name", ["page", "page_control_dependencies", "script", "notebook"])
def test_what_tf_0_12_1_recorded(name):
    path = PACKAGED / "graph" / f"{name}.meta"
    report = audit_graph(path)
    meta = tf.MetaGraphDef.FromString(path.read_bytes())
    check_form(report, names_of(meta.graph_def))
    expected = {BIAS} | ({NEVER_RUN} if name == "page" else set()) | ({UNUSED} if name != "notebook" else set())
    found = {(finding.rule, finding.severity, finding.layer) for finding in report.findings}
    both = {(*kind, layer) for kind in expected for layer in ("hidden_layer", "output_layer")}
    assert found == both | {(*DROPOUT, "output_layer")}


def normalized(is_training=True):
    return tf_slim.arg_scope(
        [tf_slim.conv2d, tf_slim.fully_connected],
        normalizer_fn=tf_slim.batch_norm,
        normalizer_params={"is_training": is_training, "decay": 0.9},
    )


AFTER_DROPOUT = {"alexnet": ["alexnet_v2"], "overfeat": ["overfeat"], "vgg_a": ["vgg_a"]}  # fc6, dropout6, fc7


def nets():
    """Name to: the network of 8 pictures, their size, and the scope in which batch norm is there."""
    from tf_slim.nets import alexnet, inception, overfeat, resnet_utils, resnet_v1, resnet_v2, vgg

    def residual():
        return tf_slim.arg_scope(resnet_utils.resnet_arg_scope(batch_norm_decay=0.9))

    return {
        "alexnet": (lambda x: alexnet.alexnet_v2(x, 10, spatial_squeeze=False), 231, normalized),
        "overfeat": (lambda x: overfeat.overfeat(x, 10, spatial_squeeze=False), 231, normalized),
        "vgg_a": (lambda x: vgg.vgg_a(x, 10, spatial_squeeze=False), 224, normalized),
        "inception_v1": (lambda x: inception.inception_v1(x, 10), 224, normalized),
        "inception_v2": (lambda x: inception.inception_v2(x, 10, depth_multiplier=0.1), 224, normalized),
        "inception_v3": (lambda x: inception.inception_v3(x, 10, depth_multiplier=0.1), 299, normalized),
        "resnet_v1_50": (lambda x: resnet_v1.resnet_v1_50(x, 10), 32, residual),
        "resnet_v2_50": (lambda x: resnet_v2.resnet_v2_50(x, 10), 32, residual),
    }


NETS = ("alexnet", "overfeat", "vgg_a", "inception_v1", "inception_v2", "inception_v3", "resnet_v1_50", "resnet_v2_50")


@pytest.mark.parametrize("name", NETS)
def test_the_networks_of_tf_slim(name):
    build, size, scope = nets()[name]
    with tf.Graph().as_default() as graph:
        with scope():
            logits, ends = build(tf.zeros([8, size, size, 3]))
            loss = sum(tf.reduce_mean(one**2) for one in (logits, ends.get("AuxLogits", logits)))
        layers = {v.op.name.rpartition("/")[0] for v in tf.global_variables() if v.op.name.endswith("moving_mean")}
        minimized = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        report = audit_graph(graph)
        dropout = {(*DROPOUT, f"{scope}/fc7/BatchNorm") for scope in AFTER_DROPOUT.get(name, ())}
        found = {(one.rule, one.severity, one.layer) for one in report.findings}
        assert found == {(*NEVER_RUN, one) for one in layers} | dropout
        assert len(report.layers) == len(layers) > 5
        if name in ("alexnet", "inception_v1", "resnet_v2_50"):  # one of each kind: gradients take their time
            train_op = tf_slim.learning.create_train_op(loss, tf.train.GradientDescentOptimizer(0.1))
        else:
            train_op = tf.group(minimized, *collected())
        found = {(one.rule, one.severity, one.layer) for one in audit_graph(graph, train_op=train_op).findings}
        assert found == dropout


def test_a_head_that_is_not_in_the_loss():
    """Inception 3's auxiliary head, when nobody asks for it: nothing trains it, and nothing evaluates with it."""
    with new_graph() as graph:
        X, feed = inputs()
        trunk = norm(dense(X), scope="trunk")
        norm(dense(trunk, scope="aside"), scope="head")
        train_op = minimize(tf.reduce_mean(trunk**2), collected())
        assert not errors(audit(done(graph, train_op, feed)))


def test_a_network_of_tf_slim_with_an_evaluation_tower():
    from tf_slim.nets import alexnet

    with tf.Graph().as_default() as graph:
        X = tf.placeholder(tf.float32, [8, 231, 231, 3])
        outputs = []
        for is_training in (True, False):
            with tf.variable_scope(tf.get_variable_scope(), reuse=not is_training), normalized(is_training):
                outputs.append(alexnet.alexnet_v2(X, 10, is_training=is_training, spatial_squeeze=False)[0])
        tf_slim.learning.create_train_op(tf.reduce_mean(outputs[0] ** 2), tf.train.GradientDescentOptimizer(0.1))
        report = audit_graph(graph)
        found = [(one.rule, one.severity, one.layer) for one in report.findings]
        assert found == [(*DROPOUT, "alexnet_v2/fc7/BatchNorm")] and len(report.layers) == 7


@pytest.mark.parametrize("name", ["alexnet", "overfeat", "vgg_a"])
def test_networks_without_batch_norm(name):
    build, size, _ = nets()[name]
    with tf.Graph().as_default() as graph:
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(build(tf.zeros([8, size, size, 3]))[0] ** 2))
    report = audit_graph(graph)
    assert report.findings == () and report.layers == ()
