"""Mean and variance of values that come batch by batch, in float64."""

import dataclasses

import numpy as np


@dataclasses.dataclass
class Moments:
    """Mean and variance of all values so far, per channel: arrays [channels]."""

    count: float = 0.0  # values in a channel
    mean: np.ndarray = 0.0
    squares: np.ndarray = 0.0  # the sum of the squared distances from the mean

    def add(self, count, mean, variance) -> None:
        """Adds a batch of `count` values with this mean and biased variance.

        Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979: the
        law of total variance, without the difference of two large numbers.
        """
        total, distance = self.count + count, mean - self.mean
        self.squares = self.squares + variance * count + distance**2 * (self.count * count / total)
        self.mean = self.mean + distance * (count / total)
        self.count = total

    def variance(self, corrected=False) -> np.ndarray:
        """The variance, with or without Bessel's correction. It needs two values, or one."""
        return self.squares / (self.count - corrected)


@dataclasses.dataclass
class Estimate:
    """What the batches say of one layer: arrays [channels], float64."""

    mean: np.ndarray
    variance: np.ndarray  # as the layer stores it, with or without Bessel's correction
    second_moment: np.ndarray  # the mean of the squares
    corrected: bool
    mean_error: np.ndarray | None  # standard error of the mean; None after one batch
    variance_error: np.ndarray | None

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.variance).all())


class BatchStatistics:
    """The statistics of all batches that one layer has seen."""

    def __init__(self):
        self._values, self._means, self._variances, self._corrected = Moments(), Moments(), Moments(), Moments()

    def add(self, count, mean, variance) -> None:
        """Adds a batch: values in a channel, their mean and biased variance, float64 [channels]."""
        self._values.add(count, mean, variance)
        self._means.add(1, mean, 0.0)
        self._variances.add(1, variance, 0.0)
        self._corrected.add(1, variance * (count / (count - 1) if count > 1 else 1.0), 0.0)

    def estimate(self, of_batches, corrected) -> Estimate:
        """The `Estimate`.

        of_batches: whether the variance is the mean of the batches' own variances, as a moving average has it. Else it
            is that of all values: the batches' variances and how far their means are apart.
        corrected: whether it is stored with Bessel's correction.
        """
        values = self._values
        if of_batches:
            variance = (self._corrected if corrected else self._variances).mean
        else:
            variance = values.variance(corrected and values.count > 1)
        errors = [None, None]
        if self._means.count > 1:
            errors = [np.sqrt(m.variance(True) / m.count) for m in (self._means, self._variances)]
        return Estimate(values.mean, variance, values.variance() + values.mean**2, corrected, *errors)
