"""No process waits longer than its patience, whatever is at the address of another one."""

import contextlib
import signal
import socket
import threading
import time

import pytest

from bn_graph.cluster import peers
from bn_graph.cluster.peers import ask
from bn_graph.cluster.tf_config import Task
from bn_graph.tf1 import tf
from tests.cluster.processes import ONE_TOWER, Processes


def say_nothing(connection, open_connections):
    open_connections.append(connection)


def close(connection, _):
    connection.close()


def answer_in_http(connection, _):
    with connection:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@contextlib.contextmanager
def impostor(behave, port=0):
    """Another program that has a port of the loopback. Gives the address."""
    open_connections, server = [], socket.create_server(("127.0.0.1", port))

    def serve():
        with contextlib.suppress(OSError):  # the server is closed
            while True:
                behave(server.accept()[0], open_connections)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for connection in open_connections:
            connection.close()


def test_a_server_of_tensorflow_answers_by_its_name():
    server = tf.train.Server({"ps": ["127.0.0.1:0"]}, "ps", 0)
    task = Task("worker", 3, server.target.removeprefix("grpc://").replace("localhost", "127.0.0.1"))
    assert ask([task])[task] == ("/job:ps/task:0", False)


@pytest.mark.parametrize("behave", [close, answer_in_http])
def test_another_program_is_nobody(behave):
    with impostor(behave) as address:
        task = Task("chief", 0, address)
        assert ask([task])[task] == (None, True)


def test_who_says_nothing_may_be_a_process_that_is_stopped_and_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(peers, "_ANSWER_SECONDS", 0.5)
    with impostor(say_nothing) as one, impostor(say_nothing) as other:
        tasks = [Task("chief", 0, one), Task("worker", 0, other)]
        begin = time.monotonic()
        answers = ask(tasks)
        assert time.monotonic() - begin < 30  # far from the patience of a process
        assert answers == dict.fromkeys(tasks, (None, False))
    free = Task("chief", 0, one)
    assert ask([free]) == {free: (None, True)}


def test_a_parameter_server_does_not_wait_longer_for_a_chief_that_is_stopped(tmp_path):
    options = ["--steps", 1000000, "--hidden-size", 8, *ONE_TOWER]
    with Processes(tmp_path, *options, workers=1) as processes:
        processes.start("chief")
        processes.wait_for("chief 0", "Testing set:")
        processes.start("ps", 0, "--patience", 8)
        processes.wait_for("chief 0", "Epoch: 0:")
        processes.running["chief 0"].send_signal(signal.SIGSTOP)
        assert processes.end_of("ps 0") == 1
        (line,) = processes.printed["ps 0"]
        assert line.endswith(f"gave up after 8 s: chief 0 ({processes.address('chief 0')}) does not answer\n")


def test_nor_where_another_program_has_taken_the_port_of_a_chief_that_was_killed(tmp_path):
    options = ["--steps", 1000000, "--hidden-size", 8, *ONE_TOWER]
    with contextlib.ExitStack() as stack:
        clusters = {behave: stack.enter_context(Processes(tmp_path, *options, workers=1))
                    for behave in (say_nothing, close)}  # fmt: skip
        for processes in clusters.values():
            processes.start("chief")
        for processes in clusters.values():
            processes.wait_for("chief 0", "Testing set:")
            processes.start("ps", 0, "--patience", 8)
        for behave, processes in clusters.items():
            processes.wait_for("chief 0", "Epoch: 0:")
            processes.kill("chief 0")
            stack.enter_context(impostor(behave, int(processes.address("chief 0").partition(":")[2])))
        for processes in clusters.values():
            assert processes.end() == {"chief 0": -9, "ps 0": 1}, processes.all_printed()
            (line,) = processes.printed["ps 0"]
            assert line.endswith(f"gave up after 8 s: chief 0 ({processes.address('chief 0')}) does not answer\n")
