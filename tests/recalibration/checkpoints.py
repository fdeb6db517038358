"""Checkpoints of small graphs, with the data that they are recalibrated from, and what numpy says of these."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from bn_graph import recalibrate
from bn_graph.saving.restore import read_checkpoint
from bn_graph.tf1 import tf
from tests.audit.networks import INPUTS, UNITS

BATCH, NUM_BATCHES = 16, 3
ROWS = BATCH * NUM_BATCHES
SEED = 1  # the default of `recalibrate`


class Saved(NamedTuple):
    """A checkpoint with its .meta beside it."""

    prefix: str
    values: dict  # name to value of every variable

    def recalibrate(self, output="new.ckpt", **options):
        """(report, name to value of every variable of the new checkpoint)."""
        output = Path(self.prefix).with_name(output)
        return recalibrate(self.prefix, output, **options), read_checkpoint(output)


def save(graph, folder, leave_out="nothing at all", **saver):
    """Saves a graph with random values for all variables of floats, so that nothing is right by chance.

    leave_out: a checkpoint lacks the variables with this in their name.
    """
    random = np.random.RandomState(5)
    with graph.as_default(), tf.Session(graph=graph) as session:
        variables = tf.global_variables()
        session.run([variable.initializer for variable in variables])
        for variable in variables:
            if variable.dtype.is_floating:
                value = random.uniform(0.5, 1.5, variable.shape.as_list())
                session.run(variable.initializer, {variable.initializer.inputs[1]: value})
        saved = [variable for variable in variables if leave_out not in variable.op.name]
        prefix = tf.train.Saver(saved, **saver).save(session, str(Path(folder) / "model.ckpt"))
    return Saved(prefix, read_checkpoint(prefix))


def data(seed=3, rows=ROWS, units=INPUTS):
    """Rows sorted by class, as data often are: the batches' means would be far apart without a random order."""
    random = np.random.RandomState(seed)
    return (random.randn(rows, units) * [1, 2, 3, 4, 5, 6][:units] + np.linspace(-3, 3, rows)[:, None]).astype("f4")


def batches(x, size=BATCH):
    """The batches of `x`, in the random order of the default seed."""
    order = np.random.default_rng(SEED).permutation(len(x))
    return [x[order[begin : begin + size]].astype("f8") for begin in range(0, len(x) - size + 1, size)]


def moments(groups, corrected, estimate="population"):
    """(mean, variance) of the rows in `groups`, as a layer stores them: numpy's, with nothing of ours."""
    if estimate == "batch":
        return np.mean([x.mean(0) for x in groups], 0), np.mean([x.var(0, ddof=int(corrected)) for x in groups], 0)
    rows = np.concatenate(groups)
    return rows.mean(0), rows.var(0, ddof=int(corrected))


def assert_statistics(values, names, expected):
    """That the variables have the expected values, up to what float32 can hold of them and of the activations."""
    for name, value in zip(names, expected, strict=True):
        np.testing.assert_allclose(values[name].reshape(-1), value, rtol=1e-5, atol=1e-5, err_msg=name)


def assert_only_changed(before, after, names):
    """That a checkpoint has the same variables as another one, and all but `names` bit for bit."""
    assert before.keys() | set(names) == after.keys()
    for name in before.keys() - set(names):
        assert before[name].dtype == after[name].dtype and before[name].tobytes() == after[name].tobytes(), name


def statistic_names(values):
    """(mean, variance): the names of the moving statistics of the only layer in a checkpoint."""
    ends = (("moving_mean", "pop_mean", "mean/EMA"), ("moving_variance", "pop_var", "variance/EMA"))
    return [next(name for name in sorted(values) if name.endswith(end)) for end in ends]


def variable_decides(layer, version):
    """A training graph of one layer, in which a variable, False in the checkpoint, is `is_training`."""
    from tests.audit.networks import LAYERS, new_graph
    from tests.audit.pieces import collected, dense, inputs, minimize

    with new_graph(version) as graph:
        X, _ = inputs(None)
        is_training = tf.get_variable("is_training", initializer=False, trainable=False)
        outputs = LAYERS[layer](dense(X, UNITS, "layer"), is_training, "bn", None, False)
        minimize(tf.reduce_mean(outputs**2), collected())
    return graph
