"""The port follows the recordings of TF 0.12.1 until one rounding error has grown too large to tell."""

import numpy as np
import pytest
from conftest import RECORDED, REFERENCE, largest_so_far, recorded_config, recording

from bn_graph import build_graph, train
from bn_graph.tf1 import tf

EPS = np.finfo(np.float32).eps
TINY = np.finfo(np.float32).tiny
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # AdamOptimizer's defaults


def batch(splits, step, size=64):
    """The tutorial's batch: images and one-hot labels."""
    offset = (step * size) % (len(splits.train_y) - size)
    return splits.train_X[offset : offset + size], splits.train_y[offset : offset + size]


# One step from each recorded state.


def one_step(tutorial, state, step, splits):
    """Sets the variables, brings the dropout's stream to `step`, trains one step.

    Returns the loss, the variables after it, and by layer the mean and variance of the batch before normalisation.
    """
    graph = tutorial.graph
    # A stateful random op goes on from run to run, so `step` draws bring it to where the recorded run had it.
    draw = next(op for op in graph.get_operations() if op.type == "RandomUniform")
    with graph.as_default(), tf.Session() as session:
        for name, variable in tutorial.variables.items():
            session.run(variable.initializer, {variable.initializer.inputs[1]: state[name.replace("/", ".")]})
        for _ in range(step):
            session.run(draw)
        fetches = [tutorial.train_loss, "add:0", "add_1:0", tutorial.train_op]
        loss, hidden, output, _ = session.run(fetches, tutorial.train_feed(*batch(splits, step)))
        moments = {
            scope: (inputs.mean(axis=0, dtype=float), inputs.var(axis=0, dtype=float))
            for scope, inputs in (("hidden_layer", hidden), ("output_layer", output))
        }
        return loss, session.run(tutorial.variables), moments


def adam(before, m, v, g, t, rate):
    """What ResourceApplyAdam computes, in float64: the new parameter, m and v after gradient g at step t."""
    m, v = m + (g - m) * (1 - BETA1), v + (g * g - v) * (1 - BETA2)
    return before - rate * np.sqrt(1 - BETA2**t) / (1 - BETA1**t) * m / (np.sqrt(v) + EPSILON), m, v


