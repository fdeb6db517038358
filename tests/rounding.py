"""How far a result of `batch_norm` may be from the exact one.

It is computed, not guessed: `Near` carries a value and a bound on its error through the same steps as the layer takes.
The bounds are the textbook ones, in units of roundoff `u` (half the distance from 1 to the next number): a sum of n
terms is wrong by at most n * u times the sum of their sizes.
"""

from typing import NamedTuple

import numpy as np

ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}
# TensorFlow's CPU kernels take numbers below 1e-38 for zero, which gamma / sqrt(epsilon) and sums enlarge. Here is room
# for that; no result of interest is as small.
FLUSHED = 1e-30
PARTS = "beta", "gamma", "moving_mean", "moving_variance"


class Near(NamedTuple):
    """An exact value, and how far a computed one may be from it."""

    value: np.ndarray
    error: np.ndarray


def assert_near(actual, near):
    assert actual.shape == near.value.shape
    excess = np.abs(actual - near.value) - near.error
    assert np.all(excess <= 0), f"{actual}, not {near.value} with an error of {near.error}"


def batch_moments(x, weights, u, shift=None):
    """Mean and biased variance of the rows of x [n, channels].

    Mean: n products with the weights, two sums of n terms and a division make (2n + 4) roundings of at most
    max|x|. Variance: sums of squares of x minus the *computed* mean, which are larger by the square of its error; two
    more roundings for each square. With `shift`, as TF 0.12 has it: E[(x - shift)^2] - E[x - shift]^2, where both
    terms are of the size of (mean - shift)^2 + variance, and so are their errors.
    """
    n = len(x)
    share = weights[:, None] / weights.sum()
    mean = (share * x).sum(0)
    variance = (share * (x - mean) ** 2).sum(0)
    if shift is None:
        mean_error = (2 * n + 4) * u * np.abs(x).max(0)
        variance_error = (2 * n + 8) * u * (variance + mean_error**2) + mean_error**2
    else:
        mean_error = (2 * n + 4) * u * (np.abs(x).max(0) + np.abs(shift))
        variance_error = 2 * (2 * n + 8) * u * (variance + (mean - shift) ** 2)
    return Near(mean, mean_error + FLUSHED), Near(variance, variance_error + FLUSHED)


def inverse_deviation(variance, epsilon, u):
    """1 / sqrt(variance + epsilon), anywhere between its values for the largest and the smallest variance.

    Epsilon is rounded, the sum, and the root, which the kernel may give in the second last place: 4 u.
    """
    value = 1 / np.sqrt(variance.value + epsilon)
    highest = 1 / np.sqrt(np.maximum(variance.value - variance.error, 0) + epsilon)
    lowest = 1 / np.sqrt(variance.value + variance.error + epsilon)
    return Near(value, np.maximum(highest * (1 + 4 * u) - value, value - lowest * (1 - 4 * u)))


def normalised(x, mean, variance, beta, gamma, epsilon, u):
    """x * inverse + (beta - mean * inverse) with inverse = gamma / deviation: 6 roundings, none of more than the terms.

    The two terms may be far larger than what is left of them, where the mean is far larger than the deviation.
    """
    inverse = inverse_deviation(variance, epsilon, u)
    highest = inverse.value + inverse.error
    distance = x - mean.value
    value = distance * inverse.value * gamma + beta
    of_moments = np.abs(distance) * inverse.error + mean.error * highest
    of_terms = 6 * u * (np.abs(x) + np.abs(mean.value) + mean.error) * highest
    return Near(value, np.abs(gamma) * (of_moments + of_terms) + 6 * u * np.abs(beta) + FLUSHED)


def moved(moving, batch, decay, u):
    """moving - (1 - decay) * (moving - batch): 4 roundings, of at most the two together."""
    value = moving.value - (1 - decay) * (moving.value - batch.value)
    rounding = 4 * u * (np.abs(moving.value) + np.abs(batch.value) + moving.error + batch.error)
    return Near(value, decay * moving.error + (1 - decay) * batch.error + rounding)


def expected_step(layer, moving, x, weights, training, shifted=False):
    """The outputs on a batch x [..., channels], and the pair of moving statistics after it, all as `Near`."""
    flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
    n = len(flat)
    share = np.ones(n) if weights is None else np.repeat(weights.astype(np.float64), n // len(weights))
    if training:
        shift = moving[0].value if shifted and weights is None and not layer.fused else None
        mean, variance = batch_moments(flat, share, layer.u, shift)
        unbiased = n / max(n - 1, 1) if layer.fused else 1
        counted = Near(variance.value * unbiased, (variance.error + 2 * layer.u * variance.value) * unbiased)
        moving = tuple(moved(*pair, layer.decay, layer.u) for pair in zip(moving, (mean, counted), strict=True))
    else:
        mean, variance = moving
    outputs = normalised(flat, mean, variance, layer.beta, layer.gamma, layer.epsilon, layer.u)
    return Near(*(part.reshape(x.shape) for part in outputs)), moving


def channels_last(x, data_format):
    return np.moveaxis(x, 1, -1) if data_format == "NCHW" else x


def same(left, right):
    return all(np.array_equal(*pair) for pair in zip(left, right, strict=True))


def expected_gradients(x, weights, cotangent, gamma, epsilon, u, shift=None):
    """d sum(cotangent * outputs) / d (x, gamma, beta) for flat x [n, channels], through the moments of the batch.

    With s = weights / sum(weights), z the normalised x and r the cotangent, d/dx is gamma / deviation times
    (r - s * sum(r) - s * z * sum(r * z)). TensorFlow gets the last sum as sum(r * x) - mean * sum(r), whose terms may
    be far larger than itself: this is what the error of z stands for here. Without an `s` of its own the variance's
    share goes with the third power of the inverse deviation, hence the 3.
    """
    n = len(x)
    share = (weights / weights.sum())[:, None]
    mean, variance = batch_moments(x, weights, u, shift)
    inverse = inverse_deviation(variance, epsilon, u)
    highest = inverse.value + inverse.error
    z = normalised(x, mean, variance, 0.0, 1.0, epsilon, u)
    sums = (2 * n + 8) * u
    z_error = z.error + sums * (np.abs(x) + np.abs(mean.value) + np.abs(0.0 if shift is None else shift)) * highest
    total, slope = cotangent.sum(0), (cotangent * z.value).sum(0)
    sizes, slope_size = np.abs(cotangent).sum(0), np.abs(cotangent * z.value).sum(0)
    slope_error = (np.abs(cotangent) * z_error).sum(0) + sums * slope_size
    rest = cotangent - share * total - share * z.value * slope
    rest_error = (
        sums * (np.abs(cotangent) + share * sizes + share * np.abs(z.value) * slope_size)
        + share * z_error * slope_size
        + share * np.abs(z.value) * slope_error
    )
    wide = np.abs(cotangent) + share * np.abs(total) + share * np.abs(z.value * slope)
    x_error = np.abs(gamma) * (highest * rest_error + 3 * inverse.error * (highest / inverse.value) ** 2 * wide)
    return (
        Near(gamma * inverse.value * rest, x_error + FLUSHED),
        Near(slope, slope_error + FLUSHED),
        Near(total, sums * sizes + FLUSHED),
    )
