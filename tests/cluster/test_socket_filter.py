"""A server of TensorFlow is reached at the address that was configured, and nowhere else."""

import contextlib
import ipaddress
import socket

import pytest

from bn_graph import InputError
from bn_graph.cluster.peers import ask
from bn_graph.cluster.socket_filter import local_addresses, restrict_to
from bn_graph.cluster.tf_config import Task
from tests.cluster.processes import Processes

OURS = [ipaddress.ip_address("127.0.0.1")]


@contextlib.contextmanager
def listening_everywhere():
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server, server.getsockname()[1]


def is_cut_off(client):
    client.settimeout(2)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_who_has_connected_to_another_address_and_was_accepted_is_cut_off():
    with listening_everywhere() as (server, port):
        with socket.create_connection(("127.0.0.2", port)) as other, server.accept()[0]:
            with socket.create_connection(("127.0.0.1", port)) as ours, server.accept()[0] as accepted:
                restrict_to(port, OURS)
                assert is_cut_off(other)
                accepted.sendall(b"1")
                assert ours.recv(1) == b"1"


def test_who_has_connected_to_another_address_and_waits_to_be_accepted_is_cut_off():
    with listening_everywhere() as (_, port), socket.create_connection(("127.0.0.2", port)) as other:
        restrict_to(port, OURS)
        assert is_cut_off(other)


def test_who_connects_later_reaches_the_address_that_was_named_only():
    with listening_everywhere() as (_, port):
        restrict_to(port, OURS)
        socket.create_connection(("127.0.0.1", port), 10).close()
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.2", port), 0.5)


def answers(address):
    """Whether a server of TensorFlow answers there."""
    task = Task("ps", 0, address)
    return ask([task])[task].device == task.device


def accepts(host, port):
    with contextlib.suppress(OSError):
        socket.create_connection((host, port), 0.5).close()
        return True
    return False


def test_a_server_is_reached_at_its_own_address_only_and_two_cannot_have_it(tmp_path):
    with Processes(tmp_path) as processes:
        address = processes.address("ps 0")
        processes.start("ps")
        port = int(address.partition(":")[2])
        processes.until(lambda: answers(address), "the server to answer")
        others = {"127.0.0.2", "::1", *(found[4][0] for found in socket.getaddrinfo(socket.gethostname(), 1))}
        for host in others - {"127.0.0.1"}:
            assert not accepts(host, port), host
        assert accepts("127.0.0.1", port)
        with pytest.raises(InputError, match=f"ps 0 .{address}.: the port cannot be opened: Address already in use"):
            local_addresses(Task("ps", 0, address))
    with pytest.raises(InputError, match="the address is not one of this machine"):
        local_addresses(Task("ps", 0, "198.51.100.1:2222"))  # of a network for examples
    with pytest.raises(InputError, match="unknown host"):
        local_addresses(Task("ps", 0, "no-such-host.invalid:2222"))