@pytest.mark.parametrize("step", [0, 1, 50, 999])
@pytest.mark.parametrize("name", ["page", "page_control_dependencies", "notebook"])
def test_one_step_from_a_recorded_state_is_the_recorded_step_within_rounding(original, name, step):
    """Rounding is this. TF 0.12 computes a batch's variance as E[(x - s)^2] - (E[x] - s)^2, s the moving mean, and
    so with an error of eps times the condition number 1 + (mean - s)^2 / variance. (The port, on today's tf.nn.moments,
    does without it.) Everything behind it, every gradient then, differs by eps times that number and a constant for
    the order of the sums. Adam divides a gradient by its own size; what an error in the gradient does to a parameter
    is therefore computed, not guessed: the furthest that Adam goes with any gradient inside the error.

    Biases in front of batch norm have a gradient of rounding errors alone, and are not compared.
    """
    before = np.load(REFERENCE / "state" / f"{name}_hidden16_step{step:04d}_before.npz")
    after = np.load(REFERENCE / "state" / f"{name}_hidden16_step{step:04d}_after.npz")
    tutorial = build_graph(recorded_config(name, hidden_size=16), original)
    loss, found, moments = one_step(tutorial, before, step, original)

    np.testing.assert_allclose(loss, after["loss"], rtol=1e-5)
    condition = {
        scope: 1 + (mean - before[f"{scope}.moving_mean"]) ** 2 / variance
        for scope, (mean, variance) in moments.items()
    }
    worst = max(number.max() for number in condition.values())
    compared = set()
    for scope, (mean, variance) in moments.items():
        moved = 0.1 if tutorial.config.updates != "collected" else 0.0
        for key, error in (
            ("moving_mean", 8 * EPS * (np.abs(mean) + np.sqrt(variance))),
            ("moving_variance", 8 * EPS * condition[scope] * variance),
        ):
            recorded = after[f"{scope}.{key}"]
            assert_within(found[f"{scope}/{key}"], recorded, moved * error + bool(moved) * EPS * np.abs(recorded), key)
            compared.add(f"{scope}/{key}")
    for variable, value in found.items():
        key = variable.replace("/", ".")
        if f"{key}.Adam" not in before.files or variable.endswith("biases"):
            continue
        m, v = before[f"{key}.Adam"].astype(float), before[f"{key}.Adam_1"].astype(float)
        g = (after[f"{key}.Adam"] - m) / (1 - BETA1) + m
        error = 16 * EPS * worst * np.abs(g).max()
        rate = 0.001 * 0.95 ** (step // 500)
        exact, *_ = adam(before[key].astype(float), m, v, g, step + 1, rate)
        reach = [adam(before[key], m, v, g + part * error, step + 1, rate)[0] for part in np.linspace(-1, 1, 41)]
        error = error + 2 * EPS * np.abs(m).max() / (1 - BETA1)  # m itself is known to its ulp only
        far = np.max(np.abs(np.array(reach) - exact), axis=0)
        # The sum rounds at the size of the parameter, the half dozen operations before it at the size of the step.
        rounding = EPS * np.abs(after[key]) + 8 * EPS * np.abs(exact - before[key])
        assert_within(value, after[key], far + rounding, variable)
        assert_within(found[f"{variable}/Adam"], after[f"{key}.Adam"], (1 - BETA1) * error, f"{variable}/Adam")
        squared = (1 - BETA2) * (2 * np.abs(g) * error + error**2) + 2 * EPS * after[f"{key}.Adam_1"]
        assert_within(found[f"{variable}/Adam_1"], after[f"{key}.Adam_1"], squared, f"{variable}/Adam_1")
        compared |= {variable, f"{variable}/Adam", f"{variable}/Adam_1"}
    for variable, value in found.items():
        if variable not in compared and "biases" not in variable:
            # gamma where nobody trains it, the step, Adam's powers (0.9^1000 is denormal, and kernels flush it or not)
            np.testing.assert_allclose(value, after[variable.replace("/", ".")], rtol=2 * EPS, atol=TINY)
            compared.add(variable)
    assert {v for v in found if v not in compared} == {v for v in found if "biases" in v}


def assert_within(found, expected, error, name):
    apart = np.abs(found.astype(float) - expected.astype(float))
    assert (apart <= error).all(), (
        f"{name}: {apart.max():.3g} apart, {(apart / np.maximum(error, TINY)).max():.3g} times"
    )


# 1000 steps from seed 1.


def test_a_thousand_steps_stay_inside_three_one_ulp_envelopes_of_the_recording(recorded_run):
    name, _, record = recorded_run
    recorded = recording(name)
    assert record["seed"] == recorded["seed"] == 1 and len(record["train_loss"]) == 1000
    found = largest_so_far(record["train_loss"], recorded["train_loss"])
    nudged = [largest_so_far(run["train_loss"], recorded["train_loss"]) for run in recorded["one_ulp"]]
    ratio = found / np.maximum(3 * np.max(nudged, axis=0), 1e-4)
    assert ratio.max() <= 1, (
        f"step {ratio.argmax()}: {found[ratio.argmax()]:.3g} is {ratio.max():.3g} of what is allowed"
    )


def test_accuracies_of_a_thousand_steps_are_the_recorded_ones(recorded_run):
    name, _, record = recorded_run
    recorded = recording(name)
    # In the page as printed the biases, which are rounding errors, reach the inference.
    tolerance = 0.05 if name == "page" else 0.003
    assert record["valid_step"] == recorded["valid_step"]
    np.testing.assert_allclose(record["valid_accuracy"], recorded["valid_accuracy"], rtol=0, atol=tolerance)
    assert record["test_accuracy"] == pytest.approx(recorded["test_accuracy"], abs=tolerance)


def test_the_page_as_printed_is_wrong_and_one_line_mends_it(original):
    runs = {}
    for name in ("page", "page_control_dependencies"):
        runs[name] = train(build_graph(recorded_config(name, steps=301), original), original)
    printed, mended = runs["page"], runs["page_control_dependencies"]
    np.testing.assert_allclose(printed.train_loss[:10], mended.train_loss[:10], rtol=1e-4)  # training shows nothing
    assert mended.valid_accuracy[-1] > printed.valid_accuracy[-1] + 0.05


# The 2016 graph itself.


class Imported:
    """The MetaGraph that TF 0.12.1 built, with another graph-level seed."""

    def __init__(self, name, seed):
        meta = tf.MetaGraphDef()
        meta.ParseFromString((REFERENCE / "graph" / f"{name}.meta").read_bytes())
        for node in meta.graph_def.node:
            if node.op in ("TruncatedNormal", "RandomUniform"):
                node.attr["seed"].i = seed
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.train.import_meta_graph(meta)
            weights = [v for v in tf.global_variables() if v.op.name.endswith("weights")]
            self.weights = [(v, tf.placeholder(tf.float32, v.shape)) for v in weights]
            self.set_weights = tf.group(*(tf.assign(v, placeholder) for v, placeholder in self.weights))

    def __getattr__(self, name):
        return self.graph.get_collection(f"tutorial/{name}")[0]

    def losses(self, splits, steps, nudge=None):
        """The loss at each step. `nudge`: a RandomState that moves each initial weight by -1, 0 or +1 ulp."""
        losses = []
        with tf.Session(graph=self.graph) as session:
            session.run(self.init_op)
            if nudge is not None:
                feed = {}
                for variable, placeholder in self.weights:
                    value = session.run(variable)
                    ways = [np.nextafter(value, np.float32(-np.inf)), value, np.nextafter(value, np.float32(np.inf))]
                    feed[placeholder] = np.choose(nudge.randint(0, 3, value.shape), ways)
                session.run(self.set_weights, feed)
            for step in range(steps):
                X, y = batch(splits, step)
                feed = {self.batch_x: X, self.batch_y: y, self.keep_prob: 0.6}
                losses.append(float(session.run([self.train_op, self.train_loss], feed)[1]))
        return losses


def envelope(imported, splits, steps):
    """The imported graph's losses, and the largest so far by which five nudged runs of it part from them."""
    itself = imported.losses(splits, steps)
    nudged = [imported.losses(splits, steps, np.random.RandomState(i)) for i in range(5)]
    return itself, np.max([largest_so_far(losses, itself) for losses in nudged], axis=0)


@pytest.mark.parametrize("name", RECORDED)
def test_the_imported_2016_graph_and_the_port_agree_from_a_seed_that_nobody_recorded(original, name):
    """In the first steps a few gradients are rounding errors, and Adam makes a whole step of their sign. Where that
    happens to a nudged run the losses part by 1e-4 at once; where it happens to none of the five, the envelope is an
    accident and tells nothing. So take the first seed at which it has happened, by the imported graph alone.
    """
    for seed in range(2016, 2036):
        imported = Imported(name, seed)
        if envelope(imported, original, 21)[1][-1] > 1e-4:
            break
    itself, widest = envelope(imported, original, 1000)
    config = recorded_config(name, seed=seed, eval_every=1000, print_every=1000)
    port = train(build_graph(config, original), original)
    ratio = largest_so_far(port.train_loss, itself) / np.maximum(3 * widest, 1e-4)
    assert ratio.max() <= 1, f"seed {seed}, step {ratio.argmax()}: {ratio.max():.3g} of what is allowed"
