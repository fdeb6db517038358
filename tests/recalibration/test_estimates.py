"""What is estimated: numpy, from the same rows, says the same."""

import numpy as np
import pytest

from bn_graph.tf1 import tf
from tests.audit.networks import LAYERS, UNITS, network, new_graph
from tests.audit.pieces import collected, dense, inputs, minimize, norm
from tests.recalibration.checkpoints import (
    BATCH,
    NUM_BATCHES,
    ROWS,
    assert_only_changed,
    assert_statistics,
    batches,
    data,
    moments,
    save,
    statistic_names,
    variable_decides,
)

pytestmark = pytest.mark.release

# Layers whose kernel hands out the variance with Bessel's correction.
CORRECTED = {"slim", "slim_list", "slim_zero_debias", "port_fused", "fused_v1", "fused_v2", "fused_v3", "tensorpack"}

GRAPHS = {
    "bool": lambda layer: network(layer, train=True, valid=False).graph,
    "bool, updates in place": lambda layer: network(layer, train=True, valid=False, updates="in_place").graph,
    "bool, updates run by nobody": lambda layer: network(layer, train=True, valid=False, updates="collected").graph,
    "placeholder, Switch and Merge": lambda layer: network(layer, train="placeholder", version=1).graph,
    "placeholder, If": lambda layer: network(layer, train="placeholder", version=2).graph,
    "placeholder with a default": lambda layer: network(layer, train=("default", False)).graph,
    "variable, Switch and Merge": lambda layer: variable_decides(layer, 1),
    "variable, If": lambda layer: variable_decides(layer, 2),
}


def recalibrated(graph, folder, **options):
    saved = save(graph, folder)
    report, values = saved.recalibrate(data={"X": data()}, batch_size=BATCH, **options)
    assert report.complete
    return saved, report, values


EVERY_LAYER = ("bool, updates run by nobody", "placeholder, Switch and Merge", "placeholder, If", "variable, If")
SOME_LAYERS = ("hand", "slim_unfused", "fused_v3")


@pytest.mark.parametrize(
    ("layer", "form"),
    [(layer, form) for layer in LAYERS for form in GRAPHS if form in EVERY_LAYER or layer in SOME_LAYERS],
)
def test_a_layer_of_any_library_gets_the_moments_of_its_rows(layer, form, tmp_path):
    saved, report, values = recalibrated(GRAPHS[form](layer), tmp_path)
    weights = next(value for name, value in values.items() if name in ("w", "layer/w"))
    expected = moments([x @ weights for x in batches(data())], layer in CORRECTED)
    names = statistic_names(values)
    assert_statistics(values, names, expected)
    assert_only_changed(saved.values, values, names)
    assert [(change.channels, set(change.variables)) for change in report.layers] == [(UNITS, set(names))]


@pytest.mark.parametrize("estimate", ["population", "batch"])
@pytest.mark.parametrize("layer", ["hand", "fused_v3"])
def test_the_variance_is_biased_or_corrected_as_the_layer_itself_stores_it(layer, estimate, tmp_path):
    _, report, values = recalibrated(network(layer).graph, tmp_path, estimate=estimate)
    groups = [x @ values["w"] for x in batches(data())]
    corrected = layer == "fused_v3"
    assert [change.corrected for change in report.layers] == [corrected] and report.estimate == estimate
    expected, other = (moments(groups, which, estimate) for which in (corrected, not corrected))
    assert_statistics(values, statistic_names(values), expected)
    assert np.all(np.abs(other[1] / expected[1] - 1) > 1e-2)  # the test can tell


