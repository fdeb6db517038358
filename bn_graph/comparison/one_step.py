"""TODO."""

import numpy as np

from bn_graph.comparison.recordings import REFERENCE
from bn_graph.mnist import batch
from bn_graph.tf1 import tf

EPS = np.finfo(np.float32).eps

TINY = np.finfo(np.float32).tiny

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # AdamOptimizer's defaults


def one_step(tutorial, name, step, splits):
    """Trains one step from a recorded state. How far is the result from the recorded one, in units of rounding?

    Rounding is this. TF 0.12 computes a batch's variance as E[(x - s)^2] - (E[x] - s)^2, s the moving mean, and
    so with an error of eps times the condition number 1 + (mean - s)^2 / variance. (The port, on today's tf.nn.moments,
    does without it.) Everything behind it, every gradient then, differs by eps times that number and a constant for
    the order of the sums. Adam divides a gradient by its own size; what an error in the gradient does to a parameter
    is therefore computed, not guessed: the furthest that Adam goes with any gradient inside the error.

    Biases in front of batch norm have a gradient of rounding errors alone, and are not compared.

    Args:
        tutorial: `TutorialGraph` of the run's settings, with 16 hidden units and three towers.
        name: page, page_control_dependencies or notebook.
        step: 0, 1, 50 or 999.
        splits: `Splits`, the original ones.

    Returns: a dict, from `loss` and each variable to its largest difference; up to 1 it is rounding.
    """
    before, after = (
        np.load(REFERENCE / "state" / f"{name}_hidden16_step{step:04d}_{when}.npz") for when in ("before", "after")
    )
    loss, found, moments = _step_from(tutorial, before, step, splits)

    ratios = {"loss": _ratio(loss, after["loss"], 1e-5 * np.abs(after["loss"]))}
    condition = {
        scope: 1 + (mean - before[f"{scope}.moving_mean"]) ** 2 / variance
        for scope, (mean, variance) in moments.items()
    }
    worst = max(number.max() for number in condition.values())
    for scope, (mean, variance) in moments.items():
        moved = 0.1 if tutorial.config.updates != "collected" else 0.0
        for key, error in (
            ("moving_mean", 8 * EPS * (np.abs(mean) + np.sqrt(variance))),
            ("moving_variance", 8 * EPS * condition[scope] * variance),
        ):
            recorded = after[f"{scope}.{key}"]
            allowed = moved * error + bool(moved) * EPS * np.abs(recorded)
            ratios[f"{scope}/{key}"] = _ratio(found[f"{scope}/{key}"], recorded, allowed)
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
        squared = (1 - BETA2) * (2 * np.abs(g) * error + error**2) + 2 * EPS * after[f"{key}.Adam_1"]
        ratios[variable] = _ratio(value, after[key], far + rounding)
        ratios[f"{variable}/Adam"] = _ratio(found[f"{variable}/Adam"], after[f"{key}.Adam"], (1 - BETA1) * error)
        ratios[f"{variable}/Adam_1"] = _ratio(found[f"{variable}/Adam_1"], after[f"{key}.Adam_1"], squared)
    for variable, value in found.items():
        if variable not in ratios and "biases" not in variable:
            # gamma where nobody trains it, the step, Adam's powers (0.9^1000 is denormal, and kernels flush it or not)
            recorded = after[variable.replace("/", ".")]
            ratios[variable] = _ratio(value, recorded, TINY + 2 * EPS * np.abs(recorded))
    return ratios


def _step_from(tutorial, state, step, splits):
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
        pre_norm = {scope: layer.pre_norm for scope, layer in tutorial.train_layers.items()}
        feed = tutorial.train_feed(*batch(splits, step, tutorial.config.batch_size))
        loss, pre_norm, _ = session.run([tutorial.train_loss, pre_norm, tutorial.train_op], feed)
        moments = {
            scope: (inputs.mean(axis=0, dtype=float), inputs.var(axis=0, dtype=float))
            for scope, inputs in pre_norm.items()
        }
        return loss, session.run(tutorial.variables), moments


def adam(before, m, v, g, t, rate):
    """What ResourceApplyAdam computes, in float64: the new parameter, m and v after gradient g at step t."""
    m, v = m + (g - m) * (1 - BETA1), v + (g * g - v) * (1 - BETA2)
    return before - rate * np.sqrt(1 - BETA2**t) / (1 - BETA1**t) * m / (np.sqrt(v) + EPSILON), m, v


def _ratio(found, expected, allowed):
    apart = np.abs(np.asarray(found, float) - np.asarray(expected, float))
    return float((apart / np.maximum(allowed, TINY)).max())
