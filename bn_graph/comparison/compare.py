"""The port beside the original of 2016, measured live: the same where it can be the same, and where chaos begins.

`compare` trains everything and returns one plain dict, whose parts are those of the report. The rules that decide
whether the port is the original are in `bn_graph.comparison.rules`.
"""

import datetime
import hashlib
import math
import platform
from pathlib import Path

import numpy as np

from bn_graph import __version__
from bn_graph.comparison.controls import STEPS, run_of_controls
from bn_graph.comparison.limits import limits
from bn_graph.comparison.measurements import compare_losses, compare_pages, compare_seeds, compare_splits, compare_steps
from bn_graph.comparison.original.beside import compare_original
from bn_graph.comparison.recordings import recording
from bn_graph.comparison.rules import check_rules
from bn_graph.comparison.runs import plan_runs, train_all
from bn_graph.comparison.side_by_side import LICENSE, SOURCE, side_by_side
from bn_graph.config import EDITIONS, LARGEST_SEED
from bn_graph.errors import InputError
from bn_graph.mnist import split
from bn_graph.record import versions


def compare(mnist, edition="notebook", seeds: int = 10, bar=None, originals=()) -> dict:
    """Trains the port, the 2016 graph and both pages, and returns all that was measured as a dict, ready for JSON.

    Args:
        mnist: `Mnist`.
        edition: page, script or notebook.
        seeds: the port is trained from the seeds 1 to this number; 2 or more.
        bar: a `tqdm` bar, which is given its total and moved on by every training step; None: no progress.
        originals: what `bn_graph.comparison.original.run.run_original` returned of the original's own texts.

    Raises `InputError` where edition or seeds is outside this.
    """
    if edition not in EDITIONS:
        raise InputError(f"edition must be {' or '.join(EDITIONS)}, found {edition!r}")
    if not 2 <= seeds <= LARGEST_SEED:
        raise InputError(f"seeds must be a whole number from 2 to {LARGEST_SEED}, found {seeds}")
    texts_are = {run["graph"]["recorded"] for run in originals} - {None}
    plan = plan_runs(edition, seeds, sorted(texts_are))
    original, stratified = split(mnist, "original"), split(mnist, "stratified")
    runs = train_all(plan, original, stratified, _progress_of(bar, plan.num_steps))
    rules = [rule for name, record in runs.records.items() for rule in check_rules(name, record, original)]
    broken = [f"{rule['run']}: {rule['rule']}: {rule['says']}" for rule in rules if not rule["kept"]]
    test_accuracies = [record.test_accuracy for record, _ in runs.port]
    return _plain(
        {
            "generator": "bn_graph",
            "edition": edition,
            "run": plan.name,
            "made": _made_of(mnist, recording(plan.name)) | {"command": _command(edition, seeds, originals)},
            "verdict": {"same": not broken, "broken": broken},
            "rules": rules,
            "limits": limits(),
            "controls": {"run": run_of_controls(plan.name), "steps": STEPS, "ports": runs.controls},
            "originals": [compare_original(run, runs.records, test_accuracies) for run in originals],
            "code": {"source": SOURCE, "license": LICENSE, "parts": side_by_side()},
        }
        | _measurements(edition, plan, runs, (original, stratified))
    )


def _measurements(edition, plan, runs, splits):
    """The parts of the report that are measured on the port of the edition. splits: the original ones, and today's."""
    recorded, port = recording(plan.name), runs.records[plan.name]
    original, stratified = splits
    return {
        "steps": compare_steps(edition, recorded, runs.graph_2016, port),
        "losses": compare_losses(plan.name, runs.graph_2016, port),
        "seeds": compare_seeds(edition, [record for record, _ in runs.port]),
        "split": compare_splits(original, runs.port, stratified, runs.stratified),
        "graph": runs.graph_parts,
        "page": compare_pages(runs.records["page"], runs.records["page_control_dependencies"]),
    }


def _progress_of(bar, num_steps):
    """What moves the bar on, or None, as `bn_graph.train` takes it. The bar is told how many steps there are."""
    if bar is None:
        return None
    bar.reset(total=num_steps)

    def progress(steps):
        for step in steps:
            yield step
            bar.update()

    return progress


def _command(edition, seeds, originals):
    """What one types to have the like."""
    texts = "".join(f" --original {Path(run['path']).name}" for run in originals)
    mend = " --mend" if any(run["mends"] for run in originals) else ""
    return f"compare_with_notebook.py --edition {edition} --seeds {seeds}{texts}{mend}"


def _made_of(mnist, recorded):
    """The versions and data of which both sides are made."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "bn_graph": __version__,
        "machine": platform.machine(),
        "versions": versions("scipy", "matplotlib", "jinja2"),
        "original_versions": {key: recorded[key] for key in ("python", "tensorflow", "numpy", "scikit_learn")},
        "data": {
            "source": mnist.source,
            "rows": len(mnist.data),
            "sha256": hashlib.sha256(np.asarray(mnist.data)).hexdigest(),
        },
    }


def _plain(value):
    """The value in Python's own types. A number that is not finite becomes None."""
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(x) for x in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