def test_a_layer_by_hand_that_corrects_its_variance_itself_is_measured_to_do_so(tmp_path):
    names = ("moving_mean", "moving_variance")
    with new_graph() as graph:
        X, _ = inputs(BATCH)
        x = dense(X)
        mean, variance = (tf.get_variable(name, [UNITS], trainable=False) for name in names)
        batch_mean, batch_variance = tf.nn.moments(x, [0])
        corrected = batch_variance * (BATCH / (BATCH - 1))
        for moving, value in ((mean, batch_mean), (variance, corrected)):
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign(moving, 0.9 * moving + 0.1 * value))
        outputs = tf.nn.batch_normalization(x, batch_mean, batch_variance, None, None, 1e-3)
        minimize(tf.reduce_mean(outputs**2), collected())
    _, report, values = recalibrated(graph, tmp_path)
    assert [change.corrected for change in report.layers] == [True]
    expected = moments([x @ values["dense/w"] for x in batches(data())], corrected=True)
    assert_statistics(values, names, expected)


def two_layers():
    with new_graph() as graph:
        X, _ = inputs(None)
        for number in (1, 2):
            X = tf.nn.relu(norm(dense(X, scope=f"dense{number}"), scope=f"bn{number}", fused=False, scale=True))
        minimize(tf.reduce_mean(X**2), collected())
    return graph


def test_every_layer_is_estimated_and_those_in_front_normalise_by_their_batch_meanwhile(tmp_path):
    """A layer that was missed would keep the random statistics of the checkpoint."""
    saved, report, values = recalibrated(two_layers(), tmp_path)
    first, second = [], []
    for x in batches(data()):
        first.append(x @ values["dense1/w"])
        normalized = (first[-1] - first[-1].mean(0)) / np.sqrt(first[-1].var(0) + 1e-3)
        normalized = normalized * values["bn1/gamma"] + values["bn1/beta"]
        second.append(np.maximum(normalized, 0) @ values["dense2/w"])
    for layer, groups in (("bn1", first), ("bn2", second)):
        names = [f"{layer}/moving_mean", f"{layer}/moving_variance"]
        assert_statistics(values, names, moments(groups, corrected=False))
    assert len(report.layers) == 2


def test_the_statistics_are_those_of_the_tower_that_is_trained(tmp_path):
    """The evaluation tower has another input, and its rows are far from those of training."""
    graph = network("hand", train=True, valid=True, updates="collected").graph
    saved = save(graph, tmp_path)
    _, values = saved.recalibrate(data={"X": data(), "valid_X": data() * 3 + 20}, batch_size=BATCH)
    expected = moments([x @ values["w"] for x in batches(data())], corrected=False)
    assert_statistics(values, ("bn/pop_mean", "bn/pop_var"), expected)


def test_several_towers_that_are_trained_have_all_their_rows_in_the_estimate(tmp_path):
    with new_graph() as graph:
        losses = []
        for number in (0, 1):
            X, _ = inputs(BATCH, name=f"X{number}")
            reuse = number > 0 or None
            outputs = norm(dense(X, reuse=reuse), reuse=reuse, fused=False)
            losses.append(tf.reduce_mean(outputs**2))
        minimize(tf.add_n(losses), collected())
    saved = save(graph, tmp_path)
    _, values = saved.recalibrate(data={"X0": data(1), "X1": data(2) + 5})
    groups = [x @ values["dense/w"] for x in batches(data(1)) + batches(data(2) + 5)]
    assert_statistics(values, ("bn/moving_mean", "bn/moving_variance"), moments(groups, corrected=False))


