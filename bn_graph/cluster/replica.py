"""A replica: the tutorial's graph with its variables on the parameter servers, the session that trains it, its loop."""

import contextlib
import dataclasses
import itertools
import json

import numpy as np

from bn_graph.cluster.exchange import JoinedQueue, announcement, count_progress, done_queue, session_config
from bn_graph.cluster.tf_config import Cluster
from bn_graph.cluster.watchdog import POLL_SECONDS, Watchdog
from bn_graph.config import LARGEST_SEED, TutorialConfig
from bn_graph.graph import build_graph
from bn_graph.mnist import Splits
from bn_graph.record import versions
from bn_graph.tf1 import make_callable, tf
from bn_graph.training import SessionLoop


@dataclasses.dataclass(frozen=True)
class TaskContext:
    """What a process that trains has in every run that it takes part in."""

    cluster: Cluster
    config: TutorialConfig
    splits: Splits
    sync: bool  # whether the replicas make each step together
    facts: dict  # what must be the same in all replicas, as `facts_of_replica` has it
    target: str  # of the process's own server, for sessions
    watchdog: Watchdog


class Replica:
    """The graph of a replica, and the session that trains it.

    Everything that the parameter servers have for it is in a container of this run's own. So nothing that is left of an
    earlier run can get into this one, be it gradients that nobody has added up or a worker that has not noticed yet.

    Args:
        context: `TaskContext`.
        run: the name of the run.

    Fields:
        number: which of the `count` replicas it is, 0 for the chief.
        tutorial: its `TutorialGraph`.
        global_step_after: int32 tensor, the global step when the train op is done.
        joined_queue: `JoinedQueue`; report_joined: the op that tells the chief that this replica is there.
        report_progress: the op by which the parameter servers see that the chief does something.
        report_done: the op that tells all parameter servers that this replica has done its part.
        training_sessions: the context that closes the sessions of `training_session`.
    """

    def __init__(self, context: TaskContext, run: str):
        cluster = context.cluster
        self.number, self.count, self.is_chief = cluster.replica, len(cluster.replicas), cluster.replica == 0
        self.sync, self.watchdog = context.sync, context.watchdog
        self._cluster, self._target, self._run = cluster, context.target, run
        self.training_sessions = contextlib.ExitStack()
        self._device = tf.train.replica_device_setter(
            worker_device=cluster.me.device, cluster=tf.train.ClusterSpec(cluster.jobs)
        )
        wrap_optimizer = self._wrap_optimizer if self.sync else None
        tutorial = build_graph(self._own_config(context.config), context.splits, self._device_scope, wrap_optimizer)
        with tutorial.graph.as_default(), self._device_scope():
            # The chief runs the update ops beside its train op; see `_own_config`.
            beside = self.sync and self.is_chief and context.config.updates == "control_dependencies"
            updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS) if beside else []
            self.report_progress = tf.group(*(count_progress(ps) for ps in cluster.ps if self.is_chief))
            train_op = tf.group(tutorial.train_op, *updates, self.report_progress)
            with tf.control_dependencies([train_op]):
                self.global_step_after = tutorial.global_step.read_value()
            self._announcement = announcement(cluster, cluster.chief)
            self._announce = self._announcement.assign(json.dumps({"run": run, "facts": context.facts}))
            self.joined_queue = JoinedQueue(cluster)
            self.report_joined = self.joined_queue.put(cluster.me, versions())
            self.report_done = tf.group(*(done_queue(ps).enqueue(self.number) for ps in cluster.ps))
        config = dataclasses.replace(context.config, seed=tutorial.config.seed)
        self.tutorial = dataclasses.replace(tutorial, config=config, train_op=train_op)

    def clear(self, runs) -> list:
        """The ops that free what these runs have left, so that whoever is still in one notices."""
        with self.tutorial.graph.as_default():
            ops = [self._announcement.assign("")]
            for run, variable in itertools.product(runs, self.tutorial.variables.values()):
                with tf.device(variable.device), tf.container(run):
                    handle = tf.raw_ops.VarHandleOp(
                        dtype=variable.dtype.base_dtype, shape=variable.shape, shared_name=variable.op.name
                    )
                    ops.append(tf.raw_ops.DestroyResourceOp(resource=handle, ignore_lookup_error=True))
            for run in runs if self.sync else ():
                tokens = self._optimizer.get_chief_queue_runner().queue
                with tf.device(tokens.queue_ref.device), tf.container(run):
                    name = tokens.queue_ref.op.get_attr("shared_name")
                    queue = tf.FIFOQueue(-1, tokens.dtypes, tokens.shapes, shared_name=name)
                    ops.append(queue.close(cancel_pending_enqueues=True))
        return ops

    def begin(self):
        """Lets the other replicas join, when all variables have their values. Returns the chief's training session."""
        session = self.training_session()
        session.run([self._announce, self.report_progress])
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
                config=session_config(self._cluster),
                max_wait_secs=POLL_SECONDS,  # the chief was waited for before, and not for half a minute at a time
            ).run_step_fn(lambda step_context: step_context.session)
        # The MonitoredSession is not closed: it would first wait for the thread that waits for gradients.
        self.training_sessions.callback(_close, session)
        return session

    def _own_config(self, config):
        """The settings with which this replica's graph is built."""
        if config.seed is not None:  # so that no two replicas draw the same masks
            config = dataclasses.replace(config, seed=(config.seed + self.number) % (LARGEST_SEED + 1))
        if config.batch_norm and self.sync and (config.updates == "control_dependencies" or not self.is_chief):
            # What the train op depends on, SyncReplicasOptimizer would wait for where it adds up gradients, in a thread
            # that has no batch.
            config = dataclasses.replace(config, updates="collected")
        return config

    @contextlib.contextmanager
    def _device_scope(self):
        with tf.device(self._device), tf.container(self._run):
            yield

    def _wrap_optimizer(self, optimizer):
        self._optimizer = tf.train.SyncReplicasOptimizer(optimizer, self.count)
        return self._optimizer


