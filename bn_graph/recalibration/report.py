"""What a recalibration has changed."""

import dataclasses

import numpy as np

from bn_graph.audit.graph.flat_graph import printable


@dataclasses.dataclass(frozen=True)
class LayerChange:
    """What has changed of one layer. Of all channels the largest; None where there was nothing before.

    Distances of means are in standard deviations of the channel, as estimated.
    """

    layer: str
    variables: tuple  # names in the checkpoint
    channels: int
    corrected: bool  # whether its variance has Bessel's correction
    mean_change: float | None  # how far the mean has moved
    smallest_variance_ratio: float | None  # the new variance by the old one
    largest_variance_ratio: float | None
    mean_error: float | None  # the standard error of the mean; None after one batch
    variance_error: float | None  # that of the variance, as a part of the variance


@dataclasses.dataclass(frozen=True, repr=False)
class Recalibration:
    """What `recalibrate` has done. `str()` of it is what the command prints."""

    checkpoint: str
    output: str | None  # what was written; None where no layer could be estimated
    layers: tuple  # of `LayerChange`
    skipped: dict  # name of a layer that was left as it was, to why
    estimate: str  # population or batch
    num_batches: int
    batch_size: int | None  # rows; None where nothing was fed in batches
    seed: int  # of the order of the rows
    accuracies: dict  # validation and test, each to the accuracy before and after; of the tutorial's network alone

    @property
    def complete(self) -> bool:
        """Whether every layer was estimated."""
        return not self.skipped

    def to_json(self) -> dict:
        """All fields, for `json.dumps`."""
        return dataclasses.asdict(self)

    def __repr__(self):
        return f"<Recalibration of {self.checkpoint}: {len(self.layers)} layers estimated, {len(self.skipped)} skipped>"

    def __str__(self):
        return "\n".join(_lines(self))


def compare(layer, variables, before, estimate) -> LayerChange:
    """The `LayerChange` of a layer.

    before: its moving mean and variance so far, arrays or None. estimate: `Estimate`.
    """
    deviation = np.sqrt(estimate.variance)
    mean_change, ratios = None, (None, None)
    if before[0] is not None:
        mean_change = _largest(estimate.mean - before[0].reshape(-1), deviation)
    if before[1] is not None:
        ratio = _quotient(estimate.variance, before[1].reshape(-1).astype(np.float64))
        ratios = float(ratio.min()), float(ratio.max())
    errors = estimate.mean_error is not None
    return LayerChange(
        layer=layer.name,
        variables=tuple(variables),
        channels=estimate.mean.size,
        corrected=bool(estimate.corrected),
        mean_change=mean_change,
        smallest_variance_ratio=ratios[0],
        largest_variance_ratio=ratios[1],
        mean_error=_largest(estimate.mean_error, deviation) if errors else None,
        variance_error=_largest(estimate.variance_error, estimate.variance) if errors else None,
    )


def _largest(values, unit):
    return float(_quotient(np.abs(values), unit).max(initial=0))


def _quotient(values, unit):
    """values / unit; 0 where both are 0: a channel in which nothing ever changes."""
    return np.divide(values, unit, out=np.where(values == 0, 0.0, np.inf), where=unit != 0)


def _lines(report):
    rows = ""
    if report.batch_size is not None:
        rows = f" of {report.batch_size} row{'s' if report.batch_size > 1 else ''}, in the order of seed {report.seed}"
    plural = "es" if report.num_batches > 1 else ""
    yield f"{report.num_batches} batch{plural}{rows}; estimate: {report.estimate}"
    for change in report.layers:
        yield f"{printable(change.layer)}: {_change_text(change)}"
        yield f"    {_error_text(change)}"
    for name, reason in report.skipped.items():
        yield f"{printable(name)}: left as it was: {reason}"
    for name, (before, after) in report.accuracies.items():
        yield f"{name} accuracy: {before:.2%} before, {after:.2%} after"


def _change_text(change):
    parts = [f"{change.channels} channels"]
    if change.mean_change is None:
        parts.append("it had no moving mean")
    else:
        parts.append(f"the mean moved by up to {change.mean_change:.3g} standard deviations")
    if change.smallest_variance_ratio is not None:
        low, high = change.smallest_variance_ratio, change.largest_variance_ratio
        parts.append(f"the variance became {low:.3g} to {high:.3g} times what it was")
    return ", ".join(parts)


def _error_text(change):
    if change.mean_error is None:
        return "standard error: not known after one batch"
    return (
        f"standard error: of the mean up to {change.mean_error:.2g} standard deviations, of the variance up to "
        f"{change.variance_error:.2%} of it"
    )
