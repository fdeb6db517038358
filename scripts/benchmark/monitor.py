"""What it costs to watch the moving statistics: MovingStatisticsSession and MovingStatisticsHook, in this process.

The steps are those of the tutorial's network by `session.run`, as the page has them. What the two do themselves after
the tenth step is measured apart, because it is far less than what a step differs from the next one.
"""

import statistics
import time

from benchmark.processes import progress
from bn_graph.cli import import_tensorflow

BLOCK = 50  # steps that are timed together
CALLS = 20_000


def measure(options):
    """Trains blocks of steps, watched and not watched in turn, and times what watching does by itself."""
    import_tensorflow()
    from bn_graph import PAGE, build_graph, load_mnist, split
    from bn_graph.audit.monitor import STEPS, MovingStatisticsHook, MovingStatisticsSession
    from bn_graph.tf1 import tf

    splits = split(load_mnist())
    tutorial = build_graph(PAGE, splits)
    feed = tutorial.train_feed(*(rows[: PAGE.batch_size] for rows in (splits.train_X, splits.train_y)))

    def seconds(session, steps):
        begin = time.perf_counter()
        for _ in range(steps):
            session.run(tutorial.train_op, feed)
        return time.perf_counter() - begin

    with tf.Session(graph=tutorial.graph) as session, progress(options.rounds) as bar:
        session.run(tutorial.init_op)
        seconds(session, BLOCK)  # TensorFlow is slower in a session's first steps
        begin = time.perf_counter()
        watched = MovingStatisticsSession(session)
        start = time.perf_counter() - begin
        first = seconds(watched, STEPS) - seconds(session, STEPS)
        rounds = []
        for _ in range(options.rounds):
            rounds.append({"plain": seconds(session, BLOCK) / BLOCK, "watched": seconds(watched, BLOCK) / BLOCK})
            bar.update()
        hook = MovingStatisticsHook()
        hook._watch = watched._watch
        own = {"session": _later_step_of_session(watched), "hook": _later_step_of_hook(hook, tf)}
    return {"results": rounds, "start": start, "first": first, "own": own, "failed": {}}


class _IdleSession:
    """A session whose run does nothing, so that only what is around it takes time."""

    def __init__(self, graph):
        self.graph = graph

    def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
        return None


def _later_step_of_session(watched):
    """The seconds that the wrapper adds to a step after the tenth."""
    idle = watched._session = _IdleSession(watched.graph)
    return _seconds_a_call(lambda: watched.run("train", {})) - _seconds_a_call(lambda: idle.run("train", {}))


def _later_step_of_hook(hook, tf):
    """The seconds of what the hook does in a step after the tenth."""
    context = tf.train.SessionRunContext(tf.train.SessionRunArgs("train"), None)
    values = tf.train.SessionRunValues(None, None, None)

    def step():
        hook.before_run(context)
        hook.after_run(context, values)

    return _seconds_a_call(step)


def _seconds_a_call(function):
    begin = time.perf_counter()
    for _ in range(CALLS):
        function()
    return (time.perf_counter() - begin) / CALLS


def lines(measured):
    """The lines that are printed."""
    rounds = measured["results"]
    step = statistics.median(one["plain"] for one in rounds)
    ratio = statistics.median(one["watched"] / one["plain"] for one in rounds)
    yield f"a step of the tutorial: {step * 1e3:.2f} ms"
    yield f"a step in a watched session, after the tenth: {ratio - 1:+.1%}, the median of {len(rounds)} rounds"
    for name, seconds in measured["own"].items():
        yield f"what the {name} itself does in such a step: {seconds * 1e6:.2f} us, {seconds / step:.3%} of a step"
    yield f"the first ten steps together: {measured['first'] * 1e3:+.1f} ms"
    yield f"the audit of the graph at the start: {measured['start'] * 1e3:.0f} ms"
