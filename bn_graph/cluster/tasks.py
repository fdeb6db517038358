"""The tutorial on several machines: TensorFlow's distributed runtime of 2016, on today's TensorFlow.

The parameter servers hold the variables. Each replica has the tutorial's whole graph, reads the variables, and sends
its gradients to where they are. The first replica is the chief: it initialises, validates, prints and saves, and it
trains too.

    synchronous     a step is the mean of one gradient of each replica. The moving averages get the moments of the
                    chief's batch, once a step.
    asynchronous    a step is one gradient of any replica, which updates the moving averages, too.

One update a step, so that `decay` means what it means in one process. If all replicas of a synchronous step updated
them, they would forget as many times faster, and how fast would depend on who came first.

Every wait is bounded by one watch: a process in which nothing was done for `patience` seconds says who does not answer,
and ends.
"""

import time
import uuid

from bn_graph.cluster.replica import ClusterLoop, _Board, _goodbyes, _Replica, _settings
from bn_graph.cluster.socket_filter import local_addresses, restrict_to
from bn_graph.cluster.watchdog import LOOK_EVERY, Watch
from bn_graph.errors import InputError
from bn_graph.tf1 import tf
from bn_graph.training import train

PATIENCE = 60.0  # seconds

# What a session says when a peer has gone, has come back without its variables, or was told to begin anew.
_GONE = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    tf.errors.UnavailableError,
)


def run_task(
    cluster,
    config,
    load_splits,
    sync=False,
    patience=PATIENCE,
    log=None,
    note=None,
    progress=None,
    checkpoints=None,
    stop=None,
):
    """Is one process of a cluster until the training ends. The chief returns its `TrainingRecord`, others None.

    Args:
        cluster: `bn_graph.tf_config.Cluster`.
        config: `TutorialConfig`, the same in all processes but for its seed. The chief's seed counts for the weights;
            each replica draws masks of its own.
        load_splits: returns the `Splits`; not called in a parameter server.
        sync: whether the replicas make each step together.
        patience: seconds in which something must be done.
        log, progress, checkpoints, stop: of the chief, as in `bn_graph.training.train`. Where a parameter server has
            lost its variables, the chief goes on from the newest checkpoint, or begins again where there are none.
        note: called with a line that is worth saying of the cluster.

    Where a peer is not there for `patience` seconds, the process ends with exit code 1 and a line that names it.

    Raises `InputError` where this process cannot listen at its address, or the chief has other settings.
    """
    addresses = local_addresses(cluster.me)
    gone = _Gone(cluster, sync, patience)
    watch = Watch(patience, gone.line)
    watch.start()
    server = _listen(cluster, addresses)
    if cluster.replica is None:
        return run_ps(cluster, server, watch, gone)

    splits = load_splits()
    note, log = note or (lambda line: None), log or (lambda line: None)
    said, runs = [], set()
    while True:
        repeated = iter(said.copy())

        def say(line, repeated=repeated):  # a run that is resumed says all its lines, from the first
            if next(repeated, None) != line:
                said.append(line)
                log(line)

        watch.kept()
        try:
            while not all(ps.answers() for ps in cluster.ps):
                time.sleep(LOOK_EVERY)
            if cluster.replica == 0:
                how = dict(log=say, progress=progress, checkpoints=checkpoints, stop=stop)
                return run_chief(cluster, config, splits, sync, server.target, watch, runs, how)
            return run_worker(cluster, config, splits, sync, server.target, watch, note)
        except _GONE:
            note(f"{cluster.me}: {gone.reason()}; waiting, {patience:g} s at most")
            time.sleep(LOOK_EVERY)


def run_chief(cluster, config, splits, sync, target, watch, runs, how):
    """The chief's part, until it is done or a peer is gone. `runs`: the names of the runs that it has begun here."""
    board = _Board(cluster, target)
    runs.add(board.read().get("run"))
    new = uuid.uuid4().hex
    replica = _Replica(cluster, config, splits, sync, target, watch, new)
    clear = replica.clear(runs - {None})
    runs.add(new)
    with replica.training_sessions, board.session(replica.tutorial.graph) as session:
        session.run(clear)
        record = train(
            replica.tutorial,
            splits,
            session=session,
            engine=f"cluster, {replica.count} replicas, {'synchronous' if sync else 'asynchronous'}",
            loop=lambda *arguments: ClusterLoop(replica, *arguments),
            **how,
        )
        if record.test_accuracy is not None:
            session.run(replica.goodbye)
    return record


def run_worker(cluster, config, splits, sync, target, watch, note):
    """The part of the other replicas, until it is done or a peer is gone."""
    board = _Board(cluster, target)
    while not (found := board.read()):
        time.sleep(LOOK_EVERY)
    for name, ours in _settings(config, splits, sync).items():
        if ours != found[name]:
            raise InputError(f"{cluster.me}: {name} is {ours} here and {found[name]} at the chief")
    replica = _Replica(cluster, config, splits, sync, target, watch, found["run"])
    with replica.training_sessions:
        session = replica.training_session()
        loop = ClusterLoop(replica, replica.tutorial, splits, session)
        loop.join(session)
        note(f"{cluster.me}: joined after {loop.step} steps")
        while loop.step < config.steps:
            loop.train_next()
        session.run(replica.goodbye)


class _Gone:
    """Says who of the cluster does not answer."""

    def __init__(self, cluster, sync, patience):
        peers = cluster.ps + (cluster.replicas if sync else cluster.replicas[:1])
        self.peers = [peer for peer in peers if peer != cluster.me]
        self._me, self._patience = cluster.me, patience

    def reason(self):
        silent = [str(peer) for peer in self.peers if not peer.answers()]
        if silent:
            return f"{' and '.join(silent)} {'do' if silent[1:] else 'does'} not answer"
        return "the connection was lost, or a peer began anew"

    def line(self):
        silent = [str(peer) for peer in self.peers if not peer.answers()]
        if silent:
            return f"{self._me}: gave up after {self._patience:g} s: {self.reason()}"
        others = ", ".join(map(str, self.peers))
        return f"{self._me}: gave up: nothing was done for {self._patience:g} s, though all answer: {others}"


def _listen(cluster, addresses):
    me = cluster.me
    try:
        server = tf.train.Server(cluster.jobs, job_name=me.job, task_index=me.index, start=False)
    except tf.errors.OpError as error:
        # TensorFlow binds every address, where somebody may have the port at another one
        raise InputError(f"TF_CONFIG: {me}: the port cannot be opened: {error.message.splitlines()[0]}") from None
    restrict_to(me.port, addresses)
    server.start()
    return server


def run_ps(cluster, server, watch, gone):
    """Holds variables until every replica has said goodbye, or is not there any more when the chief has."""
    left = set()
    with tf.Graph().as_default() as graph:
        goodbyes = _goodbyes(cluster.me)
        waiting, take = goodbyes.size(), goodbyes.dequeue()
    gone.peers = [cluster.chief]
    config = tf.ConfigProto(device_filters=[cluster.me.device])
    with tf.Session(server.target, graph=graph, config=config) as session:
        while True:
            for _ in range(session.run(waiting)):
                left.add(int(session.run(take)))
            there = [task for number, task in enumerate(cluster.replicas) if number not in left and task.answers()]
            if 0 in left:
                gone.peers = there
                if not there:
                    return
            elif cluster.chief in there:
                watch.kept()
            time.sleep(LOOK_EVERY)
