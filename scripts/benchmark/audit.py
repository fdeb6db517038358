"""The time of an audit against the size of the graph, in this process.

Two kinds of graphs grow: stacked layers, and the families of tests/audit/growing_graphs.py, in which two parts grow
together. The time of an audit should be in proportion to the size of either.
"""

import runpy
import statistics
import time
from pathlib import Path

import bn_graph
from benchmark.processes import progress
from benchmark.reporting import new_figure, table
from bn_graph.cli import import_tensorflow
from bn_graph.pictures import BLUE, ORANGE

GROWING_GRAPHS = Path(__file__).resolve().parents[2] / "tests" / "audit" / "growing_graphs.py"
NUM_LAYERS = (10, 20, 40, 80, 160, 320)
REPEATS = 5
FAMILY_SIZES = (500, 1000, 2000, 4000)
FAMILY_REPEATS = 3


def measure(options):
    """Audits every graph several times."""
    import_tensorflow()
    families = runpy.run_path(str(GROWING_GRAPHS))["FAMILIES"]  # only a clone has tests/
    with progress(2 * len(NUM_LAYERS) + len(families) * len(FAMILY_SIZES)) as bar:
        results = list(measure_stacked_layers(bar))
        grown = list(measure_families(families, bar))
    return {"results": results, "families": grown, "failed": {}}


def measure_stacked_layers(bar):
    """The size of each graph of stacked layers, and the seconds of its audits."""
    from benchmark.stacked_layers import stacked_layers  # here, so that the other benchmarks need not wait for it

    for in_place in (True, False):
        for num_layers in NUM_LAYERS:
            graph_def = stacked_layers(num_layers, in_place)
            seconds, report = time_audits(graph_def, REPEATS, time.perf_counter)
            if len(report.layers) != num_layers or report.findings:
                raise AssertionError(f"expected {num_layers} layers and no finding, got {report}")
            num_inputs = sum(len(node.input) for node in graph_def.node)
            yield {"in_place": in_place, "nodes": len(graph_def.node), "inputs": num_inputs, "seconds": seconds}
            bar.update()


def measure_families(families, bar):
    """The size of each graph of the families, and the CPU seconds of its audits, which other work changes less."""
    for name, graph_of_size in families.items():
        for n in FAMILY_SIZES:
            graph_def = graph_of_size(n)
            # num_steps, so that every rule is checked
            seconds, _ = time_audits(graph_def, FAMILY_REPEATS, time.process_time, num_steps=1000)
            yield {"family": name, "n": n, "bytes": graph_def.ByteSize(), "seconds": seconds}
            bar.update()


def time_audits(graph_def, repeats, clock, **options):
    """The seconds of each audit by the clock, and the report of the last one."""
    seconds = []
    for _ in range(repeats):
        before = clock()
        report = bn_graph.audit_graph(graph_def, **options)
        seconds.append(clock() - before)
    return seconds, report


def lines(measured):
    """The lines that are printed."""
    for in_place, results in by_updates(measured):
        yield f"updates {'in place' if in_place else 'as control dependencies'}"
        yield "  nodes   inputs   seconds: median (of all)   us a node"
        for result in results:
            seconds, nodes = result["seconds"], result["nodes"]
            median = statistics.median(seconds)
            spread = f"{median:.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
            yield f"{nodes:7}{result['inputs']:9}   {spread:25}{1e6 * median / nodes:12.1f}"
    yield "graphs in which two parts grow: median CPU seconds, and CPU microseconds a byte of the GraphDef"
    yield from table(["", *(f"n = {n}" for n in FAMILY_SIZES)], family_rows(measured))


def family_rows(measured):
    """A row for each family: its name, and what its graph of each size costs."""
    rows = {}
    for result in measured["families"]:
        median = statistics.median(result["seconds"])
        cost = f"{median:.3f} s {1e6 * median / result['bytes']:7.2f} us"
        rows.setdefault(result["family"], [result["family"]]).append(cost)
    return list(rows.values())


def by_updates(measured):
    """Whether the updates are in place, and the results for which it is so."""
    for in_place in (True, False):
        yield in_place, [result for result in measured["results"] if result["in_place"] == in_place]


def draw(measured):
    """A figure of the seconds against the nodes of the graph."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    for in_place, results in by_updates(measured):
        medians = [statistics.median(result["seconds"]) for result in results]
        color = BLUE if in_place else ORANGE
        label = "updates in place" if in_place else "updates as control dependencies"
        axes.plot([result["nodes"] for result in results], medians, "o-", color=color, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("nodes of the graph")
    axes.set_ylabel("seconds of an audit")
    axes.legend()
    return figure
