"""Every limit of the report as a number, with its reason."""

from bn_graph.comparison.measurements import CONFIDENCE, MARGIN
from bn_graph.comparison.recordings import recording
from bn_graph.comparison.rules import ENVELOPES, FLOOR, TOLERANCE, accuracy_drift


def limits() -> list:
    """Rows of what is limited, the limit in words, and the reason."""
    rows = [*_of_training(), *_of_accuracies(), *_of_seeds()]
    return [dict(zip(("what", "limit", "reason"), row, strict=True)) for row in rows]


def _of_training():
    yield (
        "envelope: the training loss",
        f"{ENVELOPES} one-ulp envelopes",
        "Training is chaotic. TF 0.12.1 was run twice more, each initial weight moved by one unit in the last place "
        "(ulp); an envelope is how far these runs drifted from the first. Two runs see less than the full drift, and "
        "weights drawn today are up to three ulps from those of 2016.",
    )
    yield (
        "envelope: the training loss, in the first steps",
        f"{FLOOR:.0e} relative".replace("e-0", "e-"),
        "Some gradients are rounding errors, and Adam makes a whole step of their sign. Where that happens the losses "
        "part by about this much at once; whether it happened in one of the two runs is an accident.",
    )
    yield (
        "one step: each variable",
        "1 × rounding",
        "What float32 loses in that step, computed for each element: 16 roundings of the gradient, times the condition "
        "of the variance as TF 0.12 computed it, through Adam.",
    )


def _of_accuracies():
    editions = [name for name in TOLERANCE if name != "page"]
    drift = max(accuracy_drift(recording(name)) for name in editions)
    tolerance = max(TOLERANCE[name] for name in editions)
    yield (
        "accuracy: validation and test",
        f"{100 * tolerance:.1f} points",
        f"It is {round(10_000 * tolerance)} of 10 000 images. One ulp in the initial weights moved an accuracy of "
        f"TF 0.12.1 by up to {100 * drift:.2f} points in the recordings. The limit is {tolerance / drift:.1f} times "
        "that.",
    )
    drift = accuracy_drift(recording("page"))
    yield (
        "accuracy: of the page as printed",
        f"{100 * TOLERANCE['page']:.1f} points",
        "Nobody moves its averages, so its biases, which are rounding errors, reach validation and test. One ulp moved "
        f"an accuracy of TF 0.12.1 by up to {100 * drift:.2f} points; the limit is {TOLERANCE['page'] / drift:.1f} "
        "times that. What it shows is that the page is as wrong as it was.",
    )


def _of_seeds():
    yield (
        "over the seeds: the mean accuracy",
        f"± {100 * MARGIN:.1f} points",
        f"It is {round(10_000 * MARGIN)} of 10 000 images, and twice the standard deviation of the original over its "
        f"seeds: a shift that no single run could show. The {round(100 * CONFIDENCE)} % interval of the difference "
        "must lie within it. It decides nothing above: with few seeds nothing could be shown.",
    )
