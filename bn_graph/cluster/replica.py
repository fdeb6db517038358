"""TODO."""

import contextlib
import dataclasses
import itertools
import json

import numpy as np

from bn_graph.cluster.watchdog import LOOK_EVERY
from bn_graph.config import LARGEST_SEED
from bn_graph.graph import build_graph
from bn_graph.tf1 import make_callable, tf
from bn_graph.training import SessionLoop


def _session_config(cluster):
    # Without a filter, a session waits for every task of the cluster.
    return tf.ConfigProto(device_filters=["/job:ps", cluster.me.device])


def _goodbyes(ps):
    """The queue at a parameter server into which each replica puts its number when it has done its part."""
    with tf.device(ps.device), tf.container("goodbye"):  # a container of its own, so that no beginning anew empties it
        return tf.FIFOQueue(-1, tf.int32, shapes=[()], shared_name="goodbye")


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
    settings = dataclasses.asdict(config) | {"split": splits.split, "sync": sync, "training rows": len(splits.train_X)}
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
        self._train = make_callable(session, fetches)
        self.step = int(session.run(tutorial.global_step))
        self._own_step = self.step // self._replica.count
        self._replica.watch.kept()

    def train(self, step, end=None):
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
