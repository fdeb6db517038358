"""TODO."""

import json

import numpy as np
from scipy import stats

from bn_graph.comparison.recordings import REFERENCE, printed_notebook, recording
from bn_graph.comparison.rules import ENVELOPES, FLOOR, envelope, largest_so_far


def compare_steps(edition, recorded, graph_2016, port):
    """One row for each printed step: the notebook of 2016 (or None), the 2016 graph now, the port, the recorded run."""
    printed = printed_notebook() if edition == "notebook" else {}
    recorded_valid = dict(zip(recorded["valid_step"], recorded["valid_accuracy"], strict=True))
    found = largest_so_far(port.train_loss, recorded["train_loss"])
    drift = envelope(recorded)
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
            "apart": found[step],
            "envelope": drift[step],
        }
        for index, step in enumerate(port.valid_step)
    ]


def _at(record, index, step):
    return {
        "train_loss": record.train_loss[step],
        "train_accuracy": record.train_accuracy[step],
        "valid_accuracy": record.valid_accuracy[index],
    }


def compare_losses(recorded, graph_2016, port):
    """Every step: the losses, the largest relative difference so far, and what is allowed."""
    drift = envelope(recorded)
    chaos = np.flatnonzero(drift > FLOOR)
    return {
        "recorded": recorded["train_loss"],
        "port": port.train_loss,
        "graph_2016": graph_2016.train_loss,
        "port_apart": largest_so_far(port.train_loss, recorded["train_loss"]),
        "graph_2016_apart": largest_so_far(graph_2016.train_loss, recorded["train_loss"]),
        "envelope": drift,
        "envelopes_allowed": ENVELOPES,
        "floor": FLOOR,
        # where TF 0.12.1 and itself, one ulp apart, are further apart than what is always allowed
        "chaos_step": int(chaos[0]) if chaos.size else None,
        "test_accuracy": {
            "recorded": recorded["test_accuracy"],
            "port": port.test_accuracy,
            "graph_2016": graph_2016.test_accuracy,
        },
    }


def compare_seeds(edition, records):
    """The accuracies over the seeds; for the notebook beside the original's own ten seeds and its printed curve."""
    found = {"edition": edition, "port": _over_seeds([r.config.seed for r in records], [_curve(r) for r in records])}
    found["original"] = found["printed"] = found["tests"] = None
    if edition != "notebook":
        return found
    recorded = json.loads((REFERENCE / "notebook_seeds_1_to_10.json").read_text())
    steps = found["port"]["valid_step"]
    curves = []
    for run in recorded.values():
        valid = dict(zip(run["valid_step"], run["valid_accuracy"], strict=True))
        curves.append((steps, [valid[step] for step in steps], run["test_accuracy"]))
    found["original"] = _over_seeds([int(seed) for seed in recorded], curves)
    found["tests"] = {
        "test": two_samples(found["port"]["test_accuracy"], found["original"]["test_accuracy"]),
        "valid": two_samples(
            [curve[-1] for curve in found["port"]["valid_accuracy"]],
            [curve[-1] for curve in found["original"]["valid_accuracy"]],
        ),
    }
    printed = json.loads((REFERENCE / "notebook_printed.json").read_text())
    # Today's Python would not print 95.00 for a whole percent: the notebook rounded, so it says a span.
    half = 0.005 if printed["valid_accuracy_is_rounded_to_whole_percent"] else 0.0
    test = printed["test_accuracy_percent"] / 100
    found["printed"] = {
        "half_width": half,
        "valid": [
            {"step": step, "accuracy": at["valid_accuracy"]}
            | {
                side: _inside(at["valid_accuracy"], half, found[side]["valid"][steps.index(step)])
                for side in ("port", "original")
            }
            for step, at in printed_notebook().items()
        ],
        "test": {"accuracy": test} | {side: _inside(test, 5e-7, found[side]["test"]) for side in ("port", "original")},
    }
    return found


def _curve(record):
    return record.valid_step, record.valid_accuracy, record.test_accuracy


