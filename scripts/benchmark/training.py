"""The port's engines beside other libraries: the same network, batches and validations, in turn."""

import json
from pathlib import Path

from benchmark.peers import SYSTEMS
from benchmark.processes import Failed, progress
from benchmark.reporting import median, median_ratio, new_figure, spread, table
from benchmark.systems import choose, measure_systems
from bn_graph.config import NOTEBOOK
from bn_graph.errors import InputError
from bn_graph.pictures import BLUE, GREY, VERMILION

RECORDED = Path(__file__).resolve().parents[2] / "bn_graph" / "comparison" / "reference" / "notebook.json"
BLOCK = NOTEBOOK.eval_every  # steps between two validations
BAND = 0.02  # how far below the original's validation accuracy a system may end
HEADER = ["", "steps a second", "port is faster", "of the floor", "loop", "process", "peak memory", "test"]


def measure(options):
    """Trains every system once a round. Each result has the blocks of training, its speed, memory and accuracies."""
    default = [name for name, system in SYSTEMS.items() if system.train or options.original]
    names = choose(options.systems, SYSTEMS, default)
    if "original" in names and not options.original:
        raise InputError("--systems original needs --original PYTHON, a Python 2.7 with TensorFlow 0.12.1")
    if options.steps < 2 * BLOCK or options.steps % BLOCK:
        raise InputError(f"--steps must be a multiple of {BLOCK}, {2 * BLOCK} or more, found {options.steps}")

    def check(measured):
        if measured["valid_accuracy"]:
            check_learning(measured["valid_accuracy"][-1], options.steps)

    with progress(options.rounds * len(names)) as bar:
        turns = measure_systems(names, options.rounds, ["--steps", options.steps], bar, options.original, check)
    return {"rounds": options.rounds, "steps": options.steps, **vars(turns)}


def check_learning(accuracy, steps):
    """Raises `Failed` where the last validation's accuracy is far below what the original had by then."""
    recorded = json.loads(RECORDED.read_text())
    validations = zip(recorded["valid_step"], recorded["valid_accuracy"], strict=True)
    expected = [reached for step, reached in validations if step < steps][-1]
    if not accuracy >= expected - BAND:
        raise Failed(f"does not learn: validation accuracy {accuracy:.2%}; the original had {expected:.2%}")


def lines(measured):
    """The lines that are printed."""
    results, rounds = measured["results"], measured["rounds"]
    yield f"{measured['steps']} steps, {rounds} round{'s' if rounds > 1 else ''}: median (least to most)"
    yield from table(HEADER, [_row(name, results) for name in results])
    for name, package in measured["missing"].items():
        yield f"{SYSTEMS[name].title}: left out: {package} is not installed"


def _row(name, results):
    runs, floor = results[name], results.get("floor")
    port = results.get("compiled") or results.get("in_graph") or results.get("session")
    middle, least, most = spread(runs, "steps_per_second")
    return [
        SYSTEMS[name].title,
        f"{middle:.0f} ({least:.0f} to {most:.0f})",
        f"{median_ratio(port, runs):.2f}" if port and name != "floor" else "",
        f"{median_ratio(runs, floor):.0%}" if floor else "",
        f"{median(runs, 'seconds'):.1f} s",
        f"{median(runs, 'process_seconds'):.1f} s",
        f"{median(runs, 'peak_bytes', 1e6):.0f} MB",
        f"{median(runs, 'test_accuracy'):.2%}" if runs[0]["test_accuracy"] else "",
    ]


def draw(measured):
    """A figure of the steps a second."""
    names = [name for name in measured["results"] if name != "floor"]
    figure = new_figure(8, 1 + 0.4 * len(names))
    axes = figure.subplots()
    for place, name in enumerate(reversed(names)):
        middle, least, most = spread(measured["results"][name], "steps_per_second")
        color = BLUE if name in ("compiled", "in_graph", "session") else GREY
        axes.barh(place, middle, color=color, xerr=[[middle - least], [most - middle]], capsize=3, ecolor="black")
    axes.set_yticks(range(len(names)), [SYSTEMS[name].title for name in reversed(names)])
    if "floor" in measured["results"]:
        floor = median(measured["results"]["floor"], "steps_per_second")
        axes.axvline(floor, color=VERMILION, linestyle="--", label=SYSTEMS["floor"].title)
        figure.legend(loc="outside upper right")
    rounds = f"median and spread of {measured['rounds']} rounds"
    axes.set_xlabel(f"training steps a second, {measured['cores']} cores ({rounds})")
    axes.grid(visible=False, axis="y")
    return figure
