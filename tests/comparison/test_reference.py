"""The port follows the recordings of TF 0.12.1 until one rounding error has grown too large to tell."""

import dataclasses

import numpy as np
import pytest

from bn_graph import build_graph, recording, train
from bn_graph.comparison.graph_2016 import Graph2016
from bn_graph.comparison.one_step import one_step
from bn_graph.comparison.recordings import STATE_STEPS
from tests.helpers import (
    RECORDED,
    assert_inside_envelopes,
    assert_recorded_accuracies,
    largest_so_far,
    recorded_config,
)


def one_for_each_release(names, chosen):
    """Of these long runs, only the chosen one is repeated on another TensorFlow release."""
    return [pytest.param(name, marks=pytest.mark.release if name == chosen else ()) for name in names]


# A recorded run with recorded states, and the script, which has none.
EACH_RUN = pytest.mark.parametrize("recorded_run", one_for_each_release(RECORDED, "notebook"), indirect=True)
EACH_GRAPH = pytest.mark.parametrize("name", one_for_each_release(RECORDED, "script"))


# One step from each recorded state.


@pytest.mark.release
@pytest.mark.parametrize("step", STATE_STEPS)
@pytest.mark.parametrize("name", ["page", "page_control_dependencies", "notebook"])
def test_one_step_from_a_recorded_state_is_the_recorded_step_within_rounding(original, name, step):
    tutorial = build_graph(recorded_config(name, hidden_size=16), original)
    found = one_step(tutorial, name, step, original)
    assert {v for v in found if v != "loss"} == {v for v in tutorial.variables if "biases" not in v}
    assert {what: ratio for what, ratio in found.items() if not ratio <= 1} == {}


# 1000 steps from seed 1.


@EACH_RUN
def test_a_thousand_steps_stay_inside_three_one_ulp_envelopes_of_the_recording(recorded_run):
    name, _, record = recorded_run
    assert record["seed"] == recording(name)["seed"] == 1 and len(record["train_loss"]) == 1000
    assert_inside_envelopes(name, record["train_loss"])


@EACH_RUN
def test_accuracies_of_a_thousand_steps_are_the_recorded_ones(recorded_run):
    name, _, record = recorded_run
    assert_recorded_accuracies(name, record["valid_step"], record["valid_accuracy"], record["test_accuracy"])


def test_the_page_as_printed_is_wrong_and_one_line_mends_it(recorded_runs):
    (_, printed), (_, mended) = recorded_runs("page"), recorded_runs("page_control_dependencies")
    # Training shows nothing.
    np.testing.assert_allclose(printed["train_loss"][:10], mended["train_loss"][:10], rtol=1e-4)
    at = printed["valid_step"].index(300)
    assert mended["valid_accuracy"][at] > printed["valid_accuracy"][at] + 0.05


# The 2016 graph itself.


def apart(imported, splits, itself):
    """For each of five nudged runs of the imported graph, the largest difference so far from the losses `itself`.

    One after the other, so that who has seen enough can stop; and without validation, which costs more than 21 steps.
    """
    for i in range(5):
        nudged = imported.train(splits, nudge=np.random.RandomState(i), evaluate=False)
        yield largest_so_far(nudged.train_loss, itself)


@EACH_GRAPH
def test_the_imported_2016_graph_and_the_port_agree_from_a_seed_that_nobody_recorded(original, name):
    """In the first steps a few gradients are rounding errors, and Adam makes a whole step of their sign. Where that
    happens to a nudged run the losses part by 1e-4 at once; where it happens to none of the five, the envelope is an
    accident and tells nothing. So take the first seed at which it has happened, by the imported graph alone.
    """
    for seed in range(2016, 2036):
        start = recorded_config(name, seed=seed, steps=21, eval_every=1000, print_every=1000)
        imported = Graph2016(name, start)
        itself = imported.train(original, evaluate=False).train_loss
        if any(so_far[-1] > 1e-4 for so_far in apart(imported, original, itself)):
            break
    config = dataclasses.replace(start, steps=500, eval_every=500, print_every=500)
    imported = Graph2016(name, config)
    itself = imported.train(original, evaluate=False).train_loss
    envelope = np.max(list(apart(imported, original, itself)), axis=0)
    port = train(build_graph(config, original), original)
    ratio = largest_so_far(port.train_loss, itself) / np.maximum(3 * envelope, 1e-4)
    assert ratio.max() <= 1, f"seed {seed}, step {ratio.argmax()}: {ratio.max():.3g} of what is allowed"
