"""What each process of a cluster does: the chief, the other replicas, and the parameter servers.

The parameter servers hold the variables. Each replica has the tutorial's whole graph, reads the variables, and sends
its gradients to where they are. The first replica is the chief: it initialises, validates, prints and saves, and it
trains too.

    synchronous     a step is the mean of one gradient of each replica. The moving averages get the moments of the
                    chief's batch, once a step.
    asynchronous    a step is one gradient of any replica, which updates the moving averages, too.

There is one update a step, so that `decay` means what it means in one process. If all replicas of a synchronous step
updated the moving averages, these would forget as many times faster. How fast would depend on who came first.

Every wait is bounded by one watchdog: a process in which nothing was done for `patience` seconds says who does not
answer, and ends.
"""

import time
import uuid

from bn_graph.cluster.peers import LOST_PEER, Peers
from bn_graph.cluster.replica import Board, ClusterLoop, Replica, TaskContext, done_queue
from bn_graph.cluster.socket_filter import local_addresses, restrict_to
from bn_graph.cluster.tf_config import Cluster
from bn_graph.cluster.watchdog import POLL_SECONDS, Watchdog
from bn_graph.config import TutorialConfig
from bn_graph.errors import InputError
from bn_graph.record import TrainingRecord
from bn_graph.tf1 import tf
from bn_graph.training import train

PATIENCE = 60.0  # seconds


def run_task(
    cluster: Cluster,
    config: TutorialConfig,
    load_splits,
    sync: bool = False,
    patience: float = PATIENCE,
    note=None,
    train_options: dict | None = None,
) -> TrainingRecord | None:
    """Is one process of a cluster until the training ends. The chief returns its `TrainingRecord`, others None.

    Args:
        cluster: `bn_graph.cluster.tf_config.Cluster`.
        config: `TutorialConfig`, the same in all processes but for its seed. The chief's seed counts for the weights;
            each replica draws masks of its own.
        load_splits: returns the `Splits`; not called in a parameter server.
        sync: whether the replicas make each step together.
        patience: seconds in which something must be done.
        note: called with a line that is worth saying of the cluster.
        train_options: of the chief: `log`, `progress`, `checkpoints` and `stop` of `bn_graph.training.train`, by name.
            Where a parameter server has lost its variables, the chief goes on from the newest checkpoint. Where there
            is none, it begins again.

    Where a peer is not there for `patience` seconds, the process ends with exit code 1 and a line that names it.

    Raises `InputError` where this process cannot listen at its address, or the chief has other settings.
    """
    addresses = local_addresses(cluster.me)
    peers = Peers(cluster, sync, patience)
    watchdog = Watchdog(patience, peers.timeout_line)
    watchdog.start()
    server = _start_server(cluster, addresses)
    if cluster.replica is None:
        return run_ps(cluster, server.target, watchdog, peers)

    context = TaskContext(cluster, config, load_splits(), sync, server.target, watchdog)
    note, train_options = note or (lambda line: None), train_options or {}
    log, runs = _LogOnce(train_options.get("log")), set()
    while True:
        watchdog.reset()
        try:
            while not all(ps.answers() for ps in cluster.ps):
                time.sleep(POLL_SECONDS)
            if cluster.replica == 0:
                log.begin_again()
                return run_chief(context, runs, train_options | {"log": log})
            return run_worker(context, note)
        except LOST_PEER:
            note(f"{cluster.me}: {peers.reason()}; waiting, {patience:g} s at most")
            time.sleep(POLL_SECONDS)


def run_chief(context: TaskContext, runs: set, train_options: dict) -> TrainingRecord:
    """The chief's part, until it is done or a peer is lost. `runs`: the names of the runs that it has begun here."""
    board = Board(context.cluster, context.target)
    runs.add(board.read().get("run"))
    run = uuid.uuid4().hex
    replica = Replica(context, run)
    clear = replica.clear(runs - {None})
    runs.add(run)
    with replica.training_sessions, board.session(replica.tutorial.graph) as session:
        session.run(clear)
        record = train(
            replica.tutorial,
            context.splits,
            session=session,
            engine=f"cluster, {replica.count} replicas, {'synchronous' if context.sync else 'asynchronous'}",
            loop=lambda *arguments: ClusterLoop(replica, *arguments),
            **train_options,
        )
        if record.test_accuracy is not None:
            session.run(replica.report_done)
    return record


def run_worker(context: TaskContext, note) -> None:
    """The part of the other replicas, until it is done or a peer is lost."""
    me, board = context.cluster.me, Board(context.cluster, context.target)
    while not (announced := board.read()):
        time.sleep(POLL_SECONDS)
    for name, value in context.shared_settings().items():
        if value != announced[name]:
            raise InputError(f"{me}: {name} is {value} here and {announced[name]} at the chief")
    replica = Replica(context, announced["run"])
    with replica.training_sessions:
        session = replica.training_session()
        loop = ClusterLoop(replica, replica.tutorial, context.splits, session)
        loop.join(session)
        note(f"{me}: joined after {loop.step} steps")
        while loop.step < context.config.steps:
            loop.train_next()
        session.run(replica.report_done)


def run_ps(cluster: Cluster, target: str, watchdog: Watchdog, peers: Peers) -> None:
    """Holds variables until every replica has done its part, or is not there any more when the chief has."""
    done = set()  # the numbers of replicas
    with tf.Graph().as_default() as graph:
        queue = done_queue(cluster.me)
        size, dequeue = queue.size(), queue.dequeue()
    config = tf.ConfigProto(device_filters=[cluster.me.device])
    with tf.Session(target, graph=graph, config=config) as session:
        while True:
            for _ in range(session.run(size)):
                done.add(int(session.run(dequeue)))
            running = [task for number, task in enumerate(cluster.replicas) if number not in done and task.answers()]
            if 0 in done:
                peers.tasks = running
                if not running:
                    return
            elif cluster.chief in running:
                watchdog.reset()
            time.sleep(POLL_SECONDS)


class _LogOnce:
    """Logs the lines of a run that is begun several times. Each time it has all its lines, from the first."""

    def __init__(self, log):
        self._log, self._logged, self._expected = log or (lambda line: None), [], iter(())

    def begin_again(self):
        self._expected = iter(self._logged.copy())

    def __call__(self, line):
        if next(self._expected, None) != line:
            self._logged.append(line)
            self._log(line)


def _start_server(cluster, addresses):
    me = cluster.me
    try:
        server = tf.train.Server(cluster.jobs, job_name=me.job, task_index=me.index, start=False)
    except tf.errors.OpError as error:
        # TensorFlow binds every address, where somebody may have the port at another one
        raise InputError(f"TF_CONFIG: {me}: the port cannot be opened: {error.message.splitlines()[0]}") from None
    restrict_to(me.port, addresses)
    server.start()
    return server
