"""What the report shows, one function a part: steps, losses, seeds, splits and pages, each as a dict or a list.

Accuracies are fractions. The keys are those of comparison.json.
"""

import numpy as np
from scipy import stats

from bn_graph.comparison.recordings import printed_notebook, printed_numbers, recorded_seeds, recording
from bn_graph.comparison.rules import ENVELOPES, FLOOR, TOLERANCE, allowed, envelope, largest_so_far

MARGIN = 0.002  # of two mean accuracies, within which they count as equivalent; see `bn_graph.comparison.limits`
CONFIDENCE = 0.9  # of the interval that must lie within it: two one-sided tests at 5 %
_FLOAT32_ERROR = 5e-7  # more than float32 is off where it holds an accuracy, as in 97.210002 %


def compare_steps(edition, recorded, graph_2016, port) -> list:
    """One row for each printed step: the notebook of 2016 (or None), the 2016 graph now, the port, the recorded run.

    recorded: `recording` of the run. graph_2016, port: `TrainingRecord`s.
    """
    printed = printed_notebook() if edition == "notebook" else {}
    recorded_valid = dict(zip(recorded["valid_step"], recorded["valid_accuracy"], strict=True))
    largest = largest_so_far(port.train_loss, recorded["train_loss"])
    drift, limit = envelope(recorded), allowed(recorded)
    return [
        {
            "step": step,
            "printed": printed.get(step),
            "graph_2016": _at(graph_2016, index, step),
            "port": _at(port, index, step),
            "recorded": {
                "train_loss": recorded["train_loss"][step],
                "train_accuracy": recorded["train_accuracy"][step],
                "valid_accuracy": recorded_valid[step],
            },
            "apart": largest[step],
            "envelope": drift[step],
            "allowed": limit[step],
        }
        for index, step in enumerate(port.valid_step)
    ]


def _at(record, index, step):
    return {
        "train_loss": record.train_loss[step],
        "train_accuracy": record.train_accuracy[step],
        "valid_accuracy": record.valid_accuracy[index],
    }


def compare_losses(name, graph_2016, port) -> dict:
    """Every step: losses, the largest relative difference so far, and what is allowed. name: of the recorded run."""
    recorded = recording(name)
    drift = envelope(recorded)
    (beyond_floor,) = np.nonzero(drift > FLOOR)
    return {
        "recorded": recorded["train_loss"],
        "port": port.train_loss,
        "graph_2016": graph_2016.train_loss,
        "port_apart": largest_so_far(port.train_loss, recorded["train_loss"]),
        "graph_2016_apart": largest_so_far(graph_2016.train_loss, recorded["train_loss"]),
        "envelope": drift,
        "envelopes_allowed": ENVELOPES,
        "floor": FLOOR,
        "tolerance": TOLERANCE[name],  # of accuracies
        # where TF 0.12.1 and itself, one ulp apart, are further apart than what is always allowed
        "chaos_step": int(beyond_floor[0]) if beyond_floor.size else None,
        "test_accuracy": {
            "recorded": recorded["test_accuracy"],
            "port": port.test_accuracy,
            "graph_2016": graph_2016.test_accuracy,
        },
    }


def compare_seeds(edition, records) -> dict:
    """The accuracies over the seeds; for the notebook beside the original's own ten seeds and its printed curve.

    records: `TrainingRecord`s of the port, one a seed.
    """
    port = _over_seeds([record.config.seed for record in records], [_curve(record) for record in records])
    original = _original_over_seeds(port["valid_step"]) if edition == "notebook" else None
    return {
        "edition": edition,
        "port": port,
        "original": original,
        "printed": _printed_over_seeds(port, original) if original else None,
        "tests": _tests_over_seeds(port, original) if original else None,
    }


def _original_over_seeds(steps):
    """The ten seeds of TF 0.12.1, whose validations are those after `steps`."""
    recorded = recorded_seeds()
    curves = []
    for run in recorded.values():
        valid = dict(zip(run["valid_step"], run["valid_accuracy"], strict=True))
        curves.append((steps, [valid[step] for step in steps], run["test_accuracy"]))
    return _over_seeds([int(seed) for seed in recorded], curves)


