"""The time of an audit against the size of the graph, in this process."""

import statistics
import time

import bn_graph
from benchmark.processes import progress
from benchmark.reporting import new_figure
from bn_graph.cli import import_tensorflow

NUM_LAYERS = (10, 20, 40, 80, 160, 320)
REPEATS = 5


def measure(options):
    """Audits graphs of more and more layers, five times each."""
    import_tensorflow()
    from benchmark.stacked_layers import stacked_layers  # here, so that the other benchmarks need not wait for it

    results = []
    with progress(2 * len(NUM_LAYERS)) as bar:
        for in_place in (True, False):
            for num_layers in NUM_LAYERS:
                measured = measure_audit(stacked_layers(num_layers, in_place), num_layers)
                results.append({"in_place": in_place, **measured})
                bar.update()
    return {"results": results, "failed": {}}


def measure_audit(graph_def, num_layers):
    """The size of the graph, which has so many layers, and the seconds of each of its audits."""
    seconds = []
    for _ in range(REPEATS):
        before = time.perf_counter()
        report = bn_graph.audit_graph(graph_def)
        seconds.append(time.perf_counter() - before)
    if len(report.layers) != num_layers or report.findings:
        raise AssertionError(f"expected {num_layers} layers and no finding, got {report}")
    num_inputs = sum(len(node.input) for node in graph_def.node)
    return {"nodes": len(graph_def.node), "inputs": num_inputs, "seconds": seconds}


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
        color = "tab:blue" if in_place else "tab:orange"
        label = "updates in place" if in_place else "updates as control dependencies"
        axes.plot([result["nodes"] for result in results], medians, "o-", color=color, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("nodes of the graph")
    axes.set_ylabel("seconds of an audit")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
