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
answer, and ends. In a replica a step or an evaluation is what was done, in a parameter server one of the chief's.
"""

import contextlib
import functools
import gc
import json
import time
import uuid

from bn_graph.cluster.exchange import (
    announcement,
    done_queue,
    progress_counter,
    read_announcements,
    session_config,
)
from bn_graph.cluster.handshake import check_same, facts_of_process, facts_of_replica
from bn_graph.cluster.peers import LOST_PEER, Peers, all_answer, ask
from bn_graph.cluster.replica import ClusterLoop, Replica, TaskContext
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

    Raises `InputError` where this process cannot listen at its address, or differs from the others; see
    `bn_graph.cluster.handshake`.
    """
    addresses = local_addresses(cluster.me)
    peers = Peers(cluster, sync, patience)
    watchdog = Watchdog(patience, peers.timeout_line)
    watchdog.start()
    server = _start_server(cluster, addresses)
    if cluster.replica is None:
        return run_ps(cluster, server.target, watchdog, peers)

    splits = load_splits()
    facts = facts_of_replica(cluster, config, splits, sync)
    context = TaskContext(cluster, config, splits, sync, facts, server.target, watchdog)
    note, train_options = note or (lambda line: None), train_options or {}
    log, runs = _LogOnce(train_options.get("log")), set()
    watchdog.reset()
    while True:
        resets = watchdog.resets
        try:
            meet_ps(context)
            if cluster.replica == 0:
                log.begin_again()
                return run_chief(context, runs, train_options | {"log": log})
            return run_worker(context, note)
        except LOST_PEER:
            if watchdog.resets > resets:  # Otherwise nothing but joining was done, which may go on forever.
                watchdog.reset()
            note(f"{cluster.me}: {peers.reason()}; waiting, {patience:g} s at most")
            gc.collect()  # a graph refers to itself, and the next one needs as much memory
            time.sleep(POLL_SECONDS)


def meet_ps(context: TaskContext) -> None:
    """Waits for the parameter servers. Raises `InputError` where one is not of this cluster."""
    cluster = context.cluster
    while not all_answer(cluster.ps):
        time.sleep(POLL_SECONDS)
    while not all((announced := read_announcements(cluster, context.target, cluster.ps)).values()):
        time.sleep(POLL_SECONDS)
    for ps, facts in announced.items():
        check_same(cluster.me, facts_of_process(cluster), ps, facts)


def run_chief(context: TaskContext, runs: set, train_options: dict) -> TrainingRecord:
    """The chief's part, until it is done or a peer is lost. `runs`: the names of the runs that it has begun here."""
    cluster = context.cluster
    runs.add(read_announcements(cluster, context.target, [cluster.chief])[cluster.chief].get("run"))
    run = uuid.uuid4().hex
    replica = Replica(context, run)
    clear = replica.clear(runs - {None})
    runs.add(run)
    session = tf.Session(context.target, graph=replica.tutorial.graph, config=session_config(cluster))
    with replica.training_sessions, session:
        session.run([clear, replica.report_progress])
        add_workers = functools.partial(replica.joined_queue.empty_into, session)
        checkpoints = train_options.get("checkpoints")
        record = train(
            replica.tutorial,
            context.splits,
            session=session,
            engine=f"cluster, {replica.count} replicas, {'synchronous' if context.sync else 'asynchronous'}",
            loop=lambda *arguments: ClusterLoop(replica, *arguments),
            **train_options | {"checkpoints": checkpoints and _CheckpointsWithWorkers(checkpoints, add_workers)},
        )
        if record.test_accuracy is not None:
            with contextlib.suppress(*LOST_PEER):  # who is lost now need not know
                add_workers(record)
                session.run(replica.report_done)
    return record


def run_worker(context: TaskContext, note) -> None:
    """The part of the other replicas, until it is done or a peer is lost."""
    cluster = context.cluster
    me, chief = cluster.me, cluster.chief
    while not (announced := read_announcements(cluster, context.target, [chief])[chief]):
        time.sleep(POLL_SECONDS)
    check_same(me, context.facts, chief, announced.get("facts", {}))
    replica = Replica(context, announced["run"])
    with replica.training_sessions:
        session = replica.training_session()
        session.run(replica.report_joined)
        loop = ClusterLoop(replica, replica.tutorial, context.splits, session)
        loop.join(session)
        note(f"{me}: joined after {loop.step} steps")
        while loop.step < context.config.steps:
            loop.train_next()
        session.run(replica.report_done)


def run_ps(cluster: Cluster, target: str, watchdog: Watchdog, peers: Peers) -> None:
    """Holds variables until every replica has done its part, or is not there any more when the chief has."""
    done, seen = set(), 0  # the numbers of replicas; what was seen of the chief's progress
    with tf.Graph().as_default() as graph:
        queue, progress = done_queue(cluster.me), progress_counter(cluster.me)
        size, dequeue = queue.size(), queue.dequeue()
        announce = announcement(cluster, cluster.me).assign(json.dumps(facts_of_process(cluster)))
    config = tf.ConfigProto(device_filters=[cluster.me.device])
    with tf.Session(target, graph=graph, config=config) as session:
        session.run(progress.initializer)
        session.run(announce)
        while True:
            for _ in range(session.run(size)):
                done.add(int(session.run(dequeue)))
            if 0 in done:
                replicas = [task for number, task in enumerate(cluster.replicas) if number not in done]
                peers.tasks = [task for task, answer in ask(replicas).items() if not answer.is_gone]
                if not peers.tasks:
                    return
            elif seen != (seen := int(session.run(progress))):
                watchdog.reset()
            time.sleep(POLL_SECONDS)


class _CheckpointsWithWorkers:
    """The folder of checkpoints `checkpoints`, whose records have the workers that joined.

    add_workers: called with a record before it is saved.
    """

    def __init__(self, checkpoints, add_workers):
        self._checkpoints, self._add_workers = checkpoints, add_workers

    def __getattr__(self, name):
        return getattr(self._checkpoints, name)

    def save(self, values, record):
        self._add_workers(record)
        self._checkpoints.save(values, record)


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
