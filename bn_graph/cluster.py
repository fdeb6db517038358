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

import contextlib
import dataclasses
import itertools
import json
import os
import select
import signal
import sys
import threading
import time
import uuid

import numpy as np

from bn_graph.config import LARGEST_SEED, InputError
from bn_graph.graph import build_graph
from bn_graph.narrow import local_addresses, narrow
from bn_graph.tf1 import prepared, tf
from bn_graph.training import SessionLoop, train

PATIENCE = 60.0  # seconds
LONGEST_SAVE = 10.0  # seconds after a signal
LOOK_EVERY = 0.5  # seconds between two looks at whether something has come

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


class Watch(threading.Thread):
    """Ends the process when nothing was done for `patience` seconds, wherever in TensorFlow it waits.

    A signal is seen too while TensorFlow waits, when Python does not see it. The process has then ten seconds to end by
    itself.

    Args:
        patience: seconds.
        who_is_gone: called when they have passed; the line that is said on stderr.
    """

    def __init__(self, patience, who_is_gone):
        super().__init__(daemon=True)
        self._patience, self._who_is_gone = patience, who_is_gone
        self._signals, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written)
        self.kept()

    def kept(self):
        """Something was done."""
        self._since = time.monotonic()

    def run(self):
        code = 1
        while time.monotonic() - self._since < self._patience:
            if select.select([self._signals], [], [], LOOK_EVERY)[0]:
                code, self._patience = 128 + os.read(self._signals, 1)[0], min(self._patience, LONGEST_SAVE)
                self.kept()
        try:
            if code == 1:
                sys.stderr.write(f"{self._who_is_gone()}\n")
            sys.stderr.flush()
        finally:  # also where nobody reads stderr any more
            os._exit(code)


