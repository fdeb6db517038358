"""The pictures of a comparison that `bn_graph.comparison.compare` measured. Each is drawn on axes that it is given."""

import numpy as np

from bn_graph.pictures import BLUE, GREEN, ORANGE, STYLE, VERMILION

_PORT, _GRAPH_2016, _ORIGINAL, _ALLOWED = BLUE, ORANGE, VERMILION, GREEN
_PRINTED, _MENDED = VERMILION, BLUE


def comparison_figure(comparison):
    """A matplotlib figure of a comparison: all its pictures, one below the other."""
    return _figure([draw_envelope, draw_seeds, draw_pages], comparison)


def one_figure(draw, comparison):
    """A matplotlib figure of one picture. It is small, so that its text can be read on a phone."""
    return _figure([draw], comparison)


def _figure(draws, comparison):
    # Here: importing it takes a second, which a mistake in the options can spare.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 4 * len(draws)))
        for axes, draw in zip(figure.subplots(len(draws), 1, squeeze=False).flat, draws, strict=True):
            draw(axes, comparison)
    return figure


def draw_envelope(axes, comparison):
    """How far the losses are from the recorded ones at each step, and how far they may be."""
    losses = comparison["losses"]
    recorded = np.array(losses["recorded"])
    steps = np.arange(len(recorded))
    envelope = np.array(losses["envelope"])
    allowed = np.maximum(losses["envelopes_allowed"] * envelope, losses["floor"])
    bottom = np.finfo(np.float32).eps / 4  # under the smallest difference that float32 knows
    axes.fill_between(steps, bottom, allowed, color=_ALLOWED, alpha=0.15, label="allowed", linewidth=0)
    axes.plot(steps, envelope, color=_ALLOWED, linewidth=1, linestyle="--", label="TF 0.12.1 from itself, one ulp away")
    for name, color, label in (("graph_2016", _GRAPH_2016, "the 2016 graph, now"), ("port", _PORT, "the port")):
        # A number that is not finite is None in a comparison.
        differences = np.abs(np.array(losses[name], dtype=float) / recorded - 1)
        largest = np.array(losses[f"{name}_apart"], dtype=float)
        axes.plot(steps, np.where(differences > 0, differences, np.nan), ".", color=color, markersize=1.5, alpha=0.4)
        axes.plot(steps, np.where(largest > 0, largest, np.nan), color=color, linewidth=1.5, label=label)
    if losses["chaos_step"] is not None:
        axes.axvline(losses["chaos_step"], color="grey", linestyle=":")
        axes.annotate(
            f"chaos begins: step {losses['chaos_step']} ",
            (losses["chaos_step"], 0.95),
            xycoords=("data", "axes fraction"),
            ha="right",
            va="top",
            color="dimgrey",
        )
    axes.set_yscale("log")
    axes.set_ylim(bottom=bottom)
    axes.set_xscale("symlog", linthresh=1)  # nearly all of the growth is in the first hundred steps
    axes.set_xlim(0, len(recorded))
    axes.set_xlabel("step")
    axes.set_ylabel("relative difference in loss")
    axes.set_title("From the recorded run (lines: largest so far)")
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.9))


def draw_seeds(axes, comparison):
    """The band of the validation accuracies over the seeds, the original's, and the notebook's printed curve."""
    seeds, last_step = comparison["seeds"], comparison["steps"][-1]["step"]
    # The test accuracies are right of the last step, beside each other.
    _draw_side(axes, seeds["original"], _ORIGINAL, "TF 0.12.1", 1.15 * last_step)
    _draw_side(axes, seeds["port"], _PORT, "the port", 1.05 * last_step)
    _draw_printed(axes, seeds["printed"], 1.10 * last_step)
    # The first validation, after a single step, is far below all others and would hide them.
    lowest = [summary["lowest"] for summary in seeds["port"]["valid"][1:] if summary["lowest"] is not None]
    if lowest:
        axes.set_ylim(bottom=100 * min(lowest) - 2, top=100)
    axes.set_xlabel("step")
    axes.set_ylabel("accuracy (%)")
    axes.set_title("Over the seeds (the first validation is below)")
    axes.legend(loc="lower right")


def _draw_side(axes, side, color, label, test_x):
    """The band of one side, and its test accuracies at `test_x`. Nothing where there is no such side."""
    if side is None:
        return
    steps, number = side["valid_step"], len(side["seeds"])
    low, high = (
        100 * np.array([summary[end] for summary in side["valid"]], dtype=float) for end in ("lowest", "highest")
    )
    axes.fill_between(steps, low, high, color=color, alpha=0.3, label=f"{label}, {number} seeds, validation")
    tests = 100 * np.array(side["test_accuracy"], dtype=float)
    axes.plot(np.full(number, test_x), tests, "_", color=color, markersize=12, label=f"{label}, test")


def _draw_printed(axes, printed, test_x):
    """The curve that the notebook printed, and its test accuracy at `test_x`. Nothing where there is none."""
    if printed is None:
        return
    axes.errorbar(
        [row["step"] for row in printed["valid"]],
        [100 * row["accuracy"] for row in printed["valid"]],
        yerr=100 * printed["half_width"],
        fmt=".k",
        capsize=3,
        label="printed in 2016, rounded",
    )
    axes.plot(test_x, 100 * printed["test"]["accuracy"], "*k", label="test, printed in 2016")


def draw_pages(axes, comparison):
    """Validation of the page as printed and of the page with control dependencies; training of both looks alike."""
    page = comparison["page"]
    for name, color, label in (
        ("printed", _PRINTED, "as printed"),
        ("mended", _MENDED, "with control dependencies"),
    ):
        side = page[name]
        train, valid = (100 * np.array(side[key], dtype=float) for key in ("train_accuracy", "valid_accuracy"))
        recorded = 100 * np.array(side["recorded_valid_accuracy"])
        axes.plot(page["step"], train, color=color, linewidth=0.7, linestyle=":", label=f"{label}: training batch")
        axes.plot(page["step"], valid, color=color, marker="o", markersize=3, label=f"{label}: validation")
        axes.plot(page["step"], recorded, "x", color="black", markersize=4)
    axes.plot([], [], "x", color="black", markersize=4, label="recorded, TF 0.12.1")
    axes.set_ylim(0, 101)
    axes.set_xlabel("step")
    axes.set_ylabel("accuracy (%)")
    axes.set_title("The page, and what its missing line costs")
    axes.legend(loc="lower right")


def draw_validation(axes, records):
    """Validation of the page as printed and of the page with the missing lines, and training, which looks good.

    records: the `TrainingRecord`s `printed` and `mended`, in a dict.
    """
    printed, mended = records["printed"], records["mended"]
    steps = printed.valid_step
    training = [100 * printed.train_accuracy[step] for step in steps]
    axes.plot(steps, training, ":", color="dimgrey", linewidth=1.5, label="as printed: training batches")
    for record, color, style, label in (
        (printed, _PRINTED, "o-", "as printed: validation"),
        (mended, _MENDED, "s-", "with the lines: validation"),
    ):
        valid = [100 * accuracy for accuracy in record.valid_accuracy]
        axes.plot(steps, valid, style, color=color, linewidth=2, markersize=4, label=label)
    axes.set_ylim(0, 103)
    axes.set_xlabel("training step", fontsize=11)
    axes.set_ylabel("accuracy (%)", fontsize=11)
    axes.tick_params(labelsize=10)
    axes.set_title("Without two lines, training looks good\nand validation is wrong (seed 1)", fontsize=12)
    axes.legend(loc="lower right", fontsize=11)
