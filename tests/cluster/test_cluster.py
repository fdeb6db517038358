"""The tutorial in a cluster: real processes on the loopback."""

import dataclasses
import os
import re
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

from bn_graph import NOTEBOOK, PAGE, TrainingRecord
from bn_graph.record import versions
from tests.cluster.environment import tf_config
from tests.cluster.processes import LONGEST, ONE_TOWER, Processes
from tests.paths import ROOT

RUN_TUTORIAL = ROOT / "scripts" / "run_tutorial.py"


def one_process(config, splits, replicas, nudge=0.0):
    """The variables after as many steps, each of the mean of the gradients of `replicas` batches at the same weights.

    The moving statistics get the moments of the first batch. `nudge`: moved by so much, relatively, the weights begin.
    """
    from bn_graph import build_graph
    from bn_graph.mnist import batch_offset
    from bn_graph.tf1 import tf

    class MeanOfFed:
        def __init__(self, optimizer):
            self.optimizer = optimizer

        def minimize(self, loss, global_step):
            pairs = [(gradient, variable) for gradient, variable in self.optimizer.compute_gradients(loss)
                     if gradient is not None]  # fmt: skip
            self.gradients = [gradient for gradient, _ in pairs]
            self.fed = [tf.placeholder(tf.float32, gradient.shape) for gradient in self.gradients]
            means = [(fed, variable) for fed, (_, variable) in zip(self.fed, pairs, strict=True)]
            return self.optimizer.apply_gradients(means, global_step)

    held = []
    tutorial = build_graph(
        dataclasses.replace(config, updates="collected"),
        splits,
        wrap_optimizer=lambda optimizer: held.append(MeanOfFed(optimizer)) or held[0],
    )
    updates = tutorial.graph.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.Session(graph=tutorial.graph) as session:
        session.run(tutorial.init_op)
        for name, value in session.run(tutorial.variables).items():
            if name.endswith("/weights"):
                initializer = tutorial.variables[name].initializer
                session.run(initializer, {initializer.inputs[1]: value * np.float32(1 + nudge)})
        for step in range(config.steps):
            gradients = []
            for replica in range(replicas):
                offset = batch_offset(step * replicas + replica, config.batch_size, len(splits.train_y))
                rows = slice(offset, offset + config.batch_size)
                feed = tutorial.train_feed(splits.train_X[rows], splits.train_y[rows])
                gradients.append(session.run([held[0].gradients, [] if replica else updates], feed)[0])
            means = [sum(of_one) / np.float32(replicas) for of_one in zip(*gradients, strict=True)]
            session.run(tutorial.train_op, dict(zip(held[0].fed, means, strict=True)))
        return session.run(tutorial.variables)


def check_it_is_one_process(config, splits, found):
    """Compares the variables `found` after training by two replicas with those of one process, within rounding.

    The measure is how far one process moves away from itself where its weights begin one unit in the last place apart.
    The biases are left out: batch norm subtracts them, only rounding moves them.
    """
    computed, nudged = one_process(config, splits, 2), one_process(config, splits, 2, nudge=2**-23)
    assert found["Variable"] == config.steps
    for name, value in computed.items():
        if "biases" not in name:
            drift = np.abs(nudged[name] - value).max()
            np.testing.assert_allclose(found[name], value, rtol=0, atol=3 * drift + 1e-7, err_msg=name)