def take_part(
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
        return _serve(cluster, server, watch, gone)

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
                return _lead(cluster, config, splits, sync, server.target, watch, runs, how)
            return _follow(cluster, config, splits, sync, server.target, watch)
        except _GONE:
            note(f"{cluster.me}: {gone.reason()}; waiting, {patience:g} s at most")
            time.sleep(LOOK_EVERY)


def _lead(cluster, config, splits, sync, target, watch, runs, how):
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


def _follow(cluster, config, splits, sync, target, watch):
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
    narrow(me.port, addresses)
    server.start()
    return server


def _session_config(cluster):
    # Without a filter, a session waits for every task of the cluster.
    return tf.ConfigProto(device_filters=["/job:ps", cluster.me.device])


def _goodbyes(ps):
    """The queue at a parameter server into which each replica puts its number when it has done its part."""
    with tf.device(ps.device), tf.container("goodbye"):  # a container of its own, so that no beginning anew empties it
        return tf.FIFOQueue(-1, tf.int32, shapes=[()], shared_name="goodbye")


def _serve(cluster, server, watch, gone):
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


class _Board:
    """A string at the first parameter server: what the chief says of the run that the replicas are to join."""

    def __init__(self, cluster, target):
        self._cluster, self._target = cluster, target

    @staticmethod
    def variable(cluster):
        with tf.device(cluster.ps[0].device), tf.container("board"):
            return tf.Variable("", collections=[], name="board")

    def session(self, graph):
        return tf.Session(self._target, graph=graph, config=_session_config(self._cluster))

    def read(self):
        """What is said there, a dict; empty where nothing is."""
        with tf.Graph().as_default() as graph:
            variable = self.variable(self._cluster)
        with self.session(graph) as session:
            try:
                return json.loads(session.run(variable) or "{}")
            except tf.errors.FailedPreconditionError:  # nobody has written there yet
                return {}


class _Replica:
    """The graph of a replica, and the session that trains it.

    Everything that the parameter servers keep for it is in a container of this run's own. So what is left of an earlier
    run, gradients that nobody has added up or a worker that has not noticed yet, cannot get into this one.
    """

    def __init__(self, cluster, config, splits, sync, target, watch, run):
        self.number, self.count, self.is_chief = cluster.replica, len(cluster.replicas), cluster.replica == 0
        self.sync, self.watch = sync, watch
        self._cluster, self._target, self._run = cluster, target, run
        self.training_sessions = contextlib.ExitStack()
        self._device = tf.train.replica_device_setter(
            worker_device=cluster.me.device, cluster=tf.train.ClusterSpec(cluster.jobs)
        )
        built = config
        if config.seed is not None:  # so that no two replicas draw the same masks
            built = dataclasses.replace(config, seed=(config.seed + self.number) % (LARGEST_SEED + 1))
        if sync and (config.updates == "control_dependencies" or not self.is_chief):
            # What the train op depends on, SyncReplicasOptimizer would wait for where it adds up gradients, in a thread
            # that has no batch.
            built = dataclasses.replace(built, updates="collected")
        tutorial = build_graph(built, splits, self._placed, self._synchronous if sync else None)
        with tutorial.graph.as_default(), self._placed():
            beside = sync and self.is_chief and config.updates == "control_dependencies"
            train_op = tf.group(tutorial.train_op, *(tf.get_collection(tf.GraphKeys.UPDATE_OPS) if beside else []))
            with tf.control_dependencies([train_op]):
                self.global_step_after = tutorial.global_step.read_value()
            self._board = _Board.variable(cluster)
            self._announce = self._board.assign(json.dumps({"run": run, **_settings(config, splits, sync)}))
            self.goodbye = tf.group(*(_goodbyes(ps).enqueue(self.number) for ps in cluster.ps))
        config = dataclasses.replace(config, seed=tutorial.config.seed)
        self.tutorial = dataclasses.replace(tutorial, config=config, train_op=train_op)

    def clear(self, runs):
        """The op that frees what these runs have left, so that whoever is still in one notices."""
        with self.tutorial.graph.as_default():
            clear = [self._board.assign("")]
            for run, variable in itertools.product(runs, self.tutorial.variables.values()):
                with tf.device(variable.device), tf.container(run):
                    same = tf.raw_ops.VarHandleOp(
                        dtype=variable.dtype.base_dtype, shape=variable.shape, shared_name=variable.op.name
                    )
                    clear.append(tf.raw_ops.DestroyResourceOp(resource=same, ignore_lookup_error=True))
            for run in runs if self.sync else ():
                tokens = self._optimizer.get_chief_queue_runner().queue
                with tf.device(tokens.queue_ref.device), tf.container(run):
                    name = tokens.queue_ref.op.get_attr("shared_name")
                    same = tf.FIFOQueue(-1, tokens.dtypes, tokens.shapes, shared_name=name)
                    clear.append(same.close(cancel_pending_enqueues=True))
        return clear

    def begin(self):
        """Lets the other replicas join, when all variables have their values. Returns the chief's training session."""
        session = self.training_session()
        session.run(self._announce)
        return session

    def training_session(self):
        """The `tf.Session` of a MonitoredTrainingSession, which is closed with `training_sessions`.

        The chief's starts the thread that adds up gradients. It reads Adam's variables at once, and so must not be
        there before they have their values.
        """
        hooks = [self._optimizer.make_session_run_hook(self.is_chief, num_tokens=0)] if self.sync else []
        with self.tutorial.graph.as_default():
            session = tf.train.MonitoredTrainingSession(
                self._target,
                is_chief=self.is_chief,
                scaffold=tf.train.Scaffold(init_op=tf.no_op()),
                hooks=hooks,
                config=_session_config(self._cluster),
                max_wait_secs=LOOK_EVERY,  # the chief was waited for before, and not for half a minute at a time
            ).run_step_fn(lambda step_context: step_context.session)
        # And not the MonitoredSession, which would first wait for the thread that waits for gradients.
        self.training_sessions.callback(_close, session)
        return session

    @contextlib.contextmanager
    def _placed(self):
        with tf.device(self._device), tf.container(self._run):
            yield

    def _synchronous(self, optimizer):
        self._optimizer = tf.train.SyncReplicasOptimizer(optimizer, self.count)
        return self._optimizer


def _close(session):
    with contextlib.suppress(tf.errors.OpError):
        session.close()


def _settings(config, splits, sync):
    settings = dataclasses.asdict(config) | {"split": splits.how, "sync": sync, "training rows": len(splits.train_X)}
    del settings["seed"]
    return settings


class ClusterLoop(SessionLoop):
    """Like `bn_graph.training.SessionLoop`, for a replica.

    step: how many steps the cluster has made, as far as is known here.
    """

    def __init__(self, replica, tutorial, splits, session, summaries=None):
        super().__init__(tutorial, splits, session)
        self._replica = replica
        self._made = {}  # loss and accuracy of the steps that this replica has made and that were not asked for yet
        self._latest = None  # those of the latest

    def begin(self, steps):
        self.join(self._replica.begin())

    def join(self, session):
        """Begins to train by this session with the step at which the cluster is."""
        tutorial = self._tutorial
        fetches = [tutorial.train_op, tutorial.train_loss, tutorial.train_accuracy, self._replica.global_step_after]
        self._train = prepared(session, fetches)
        self.step = int(session.run(tutorial.global_step))
        self._own_step = self.step // self._replica.count
        self._replica.watch.kept()

    def train(self, step, until=None):
        """Sees to it that the cluster has made the step. Returns its loss and its accuracy on the batch.

        They are nan where another replica has made it. Where it is validated, and so printed, they are then those of
        this replica's latest batch.
        """
        while self.step <= step or not self._latest:
            self.train_next()
        known = self._latest if step % self._tutorial.config.eval_every == 0 else (np.nan, np.nan)
        return self._made.pop(step, known)

    def train_next(self):
        """Trains on this replica's next batch: together the replicas go through the batches in the tutorial's order."""
        step = self.step if self._replica.sync else self._own_step
        tloss, tacc, after = self._train(self._feed(step * self._replica.count + self._replica.number))
        self.step, self._own_step = int(after), self._own_step + 1
        self._made[self.step - 1] = self._latest = tloss, tacc
        self._replica.watch.kept()
