"""At run time: what MovingStatisticsHook and MovingStatisticsSession say of what is really fetched and fed.

`tf.estimator` is not in today's TensorFlow. An Estimator calls its hooks through MonitoredTrainingSession.
"""

import contextlib
import functools
import warnings

import numpy as np
import pytest

import bn_graph
from bn_graph.audit import monitor
from bn_graph.audit.monitor import (
    STEPS,
    MovingStatisticsError,
    MovingStatisticsHook,
    MovingStatisticsSession,
    MovingStatisticsWarning,
)
from bn_graph.tf1 import tf
from tests.audit.cases.case import BOTH
from tests.audit.cases.update_ops import gan, update_branch
from tests.audit.networks import network, new_graph
from tests.audit.pieces import collected, dense, done, inputs, minimize, norm
from tests.audit.sessions import CannotRun, initialize, run, session_of
from tests.audit.test_rules import ALL
from tests.audit.watching import IDLE, said_in, watch_recording

# Graphs of old releases, and of the tests.


@pytest.mark.release
def test_of_the_recorded_graphs_the_idle_ones_are_found_and_no_other(corpus):
    """`python -m tests.audit` takes them all."""
    folder, expected = corpus
    verdicts = {}
    for name in sorted(expected)[::8]:
        with contextlib.suppress(CannotRun):
            verdicts[name] = watch_recording(folder / name, expected[name])
    assert not {name: expected[name]["why"] for name, (is_idle, said) in verdicts.items() if is_idle != bool(said)}
    assert len(verdicts) >= 50 and sum(is_idle for is_idle, _ in verdicts.values()) >= 12


def can_train(case):
    return case.session and not case.name.startswith(("no batch norm", "inference", "observations"))


@pytest.mark.parametrize("case", [pytest.param(c, marks=c.marks) for c in filter(can_train, ALL)], ids=str)
def test_of_the_graphs_of_the_tests_the_idle_ones_are_found_and_no_other(case):
    built = case.build()
    if built.train is None:
        return
    found = {rule for rule, _ in case.expected}
    said = said_in(built, train_op=built.arguments.get("train_op"))
    if found & IDLE:
        assert said and "have not moved" in said
    elif case.still is None:
        assert said is None


# What is fetched.


def fetched():
    """A graph whose updates nothing runs, and what its program can fetch."""
    built = network(**BOTH, updates="collected")
    with built.graph.as_default():
        updates = collected()
        group = tf.group(*updates)
    return built, {"train": built.train, "updates": updates, "group": group, "loss": "loss:0", "eval": built.evaluate}


# Each is a function (ops, number of the step), which returns what the runs of this step fetch.
RIGHT = {
    "beside the train op": lambda op, step: [[op["train"], op["updates"]]],
    "beside the train op, in a dict": lambda op, step: [{"step": op["train"], "more": (op["updates"], op["loss"])}],
    "as a group": lambda op, step: [(op["group"], op["train"])],
    "by name": lambda op, step: [[op["train"].name, op["group"].name]],
    "in a run of their own": lambda op, step: [op["train"], op["updates"]],
    "in a run of their own, before": lambda op, step: [op["group"], op["train"]],
    "every third step": lambda op, step: [op["train"], op["updates"]] if step % 3 == 0 else [op["train"]],
}
WRONG = {
    "never": lambda op, step: [op["train"]],
    "never, and the loss": lambda op, step: [[op["train"], op["loss"]]],
    "never, and an evaluation": lambda op, step: [op["train"], op["eval"]],
    "one of the two": lambda op, step: [[op["train"], op["updates"][0]]],
    "one of the two, in a run of its own": lambda op, step: [op["train"], op["updates"][1]],
}


def train_by(way, watched, built, ops, steps=STEPS):
    initialize(watched, built)
    for step in range(steps):
        for fetches in way(ops, step):
            run(watched, fetches, {**built.feed, **built.evaluation_feed})


