"""The tutorial in a cluster: real processes on the loopback."""

import contextlib
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from bn_graph import NOTEBOOK, PAGE, InputError, TrainingRecord
from bn_graph.cluster.tf_config import Task
from tests.cluster.environment import tf_config
from tests.paths import ROOT

LONGEST = 120  # seconds that a test waits for a process
ONE_TOWER = ["--is-training", "placeholder"]  # three are twice as long in building


class Processes:
    """The processes of a cluster on the loopback, each started by `start`. They end with the context."""

    def __init__(self, folder, *options, workers=2, ps=1):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(workers + ps)]
            for found in sockets:
                found.bind(("127.0.0.1", 0))
            free = [f"127.0.0.1:{found.getsockname()[1]}" for found in sockets]
        self.cluster = {"chief": free[:1], "worker": free[1:workers], "ps": free[workers:]}
        self.folder, self.options = folder, options
        self.running, self.printed = {}, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.kill()
            process.wait(LONGEST)

    def start(self, job, index=0, *options):
        """Starts a process, or the same one again. Its stdout and stderr are in `printed`, as they come."""
        name = f"{job} {index}"
        command = [sys.executable, ROOT / "scripts" / "run_tutorial.py", *self.options, *options]
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=self.folder,
            env={**os.environ, **tf_config(self.cluster, job, index)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running[name], self.printed[name] = process, []
        threading.Thread(target=self._read, args=(process, self.printed[name]), daemon=True).start()

    def start_all(self):
        for job, addresses in self.cluster.items():
            for index in range(len(addresses)):
                self.start(job, index)

    def wait_for(self, name, text):
        """Waits until the process has printed the text."""
        self.until(lambda: any(text in line for line in self.printed[name]), f"{name} to print {text!r}")

    def kill(self, name):
        self.running[name].send_signal(signal.SIGKILL)
        self.running[name].wait(LONGEST)

    def end(self):
        """Waits until all have ended by themselves. Returns their exit codes by name."""
        self.until(lambda: all(process.poll() is not None for process in self.running.values()), "all to end")
        return {name: process.returncode for name, process in self.running.items()}

    def all_printed(self):
        return "".join(f"{name}: {line}" for name, lines in self.printed.items() for line in lines)

    @staticmethod
    def _read(process, lines):
        with process.stdout:
            for line in process.stdout:
                lines.append(line)

    def until(self, come, what):
        late = time.monotonic() + LONGEST
        while not come():
            assert time.monotonic() < late, f"waited {LONGEST} s for {what}; printed:\n{self.all_printed()}"
            time.sleep(0.02)


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
        processes.start_all()
        processes.wait_for("chief 0", "Epoch: 13:")
        processes.kill("chief 0")
        processes.start("chief")
        processes.wait_for("chief 0", "Epoch: 25:")
        processes.kill("ps 0")
        processes.start("ps")
        assert set(processes.end().values()) == {0}, processes.all_printed()
        printed = "".join(processes.printed["chief 0"])
    assert "going on after 10 of 40 steps" in printed and "going on after 20 of 40 steps" in printed
    for line in ("Initialized", "Epoch: 0:", "Epoch: 5:", "Epoch: 39:", "Finished training"):
        assert printed.count(line) == 1
    config = dataclasses.replace(PAGE, seed=1, steps=40, hidden_size=16, keep_prob=1.0)
    found = read_checkpoint(tmp_path / "saved" / "step-40" / "variables")
    check_it_is_one_process(config, split(mnist), found)


def test_an_asynchronous_cluster_learns_as_one_process_does_though_a_worker_is_killed(mnist, tmp_path):
    from bn_graph import build_graph, split, train

    config = dataclasses.replace(PAGE, seed=1, steps=500, hidden_size=32)
    splits = split(mnist)
    alone = train(build_graph(config, splits), splits)
    options = ["--seed", 1, "--steps", 500, "--hidden-size", 32, "--record", "record.json"]
    options += ["--eval-every", 5, "--print-every", 50]
    with Processes(tmp_path, *options) as processes:
        processes.start_all()
        processes.wait_for("chief 0", "Epoch: 0:")
        processes.running["chief 0"].send_signal(signal.SIGSTOP)  # the worker is not there yet
        processes.wait_for("worker 0", "joined after ")
        processes.running["chief 0"].send_signal(signal.SIGCONT)
        processes.wait_for("chief 0", "Epoch: 300:")
        processes.kill("worker 0")
        codes = processes.end()
        assert codes == {"chief 0": 0, "worker 0": -9, "ps 0": 0}, processes.all_printed()
        assert processes.all_printed().count("Epoch: ") == 10  # the chief's
    record = TrainingRecord.load(tmp_path / "record.json")
    assert record.engine == "cluster, 2 replicas, asynchronous"
    assert len(record.train_loss) == 500 and record.valid_step == list(range(0, 500, 5))
    by_others = np.isnan(record.train_loss)
    assert by_others[:300].any() and not by_others[450:].any()
    assert not by_others[record.valid_step].any()
    assert record.test_accuracy > alone.test_accuracy - 0.01


def test_a_synchronous_step_that_misses_a_worker_ends_with_its_name_and_nobody_hangs(tmp_path):
    options = ["--sync", "--hidden-size", 8, *ONE_TOWER, "--patience", 12]
    with Processes(tmp_path, *options, workers=3) as processes:
        processes.start("ps")
        processes.start("chief")
        processes.start("worker", 1, "--hidden-size", 16)
        codes = processes.end()
        missing = "worker 0 (" + processes.cluster["worker"][0] + ")"
        assert codes == {"ps 0": 1, "chief 0": 1, "worker 1": 2}, processes.all_printed()
        (line,) = processes.printed["worker 1"]
        assert line.endswith("hidden_size is 16 here and 8 at the chief\n")
        assert f"gave up after 12 s: {missing}" in processes.printed["chief 0"][-1]
        (line,) = processes.printed["ps 0"]
        assert "gave up after 12 s: chief 0 (" in line


def test_a_server_is_reached_at_its_own_address_only_and_two_cannot_have_it(tmp_path):
    from bn_graph.cluster.socket_filter import local_addresses

    with Processes(tmp_path) as processes:
        address = processes.cluster["ps"][0]
        processes.start("ps")
        port = address.partition(":")[2]
        processes.until(lambda: Task("ps", 0, address).answers(), "the server to listen")
        # It listens everywhere for a moment, until the filter is there; what is connected by then is cut off.
        processes.until(
            lambda: not Task("ps", 0, f"127.0.0.2:{port}").answers(), "the server to be kept to its address"
        )
        others = {"127.0.0.2", "::1", *(found[4][0] for found in socket.getaddrinfo(socket.gethostname(), 1))}
        for host in others - {"127.0.0.1"}:
            assert not Task("ps", 0, f"{host}:{port}").answers(), host
        assert Task("ps", 0, address).answers()
        with pytest.raises(InputError, match=f"ps 0 .{address}.: the port cannot be opened: Address already in use"):
            local_addresses(Task("ps", 0, address))
    with pytest.raises(InputError, match="the address is not one of this machine"):
        local_addresses(Task("ps", 0, "198.51.100.1:2222"))  # of a network for examples
    with pytest.raises(InputError, match="unknown host"):
        local_addresses(Task("ps", 0, "no-such-host.invalid:2222"))


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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
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