def _tests_over_seeds(port, original):
    last_valid = [[curve[-1] for curve in side["valid_accuracy"]] for side in (port, original)]
    return {
        "margin": MARGIN,
        "confidence": CONFIDENCE,
        "test": equivalence(port["test_accuracy"], original["test_accuracy"], MARGIN),
        "valid": equivalence(*last_valid, MARGIN),
    }


def _printed_over_seeds(port, original):
    """The numbers that the notebook printed, and whether each is inside the range over the seeds."""
    numbers, sides, steps = printed_numbers(), {"port": port, "original": original}, port["valid_step"]
    # Today's Python would not print 95.00 for a whole percent: the notebook rounded, so a number stands for a span.
    half = 0.005 if numbers["valid_accuracy_is_rounded_to_whole_percent"] else 0.0
    valid = []
    for step, row in printed_notebook().items():
        accuracy, index = row["valid_accuracy"], steps.index(step)
        inside = {name: _inside(accuracy, half, side["valid"][index]) for name, side in sides.items()}
        valid.append({"step": step, "accuracy": accuracy} | inside)
    test = numbers["test_accuracy_percent"] / 100
    inside = {name: _inside(test, _FLOAT32_ERROR, side["test"]) for name, side in sides.items()}
    return {"half_width": half, "valid": valid, "test": {"accuracy": test} | inside}


def _inside(value, half, summary):
    """Whether a printed number, which stands for value - half to value + half, can lie in the range of a summary."""
    return bool(value + half >= summary["lowest"] and value - half <= summary["highest"])


def _curve(record):
    return record.valid_step, record.valid_accuracy, record.test_accuracy


def _over_seeds(seeds, curves):
    """The accuracies of several runs. A curve is the steps, the validation accuracies, and the test accuracy."""
    steps = curves[0][0]
    valid, test = [curve for _, curve, _ in curves], [accuracy for _, _, accuracy in curves]
    return {
        "seeds": seeds,
        "valid_step": steps,
        "valid_accuracy": valid,
        "test_accuracy": test,
        "valid": [summarize(column) for column in zip(*valid, strict=True)],
        "test": summarize(test),
    }


def summarize(values) -> dict:
    """How many values there are, their mean, standard deviation of the sample, lowest and highest."""
    return {
        "n": len(values),
        "mean": np.mean(values),
        "std": np.std(values, ddof=1),
        "lowest": np.min(values),
        "highest": np.max(values),
    }


def two_samples(first, second) -> dict:
    """Two tests whether two samples come from one place: of the means (Welch's t) and of the ranks (Mann-Whitney)."""
    welch = stats.ttest_ind(first, second, equal_var=False)
    interval = welch.confidence_interval(0.95)
    ranks = stats.mannwhitneyu(first, second)
    return {
        "difference": np.mean(first) - np.mean(second),
        "low": interval.low,
        "high": interval.high,
        "welch": {"statistic": welch.statistic, "df": welch.df, "p": welch.pvalue},
        "mann_whitney": {"statistic": ranks.statistic, "p": ranks.pvalue},
    }


def equivalence(first, second, margin) -> dict:
    """Whether the means of two samples are within `margin` of each other, by two one-sided tests (TOST, Welch's t).

    Returns the difference, the interval of `CONFIDENCE`, the p-value of "they are further apart than the margin", and
    in words whether that is shown: `equivalent`, `different` (the interval is beyond the margin) or `undecided`.
    """
    first, second = np.asarray(first), np.asarray(second)
    above = stats.ttest_ind(first + margin, second, equal_var=False, alternative="greater")
    below = stats.ttest_ind(first - margin, second, equal_var=False, alternative="less")
    interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval(CONFIDENCE)
    verdict = "undecided"
    if -margin < interval.low and interval.high < margin:
        verdict = "equivalent"
    elif interval.low > margin or interval.high < -margin:
        verdict = "different"
    return {
        "difference": np.mean(first) - np.mean(second),
        "low": interval.low,
        "high": interval.high,
        "p": np.max([above.pvalue, below.pvalue]),
        "verdict": verdict,
    }


