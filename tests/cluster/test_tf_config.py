"""TF_CONFIG names a cluster, or one line says what is wrong with it."""

import json
import sys

import pytest

from bn_graph import InputError
from bn_graph.cluster.tf_config import cluster_of
from tests.cluster.environment import TASKS, tf_config
from tests.helpers import run
from tests.paths import ROOT


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
        (tf_config(job="evaluator"), "the chief validates, no evaluator does; expected chief or worker or ps"),
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
