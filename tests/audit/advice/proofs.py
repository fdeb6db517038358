"""What must hold where a fix was followed, and does not hold without it. A session says so."""

import numpy as np
import pytest

from bn_graph.tf1 import tf
from tests.audit.networks import values as all_values
from tests.audit.sessions import initialize, moving_statistics, run, session_of, still, values

STEPS = 10


def train(session, built, steps=STEPS):
    for _ in range(steps):
        run(session, built.train, built.feed)


def trained(built, steps=STEPS):
    """The moving statistics before and after some steps of training, by name."""
    with session_of(built.graph) as session:
        initialize(session, built)
        statistics = moving_statistics()
        before = values(session, statistics)
        train(session, built, steps)
        return before, values(session, statistics)


def moves(built):
    """Training moves every moving statistic."""
    before, after = trained(built)
    assert before and not still(before, after)


def stays(built):
    """Training moves no moving statistic."""
    before, after = trained(built)
    assert before and still(before, after) == before.keys()


def is_independent(built):
    """What is predicted of a row does not depend on the other rows of its batch."""
    ((X, rows),) = ((key, value) for key, value in built.evaluation_feed.items() if np.ndim(value) > 1)
    others = np.concatenate([rows[:1], 3 * rows[1:] + 1])
    with session_of(built.graph) as session:
        if built.init is not None:
            initialize(session, built)
        one, other = (run(session, built.evaluate, {**built.evaluation_feed, X: fed})[0] for fed in (rows, others))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def leaves_statistics(built):
    """Evaluating changes no variable."""
    with session_of(built.graph) as session:
        initialize(session, built)
        train(session, built, 1)
        before = all_values(session, built.graph)
        run(session, built.evaluate, built.evaluation_feed)
        assert still(before, all_values(session, built.graph)) == before.keys()


def trains_parameters(built):
    """Training changes beta."""
    with session_of(built.graph) as session:
        initialize(session, built)
        betas = {v.op.name: v for v in tf.trainable_variables() if v.op.name.endswith("beta")}
        before = values(session, betas)
        train(session, built)
        assert betas and not still(before, values(session, betas))


def forgets_its_start(built):
    """After all steps at most 1 % is left of what the moving mean was before, and after one step at least a half."""
    ends = []
    for start in (0.0, 1000.0):
        with session_of(built.graph) as session:
            initialize(session, built)
            (mean,) = (v for name, v in moving_statistics().items() if "mean" in name)
            session.run(mean.assign(tf.fill(mean.shape, start)))
            train(session, built, 1)
            first = session.run(mean.read_value())
            train(session, built, built.arguments.get("num_steps", 1000) - 1)
            ends.append((first, session.run(mean.read_value())))
    assert np.max(np.abs(ends[1][1] - ends[0][1])) <= 0.0101 * 1000
    assert np.min(ends[1][0] - ends[0][0]) >= 0.5 * 1000


def asks_to_be_fed(built):
    """A step that does not feed is_training is an error."""
    fed = {key: value for key, value in built.feed.items() if key.dtype != tf.bool}
    with session_of(built.graph) as session:
        initialize(session, built)
        with pytest.raises(tf.errors.InvalidArgumentError):
            run(session, built.train, fed)


def can_run(built):
    """A session can run the train op at all."""
    with session_of(built.graph) as session:
        initialize(session, built)
        train(session, built)


def nothing(built):
    """The audit alone decides: it is a matter of numbers, or of what is not needed."""
