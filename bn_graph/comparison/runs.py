"""Everything that a comparison trains.

That is the 2016 graph, the port from several seeds and on both splits, both pages, and ports broken on purpose.
"""

import dataclasses
from typing import NamedTuple

from bn_graph.comparison.controls import CONTROLS, STEPS, run_controls, run_of_controls
from bn_graph.comparison.graph_2016 import Graph2016
from bn_graph.comparison.graph_parts import compare_graphs
from bn_graph.comparison.recordings import RECORDED, RECORDED_SEED, RUN_OF_EDITION, recording
from bn_graph.graph import build_graph
from bn_graph.record import TrainingRecord
from bn_graph.tf1 import tf
from bn_graph.training import train

_STRATIFIED_SEEDS = 3  # at most: the split is a smaller question than the port, and each seed is a run more
_PAGES = ("page", "page_control_dependencies")


class Plan(NamedTuple):
    """What is to be trained."""

    name: str  # the recorded run that the edition is
    seeds: list  # `TutorialConfig`s of the port on the original split; the first has the recorded run's seed
    stratified: list  # those on the stratified split
    others: dict  # name of another recorded run to its `TutorialConfig`: of the pages, and what was asked for

    @property
    def num_steps(self) -> int:
        """Of all runs together."""
        num_runs = 1 + len(self.seeds) + len(self.stratified) + len(self.others)  # the first is the 2016 graph
        return num_runs * self.seeds[0].steps + len(CONTROLS) * STEPS


class Runs(NamedTuple):
    """What was trained. A run of the port is a pair of record and recognised rows, as `train_port` returns it."""

    graph_2016: TrainingRecord
    graph_parts: dict  # of `compare_graphs`
    port: list  # the port's runs on the original split, one a seed
    stratified: list  # those on the stratified split, from the first seeds
    records: dict  # name of a recorded run to the port's `TrainingRecord` from the same seed: of `name` and the others
    controls: list  # of `run_controls`


def plan_runs(edition: str, num_seeds: int, others=()) -> Plan:
    """The runs of a comparison of an edition with seeds from 1 to `num_seeds`.

    others: names of recorded runs that the port is to repeat, too.
    """
    name = RUN_OF_EDITION[edition]
    # Validation is the dearest part of a run, so it is done where a line is printed. It draws nothing.
    config = dataclasses.replace(RECORDED[name], eval_every=RECORDED[name].print_every)
    seeds = [dataclasses.replace(config, seed=RECORDED_SEED + number) for number in range(num_seeds)]
    more = {
        other: dataclasses.replace(RECORDED[other], seed=RECORDED_SEED) for other in (*_PAGES, *others) if other != name
    }
    return Plan(name, seeds, seeds[:_STRATIFIED_SEEDS], more)


def train_all(plan: Plan, original, stratified, progress=None) -> Runs:
    """Trains what is planned.

    original, stratified: the `Splits`.
    progress: wraps the range of steps of each run.
    """
    graph_2016, graph_parts, first = _train_beside_2016(plan.name, plan.seeds[0], original, progress)
    port = [first] + [train_port(build_graph(config, original), original, progress) for config in plan.seeds[1:]]
    on_stratified = [train_port(build_graph(config, stratified), stratified, progress) for config in plan.stratified]
    records = {plan.name: first[0]}
    for other, config in plan.others.items():
        records[other], _ = train_port(build_graph(config, original), original, progress)
    controls = run_controls(run_of_controls(plan.name), original, progress)
    return Runs(graph_2016, graph_parts, port, on_stratified, records, controls)


def train_port(tutorial, splits, progress=None, engine="in_graph"):
    """Trains. Returns the record, and for each test row whether it was recognised in the end, bool [rows]."""
    with tf.Session(graph=tutorial.graph) as session:
        record = train(tutorial, splits, session, progress=progress, engine=engine)
        logits = session.run(tutorial.test_logits, tutorial.test_feed)
    return record, logits.argmax(axis=1) == splits.test_y.argmax(axis=1)


def _train_beside_2016(name, config, splits, progress):
    """Trains the 2016 graph and the port with the same settings; returns the record, `compare_graphs`, and the run."""
    imported = Graph2016(name, config)
    graph_2016 = imported.train(splits, progress)
    tutorial = build_graph(config, splits)
    graph_parts = compare_graphs(recording(name), imported, tutorial)
    # This run is the session loop, as published; in the others the loop is in the graph. The same numbers, faster.
    return graph_2016, graph_parts, train_port(tutorial, splits, progress, engine="session")
