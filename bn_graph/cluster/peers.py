"""The other processes that one of a cluster waits for, and what a session raises where one of them is lost."""

from bn_graph.cluster.tf_config import Cluster
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

    def silent(self) -> list:
        """Those that do not answer."""
        return [task for task in self.tasks if not task.answers()]

    def reason(self) -> str:
        """Why a session was lost."""
        return _do_not_answer(self.silent()) or "the connection was lost, or a peer began anew"

    def timeout_line(self) -> str:
        """What the process says when it ends because nothing was done."""
        reason = _do_not_answer(self.silent())
        if reason:
            return f"{self._me}: gave up after {self._patience:g} s: {reason}"
        others = ", ".join(map(str, self.tasks))
        return f"{self._me}: gave up: nothing was done for {self._patience:g} s, though all answer: {others}"


def _do_not_answer(tasks):
    if not tasks:
        return ""
    return f"{' and '.join(map(str, tasks))} {'do' if tasks[1:] else 'does'} not answer"
