"""Measures what watching the moving statistics costs: python -m tests.audit.monitor_cost

The steps are those of the tutorial's network by `session.run`, as the page has them. A part of them is watched. What
the hook and the session do themselves is measured apart: it is far less than what a step differs from the next one.
"""

import statistics
import time

from bn_graph import PAGE, build_graph, load_mnist, split
from bn_graph.audit.monitor import STEPS, MovingStatisticsHook, MovingStatisticsSession
from bn_graph.tf1 import tf

TURNS, BLOCK, CALLS = 40, 50, 20_000


class IdleSession:
    """A session whose run does nothing, so that only what is around it takes time."""

    def __init__(self, graph):
        self.graph = graph

    def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
        return None


def measure():
    """Seconds: of a step; of what the first ten steps and the start take more; of all that is done in a later step."""
    splits = split(load_mnist())
    tutorial = build_graph(PAGE, splits)
    feed = tutorial.train_feed(*(rows[: PAGE.batch_size] for rows in (splits.train_X, splits.train_y)))
    with tf.Session(graph=tutorial.graph) as session:
        session.run(tutorial.init_op)
        begin = time.perf_counter()
        watched = MovingStatisticsSession(session)
        start = time.perf_counter() - begin
        steps(session, tutorial, feed, BLOCK)  # TensorFlow is slower in a session's first steps
        first = steps(watched, tutorial, feed, STEPS) - steps(session, tutorial, feed, STEPS)
        turns = [(steps(session, tutorial, feed, BLOCK), steps(watched, tutorial, feed, BLOCK)) for _ in range(TURNS)]
        hook = MovingStatisticsHook()
        hook._watch = watched._watch
    return {
        "step": statistics.median(plain for plain, _ in turns) / BLOCK,
        "ratio": statistics.median(watched / plain for plain, watched in turns),
        "first": first,
        "start": start,
        "session": later_steps_of_session(watched),
        "hook": later_steps_of_hook(hook),
    }


def steps(session, tutorial, feed, count):
    begin = time.perf_counter()
    for _ in range(count):
        session.run(tutorial.train_op, feed)
    return time.perf_counter() - begin


def later_steps_of_session(watched):
    """What the wrapper adds to a step after the tenth."""
    idle = watched._session = IdleSession(watched.graph)
    times = []
    for session in (idle, watched):
        begin = time.perf_counter()
        for _ in range(CALLS):
            session.run("train", {})
        times.append((time.perf_counter() - begin) / CALLS)
    return times[1] - times[0]


def later_steps_of_hook(hook):
    """What the hook does in a step after the tenth."""
    context = tf.train.SessionRunContext(tf.train.SessionRunArgs("train"), None)
    values = tf.train.SessionRunValues(None, None, None)
    begin = time.perf_counter()
    for _ in range(CALLS):
        hook.before_run(context)
        hook.after_run(context, values)
    return (time.perf_counter() - begin) / CALLS


def main():
    measured = measure()
    step = measured["step"]
    print(f"a step takes {step * 1e3:.3f} ms; {TURNS} times {BLOCK} steps that are watched, beside those that are not:")
    print(f"{measured['ratio'] - 1:+.2%}, the median of the ratios")
    for name in ("session", "hook"):
        print(
            f"after the tenth step the {name} itself takes {measured[name] * 1e6:.2f} us: {measured[name] / step:.3%}"
        )
    print(
        f"the first ten steps together take {measured['first'] * 1e3:.1f} ms more, the start {measured['start']:.3f} s"
    )


if __name__ == "__main__":
    main()
