"""The other processes that one of a cluster waits for: who answers at their addresses, and who does not."""

import contextlib
import re
from typing import NamedTuple

import grpc

from bn_graph.cluster.tf_config import Cluster
from bn_graph.errors import InputError
from bn_graph.tf1 import tf

# What a session raises when a peer does not answer, has come back without its variables, or was told to begin anew.
LOST_PEER = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.UnavailableError,
)

_ANSWER_SECONDS = 5.0  # in which a process answers that is merely busy
# Every server of TensorFlow answers this call, tensorflow/core/protobuf/worker_service.proto. What it answers names
# its devices, and so its task.
_GET_STATUS = "/tensorflow.WorkerService/GetStatus"
_DEVICE = re.compile(rb"/job:(\w+)/replica:0/task:(\d+)/")
# TensorFlow asks no proxy either. And each call has a connection of its own, which does not wait after a failed one.
_CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))


class Answer(NamedTuple):
    """What comes from the address of a task."""

    device: str | None  # whose server of TensorFlow answers, as `Task.device` has it; None: none does
    is_gone: bool  # nobody is there, or another program. Otherwise whoever is there may be stopped, or cut off


def ask(tasks) -> dict:
    """`Task` to `Answer`. They are asked at once.

    A connection alone would tell nothing: the kernel accepts it for a process that is stopped, and so does another
    program that has the port.
    """
    with contextlib.ExitStack() as stack:
        calls = {}
        for task in tasks:
            channel = stack.enter_context(grpc.insecure_channel(task.address, _CHANNEL_OPTIONS))
            calls[task] = channel.unary_unary(_GET_STATUS).future(b"", timeout=_ANSWER_SECONDS)
        return {task: _answer_of(call) for task, call in calls.items()}


def _answer_of(call):
    try:
        device = _DEVICE.search(call.result())
    except grpc.RpcError:
        return Answer(None, is_gone=call.code() != grpc.StatusCode.DEADLINE_EXCEEDED)
    return Answer(device and f"/job:{device[1].decode()}/task:{device[2].decode()}", is_gone=not device)


def all_answer(tasks) -> bool:
    """Whether each of these `Task`s answers. Raises `InputError` where another task answers in its place."""
    answers = ask(tasks)
    for task, answer in answers.items():
        if answer.device not in (None, task.device):
            other = " ".join(part.partition(":")[2] for part in answer.device[1:].split("/"))
            raise InputError(f"TF_CONFIG: {task}: who answers there is {other} by its own TF_CONFIG")
    return all(answer.device for answer in answers.values())


class Peers:
    """The tasks that a process waits for, and lines on those that do not answer.

    A replica waits for the parameter servers and the chief; where the replicas make each step together, for all
    of them. A parameter server waits for the chief.

    tasks: the `Task`s. They may be replaced while the process runs.
    """

    def __init__(self, cluster: Cluster, sync: bool, patience: float):
        if cluster.replica is None:
            tasks = [cluster.chief]
        else:
            tasks = [*cluster.ps, *(cluster.replicas if sync else cluster.replicas[:1])]
        self.tasks = [task for task in tasks if task != cluster.me]
        self._me, self._patience = cluster.me, patience

    def reason(self) -> str:
        """Why a session was lost."""
        return self._silence() or "the connection was lost, or a peer began anew"

    def timeout_line(self) -> str:
        """What the process says when it ends because nothing was done."""
        silence = self._silence()
        if silence:
            return f"{self._me}: gave up after {self._patience:g} s: {silence}"
        others = ", ".join(map(str, self.tasks))
        return f"{self._me}: gave up: nothing was done for {self._patience:g} s, though all answer: {others}"

    def _silence(self):
        """Who does not answer, in words."""
        silent = [str(task) for task, answer in ask(self.tasks).items() if answer.device != task.device]
        if not silent:
            return ""
        return f"{' and '.join(silent)} {'do' if silent[1:] else 'does'} not answer"
