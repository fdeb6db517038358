"""Networks that follow another one: target networks, teachers, averaged copies, clones on other devices."""

import tensorflow as tf

from tests.recording.audit_graphs.by_hand import r2rt_norm
from tests.recording.audit_graphs.cases import NEVER_RUN, NOT_COPIED, UNSHARED, built, case
from tests.recording.audit_graphs.networks import (
    contrib_norm,
    cross_entropy,
    dense,
    layers_norm,
    network,
    phase,
    resource_variables,
    sgd,
    update_ops,
    vector_input,
)

LAYERS = (1, 4)
DQN = ["online/bn", "target/bn"]
STATISTICS = r"(moving_(mean|variance)|pop_(mean|var)|(mean|variance)/EMA):0$"


def of_scope(scope, which="all"):
    collection = {
        "all": tf.GraphKeys.GLOBAL_VARIABLES if hasattr(tf.GraphKeys, "GLOBAL_VARIABLES") else tf.GraphKeys.VARIABLES,
        "trainable": tf.GraphKeys.TRAINABLE_VARIABLES,
        "model": "model_variables",
    }[which]
    return tf.get_collection(collection, scope + "/")


def pairs(which):
    if which == "by name":
        sources = dict((v.op.name[len("online/") :], v) for v in of_scope("online"))
        return [(v, sources[v.op.name[len("target/") :]]) for v in of_scope("target")]
    if which == "both":
        statistics = [[v for v in of_scope(s) if "moving_" in v.name or "pop_" in v.name] for s in ("target", "online")]
        return list(zip(of_scope("target", "trainable"), of_scope("online", "trainable"))) + list(zip(*statistics))
    if which == "statistics alone":
        return [(t, o) for t, o in pairs("all") if "moving_" in t.name or "pop_" in t.name]
    if which == "mean alone":
        return [(t, o) for t, o in pairs("all") if "variance" not in t.name]
    return list(zip(of_scope("target", which), of_scope("online", which)))


def copy(how, which):
    """The op, or ops, that a program runs to let the target follow."""
    tau = tf.constant(0.1)
    each = {
        "assign": lambda t, o: t.assign(o),
        "assign value": lambda t, o: tf.assign(t, tf.identity(o)),
        "soft": lambda t, o: t.assign(tau * o + (1 - tau) * t),
        "multiply": lambda t, o: t.assign(tf.multiply(o, tau) + tf.multiply(t, 1.0 - tau)),
        "assign_sub": lambda t, o: t.assign_sub(0.1 * (t - o)),
        "assign_add": lambda t, o: tf.assign_add(t, 0.1 * (o - t)),
    }
    if how == "placeholder tau":
        rate = tf.placeholder_with_default(0.1, [], name="tau")
        return [t.assign(rate * o + (1.0 - rate) * t) for t, o in pairs(which)]
    if how == "read value":
        return [t.assign(o.read_value()) for t, o in pairs(which)]
    if how == "initialized":
        return [t.assign(o.initialized_value()) for t, o in pairs(which)]
    if how == "group":
        return [tf.group(*[t.assign(o) for t, o in pairs(which)], name="copy")]
    return [each[how](t, o) for t, o in pairs(which)]


NORMS = {
    "contrib": contrib_norm,
    "contrib scale": lambda training: contrib_norm(training, scale=True),
    "layers": layers_norm,
    "hand": r2rt_norm,
}


def q_learning(how="group", which="all", library="contrib", target=False, online=True, updates=True, acting=True):
    """The target network's result is the goal that the online network learns."""
    norm = NORMS[library]
    state = tf.placeholder(tf.float32, [None, 5], name="state")
    after = tf.placeholder(tf.float32, [None, 5], name="next_state")
    reward = tf.placeholder(tf.float32, [None], name="reward")
    q = network(state, norm(online), scope="online")
    collected = update_ops()
    goal = tf.stop_gradient(reward + 0.9 * tf.reduce_max(network(after, norm(target), scope="target"), 1))
    loss = tf.reduce_sum(tf.square(goal - tf.reduce_max(q, 1)))
    with tf.control_dependencies(collected if updates else []):
        step = sgd().minimize(loss, var_list=of_scope("online", "trainable"))
    evaluate = None
    if acting:
        evaluate = network(state, norm(False), reuse=True, scope="online")
    if how == "behind":
        with tf.control_dependencies([step]):
            return built(tf.group(*[t.assign(0.1 * o + 0.9 * t) for t, o in pairs(which)], name="train"), evaluate,
                         statistics=STATISTICS)  # fmt: skip
    return built([step, copy(how, which)] if how else step, evaluate, statistics=STATISTICS)


