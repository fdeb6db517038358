"""What the processes of a cluster tell each other. It stands at the parameter servers, where all can get at it.

It is in containers of its own, which are not emptied where the chief begins a run anew. What is read or fed comes and
goes within the answer to a call, so that it arrives where a parameter server has another address of the process.
"""

import json

import numpy as np

from bn_graph.cluster.tf_config import Cluster, Task
from bn_graph.tf1 import tf


def session_config(cluster: Cluster):
    """The ConfigProto of a session that talks to the parameter servers and to its own process.

    Without a filter, a session waits for every task of the cluster.
    """
    return tf.ConfigProto(device_filters=["/job:ps", cluster.me.device])


def announcement(cluster: Cluster, author: Task):
    """The variable, in the default graph, of the JSON object that the chief or a parameter server announces."""
    place = author if author in cluster.ps else cluster.ps[0]
    with tf.device(place.device), tf.container("announcements"):
        return tf.Variable("", collections=[], name=f"announcement_{author.job}_{author.index}")


def read_announcements(cluster: Cluster, target: str, authors) -> dict:
    """What each of the `Task`s announces; it is empty where there is nothing. `target`: of a server of the cluster."""
    announced = {}
    with tf.Graph().as_default() as graph:
        variables = {author: announcement(cluster, author) for author in authors}
    with tf.Session(target, graph=graph, config=session_config(cluster)) as session:
        for author, variable in variables.items():
            try:
                announced[author] = json.loads(session.run(variable) or "{}")
            except tf.errors.FailedPreconditionError:  # it has announced nothing yet
                announced[author] = {}
    return announced


def progress_counter(ps: Task):
    """The variable at the parameter server `ps` that counts what the chief has done."""
    with tf.device(ps.device), tf.container("progress"):
        return tf.Variable(np.int64(0), collections=[], name=f"progress_{ps.index}")


def count_progress(ps: Task):
    """The op that adds one to `progress_counter`."""
    counter = progress_counter(ps)
    with tf.device(ps.device):
        return counter.assign_add(1, read_value=False)


def done_queue(ps: Task):
    """The queue at the parameter server `ps` into which each replica puts its number when it has done its part."""
    with tf.device(ps.device), tf.container("done"):
        return tf.FIFOQueue(-1, tf.int32, shapes=[()], shared_name="done")


class JoinedQueue:
    """The queue of the workers that joined and that the chief has not heard of yet: their names and versions.

    It is made in the default graph.
    """

    def __init__(self, cluster: Cluster):
        ps = cluster.ps[0]
        with tf.device(ps.device), tf.container("joined"):
            self._queue = tf.FIFOQueue(-1, tf.string, shapes=[()], shared_name="joined")
            self._size, self._dequeue = self._queue.size(), self._queue.dequeue()

    def put(self, worker: Task, versions: dict):
        """The op that puts a worker into the queue."""
        return self._queue.enqueue(json.dumps([worker.name, versions]))

    def empty_into(self, session, record) -> None:
        """Moves the workers that are in the queue into a `TrainingRecord`."""
        for _ in range(session.run(self._size)):
            record.add_worker(*json.loads(session.run(self._dequeue)))
