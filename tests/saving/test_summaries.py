"""Event files for TensorBoard."""

import json

import numpy as np

from bn_graph.tf1 import tf
from tests.helpers import in_process, run_tutorial


def test_event_files_show_the_layers_and_change_no_number(capfd, tmp_path):
    options = ["--steps", "101", "--hidden-size", "16", "--seed", "3", "--edition", "script"]
    plain, watched = tmp_path / "plain.json", tmp_path / "watched.json"
    in_process(capfd, "run_tutorial.py", *options, "--record", plain)
    process = run_tutorial(*options, "--record", watched, "--logdir", tmp_path / "new" / "logs")
    assert (process.returncode, process.stderr) == (0, "")
    one, other = json.loads(plain.read_text()), json.loads(watched.read_text())
    assert one["train_loss"] == other["train_loss"] and one["valid_accuracy"] == other["valid_accuracy"]

    (path,) = (tmp_path / "new" / "logs").iterdir()
    values, graph = {}, None
    for event in tf.train.summary_iterator(str(path)):
        graph = graph or event.graph_def
        for value in event.summary.value:
            values[event.step, value.tag] = value
    layer = ["pre_norm", "post_norm", "activation", "mean_batch", "variance_batch", "mean_moving", "variance_moving"]
    histograms = {f"{scope}/{name}" for scope in ("hidden_layer", "output_layer") for name in layer}
    scalars = {"train/loss", "train/accuracy", "valid/accuracy", "learning_rate"}
    assert set(values) == {(step, tag) for step in (0, 50, 100) for tag in histograms | scalars}
    np.testing.assert_allclose(values[50, "train/loss"].simple_value, other["train_loss"][50], rtol=1e-6)
    # After 50 steps with a decay of 0.9 the moving mean is about the batch's, and no longer its start, 0.
    moving, batch = values[50, "hidden_layer/mean_moving"].histo, values[50, "hidden_layer/mean_batch"].histo
    assert moving.num == batch.num == 16
    np.testing.assert_allclose([moving.min, moving.max], [batch.min, batch.max], rtol=0.3)
    assert values[100, "hidden_layer/activation"].histo.min == 0
    assert values[100, "hidden_layer/activation"].histo.num == 64 * 16
    assert b"hidden_layer" in graph and len(graph) < 1_000_000  # the digits are not in it
