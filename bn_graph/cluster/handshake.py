"""What must be the same in all processes of a cluster, and the line that refuses one in which it is not.

Compared are the addresses of the tasks, the releases of what makes the graph and runs it, and, among the replicas, the
settings and the data. Python, NumPy and scikit-learn may differ: they bring the data to the graph, and the data's
checksum is compared.
"""

import dataclasses
import socket

from bn_graph import __version__
from bn_graph.cluster.tf_config import Cluster, Task
from bn_graph.config import TutorialConfig
from bn_graph.errors import InputError
from bn_graph.mnist import Splits
from bn_graph.record import versions

_ADDRESS_OF = "address of "
_SHA256 = "SHA-256 of the data"
_SEVERAL = "0.0.0.0"  # a process that so names its own address does not say by which one others know it


def facts_of_process(cluster: Cluster) -> dict:
    """What must be the same in every process, a parameter server too. For JSON."""
    addresses = {f"{_ADDRESS_OF}{task.name}": task.address for task in cluster.tasks}
    return {"bn_graph": __version__, "tensorflow": versions()["tensorflow"], **addresses}


def facts_of_replica(cluster: Cluster, config: TutorialConfig, splits: Splits, sync: bool) -> dict:
    """What must be the same in every replica. For JSON."""
    settings = dataclasses.asdict(config)
    del settings["seed"]  # the chief's counts for the weights, and each replica draws masks of its own
    libraries = {"tf-slim": versions()["tf-slim"]}
    return facts_of_process(cluster) | libraries | settings | {
        "split": splits.split, "sync": sync, _SHA256: splits.sha256()
    }  # fmt: skip


def check_same(me: Task, here: dict, peer: Task, there: dict) -> None:
    """Raises `InputError`, with all that differs, where the facts `here` are not those of the peer."""
    differences = [
        f"{name} is {here.get(name, 'missing')} here and {there.get(name, 'missing')} there"
        for name in here | there
        if not _are_the_same(name, here.get(name), there.get(name))
    ]
    if differences:
        raise InputError(f"{me}: cannot join, differs from {peer}: {', '.join(differences)}")


def _are_the_same(name, one, other):
    if name.startswith(_ADDRESS_OF) and one and other:
        return one.lower() == other.lower() or _is_one_address(one, other)
    return one == other


def _is_one_address(one, other):
    """Whether two spellings of an address, host:port, mean the same, as far as it can be told here."""
    (one_host, _, one_port), (other_host, _, other_port) = one.rpartition(":"), other.rpartition(":")
    if _SEVERAL in (one_host, other_host):
        return True
    return one_port == other_port and bool(_resolved(one_host) & _resolved(other_host))


def _resolved(host):
    try:
        return {found[4][0] for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()
