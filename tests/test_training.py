"""The session loop, the moving averages that it leaves, and the record."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from bn_graph import NOTEBOOK, PAGE, SCRIPT, InputError, TrainingRecord, TutorialConfig, build_graph, train
from bn_graph.config import UPDATES
from bn_graph.tf1 import tf

pytestmark = pytest.mark.release

EDITIONS = (PAGE, SCRIPT, NOTEBOOK)
SWITCHES = list(itertools.product(UPDATES, (True, False), (True, False)))


def config(**changes):
    return dataclasses.replace(PAGE, **{"seed": 7, "hidden_size": 32, "steps": 30, "eval_every": 10,
                                        "print_every": 10, **changes})  # fmt: skip


def trained(config, splits):
    """The record of a run, and the values of its variables afterwards."""
    tutorial = build_graph(config, splits)
    with tf.Session(graph=tutorial.graph) as session:
        record = train(tutorial, splits, session)
        return record, session.run(tutorial.variables)


@pytest.mark.parametrize(("updates", "center", "scale"), SWITCHES)
def test_is_training_as_a_placeholder_and_as_a_bool_train_and_validate_alike(splits, updates, center, scale):
    """Though the one tower validates between the steps, its dropout goes on as if nobody had looked."""
    settings = dict(updates=updates, center=center, scale=scale, eval_every=1, print_every=1)
    one, _ = trained(config(is_training="bool", **settings), splits)
    other, _ = trained(config(is_training="placeholder", **settings), splits)
    for key in ("train_loss", "train_accuracy", "valid_accuracy", "learning_rate", "test_accuracy"):
        assert getattr(one, key) == getattr(other, key)


@pytest.mark.parametrize(("updates", "center", "scale"), SWITCHES)
def test_moving_averages_are_those_that_numpy_computes_from_the_batches(splits, updates, center, scale):
    settings = config(updates=updates, center=center, scale=scale, keep_prob=1.0, decay=0.8)
    tutorial = build_graph(settings, splits)
    scopes = ("hidden_layer", "output_layer")
    moving = {f"{scope}/moving_mean": 0.0 for scope in scopes} | {f"{scope}/moving_variance": 1.0 for scope in scopes}
    with tf.Session(graph=tutorial.graph) as session:
        session.run(tutorial.init_op)
        for step in range(settings.steps):
            values = {name: value.astype(float) for name, value in session.run(tutorial.variables).items()}
            X = splits.train_X[64 * step : 64 * step + 64].astype(float)
            y = splits.train_y[64 * step : 64 * step + 64]
            activations = X
            for scope in scopes:
                inputs = activations @ values[f"{scope}/weights"] + values[f"{scope}/biases"]
                mean, variance = inputs.mean(axis=0), inputs.var(axis=0)
                if updates != "collected":
                    for key, statistic in (("moving_mean", mean), ("moving_variance", variance)):
                        moving[f"{scope}/{key}"] = 0.8 * moving[f"{scope}/{key}"] + 0.2 * statistic
                normalised = (inputs - mean) / np.sqrt(variance + 0.001)
                normalised *= values[f"{scope}/gamma"] if scale else 1
                activations = np.maximum(normalised + (values[f"{scope}/beta"] if center else 0), 0)
            loss = np.mean(np.log(np.exp(activations).sum(axis=1)) - (activations * y).sum(axis=1))
            _, found = session.run([tutorial.train_op, tutorial.train_loss], tutorial.train_feed(X, y))
            assert found == pytest.approx(loss, rel=1e-5)
        found = session.run(tutorial.variables)
    for name, expected in moving.items():
        np.testing.assert_allclose(found[name], np.broadcast_to(expected, found[name].shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_training", ["bool", "placeholder"])
def test_collected_updates_never_move_the_averages_and_the_others_do(splits, is_training):
    for updates in UPDATES:
        _, values = trained(config(updates=updates, is_training=is_training), splits)
        for scope in ("hidden_layer", "output_layer"):
            still = (values[f"{scope}/moving_mean"] == 0).all() and (values[f"{scope}/moving_variance"] == 1).all()
            assert still == (updates == "collected")


def test_a_switched_off_beta_or_gamma_exists_and_stays_as_it_was_created(splits):
    for center, scale in itertools.product((True, False), repeat=2):
        _, values = trained(config(center=center, scale=scale), splits)
        for scope in ("hidden_layer", "output_layer"):
            assert (values[f"{scope}/beta"] == 0).all() == (not center)
            assert (values[f"{scope}/gamma"] == 1).all() == (not scale)


def test_batches_follow_the_tutorials_offset_and_start_again_at_the_end(splits):
    assert len(splits.train_y) == 5800
    seen = []
    tutorial = build_graph(config(batch_size=1000, steps=8, hidden_size=4), splits)
    spy = dataclasses.replace(tutorial)
    object.__setattr__(spy, "train_feed", lambda X, y: seen.append(X) or tutorial.train_feed(X, y))
    train(spy, splits)
    for X, offset in zip(seen, [0, 1000, 2000, 3000, 4000, 200, 1200, 2200], strict=True):  # modulo 4800
        np.testing.assert_array_equal(X, splits.train_X[offset : offset + 1000])


def test_the_learning_rate_decays_in_stairs_of_500_steps(splits):
    record, _ = trained(config(steps=1001, hidden_size=2, eval_every=100, print_every=100), splits)
    rates = dict(zip(record.valid_step, record.learning_rate, strict=True))
    # After the update of step 500 the next step is the 501st.
    assert rates[400] == pytest.approx(0.001)
    assert rates[500] == rates[900] == pytest.approx(0.00095)
    assert rates[1000] == pytest.approx(0.0009025)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(splits):
    one, other, third = (trained(config(seed=seed), splits)[0].train_loss for seed in (7, 7, 8))
    assert one == other
    assert one != third


def test_the_record_says_what_was_run_and_when_it_was_validated(splits):
    record, _ = trained(config(steps=25), splits)
    assert record.config == config(steps=25)
    assert (record.split, record.data) == ("stratified", "embedded")
    assert len(record.train_loss) == len(record.train_accuracy) == 25
    assert record.valid_step == [0, 10, 20]
    assert all(0 <= accuracy <= 1 for accuracy in (*record.train_accuracy, *record.valid_accuracy))
    assert record.seconds > 0
    assert record.steps_per_second is None  # too few steps to tell


def test_steps_per_second_leaves_out_validation(splits):
    record, _ = trained(config(steps=150, eval_every=1, print_every=1), splits)
    assert record.steps_per_second > 150 / record.seconds


def test_no_steps_still_test_the_initial_weights(splits):
    lines = []
    tutorial = build_graph(config(steps=0), splits)
    record = train(tutorial, splits, log=lines.append)
    assert record.train_loss == record.valid_step == []
    assert lines == ["Initialized", "Finished training", record.test_line()]


def test_a_record_survives_json_and_a_file(splits, tmp_path):
    record, _ = trained(config(), splits)
    assert TrainingRecord.from_json(record.to_json()) == record
    record.save(tmp_path / "record.json")
    record.save(tmp_path / "record.json")  # replaces it
    assert TrainingRecord.load(tmp_path / "record.json") == record
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_loss_that_is_not_a_number_is_null_in_json_and_comes_back(splits):
    record, _ = trained(config(steps=2), splits)
    record.train_loss[1] = float("nan")
    assert json.loads(record.to_json())["train_loss"][1] is None
    assert np.isnan(TrainingRecord.from_json(record.to_json()).train_loss[1])


def test_the_editions_differ_as_published():
    differ = [(edition.edition, edition.scale, edition.updates, edition.print_every) for edition in EDITIONS]
    assert differ == [
        ("page", False, "control_dependencies", 50),
        ("script", False, "in_place", 50),
        ("notebook", True, "in_place", 100),
    ]
    for edition in EDITIONS:
        assert (edition.center, edition.decay, edition.is_training, edition.seed) == (True, 0.9, "bool", None)
        assert (edition.steps, edition.batch_size, edition.hidden_size) == (1000, 64, 1024)
        assert (edition.learning_rate, edition.keep_prob, edition.eval_every) == (0.001, 0.6, 50)


@pytest.mark.parametrize(
    ("setting", "values"),
    {
        "edition": ["book", None, 1],
        "updates": ["never", None],
        "is_training": [True, "tensor"],
        "center": [1, None, "yes"],
        "scale": [0, "no"],
        "decay": [-0.1, 1.1, float("nan"), "0.9", None, True],
        "learning_rate": [0, -1, float("nan"), float("inf"), "fast"],
        "keep_prob": [0, -0.1, 1.1, float("nan"), None],
        "seed": [-1, 2**31 - 1, 1.0, "one", True],
        "steps": [-1, 1.5, "many", None],
        "batch_size": [0, -64, 6.4],
        "hidden_size": [0, 1.5],
        "eval_every": [0, -50, 7.5],
        "print_every": [0, 75],
    }.items(),
)
def test_a_setting_out_of_range_is_refused_by_name_and_says_what_would_do(setting, values):
    for value in values:
        with pytest.raises(InputError, match=f"^{setting} must be .*, found "):
            TutorialConfig(**{setting: value})


def test_settings_at_the_end_of_their_range_are_accepted():
    TutorialConfig(decay=0, keep_prob=1, seed=0, steps=0, batch_size=1, hidden_size=1, eval_every=1, print_every=1)
    TutorialConfig(decay=1, seed=2**31 - 2)