def _over_seeds(seeds, curves):
    steps = curves[0][0]
    valid, test = [curve for _, curve, _ in curves], [accuracy for _, _, accuracy in curves]
    return {
        "seeds": seeds,
        "valid_step": steps,
        "valid_accuracy": valid,
        "test_accuracy": test,
        "valid": [statistics(column) for column in zip(*valid, strict=True)],
        "test": statistics(test),
    }


def statistics(values):
    return {
        "n": len(values),
        "mean": np.mean(values),
        "std": np.std(values, ddof=1),
        "lowest": np.min(values),
        "highest": np.max(values),
    }


def _inside(value, half, band):
    """Whether a printed number, which stands for value - half to value + half, can lie in the range."""
    return bool(value + half >= band["lowest"] and value - half <= band["highest"])


def two_samples(first, second):
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


def compare_splits(original, port, stratified, apart):
    """The two splits: their rows, the accuracies on the same seeds, and rows that were also training rows.

    `port` and `apart`: lists of records and recognised test rows, of the original and the stratified split.
    """
    same_seeds = port[: len(apart)]
    found = {}
    for splits, runs in ((original, same_seeds), (stratified, apart)):
        records = [record for record, _ in runs]
        found[splits.split] = {
            "rows": {
                part: {
                    "rows": len(rows),
                    "distinct": len(np.unique(rows)),
                    "in_training": int(np.isin(rows, splits.train_rows).sum()),
                }
                for part, rows in (("valid", splits.valid_rows), ("test", splits.test_rows))
            }
            | {"train": {"rows": len(splits.train_rows), "distinct": len(np.unique(splits.train_rows))}}
        } | _over_seeds([record.config.seed for record in records], [_curve(record) for record in records])
    found["test"] = two_samples(found["original"]["test_accuracy"], found["stratified"]["test_accuracy"])

    seen = np.isin(original.test_rows, original.train_rows)
    _, once = np.unique(original.test_rows, return_index=True)  # a row that occurs twice is one image
    recognised = port[0][1]
    counts = {}
    for group, rows in (("seen", seen), ("unseen", ~seen)):
        distinct = once[rows[once]]
        right, total = int(recognised[distinct].sum()), len(distinct)
        interval = stats.binomtest(right, total).proportion_ci()
        accuracies = [float(right_rows[rows].mean()) for _, right_rows in port]
        found[group] = {
            "rows": int(rows.sum()),
            "accuracy": accuracies,
            "over_seeds": statistics(accuracies),
            "first_seed": {
                "distinct": total,
                "right": right,
                "accuracy": right / total,
                "low": interval.low,
                "high": interval.high,
            },
        }
        counts[group] = [right, total - right]
    gaps = np.subtract(found["seen"]["accuracy"], found["unseen"]["accuracy"])
    found["gap"] = {"over_seeds": statistics(gaps), "fisher_p": stats.fisher_exact(list(counts.values())).pvalue}
    # by how much the shared rows flatter the test accuracy
    lifts = np.subtract([record.test_accuracy for record, _ in port], found["unseen"]["accuracy"])
    found["lift"] = statistics(lifts)
    return found


def compare_pages(printed, mended):
    """The page as printed beside the page with control dependencies, with what TF 0.12.1 recorded of both."""
    sides = {"printed": ("page", printed), "mended": ("page_control_dependencies", mended)}
    found = {"step": printed.valid_step}
    for side, (name, record) in sides.items():
        recorded = recording(name)
        found[side] = {
            "train_loss": [record.train_loss[step] for step in record.valid_step],
            "train_accuracy": [record.train_accuracy[step] for step in record.valid_step],
            "valid_accuracy": record.valid_accuracy,
            "test_accuracy": record.test_accuracy,
            "recorded_valid_accuracy": recorded["valid_accuracy"],
            "recorded_test_accuracy": recorded["test_accuracy"],
        }
    found["cost"] = mended.test_accuracy - printed.test_accuracy
    found["recorded_cost"] = found["mended"]["recorded_test_accuracy"] - found["printed"]["recorded_test_accuracy"]
    return found