@pytest.mark.parametrize("way", RIGHT)
def test_updates_that_are_fetched_are_seen(way):
    built, ops = fetched()
    with session_of(built.graph) as session:
        train_by(RIGHT[way], MovingStatisticsSession(session), built, ops)


@pytest.mark.parametrize("way", WRONG)
def test_updates_that_are_not_fetched_are_missed(way):
    built, ops = fetched()
    with session_of(built.graph) as session, pytest.raises(MovingStatisticsError) as error:
        train_by(WRONG[way], MovingStatisticsSession(session), built, ops)
    assert "After 10 training steps the moving statistics of bn have not moved" in str(error.value)
    assert "tf.get_collection(tf.GraphKeys.UPDATE_OPS)" in str(error.value)


def test_only_training_steps_count():
    """Nine steps and any number of evaluations are not ten."""
    built, ops = fetched()
    with session_of(built.graph) as session:
        watched = MovingStatisticsSession(session)
        train_by(lambda op, step: [op["train"], *[op["eval"]] * 3, op["loss"]], watched, built, ops, STEPS - 1)
        with pytest.raises(MovingStatisticsError):
            run(watched, built.train, built.feed)


def test_a_warning_is_given_once_and_training_goes_on():
    built, ops = fetched()
    with session_of(built.graph) as session, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        train_by(WRONG["never"], MovingStatisticsSession(session, action="warn"), built, ops, 3 * STEPS)
    (warning,) = [one for one in warned if one.category is MovingStatisticsWarning]
    assert "have not moved" in str(warning.message)


def test_another_action_is_refused():
    session = tf.Session(graph=network(**BOTH).graph)
    for make in (MovingStatisticsHook, functools.partial(MovingStatisticsSession, session)):
        with pytest.raises(ValueError, match="action must be raise or warn, found 'stop'"):
            make(action="stop")


# What is fed.


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("updates", ["control_dependencies", "in_place", "collected"])
def test_training_on_the_moving_statistics_is_no_alarm(version, updates):
    """is_training is fed False: fine-tuning. Fed True at last, it is training."""
    built = network("slim_unfused", train="placeholder", version=version, resource=version == 2, updates=updates)
    (is_training,) = (key for key in built.feed if key.dtype == tf.bool)
    on_batch, built.feed = built.feed, {**built.feed, is_training: False}
    assert said_in(built) is None
    built.feed = on_batch
    assert bool(said_in(built)) == (updates == "collected")


def test_one_step_on_the_batch_among_ten_is_enough_to_judge():
    built = network("slim_unfused", train="placeholder", updates="collected")
    (is_training,) = (key for key in built.feed if key.dtype == tf.bool)
    with session_of(built.graph) as session, pytest.raises(MovingStatisticsError):
        watched = MovingStatisticsSession(session)
        initialize(watched, built)
        for step in range(STEPS):
            run(watched, built.train, {**built.feed, is_training: step == 4})


@pytest.mark.parametrize("value", [True, False])
def test_a_variable_may_decide(value):
    with new_graph() as graph:
        X, feed = inputs()
        is_training = tf.get_variable("phase", initializer=value, trainable=False, dtype=tf.bool)
        x = norm(dense(X), tf.convert_to_tensor(is_training), fused=False)
        built = done(graph, minimize(tf.reduce_mean(x**2)), feed)
    assert bool(said_in(built)) == value


@pytest.mark.parametrize("version", [1, 2])
def test_a_condition_inside_of_a_loop_or_function_is_not_known_and_no_alarm(version):
    with new_graph(version) as graph:
        X, feed = inputs()
        w = tf.get_variable("w", [6, 6])
        norm(tf.matmul(X, w), False, fused=False)

        def body(i, h):
            h = tf.matmul(h, w)
            return i + 1, norm(h, tf.equal(i, 1), reuse=True, collections=["ignored"], fused=False)

        _, output = tf.while_loop(lambda i, _: i < 3, body, (0, X))
        built = done(graph, minimize(tf.reduce_mean(output**2)), feed)
    assert said_in(built) is None


