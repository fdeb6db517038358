"""An audit costs in proportion to the size of its graph, whatever grows in it.

The cost is counted in lines of Python that run, not in time, and in bytes.
"""

import sys
import tracemalloc

import pytest

from bn_graph import audit_graph
from tests.audit.growing_graphs import FAMILIES

FEW, MANY = 100, 400


def lines_run(graph_def):
    """How many lines of Python an audit runs: unlike its seconds, the same on every machine."""
    lines = 0

    def count(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        audit_graph(graph_def, num_steps=1000)
    finally:
        sys.settrace(before)
    return lines


def peak_memory(graph_def):
    """The bytes that an audit takes at most."""
    tracemalloc.start()
    try:
        audit_graph(graph_def, num_steps=1000)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def small_limits(monkeypatch):
    """Some products are bounded by a limit, which is to be reached by small graphs already."""
    monkeypatch.setattr("bn_graph.audit.graph.inlining._MAX_COPIED", 2000)
    monkeypatch.setattr("bn_graph.audit.layers.updates._MOST_USES", 10)
    monkeypatch.setattr("bn_graph.audit.layers.updates._MOST_VALUES", 50)


@pytest.mark.parametrize("cost", [lines_run, peak_memory])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_graph_of_four_times_the_size_costs_no_more_than_about_four_times_as_much(small_limits, name, cost):
    few, many = FAMILIES[name](FEW), FAMILIES[name](MANY)
    larger = many.ByteSize() / few.ByteSize()
    assert larger < 5
    cost(few)  # what is made once in a process
    assert cost(many) < 1.8 * larger * cost(few)  # a product of two parts would cost sixteen times as much