def test_synchronous_steps_are_those_of_one_process_though_the_chief_and_the_parameter_server_are_killed(
    mnist, tmp_path
):
    from bn_graph import split
    from bn_graph.saving.restore import read_checkpoint

    options = ["--sync", "--seed", 1, "--steps", 40, "--hidden-size", 16, "--keep-prob", 1]
    options += ["--eval-every", 1, "--print-every", 1, "--checkpoint-dir", "saved", "--checkpoint-every", 10]
    with Processes(tmp_path, *options) as processes:
        processes.held_at = "Epoch: 13:"
        processes.start_all()
        processes.wait_for("chief 0", "Epoch: 13:")
        processes.kill("chief 0")
        begin = processes.printed["chief 0"]
        begin = begin[: begin.index("Initialized\n") + 1]
        processes.held_at = "Epoch: 25:"
        processes.start("chief")
        processes.wait_for("chief 0", "Epoch: 25:")
        processes.kill("ps 0")
        processes.held_at = None
        processes.start("ps")
        assert set(processes.end().values()) == {0}, processes.all_printed()
        printed = processes.printed
    notes = {name: [line for line in lines if line.startswith("run_tutorial.py: ")] for name, lines in printed.items()}
    assert (notes["worker 0"], notes["ps 0"]) == (printed["worker 0"], printed["ps 0"])  # TensorFlow prints nothing
    assert [line.partition("saved: ")[2] for line in notes["chief 0"] if "saved: " in line] == [
        f"going on after {steps} of 40 steps\n" for steps in (10, 20)
    ]
    lines = [line for line in printed["chief 0"] if line not in notes["chief 0"]]
    assert lines[: len(begin)] == begin
    *steps, finished, test = lines[len(begin) :]
    assert [line.partition("\t")[0] for line in steps] == [f"Epoch: {step}:" for step in range(40)]
    assert finished == "Finished training\n" and test.startswith("Test accuracy: ")
    config = dataclasses.replace(PAGE, seed=1, steps=40, hidden_size=16, keep_prob=1.0)
    found = read_checkpoint(tmp_path / "saved" / "step-40" / "variables")
    check_it_is_one_process(config, split(mnist), found)