def compare_splits(original, port, stratified, stratified_runs) -> dict:
    """The two splits: their rows, the accuracies on the same seeds, and rows that were also training rows.

    original, stratified: the `Splits`. port, stratified_runs: the port's runs on them, as `train_port` returns them.
    """
    comparison = {
        "original": _split_over_seeds(original, port[: len(stratified_runs)]),
        "stratified": _split_over_seeds(stratified, stratified_runs),
    }
    accuracies = [comparison[name]["test_accuracy"] for name in ("original", "stratified")]
    return comparison | {"test": two_samples(*accuracies)} | _compare_shared_rows(original, port)


def _split_over_seeds(splits, runs):
    rows = {
        part: {
            "rows": len(rows),
            "distinct": len(np.unique(rows)),
            "in_training": int(np.isin(rows, splits.train_rows).sum()),
        }
        for part, rows in (("valid", splits.valid_rows), ("test", splits.test_rows))
    }
    rows["train"] = {"rows": len(splits.train_rows), "distinct": len(np.unique(splits.train_rows))}
    records = [record for record, _ in runs]
    seeds, curves = [record.config.seed for record in records], [_curve(record) for record in records]
    return {"rows": rows} | _over_seeds(seeds, curves)


def _compare_shared_rows(splits, runs):
    """The accuracies on test rows that are also training rows ("seen") and on the others, over the seeds."""
    seen = np.isin(splits.test_rows, splits.train_rows)
    _, distinct = np.unique(splits.test_rows, return_index=True)  # a row that occurs twice is one image
    groups = {"seen": _accuracy_on(seen, distinct, runs), "unseen": _accuracy_on(~seen, distinct, runs)}
    counts = [
        [first["right"], first["distinct"] - first["right"]]
        for first in (group["first_seed"] for group in groups.values())
    ]
    gaps = np.subtract(groups["seen"]["accuracy"], groups["unseen"]["accuracy"])
    # by how much the shared rows flatter the test accuracy
    lifts = np.subtract([record.test_accuracy for record, _ in runs], groups["unseen"]["accuracy"])
    return groups | {
        "gap": {"over_seeds": summarize(gaps), "fisher_p": stats.fisher_exact(counts).pvalue},
        "lift": summarize(lifts),
    }


def _accuracy_on(group, distinct, runs):
    """The accuracies on a group of test rows.

    group: bool [rows], which of the rows are in it. distinct: one index of each row that is there.
    """
    accuracies = [float(recognised[group].mean()) for _, recognised in runs]
    _, first_recognised = runs[0]
    distinct = distinct[group[distinct]]
    right, total = int(first_recognised[distinct].sum()), len(distinct)
    interval = stats.binomtest(right, total).proportion_ci()
    return {
        "rows": int(group.sum()),
        "accuracy": accuracies,
        "over_seeds": summarize(accuracies),
        "first_seed": {
            "distinct": total,
            "right": right,
            "accuracy": right / total,
            "low": interval.low,
            "high": interval.high,
        },
    }


def compare_pages(printed, mended) -> dict:
    """The page as printed beside the page with control dependencies, with what TF 0.12.1 recorded of both.

    printed, mended: `TrainingRecord`s of the port.
    """
    sides = {
        "printed": _page(printed, recording("page")),
        "mended": _page(mended, recording("page_control_dependencies")),
    }
    recorded_accuracies = [sides[name]["recorded_test_accuracy"] for name in ("mended", "printed")]
    return {
        "step": printed.valid_step,
        **sides,
        "cost": mended.test_accuracy - printed.test_accuracy,
        "recorded_cost": recorded_accuracies[0] - recorded_accuracies[1],
    }


def _page(record, recorded):
    return {
        "train_loss": [record.train_loss[step] for step in record.valid_step],
        "train_accuracy": [record.train_accuracy[step] for step in record.valid_step],
        "valid_accuracy": record.valid_accuracy,
        "test_accuracy": record.test_accuracy,
        "recorded_valid_accuracy": recorded["valid_accuracy"],
        "recorded_test_accuracy": recorded["test_accuracy"],
    }