def test_a_step_is_not_asked_for_more_feeds_than_it_needs():
    """Two networks with placeholders of their own, as in a GAN: is_training of the other one is not fed."""
    with new_graph() as graph:
        X, feed = inputs()
        Z, other = inputs(name="Z")
        phases = [tf.placeholder(tf.bool, [], name=name) for name in ("phase_one", "phase_two")]
        losses = [
            tf.reduce_mean(norm(dense(x, scope=scope), phase, scope=f"{scope}/bn", fused=False) ** 2)
            for x, scope, phase in ((X, "one", phases[0]), (Z, "two", phases[1]))
        ]
        steps = [
            minimize(loss, tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope), var_list=tf.trainable_variables(scope))
            for loss, scope in zip(losses, ("one", "two"), strict=True)
        ]
        built = done(graph, steps, feed)
    with session_of(graph) as session:
        watched = MovingStatisticsSession(session)
        session.run(built.init)
        for _ in range(6):
            watched.run(steps[0], {**feed, phases[0]: True})
            watched.run(steps[1], {**other, phases[1]: True})


def test_a_batch_whose_mean_is_zero_is_no_alarm():
    """The moving mean stays at 0 bit for bit, though its update runs."""
    built = network("hand", **BOTH)
    X, y = built.feed
    rows = built.feed[X]
    built.feed[X] = np.concatenate([rows[:8], -rows[:8]])
    with session_of(built.graph) as session:
        watched = MovingStatisticsSession(session)
        initialize(watched, built)
        (w,) = (variable for variable in tf.global_variables() if variable.op.name == "w")
        session.run(w.assign(np.eye(6, 5)))  # so that nothing is rounded
        for _ in range(STEPS):
            session.run(w.assign(np.eye(6, 5)))
            run(watched, built.train, built.feed)


def test_of_two_networks_the_idle_one_is_named():
    said = said_in(gan("discriminator"))
    assert "the moving statistics of generator/bn have not moved" in said
    names = said.partition("names = [")[2]
    assert "generator" in names and "discriminator" not in names


def test_updates_of_the_other_branch_do_not_count():
    assert "have not moved" in said_in(update_branch("evaluation"))


# The hook.


def monitored(built, hook, steps):
    with built.graph.as_default():
        tf.train.get_or_create_global_step()
        with tf.train.MonitoredTrainingSession(hooks=[hook]) as session:
            for _ in range(steps):
                session.run(built.train, built.feed)


@pytest.mark.parametrize("layer", ["slim", "hand", "fused_v3", "sonnet", "tensorpack"])
@pytest.mark.parametrize("train", [True, "placeholder"])
def test_the_hook_stops_a_monitored_session(layer, train):
    for updates in ("collected", "control_dependencies"):
        built = network(layer, train=train, updates=updates)
        with pytest.raises(MovingStatisticsError) if updates == "collected" else contextlib.nullcontext():
            monitored(built, MovingStatisticsHook(), STEPS)
    built = network(layer, train=train, updates="collected")
    monitored(built, MovingStatisticsHook(), STEPS - 1)
    with pytest.warns(MovingStatisticsWarning):
        monitored(built, MovingStatisticsHook("warn"), STEPS)


def test_the_hook_sees_what_the_program_fetches_beside_other_hooks():
    built, ops = fetched()
    with built.graph.as_default():
        tf.train.get_or_create_global_step()
        nan = tf.train.NanTensorHook("loss:0")  # fetches as well
        with tf.train.MonitoredTrainingSession(hooks=[nan, MovingStatisticsHook(), nan]) as session:
            for _ in range(2 * STEPS):
                session.run([ops["train"], ops["updates"]], built.feed)