# A worker that makes 60 steps, and then nothing more. It is there until it is killed.
SIXTY_STEPS = """
import runpy, sys, time
from bn_graph.cli import import_tensorflow
import_tensorflow()
from bn_graph.cluster.replica import ClusterLoop

def train_next(loop, train_next=ClusterLoop.train_next, steps=iter(range(60))):
    if next(steps, None) is None:
        print("made 60 steps", flush=True)
        time.sleep(1000)
    train_next(loop)

ClusterLoop.train_next = train_next
sys.argv[0] = sys.argv.pop(1)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_an_asynchronous_cluster_learns_as_one_process_does_though_a_worker_is_killed(mnist, tmp_path):
    from bn_graph import build_graph, split, train

    config = dataclasses.replace(PAGE, seed=1, steps=500, hidden_size=32)
    splits = split(mnist)
    alone = train(build_graph(config, splits), splits)
    options = ["--seed", 1, "--steps", 500, "--hidden-size", 32, "--record", "record.json"]
    options += ["--eval-every", 5, "--print-every", 50]
    with Processes(tmp_path, *options) as processes:
        processes.held_at = "Epoch: 0:"  # until the worker is there
        processes.start("ps")
        processes.start("chief")
        processes.start("worker", script=("-c", SIXTY_STEPS, RUN_TUTORIAL))
        processes.wait_for("worker 0", "joined after ")
        processes.held_at = "Epoch: 250:"  # until the worker is killed
        processes.wait_for("worker 0", "made 60 steps")
        processes.kill("worker 0")
        processes.held_at = None
        codes = processes.end()
        assert codes == {"chief 0": 0, "worker 0": -9, "ps 0": 0}, processes.all_printed()
        assert processes.all_printed().count("Epoch: ") == 10  # the chief's
    record = TrainingRecord.load(tmp_path / "record.json")
    assert record.engine == "cluster, 2 replicas, asynchronous"
    assert record.worker_versions == {"worker 0": [versions()]}
    assert len(record.train_loss) == 500 and record.valid_step == list(range(0, 500, 5))
    by_others = np.isnan(record.train_loss)
    assert 40 < by_others.sum() < 80  # two replicas that make a step at once may both see the second's number
    # The chief was held at 350 steps at the latest, after which the worker may have made its 60.
    assert not by_others[420:].any()
    assert not by_others[record.valid_step].any()
    assert record.test_accuracy > alone.test_accuracy - 0.01


def test_a_synchronous_step_that_misses_a_worker_ends_with_its_name_and_nobody_hangs(tmp_path):
    with np.load(ROOT / "bn_graph" / "data" / "mnist.npz") as embedded:
        arrays = dict(embedded)
    arrays["x_train"][5, 14, 14] ^= 1
    np.savez(tmp_path / "other.npz", **arrays)
    options = ["--sync", "--hidden-size", 8, *ONE_TOWER]
    with Processes(tmp_path, *options, workers=3) as processes:
        processes.start("chief", 0, "--patience", 12)
        processes.start("worker", 1, "--hidden-size", 16, "--data", "other.npz")
        processes.wait_for("chief 0", "Testing set:")
        processes.start("ps", 0, "--patience", 12)
        codes = processes.end()
        missing = f"worker 0 ({processes.address('worker 0')})"
        assert codes == {"ps 0": 1, "chief 0": 1, "worker 1": 2}, processes.all_printed()
        (line,) = processes.printed["worker 1"]
        start = f"worker 1 ({processes.address('worker 1')}): cannot join, differs from chief 0 "
        assert start in line and "hidden_size is 16 here and 8 there" in line, line
        assert re.search("SHA-256 of the data is [0-9a-f]{64} here and [0-9a-f]{64} there\n$", line), line
        assert f"gave up after 12 s: {missing}" in processes.printed["chief 0"][-1]
        (line,) = processes.printed["ps 0"]
        assert "gave up after 12 s: chief 0 (" in line


def test_sighup_saves_and_ends_each_process_of_a_cluster(tmp_path):
    options = ["--steps", 100000, "--hidden-size", 8, "--checkpoint-dir", "saved", *ONE_TOWER]
    with Processes(tmp_path, *options) as processes:
        processes.start_all()
        processes.wait_for("chief 0", "Epoch: 0:")
        processes.wait_for("worker 0", "joined after ")
        assert [processes.kill(name, signal.SIGHUP) for name in ("worker 0", "chief 0", "ps 0")] == [129] * 3
        processes.end()
        assert "the same command goes on" in processes.printed["chief 0"][-1]
        assert processes.printed["ps 0"] == []


def run_cluster(*arguments):
    command = [sys.executable, ROOT / "scripts" / "run_cluster.py", *arguments]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.release
def test_run_cluster_starts_one_that_prints_what_the_tutorial_prints(mnist, tmp_path):
    from bn_graph import split
    from bn_graph.saving.restore import read_checkpoint

    options = ["--edition", "notebook", "--seed", 1, "--steps", 60, "--hidden-size", 8, "--keep-prob", 1]
    options += ["--print-every", 50, "--checkpoint-dir", tmp_path]
    with run_cluster("--workers", 2, "--ps", 2, "--sync", *options) as process:
        stdout, stderr = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, stderr
    assert re.fullmatch(r"worker 0: run_tutorial.py: worker 0 \(127.0.0.1:\d+\): joined after 0 steps\n", stderr)
    assert stdout.count("Initialized") == 1
    assert re.findall(r"Epoch: (\d+)", stdout) == ["0", "50"]
    assert stdout.splitlines()[-1].startswith("Test accuracy: ")
    config = dataclasses.replace(NOTEBOOK, seed=1, steps=60, hidden_size=8, keep_prob=1.0)
    check_it_is_one_process(config, split(mnist), read_checkpoint(tmp_path / "step-60" / "variables"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "0"], "--workers must be from 1 to 64, found 0"),
        (["--ps", "0"], "--ps must be from 1 to 64, found 0"),
        (["--decay", "2"], "decay must be a number from 0 to 1, found 2.0"),
        (["--stepz", "2"], "--stepz"),
    ],
)
def test_run_cluster_says_a_mistake_once(options, said):
    with run_cluster(*options) as process:
        stdout, stderr = process.communicate(timeout=LONGEST)
    assert (process.returncode, stdout, stderr.count("\n")) == (2, "", 1)
    assert said in stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_the_processes_of_run_cluster_end_with_it(number, code):
    with run_cluster("--workers", 1, "--hidden-size", 8, "--steps", 100000, *ONE_TOWER) as process:
        while "Epoch: 0:" not in process.stdout.readline():
            pass
        children = psutil.Process(process.pid).children()
        process.send_signal(number)
        assert process.wait(LONGEST) == code
        assert len(children) == 2
        assert not psutil.wait_procs(children, timeout=LONGEST)[1]
        assert process.stderr.read() == ""


def test_a_process_that_nobody_listens_to_ends_all_the_same(tmp_path):
    with Processes(tmp_path, "--patience", 1) as processes:
        reader, writer = os.pipe()
        command = [sys.executable, str(ROOT / "scripts" / "run_tutorial.py"), "--patience", "1"]
        process = subprocess.Popen(command, env={**os.environ, **tf_config(processes.cluster, "worker", 0)},
                                   stdout=subprocess.DEVNULL, stderr=writer)  # fmt: skip
        processes.running["worker 0"] = process
        os.close(writer)
        os.close(reader)
        assert process.wait(LONGEST) == 1
