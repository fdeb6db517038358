"""The tutorial in a cluster: real processes on the loopback."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import ROOT, run
from hypothesis import given
from hypothesis import strategies as st

from bn_graph import PAGE, InputError, TrainingRecord
from bn_graph.tf_config import cluster_of

TASKS = {"chief": ["a:1"], "worker": ["b:2", "c:3"], "ps": ["d:4"]}
LONGEST = 120  # seconds that a test waits for a process


def tf_config(cluster=TASKS, job="worker", index=1, **others):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": job, "index": index}, **others})}


# TF_CONFIG.


def test_tf_config_names_the_replicas_the_parameter_servers_and_this_process():
    cluster = cluster_of(tf_config(environment="cloud"))
    assert [str(task) for task in cluster.replicas] == ["chief 0 (a:1)", "worker 0 (b:2)", "worker 1 (c:3)"]
    assert [str(task) for task in cluster.ps] == ["ps 0 (d:4)"]
    assert (str(cluster.me), cluster.replica, cluster.me.device) == ("worker 1 (c:3)", 2, "/job:worker/task:1")
    assert cluster_of(tf_config(job="ps", index=0)).replica is None
    assert cluster_of(tf_config(index="1")) == cluster  # some programs quote it


def test_worker_0_is_the_chief_where_none_is_named_and_master_is_an_older_name():
    workers = {"worker": ["b:2", "c:3"], "ps": ["d:4"]}
    assert str(cluster_of(tf_config(workers, index=0)).chief) == "worker 0 (b:2)"
    assert cluster_of(tf_config(workers, index=0)).replica == 0
    assert str(cluster_of(tf_config({"master": ["a:1"], **workers})).chief) == "master 0 (a:1)"


@pytest.mark.parametrize("text", [None, "", " ", "{}", '{"cluster": {}}', '{"cluster": null, "task": {}}'])
def test_without_a_cluster_it_is_a_plain_run(text):
    assert cluster_of({} if text is None else {"TF_CONFIG": text}) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object, found []"),
        ('{"cluster": 5}', "cluster: expected an object, found 5"),
        ('{"cluster": {"ps": ["a:1"]}, "cluster": {}}', "'cluster'"),
        (json.dumps({"cluster": TASKS}), 'task: expected {"type": ..., "index": ...}, found null'),
        (tf_config(job="evaluator"), "the chief validates; expected chief, worker, ps"),
        (tf_config(job="boss"), 'task: type: expected chief or worker or ps, found "boss"'),
        (tf_config(job=["worker"]), 'task: type: expected chief or worker or ps, found ["worker"]'),
        (tf_config(index=2), "task: index: worker has 0 to 1, found 2"),
        (tf_config(index=-1), "found -1"),
        (tf_config(index=True), "found true"),
        (tf_config(index=1.0), "found 1.0"),
        (tf_config(index=None), "found null"),
        (tf_config({**TASKS, "boss": ["e:5"]}), 'found the job "boss"; expected some of chief, master, worker, ps'),
        (tf_config({**TASKS, "ps": []}), "ps: expected a list of addresses, found []"),
        (tf_config({**TASKS, "ps": "d:4"}), 'ps: expected a list of addresses, found "d:4"'),
        (tf_config({**TASKS, "ps": ["d"]}), 'ps: expected host:port, a name or an IPv4 address and a port from 1'),
        (tf_config({**TASKS, "ps": ["d:0"]}), 'found "d:0"'),
        (tf_config({**TASKS, "ps": ["d:65536"]}), 'found "d:65536"'),
        (tf_config({**TASKS, "ps": ["[::1]:4"]}), 'found "[::1]:4"'),
        (tf_config({**TASKS, "ps": ["http://d:4"]}), 'found "http://d:4"'),
        (tf_config({**TASKS, "ps": ["d:4\n"]}), r'found "d:4\n"'),
        (tf_config({**TASKS, "ps": [4]}), "found 4"),
        (tf_config({**TASKS, "ps": ["B:2"]}), "worker 0 and ps 0 have one address, B:2"),
        (tf_config({**TASKS, "master": ["e:5"]}), "expected one chief, found 2"),
        (tf_config({"worker": ["b:2", "c:3"]}), 'expected "ps", one or more parameter servers, found none'),
        (tf_config({"ps": ["d:4"]}, job="ps", index=0), 'expected "chief" or "worker", found neither'),
    ],
)  # fmt: skip
def test_a_broken_tf_config_gets_one_line_that_says_what_is_wrong(text, said):
    with pytest.raises(InputError) as raised:
        cluster_of(text if isinstance(text, dict) else {"TF_CONFIG": text})
    message = str(raised.value)
    assert message.startswith("TF_CONFIG: ") and said in message and "\n" not in message and len(message) < 250


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["a:1", "worker"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["chief", "master", "worker", "ps", "x", "type", "index"]), inner, max_size=4),
    max_leaves=12,
)


@given(st.text(max_size=200) | ANYTHING.map(json.dumps) | st.builds(lambda c, t: json.dumps({"cluster": c, "task": t}),
                                                                    ANYTHING, ANYTHING))  # fmt: skip
def test_whatever_tf_config_holds_it_is_a_cluster_or_none_or_one_line(text):
    try:
        cluster = cluster_of({"TF_CONFIG": text})
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert cluster is None or cluster.me in (*cluster.replicas, *cluster.ps)


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        (["--sync"], {}, "--sync needs a cluster, named by TF_CONFIG in the environment"),
        (["--patience", "5"], {}, "--patience needs a cluster"),
        ([], {"TF_CONFIG": "{"}, "TF_CONFIG: not JSON"),
        (["--engine", "in_graph"], tf_config(), "--engine in_graph cannot be used in a cluster"),
        (["--logdir", "logs"], tf_config(), "--logdir cannot be used in a cluster"),
        (["--restore", "a"], tf_config(), "--restore cannot be used in a cluster"),
        (["--patience", "0"], tf_config(), "--patience must be from 1 to 86400 seconds, found 0.0"),
        (["--patience", "nan"], tf_config(), "--patience must be from 1 to 86400 seconds, found nan"),
    ],
)
def test_the_command_refuses_what_does_not_fit_a_cluster(options, env, said):
    process = run(sys.executable, ROOT / "scripts" / "run_tutorial.py", *options, env=env)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.count("\n") == 1 and said in process.stderr


# Processes.


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
        self._until(lambda: any(text in line for line in self.printed[name]), f"{name} to print {text!r}")

    def kill(self, name):
        self.running[name].send_signal(signal.SIGKILL)
        self.running[name].wait(LONGEST)

    def end(self):
        """Waits until all have ended by themselves. Returns their exit codes by name."""
        self._until(lambda: all(process.poll() is not None for process in self.running.values()), "all to end")
        return {name: process.returncode for name, process in self.running.items()}

    def all_printed(self):
        return "".join(f"{name}: {line}" for name, lines in self.printed.items() for line in lines)

    @staticmethod
    def _read(process, lines):
        with process.stdout:
            for line in process.stdout:
                lines.append(line)

    def _until(self, come, what):
        late = time.monotonic() + LONGEST
        while not come():
            assert time.monotonic() < late, f"waited {LONGEST} s for {what}; printed:\n{self.all_printed()}"
            time.sleep(0.02)


def one_process(config, splits, replicas, nudge=0.0):
    """The variables after as many steps, each of the mean of the gradients of `replicas` batches at the same weights.

    The moving statistics get the moments of the first batch. `nudge`: moved by so much, relatively, the weights begin.
    """
    import dataclasses

    from bn_graph import build_graph
    from bn_graph.tf1 import tf
    from bn_graph.training import batch_offset

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
        distributed=lambda optimizer: held.append(MeanOfFed(optimizer)) or held[0],
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


def furthest(one, other):
    """By variable, how far the two are apart, without the biases: batch norm subtracts them, only rounding moves them."""
    return {name: np.abs(one[name] - other[name]).max() for name in one if "biases" not in name}


@pytest.mark.parametrize(
    ("edition", "killed"), [("notebook", "chief 0"), ("page", "ps 0")], ids=["chief killed", "parameter server killed"]
)
def test_synchronous_steps_are_those_of_one_process_whoever_is_killed_and_started_again(edition, killed, mnist, tmp_path):
    import dataclasses

    from bn_graph import NOTEBOOK, split
    from bn_graph.checkpoint import read_checkpoint

    config = {"page": PAGE, "notebook": NOTEBOOK}[edition]
    config = dataclasses.replace(config, seed=1, steps=40, hidden_size=16, keep_prob=1.0)
    options = ["--edition", edition, "--seed", 1, "--steps", 40, "--hidden-size", 16, "--keep-prob", 1, "--sync"]
    options += ["--eval-every", 1, "--print-every", 1, "--checkpoint-dir", "saved", "--checkpoint-every", 10]
    with Processes(tmp_path, *options) as processes:
        processes.start_all()
        processes.wait_for("chief 0", "Epoch: 23:")
        processes.kill(killed)
        processes.start(*killed.split())
        assert set(processes.end().values()) == {0}, processes.all_printed()
        printed = "".join(processes.printed["chief 0"])
    assert "going on after 20 of 40 steps" in printed
    assert printed.count("Initialized") == 1 and printed.count("Epoch: 5:") == 1

    found = read_checkpoint(tmp_path / "saved" / "step-40" / "variables")
    splits = split(mnist)
    computed, nudged = one_process(config, splits, 2), one_process(config, splits, 2, nudge=2**-23)
    assert found["Variable"] == 40
    apart, drift = furthest(found, computed), furthest(nudged, computed)
    print({n:(float(apart[n]),float(drift[n])) for n in apart})
    for name in apart:
        assert apart[name] <= 3 * drift[name] + 1e-7, (name, apart, drift)


def test_an_asynchronous_cluster_learns_as_one_process_does_though_a_worker_is_killed(mnist, tmp_path):
    import dataclasses

    from bn_graph import build_graph, split, train

    config = dataclasses.replace(PAGE, seed=1, steps=600, hidden_size=32)
    splits = split(mnist)
    alone = train(build_graph(config, splits), splits)
    options = ["--seed", 1, "--steps", 600, "--hidden-size", 32, "--record", "record.json"]
    with Processes(tmp_path, *options, workers=3, ps=2) as processes:
        processes.start_all()
        processes.wait_for("chief 0", "Epoch: 200:")
        processes.kill("worker 1")
        codes = processes.end()
        assert codes == {"chief 0": 0, "worker 0": 0, "worker 1": -9, "ps 0": 0, "ps 1": 0}, processes.all_printed()
        assert processes.all_printed().count("Epoch: ") == 12  # the chief's
    record = TrainingRecord.load(tmp_path / "record.json")
    assert record.engine == "cluster, 3 replicas, asynchronous"
    assert len(record.train_loss) == 600 and record.valid_step == list(range(0, 600, 50))
    by_others = np.isnan(record.train_loss)
    assert 0.2 < by_others.mean() < 0.8
    assert not by_others[record.valid_step].any()
    print(record.test_accuracy, alone.test_accuracy, record.valid_accuracy, alone.valid_accuracy)
    assert record.test_accuracy > alone.test_accuracy - 0.01