def test_the_hook_is_told_the_train_op():
    """Where no op is known to train, nobody is trained."""
    with new_graph() as graph:
        X, feed = inputs()
        loss = tf.reduce_mean(norm(dense(X)) ** 2)
        variables = tf.trainable_variables()
        graph.clear_collection(tf.GraphKeys.TRAINABLE_VARIABLES)
        steps = [tf.assign_sub(v, 0.01 * g) for v, g in zip(variables, tf.gradients(loss, variables), strict=True)]
        built = done(graph, tf.group(*steps, name="my_step"), feed)
    monitored(built, MovingStatisticsHook(), STEPS)
    with pytest.raises(bn_graph.InputError, match="expected the name of the train op, found 'nowhere'"):
        monitored(built, MovingStatisticsHook(train_op="nowhere"), STEPS)


def test_the_hook_can_be_used_again():
    hook = MovingStatisticsHook()
    for updates in ("control_dependencies", "collected"):
        built = network(**BOTH, updates=updates)
        with pytest.raises(MovingStatisticsError) if updates == "collected" else contextlib.nullcontext():
            monitored(built, hook, STEPS)


# What it costs, and what else the session does.


def test_after_the_tenth_step_nothing_is_done_and_nothing_kept(monkeypatch):
    built = network(**BOTH)
    with session_of(built.graph) as session:
        watched = MovingStatisticsSession(session)
        initialize(watched, built)
        for _ in range(STEPS):
            run(watched, built.train, built.feed)
        assert watched._watch.done and watched._watch._audit is None
        monkeypatch.setattr(monitor, "_names_in", None)  # what looks at fetches
        for _ in range(3):
            run(watched, built.train, built.feed)


def test_the_graph_may_be_finalized_and_is_left_as_it_is():
    built = network(**BOTH)
    before = built.graph.as_graph_def().SerializeToString(deterministic=True)
    built.graph.finalize()
    assert said_in(built) is None
    assert built.graph.as_graph_def().SerializeToString(deterministic=True) == before


def test_the_variables_are_read_twice():
    built = network(**BOTH)
    with session_of(built.graph) as session:
        initialize(session, built)
        runs = []

        class Session:
            graph = session.graph

            def run(self, fetches, *arguments):
                runs.append(fetches)
                return session.run(fetches, *arguments)

        watched = MovingStatisticsSession(Session())
        for _ in range(3 * STEPS):
            watched.run(built.train, built.feed)
    assert len([fetches for fetches in runs if isinstance(fetches, dict)]) == 2
    assert len(runs) == 3 * STEPS + 2


def test_it_is_a_session_like_any_other(tmp_path):
    built = network(**BOTH)
    with built.graph.as_default():
        saver = tf.train.Saver()
        with MovingStatisticsSession(tf.Session(graph=built.graph)) as session:
            built.init.run()
            assert session.graph is built.graph and tf.get_default_session() is session
            built.train.run(built.feed, session)
            loss = session.run("loss:0", built.feed)
            assert loss == built.graph.get_tensor_by_name("loss:0").eval(built.feed, session)
            saver.restore(session, saver.save(session, str(tmp_path / "model")))
            handle = session.partial_run_setup(["loss:0"], list(built.feed))
            assert session.partial_run(handle, "loss:0", built.feed) == loss
            assert session.list_devices() and session.sess_str == b""
    assert tf.get_default_session() is None
    with pytest.raises(RuntimeError, match="closed"):
        session.run("loss:0", built.feed)


@pytest.mark.parametrize("enter", [lambda session: session, lambda session: session.as_default()])
def test_steps_of_the_default_session_are_seen(enter):
    built, ops = fetched()
    watched = MovingStatisticsSession(tf.Session(graph=built.graph))
    initialize(watched, built)
    with pytest.raises(MovingStatisticsError), enter(watched):
        for _ in range(STEPS):
            ops["train"].run(built.feed)


def test_they_are_public():
    assert bn_graph.MovingStatisticsHook is MovingStatisticsHook
    assert bn_graph.MovingStatisticsSession is MovingStatisticsSession
