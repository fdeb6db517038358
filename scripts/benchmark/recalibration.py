"""The test accuracy of the page as printed, after its moving statistics were estimated anew from some batches."""

import dataclasses
import itertools
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmark.processes import progress
from benchmark.reporting import new_figure, table
from bn_graph.cli import import_tensorflow
from bn_graph.config import PAGE
from bn_graph.mnist import load_mnist, split
from bn_graph.pictures import BLUE, ORANGE

NUM_BATCHES = (1, 2, 5, 10, 50, 500)
ESTIMATES = ("population", "batch")
KEEP_PROBS = (PAGE.keep_prob, 1.0)
SPLIT = "original"


class Case(NamedTuple):
    """One way to estimate."""

    num_batches: int
    estimate: str
    keep_prob: float


CASES = [Case(*values) for values in itertools.product(NUM_BATCHES, ESTIMATES, KEEP_PROBS)]


def measure(options):
    """Trains the page as printed once for each seed from 1 to `rounds`, and recalibrates it in each way.

    `results` has one entry for each `Case`: `before` and `after`, the test accuracies by seed.
    """
    import_tensorflow()
    results = [{**case._asdict(), "before": [], "after": []} for case in CASES]
    splits = split(load_mnist(), SPLIT)
    with progress(options.rounds * (1 + len(CASES))) as bar, tempfile.TemporaryDirectory() as folder:
        for seed in range(1, options.rounds + 1):
            checkpoint = train_page(Path(folder) / f"seed-{seed}", splits, seed, options.steps)
            bar.update()
            for number, (case, result) in enumerate(zip(CASES, results, strict=True)):
                before, after = recalibrated_accuracy(case, checkpoint, f"{checkpoint}-{number}", seed)
                result["before"].append(before)
                result["after"].append(after)
                bar.update()
    return {"rounds": options.rounds, "split": SPLIT, "results": results, "failed": {}}


def train_page(prefix, splits, seed, steps):
    """Trains the page as printed, whose update ops nobody runs; the prefix of its checkpoint."""
    from bn_graph import build_graph, train
    from bn_graph.tf1 import tf

    config = dataclasses.replace(PAGE, updates="collected", seed=seed, steps=steps)
    tutorial = build_graph(config, splits)
    with tf.Session(graph=tutorial.graph) as session:
        train(tutorial, splits, session)
        saver = tf.train.Saver(tutorial.variables)
        return saver.save(session, str(prefix), write_meta_graph=False, write_state=False)


def recalibrated_accuracy(case, checkpoint, output, seed):
    """The test accuracy before and after. Rows and dropout are drawn anew for each seed."""
    from bn_graph import recalibrate

    report = recalibrate(
        checkpoint,
        output,
        batches=case.num_batches,
        estimate=case.estimate,
        feed={"keep_prob": case.keep_prob},
        seed=seed,
        split=SPLIT,
    )
    return report.accuracies["test"]


def lines(measured):
    """The lines that are printed: for each number of batches the mean over the seeds of the test accuracy."""
    cases = {Case(*(result[name] for name in Case._fields)): result for result in measured["results"]}
    before = next(iter(cases.values()))["before"]
    yield f"test accuracy before, by seed: {', '.join(f'{accuracy:.2%}' for accuracy in before)}"
    yield f"test accuracy after, mean of the seeds 1 to {measured['rounds']} (least to most):"
    ways = list(itertools.product(ESTIMATES, KEEP_PROBS))
    header = ["batches of 64", *(f"{estimate}, keep_prob {keep_prob:g}" for estimate, keep_prob in ways)]
    yield from table(header, [[str(n), *(_cell(cases[Case(n, *way)]["after"]) for way in ways)] for n in NUM_BATCHES])


def _cell(accuracies):
    return f"{statistics.mean(accuracies):.2%} ({min(accuracies):.2%} to {max(accuracies):.2%})"


def draw(measured):
    """A figure of the test accuracy against the number of batches."""
    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    for estimate, keep_prob in itertools.product(ESTIMATES, KEEP_PROBS):
        results = [r for r in measured["results"] if (r["estimate"], r["keep_prob"]) == (estimate, keep_prob)]
        accuracies = [100 * statistics.mean(result["after"]) for result in results]
        style = "-" if estimate == "population" else "--"
        color = ORANGE if keep_prob == 1 else BLUE
        label = f"{estimate}, keep_prob {keep_prob:g}"
        axes.plot([r["num_batches"] for r in results], accuracies, f"o{style}", color=color, label=label)
    axes.set_xscale("log")
    axes.set_xlabel("batches of 64 rows")
    axes.set_ylabel("test accuracy (%)")
    axes.legend()
    return figure