def test_a_moving_second_moment_becomes_the_mean_of_the_squares(tmp_path):
    with new_graph() as graph:
        X, _ = inputs(None)
        x = dense(X)
        is_training = tf.placeholder(tf.bool, [], name="is_training")
        names = ("moving_mean", "moving_second_moment")
        mean, second = (tf.get_variable(name, [UNITS], trainable=False) for name in names)
        batch_mean, batch_second = tf.reduce_mean(x, 0), tf.reduce_mean(x**2, 0)
        for moving, value in ((mean, batch_mean), (second, batch_second)):
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign(moving, 0.9 * moving + 0.1 * value))
        used = tf.cond(
            is_training,
            lambda: (batch_mean, batch_second - batch_mean**2),
            lambda: (tf.identity(mean), tf.identity(second) - tf.square(mean)),
        )
        minimize(tf.reduce_mean(tf.nn.batch_normalization(x, *used, None, None, 1e-3) ** 2), collected())
    saved, _, values = recalibrated(graph, tmp_path)
    rows = np.concatenate([x @ values["dense/w"] for x in batches(data())])
    assert_statistics(values, names, (rows.mean(0), (rows**2).mean(0)))
    assert_only_changed(saved.values, values, names)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_the_channels_of_pictures_are_where_the_data_format_says(data_format, fused, tmp_path):
    shape, axes = {"NHWC": ([None, 4, 3, 2], (0, 1, 2)), "NCHW": ([None, 2, 4, 3], (0, 2, 3))}[data_format]
    with new_graph() as graph:
        X = tf.placeholder(tf.float32, shape, name="X")
        outputs = norm(X * tf.get_variable("scale", []), data_format=data_format, fused=fused)
        minimize(tf.reduce_mean(outputs), collected())
    saved = save(graph, tmp_path)
    pictures = np.random.RandomState(1).randn(ROWS, *shape[1:]).astype("f4")
    _, values = saved.recalibrate(data={"X": pictures}, batch_size=BATCH)
    x = pictures.astype("f8") * saved.values["scale"]
    expected = x.mean(axes), x.var(axes, ddof=int(fused))
    assert_statistics(values, ("bn/moving_mean", "bn/moving_variance"), expected)


def test_the_standard_error_is_how_far_the_batches_are_apart_and_unknown_after_one(tmp_path):
    saved, report, values = recalibrated(network("hand").graph, tmp_path)
    groups = [x @ values["w"] for x in batches(data())]
    means, variances = np.array([x.mean(0) for x in groups]), np.array([x.var(0) for x in groups])
    population = np.concatenate(groups).var(0)
    (change,) = report.layers
    expected = [means.std(0, ddof=1) / np.sqrt(NUM_BATCHES), variances.std(0, ddof=1) / np.sqrt(NUM_BATCHES)]
    np.testing.assert_allclose(change.mean_error, (expected[0] / np.sqrt(population)).max(), rtol=1e-4)
    np.testing.assert_allclose(change.variance_error, (expected[1] / population).max(), rtol=1e-4)
    moved = np.concatenate(groups).mean(0) - saved.values["bn/pop_mean"]
    np.testing.assert_allclose(change.mean_change, np.abs(moved / np.sqrt(population)).max(), rtol=1e-4)
    report, _ = saved.recalibrate("one", data={"X": data()}, batches=1)
    assert report.layers[0].mean_error is None and "not known after one batch" in str(report)


def test_another_seed_draws_other_rows_and_the_same_seed_the_same(tmp_path):
    saved = save(network("hand").graph, tmp_path)
    drawn = [
        saved.recalibrate(str(number), data={"X": data()}, batches=1, seed=seed)[1]["bn/pop_mean"]
        for number, seed in enumerate((1, 1, 2))
    ]
    assert np.array_equal(drawn[0], drawn[1]) and not np.allclose(drawn[0], drawn[2])


def test_what_dropout_keeps_is_fed(tmp_path):
    with new_graph() as graph:
        X, _ = inputs(None)
        keep_prob = tf.placeholder_with_default(0.5, [], name="keep_prob")
        outputs = norm(dense(tf.nn.dropout(X, keep_prob)), fused=False)
        minimize(tf.reduce_mean(outputs**2), collected())
    saved = save(graph, tmp_path)
    with_dropout = saved.recalibrate("with", data={"X": data()}, batch_size=BATCH)[1]["bn/moving_variance"]
    _, values = saved.recalibrate("without", data={"X": data()}, batch_size=BATCH, feed={"keep_prob": 1.0})
    expected = moments([x @ values["dense/w"] for x in batches(data())], corrected=False)
    assert_statistics(values, ("bn/moving_mean", "bn/moving_variance"), expected)
    assert np.all(with_dropout > 1.05 * expected[1])