@case(NOT_COPIED, name="copy_trainable_group", given=dict(how="group"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_assign", given=dict(how="assign"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_identity", given=dict(how="assign value"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_soft", given=dict(how="soft"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_multiply", given=dict(how="multiply"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_sub", given=dict(how="assign_sub"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_add", given=dict(how="assign_add"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_tau", given=dict(how="placeholder tau"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_read", given=dict(how="read value"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_behind", given=dict(how="behind"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_scale", given=dict(how="soft", library="contrib scale"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_layers", given=dict(how="soft", library="layers"), since=LAYERS, layers=DQN)
@case(NOT_COPIED, name="copy_trainable_hand", given=dict(how="soft", library="hand"), layers=DQN)
@case(NOT_COPIED, name="copy_trainable_no_acting", given=dict(how="soft", acting=False), layers=DQN)
def copy_trainable(**options):
    """The target network gets the trainable variables alone, and normalises by 0 and 1."""
    return q_learning(which="trainable", **options)


@case(
    NOT_COPIED,
    name="copy_trainable_layers_resource",
    given=dict(how="soft", library="layers"),
    since=LAYERS,
    layers=DQN,
)
@case(NOT_COPIED, name="copy_trainable_contrib_resource", given=dict(how="assign_sub"), since=LAYERS, layers=DQN)
@case(NOT_COPIED, name="copy_trainable_read_resource", given=dict(how="read value"), since=LAYERS, layers=DQN)
@resource_variables
def copy_trainable_resource(**options):
    """The target network gets the trainable variables alone: resource variables."""
    return q_learning(which="trainable", **options)


@case(NOT_COPIED, name="copy_mean_alone", given=dict(how="soft", which="mean alone"), layers=DQN)
def copy_mean_alone(**options):
    """The variance alone is forgotten."""
    return q_learning(**options)._replace(statistics="variance:0$")


@case(NOT_COPIED, NEVER_RUN, name="copy_trainable_not_run", layers=DQN)
def copy_trainable_not_run():
    """Neither are the statistics copied, nor does the online network update its own."""
    return q_learning(how="soft", which="trainable", updates=False)


@case(doubts=[], name="copy_all_group", given=dict(how="group"), layers=DQN)
@case(doubts=[], name="copy_all_assign", given=dict(how="assign"), layers=DQN)
@case(doubts=[], name="copy_all_soft", given=dict(how="soft"), layers=DQN)
@case(doubts=[], name="copy_all_multiply", given=dict(how="multiply"), layers=DQN)
@case(doubts=[], name="copy_all_sub", given=dict(how="assign_sub"), layers=DQN)
@case(doubts=[], name="copy_all_add", given=dict(how="assign_add"), layers=DQN)
@case(doubts=[], name="copy_all_tau", given=dict(how="placeholder tau"), layers=DQN)
@case(doubts=[], name="copy_all_behind", given=dict(how="behind"), layers=DQN)
@case(doubts=[], name="copy_by_name", given=dict(how="soft", which="by name"), layers=DQN)
@case(doubts=[], name="copy_both_lists", given=dict(how="soft", which="both"), layers=DQN)
@case(doubts=[], name="copy_model_variables", given=dict(how="soft", which="model"), layers=DQN)
@case(doubts=[], name="copy_all_layers", given=dict(how="soft", library="layers"), since=LAYERS, layers=DQN)
@case(doubts=[], name="copy_all_hand", given=dict(how="soft", library="hand"), layers=DQN)
@case(doubts=[], name="copy_all_scale", given=dict(how="group", library="contrib scale"), layers=DQN)
def copy_all(which="all", **options):
    """All of the target network's variables follow the online network's."""
    return q_learning(which=which, **options)


@case(doubts=[], name="copy_all_resource", given=dict(how="soft", library="layers"), since=LAYERS, layers=DQN)
@case(doubts=[], name="copy_read_resource", given=dict(how="read value"), since=LAYERS, layers=DQN)
@resource_variables
def copy_all_resource(**options):
    """All of the target network's variables follow the online network's: resource variables."""
    return q_learning(which="all", **options)


@case(doubts=["wrong-statistics"], name="copy_on_batch", given=dict(how="soft"), layers=DQN)
def copy_on_batch(**options):
    """The trainable variables are copied, and the target network normalises by its batch."""
    options.update(which="trainable", target=True, acting=False)
    return q_learning(**options)._replace(statistics="online.*moving_")


@case(doubts=[], name="copy_on_batch_acting", given=dict(how="soft"), layers=DQN)
def copy_on_batch_acting(**options):
    """The target, which gets what is trainable, is on its batch, and the actor on the moving statistics."""
    return q_learning(which="trainable", target=True, **options)._replace(statistics="online.*moving_")


def actor_critic(which, shared_phase):
    """DDPG: an actor and a critic, each with a target, and a phase that is fed."""
    training = phase()
    state = tf.placeholder(tf.float32, [None, 5], name="state")
    after = tf.placeholder(tf.float32, [None, 5], name="next_state")
    reward = tf.placeholder(tf.float32, [None, 1], name="reward")
    target_training = training if shared_phase else False

    def actor(x, scope, training):
        with tf.variable_scope(scope):
            h = tf.nn.relu(contrib_norm(training)(dense(x, 4, "hidden"), "bn"))
            return tf.tanh(dense(h, 2, "action"))

    def critic(x, action, scope, training, reuse=None):
        with tf.variable_scope(scope, reuse=reuse):
            h = tf.nn.relu(contrib_norm(training)(dense(x, 4, "hidden"), "bn"))
            return dense(h, 1, "q") + dense(action, 1, "q_action")

    action = actor(state, "online/actor", training)
    value = critic(state, tf.stop_gradient(action), "online/critic", training)
    collected = update_ops()
    goal = reward + 0.9 * critic(after, actor(after, "target/actor", target_training), "target/critic", target_training)
    critic_loss = tf.reduce_mean(tf.square(value - tf.stop_gradient(goal)))
    actor_loss = -tf.reduce_mean(critic(state, action, "online/critic", training, True))
    with tf.control_dependencies(collected):
        steps = [
            sgd(name="critic_step").minimize(critic_loss, var_list=of_scope("online/critic", "trainable")),
            sgd(name="actor_step").minimize(actor_loss, var_list=of_scope("online/actor", "trainable")),
        ]
    follow = [t.assign(0.05 * o + 0.95 * t) for t, o in zip(of_scope("target", which), of_scope("online", which))]
    return built(steps + [follow], action, statistics=STATISTICS, on_batch=False)


ACTOR_CRITIC = [net + part for net in ("online/", "target/") for part in ("actor/bn", "critic/bn")]


@case(NOT_COPIED, name="copy_ddpg_trainable", layers=ACTOR_CRITIC)
def copy_ddpg_trainable():
    """DDPG, whose targets get the trainable variables alone."""
    return actor_critic("trainable", False)


@case(doubts=[], name="copy_ddpg_all", layers=ACTOR_CRITIC)
def copy_ddpg_all():
    """DDPG, whose targets get all variables."""
    return actor_critic("all", False)


def teacher(which, evaluated="teacher", updates=True):
    """Mean teacher: the averaged network is built beside the student, and evaluated."""
    x, y = vector_input()
    student = network(x, contrib_norm(True), scope="online")
    collected = update_ops()
    taught = network(x, contrib_norm(False), scope="target")
    loss = cross_entropy(student, y) + tf.reduce_mean(tf.square(student - tf.stop_gradient(taught)))
    with tf.control_dependencies(collected if updates else []):
        step = sgd().minimize(loss, var_list=of_scope("online", "trainable"))
    with tf.control_dependencies([step]):
        train = tf.group(*[t.assign(0.99 * t + 0.01 * o) for t, o in pairs(which)], name="train")
    return built(train, taught, statistics=STATISTICS, on_batch=False)


@case(NOT_COPIED, name="copy_teacher_trainable", layers=DQN)
def copy_teacher_trainable():
    """A teacher that averages the student's trainable variables, and not its statistics."""
    return teacher("trainable")


@case(doubts=[], name="copy_teacher_all", layers=DQN)
def copy_teacher_all():
    """A teacher that averages all of the student's variables."""
    return teacher("all")


def averaged(which, evaluation_is_raw=False):
    """ExponentialMovingAverage over the variables; the evaluation tower reads the averages by a custom getter."""
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True)), y)
    collected = update_ops()
    with tf.control_dependencies(collected):
        step = sgd().minimize(loss)
    ema = tf.train.ExponentialMovingAverage(0.9)
    variables = tf.trainable_variables()
    if which == "all":
        variables = variables + [v for v in tf.get_collection("model_variables") if "moving_" in v.name]
    with tf.control_dependencies([step]):
        train = ema.apply(variables)

    def getter(getter, *arguments, **options):
        value = getter(*arguments, **options)
        average = ema.average(value)
        return value if average is None else average

    with tf.variable_scope(tf.get_variable_scope(), custom_getter=getter):
        logits = network(x, contrib_norm(False), reuse=True)
    return built(train, logits, statistics="moving_(mean|variance)(/ExponentialMovingAverage)?:0$", on_batch=False)


@case(doubts=[], name="copy_getter_all", layers=["net/bn"], since=LAYERS, given=dict(which="all"))
@case(doubts=[], name="copy_getter_trainable", layers=["net/bn"], since=LAYERS, given=dict(which="trainable"))
def copy_getter(which):
    """The evaluation tower reads averages of the weights, and of the moving statistics or these themselves."""
    return averaged(which)


def clones(which):
    """A policy that acts, copied now and then from the one that learns (A3C, PPO's old policy)."""
    x, y = vector_input()
    loss = cross_entropy(network(x, contrib_norm(True), scope="online"), y)
    with tf.control_dependencies(update_ops()):
        step = sgd().minimize(loss)
    acting = network(x, contrib_norm(False), scope="target")
    sync = [tf.assign(t, o) for t, o in pairs(which)]
    return built([step, tf.group(*sync, name="sync")], acting, statistics=STATISTICS, on_batch=False)


@case(NOT_COPIED, name="copy_clone_trainable", may=[UNSHARED], layers=DQN)
def copy_clone_trainable():
    """The network that acts gets the trainable variables alone."""
    return clones("trainable")


@case(doubts=[], name="copy_clone_all", layers=DQN)
def copy_clone_all():
    """The network that acts gets all variables."""
    return clones("all")


def with_phase(which, target_phase):
    """Both networks share one placeholder for the phase, or have one each."""
    training = phase()
    state = tf.placeholder(tf.float32, [None, 5], name="state")
    after = tf.placeholder(tf.float32, [None, 5], name="next_state")
    other = training if target_phase == "shared" else tf.placeholder(tf.bool, [], name="target_is_training")
    q = network(state, contrib_norm(training), scope="online")
    collected = update_ops()
    goal = tf.stop_gradient(tf.reduce_max(network(after, contrib_norm(other), scope="target"), 1))
    with tf.control_dependencies(collected):
        step = sgd().minimize(
            tf.reduce_sum(tf.square(goal - tf.reduce_max(q, 1))), var_list=of_scope("online", "trainable")
        )
    return built([step, copy("soft", which)], q, statistics=STATISTICS if which == "all" else "online.*moving_")


@case(doubts=["statistics-not-copied"], name="copy_phase_trainable", given=dict(target_phase="shared"), layers=DQN)
@case(doubts=["statistics-not-copied"], name="copy_two_phases_trainable", given=dict(target_phase="own"), layers=DQN)
def copy_phase_trainable(target_phase):
    """The target is on its batch or on 0 and 1, as is fed; its statistics are copied from nobody."""
    return with_phase("trainable", target_phase)


@case(doubts=[], name="copy_phase_all", given=dict(target_phase="shared"), layers=DQN)
def copy_phase_all(target_phase):
    """The target is on its batch or on the copied statistics, as is fed."""
    return with_phase("all", target_phase)
