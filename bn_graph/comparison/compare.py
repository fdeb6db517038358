"""The port beside the original of 2016, measured live: the same where it can be the same, and where chaos begins.

`compare` trains everything and returns one plain dict. `bn_graph.comparison.report` makes the page of it. Three rules
decide whether the port is the original, and the tests have the same ones:

    envelope    The training loss stays as near to the recorded one as TF 0.12.1 stays to itself, when its initial
                weights are moved by one unit in the last place, times three.
    one step    One training step from each recorded state gives the recorded step within rounding.
    accuracy    Validation and test accuracies are near the recorded ones.

No p-value is a rule: it would break one for nobody's fault every now and then.
"""

import dataclasses
import datetime
import hashlib
import math
import platform

import numpy as np

from bn_graph.comparison.graph_2016 import Graph2016, compare_graphs
from bn_graph.comparison.measurements import compare_losses, compare_pages, compare_seeds, compare_splits, compare_steps
from bn_graph.comparison.recordings import RECORDED, RECORDED_SEED, RUN_OF_EDITION, has_states, recording
from bn_graph.comparison.rules import accuracy_rule, envelope_rule, one_step_rule
from bn_graph.config import EDITIONS, LARGEST_SEED
from bn_graph.errors import InputError
from bn_graph.graph import build_graph
from bn_graph.mnist import split
from bn_graph.record import versions
from bn_graph.tf1 import tf
from bn_graph.training import train

STRATIFIED_SEEDS = 3  # at most: the split is a smaller question than the port, and each seed is a run more


def compare(mnist, edition="notebook", seeds=10, bar=None):
    """Trains the port, the 2016 graph and both pages, and returns all that was measured as a dict, ready for JSON.

    Args:
        mnist: `Mnist`.
        edition: page, script or notebook.
        seeds: the port is trained from the seeds 1 to this number; 2 or more.
        bar: a `tqdm` bar, which is given its total and moved on by every training step; None: no progress.

    Raises `InputError` where edition or seeds is outside this.
    """
    if edition not in EDITIONS:
        raise InputError(f"edition must be {' or '.join(EDITIONS)}, found {edition!r}")
    if not 2 <= seeds <= LARGEST_SEED:
        raise InputError(f"seeds must be a whole number from 2 to {LARGEST_SEED}, found {seeds}")
    name = RUN_OF_EDITION[edition]
    # Validation is the dearest part of a run, so it is done where a line is printed. It draws nothing.
    config = dataclasses.replace(RECORDED[name], seed=RECORDED_SEED, eval_every=RECORDED[name].print_every)
    others = [dataclasses.replace(config, seed=seed) for seed in range(1, seeds + 1)]
    pages = {
        page: dataclasses.replace(RECORDED[page], seed=RECORDED_SEED)
        for page in ("page", "page_control_dependencies")
        if page != name
    }
    stratified_seeds = min(seeds, STRATIFIED_SEEDS)
    if bar is not None:
        runs = 1 + seeds + stratified_seeds + len(pages)  # the first is the 2016 graph
        bar.reset(total=runs * config.steps)

    def progress(steps):
        for step in steps:
            yield step
            if bar is not None:
                bar.update()

    original, stratified = split(mnist, "original"), split(mnist, "stratified")
    imported = Graph2016(name, config)
    graph_2016 = imported.train(original, progress)
    tutorial = build_graph(config, original)
    graph = compare_graphs(recording(name), imported, tutorial)
    # The first run is the session loop, as published; in the others the loop is in the graph. The same numbers, faster.
    port = [trained(tutorial, original, progress, engine="session")]
    del tutorial, imported
    port += [trained(build_graph(other, original), original, progress) for other in others[1:]]
    apart = [trained(build_graph(other, stratified), stratified, progress) for other in others[:stratified_seeds]]
    records = {name: port[0][0]}
    for page, page_config in pages.items():
        records[page], _ = trained(build_graph(page_config, original), original, progress)

    rules = []
    for run, record in records.items():
        rules.append(envelope_rule(run, record.train_loss))
        rules.append(accuracy_rule(run, record))
        if has_states(run):
            rules.append(one_step_rule(run, original))
    broken = [f"{rule['run']}: {rule['rule']}: {rule['says']}" for rule in rules if not rule["kept"]]
    recorded = recording(name)
    return _plain(
        {
            "generator": "bn_graph",
            "edition": edition,
            "run": name,
            "made": made(mnist, recorded),
            "verdict": {"same": not broken, "broken": broken},
            "rules": rules,
            "steps": compare_steps(edition, recorded, graph_2016, records[name]),
            "losses": compare_losses(recorded, graph_2016, records[name]),
            "seeds": compare_seeds(edition, [record for record, _ in port]),
            "split": compare_splits(original, port, stratified, apart),
            "graph": graph,
            "page": compare_pages(records["page"], records["page_control_dependencies"]),
        }
    )


def trained(tutorial, splits, progress=None, engine="in_graph"):
    """Trains. Returns the record, and for each test row whether it was recognised in the end, bool [rows]."""
    with tf.Session(graph=tutorial.graph) as session:
        record = train(tutorial, splits, session, progress=progress, engine=engine)
        logits = session.run(tutorial.test_logits, tutorial.test_feed)
    return record, logits.argmax(axis=1) == splits.test_y.argmax(axis=1)


def made(mnist, recorded):
    """Which versions and data both sides are made of."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "machine": platform.machine(),
        "versions": versions("scipy", "matplotlib", "jinja2"),
        "original_versions": {key: recorded[key] for key in ("python", "tensorflow", "numpy", "scikit_learn")},
        "data": {
            "source": mnist.source,
            "rows": len(mnist.data),
            "sha256": hashlib.sha256(np.asarray(mnist.data)).hexdigest(),
        },
    }


# The 2016 graph itself.


# The rules. Each returns which rule it is, of which run, whether it is kept, the largest part of what is allowed that
# was used ("worst": above 1 it is broken), and a line that says so.


# What the page shows.


def _plain(value):
    """The value in Python's own types. A number that is not finite becomes None."""
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(x) for x in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
