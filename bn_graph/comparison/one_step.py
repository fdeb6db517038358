"""One training step from a recorded state beside the recorded step: is it the same within rounding?

TF 0.12 computes a batch's variance as E[(x - s)^2] - (E[x] - s)^2, where s is the moving mean. So its error is eps
times the condition number 1 + (mean - s)^2 / variance. The port, on today's tf.nn.moments, has no such error. Every
gradient behind it then differs by eps times that number, times a constant for the order of the sums.

Adam divides a gradient by its own size. So what an error in the gradient does to a parameter is computed here, and not
guessed: it is the furthest that Adam goes with any gradient inside the error.

Biases in front of batch norm have a gradient of rounding errors alone, and are not compared.
"""

from typing import NamedTuple

import numpy as np

from bn_graph.comparison.recordings import recorded_state
from bn_graph.mnist import batch
from bn_graph.tf1 import tf

_EPS = np.finfo(np.float32).eps
_TINY = np.finfo(np.float32).tiny
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # AdamOptimizer's defaults


class _Step(NamedTuple):
    """What one training step gave."""

    loss: np.ndarray  # float32 scalar
    variables: dict  # name to array, after the step
    moments: dict  # layer to the mean and the variance of the batch before normalisation, float64 [units]


def one_step(tutorial, name: str, step: int, splits, loop=None) -> dict:
    """Trains one step from a recorded state. How far is the result from the recorded one, in units of rounding?

    Args:
        tutorial: `TutorialGraph` of the run's settings, with 16 hidden units and three towers.
        name: page, page_control_dependencies or notebook.
        step: 0, 1, 50 or 999.
        splits: `Splits`, the original ones.
        loop: the loop of an engine, as `train` takes it; None: the step itself in one session.run.

    Returns: a dict, from `loss` and each variable to its largest difference; up to 1 it is rounding.
    """
    before, after = (recorded_state(name, step, when) for when in ("before", "after"))
    trained = _train_step(tutorial, before, step, splits, loop)
    condition = {
        scope: 1 + (mean - before[f"{scope}.moving_mean"]) ** 2 / variance
        for scope, (mean, variance) in trained.moments.items()
    }
    gradient_error = 16 * _EPS * max(number.max() for number in condition.values())  # relative
    ratios = {"loss": _ratio(trained.loss, after["loss"], 1e-5 * np.abs(after["loss"]))}
    ratios |= _compare_moving_statistics(trained, after, condition, updated=tutorial.config.updates != "collected")
    for variable in trained.variables:
        if f"{_key(variable)}.Adam" in before.files and not variable.endswith("biases"):
            ratios |= _compare_parameter(variable, trained.variables, before, after, step, gradient_error)
    # The rest is gamma where nobody trains it, the step, and Adam's powers. 0.9^1000 is denormal, and some kernels
    # flush it to zero.
    for variable, value in trained.variables.items():
        if variable not in ratios and "biases" not in variable:
            recorded = after[_key(variable)]
            ratios[variable] = _ratio(value, recorded, _TINY + 2 * _EPS * np.abs(recorded))
    return ratios


def _train_step(tutorial, state, step, splits, loop):
    """Sets the variables to `state`, brings the dropout's stream to `step`, and trains one step."""
    graph = tutorial.graph
    # A stateful random op goes on from run to run, so `step` draws bring it to where the recorded run had it.
    draw = next(op for op in graph.get_operations() if op.type == "RandomUniform")
    with graph.as_default(), tf.Session() as session:
        _set_variables(session, tutorial, state)
        for _ in range(step):
            session.run(draw)
        pre_norm = {scope: layer.pre_norm for scope, layer in tutorial.train_layers.items()}
        feed = tutorial.train_feed(*batch(splits, step, tutorial.config.batch_size))
        if loop is None:
            loss, pre_norm, _ = session.run([tutorial.train_loss, pre_norm, tutorial.train_op], feed)
        else:
            pre_norm = session.run(pre_norm, feed)
            _set_variables(session, tutorial, state)  # updates in place run along with a layer
            loss = _train_in(loop(tutorial, splits, session), step)
        moments = {
            scope: (inputs.mean(axis=0, dtype=float), inputs.var(axis=0, dtype=float))
            for scope, inputs in pre_norm.items()
        }
        return _Step(loss, session.run(tutorial.variables), moments)


