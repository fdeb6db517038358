"""Who differs from the others does not join, and is told in what."""

import dataclasses
import json

import numpy as np
import pytest

from bn_graph import PAGE, InputError, split
from bn_graph.cluster import handshake
from bn_graph.cluster.handshake import check_same, facts_of_process, facts_of_replica
from bn_graph.cluster.peers import all_answer
from bn_graph.cluster.tf_config import cluster_of
from bn_graph.mnist import Mnist
from bn_graph.tf1 import tf
from tests.cluster.environment import TASKS, tf_config

CLUSTER = cluster_of(tf_config())


@pytest.fixture(scope="module")
def few_rows(mnist):
    return Mnist(mnist.data[::100], mnist.target[::100], "digits")


@pytest.fixture(scope="module")
def few(few_rows):
    return split(few_rows, valid_size=100, test_size=100)


def refusal(here, there):
    """What `check_same` says after what comes over the wire; "" where it says nothing."""
    try:
        check_same(CLUSTER.me, json.loads(json.dumps(here)), CLUSTER.chief, json.loads(json.dumps(there)))
    except InputError as error:
        assert str(error).startswith("worker 1 (c:3): cannot join, differs from chief 0 (a:1): ")
        return str(error).partition("(a:1): ")[2]
    return ""


def test_replicas_that_differ_in_their_seed_alone_are_the_same(few):
    facts = facts_of_replica(CLUSTER, PAGE, few, sync=False)
    chief = cluster_of(tf_config(job="chief", index=0))
    assert refusal(facts, facts_of_replica(chief, dataclasses.replace(PAGE, seed=5), few, sync=False)) == ""


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(PAGE) if field.name != "seed"])
def test_a_replica_with_another_setting_is_told_which(few, field):
    here = facts_of_replica(CLUSTER, PAGE, few, sync=False)
    there = dict(here, **{field: "other"})
    assert refusal(here, there) == f"{field} is {json.loads(json.dumps(here[field]))} here and other there"


def test_a_replica_with_other_rows_another_split_or_another_way_of_stepping_is_told_all_of_it(few, few_rows):
    data = np.array(few_rows.data)
    data[0, 300] ^= 1
    here = facts_of_replica(
        CLUSTER, PAGE, split(few_rows._replace(data=data), valid_size=100, test_size=100), sync=False
    )
    sums = [facts["SHA-256 of the data"] for facts in (here, facts_of_replica(CLUSTER, PAGE, few, sync=False))]
    assert sums[0] != sums[1]
    there = facts_of_replica(CLUSTER, PAGE, few._replace(split="original"), sync=True)
    assert refusal(here, there) == (
        f"split is stratified here and original there, sync is False here and True there, SHA-256 of the data is"
        f" {sums[0]} here and {there['SHA-256 of the data']} there"
    )


@pytest.mark.parametrize("name", ["tensorflow", "tf-slim"])
def test_a_process_with_another_release_is_told_which(few, monkeypatch, name):
    here = facts_of_replica(CLUSTER, PAGE, few, sync=False)
    monkeypatch.setattr(handshake, "versions", lambda versions=handshake.versions: versions() | {name: "1.0"})
    assert refusal(here, facts_of_replica(CLUSTER, PAGE, few, sync=False)) == (
        f"{name} is {here[name]} here and 1.0 there"
    )


def test_an_older_peer_that_announces_less_is_told_what_is_missing():
    here = facts_of_process(CLUSTER)
    there = {name: fact for name, fact in here.items() if name != "bn_graph"}
    assert refusal(here, there) == f"bn_graph is {here['bn_graph']} here and missing there"


def test_swapped_addresses_get_one_line_and_two_names_of_one_address_none():
    here = facts_of_process(CLUSTER)
    swapped = facts_of_process(cluster_of(tf_config({**TASKS, "worker": ["c:3", "b:2"]})))
    assert refusal(here, swapped) == (
        "address of worker 0 is b:2 here and c:3 there, address of worker 1 is c:3 here and b:2 there"
    )
    for one, other in [("localhost:2", "127.0.0.1:2"), ("HOST:2", "host:2"), ("10.1.2.3:2", "0.0.0.0:2")]:
        facts = [facts_of_process(cluster_of(tf_config({**TASKS, "ps": [address]}))) for address in (one, other)]
        assert refusal(*facts) == "", one
    for other in ("127.0.0.1:3", "127.0.0.2:2"):
        facts = [facts_of_process(cluster_of(tf_config({**TASKS, "ps": [a]}))) for a in ("127.0.0.1:2", other)]
        assert refusal(*facts) == f"address of ps 0 is 127.0.0.1:2 here and {other} there"


def test_another_task_that_answers_at_a_parameter_servers_address_is_named():
    server = tf.train.Server({"worker": ["127.0.0.1:0"]}, "worker", 0)
    address = server.target.removeprefix("grpc://").replace("localhost", "127.0.0.1")
    (ps,) = cluster_of(tf_config({**TASKS, "ps": [address]})).ps
    with pytest.raises(InputError) as raised:
        all_answer([ps])
    assert str(raised.value) == f"TF_CONFIG: ps 0 ({address}): who answers there is worker 0 by its own TF_CONFIG"