def _close(session):
    with contextlib.suppress(tf.errors.OpError):
        session.close()


class ClusterLoop(SessionLoop):
    """Like `bn_graph.training.SessionLoop`, for a replica.

    step: how many steps the cluster has made, as far as is known here.
    """

    def __init__(self, replica: Replica, tutorial, splits, session, summaries=None):
        super().__init__(tutorial, splits, session)
        self._replica = replica
        # Loss and accuracy by step, of the steps that this replica has made and that were not asked for yet.
        self._measured = {}
        self._latest = None  # loss and accuracy of this replica's latest step

    def begin(self, steps):
        self.join(self._replica.begin())

    def join(self, session):
        """Begins to train by this session with the step at which the cluster is."""
        tutorial = self._tutorial
        fetches = [tutorial.train_op, tutorial.train_loss, tutorial.train_accuracy, self._replica.global_step_after]
        self._train = make_callable(session, fetches)
        self.step = int(session.run(tutorial.global_step))
        self._replica_step = self.step // self._replica.count

    def train(self, step, end=None):
        """Sees to it that the cluster has made the step. Returns its loss and its accuracy on the batch.

        They are nan where another replica has made it. Where it is validated, and so printed, they are then those of
        this replica's latest batch.
        """
        while self.step <= step or not self._latest:
            self.train_next()
        by_another = self._latest if step % self._tutorial.config.eval_every == 0 else (np.nan, np.nan)
        return self._measured.pop(step, by_another)

    def train_next(self):
        """Trains on this replica's next batch: together the replicas go through the batches in the tutorial's order."""
        step = self.step if self._replica.sync else self._replica_step
        tloss, tacc, step_after = self._train(self._feed(step * self._replica.count + self._replica.number))
        self.step, self._replica_step = int(step_after), self._replica_step + 1
        self._measured[self.step - 1] = self._latest = tloss, tacc
        self._replica.watchdog.reset()

    def valid_accuracy(self):
        accuracy = super().valid_accuracy()
        self._report_progress()
        return accuracy

    def test_accuracy(self):
        accuracy = super().test_accuracy()
        self._report_progress()
        return accuracy

    def _report_progress(self):
        """An evaluation is no step, and all the same something that the chief has done."""
        self._session.run(self._replica.report_progress)
        self._replica.watchdog.reset()