def _set_variables(session, tutorial, state):
    for name, variable in tutorial.variables.items():
        session.run(variable.initializer, {variable.initializer.inputs[1]: state[_key(name)]})


def _train_in(loop, step):
    loop.begin(step)
    loss, _ = loop.train(step, step + 1)
    return loss


def _compare_moving_statistics(trained, after, condition, updated):
    """The ratios of the moving means and variances. `updated`: whether the step updates them."""
    ratios = {}
    share = 0.1 if updated else 0.0  # of the batch's moments in the moving ones
    for scope, (mean, variance) in trained.moments.items():
        errors = {
            "moving_mean": 8 * _EPS * (np.abs(mean) + np.sqrt(variance)),
            "moving_variance": 8 * _EPS * condition[scope] * variance,
        }
        for name, error in errors.items():
            recorded = after[f"{scope}.{name}"]
            allowed = share * error + updated * _EPS * np.abs(recorded)
            ratios[f"{scope}/{name}"] = _ratio(trained.variables[f"{scope}/{name}"], recorded, allowed)
    return ratios


def _compare_parameter(variable, values, before, after, step, gradient_error):
    """The ratios of a variable that Adam trains and of Adam's two averages of its gradient.

    values: name to array, after the step.
    gradient_error: of the gradient, relative to its largest element.
    """
    key = _key(variable)
    parameter, m, v = (before[name].astype(float) for name in (key, f"{key}.Adam", f"{key}.Adam_1"))
    gradient = (after[f"{key}.Adam"] - m) / (1 - _BETA1) + m
    error = gradient_error * np.abs(gradient).max()
    rate = 0.001 * 0.95 ** (step // 500)
    exact = _adam(parameter, m, v, gradient, step + 1, rate)
    reached = [_adam(before[key], m, v, gradient + part * error, step + 1, rate) for part in np.linspace(-1, 1, 41)]
    furthest = np.max(np.abs(np.array(reached) - exact), axis=0)
    # The sum rounds at the size of the parameter, the half dozen operations before it at the size of the step.
    rounding = _EPS * np.abs(after[key]) + 8 * _EPS * np.abs(exact - before[key])
    error = error + 2 * _EPS * np.abs(m).max() / (1 - _BETA1)  # m itself is known to its ulp only
    squared = (1 - _BETA2) * (2 * np.abs(gradient) * error + error**2) + 2 * _EPS * after[f"{key}.Adam_1"]
    return {
        variable: _ratio(values[variable], after[key], furthest + rounding),
        f"{variable}/Adam": _ratio(values[f"{variable}/Adam"], after[f"{key}.Adam"], (1 - _BETA1) * error),
        f"{variable}/Adam_1": _ratio(values[f"{variable}/Adam_1"], after[f"{key}.Adam_1"], squared),
    }


def _adam(parameter, m, v, gradient, t, rate):
    """The parameter that ResourceApplyAdam computes, in float64, from its averages m and v at step t."""
    m, v = m + (gradient - m) * (1 - _BETA1), v + (gradient * gradient - v) * (1 - _BETA2)
    return parameter - rate * np.sqrt(1 - _BETA2**t) / (1 - _BETA1**t) * m / (np.sqrt(v) + _EPSILON)


def _ratio(value, recorded, allowed):
    """The largest difference, as a multiple of what is allowed there."""
    difference = np.abs(np.asarray(value, float) - np.asarray(recorded, float))
    return float((difference / np.maximum(allowed, _TINY)).max())


def _key(variable):
    """The name of a variable in a recorded state."""
    return variable.replace("/", ".")
