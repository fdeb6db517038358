"""The audit of graphs that only look wrong, or only look right: what readers of its first version came up with."""

import numpy as np
import pytest

from bn_graph import audit_graph
from bn_graph.tf1 import tf, tf_slim
from tests.audit.networks import new_graph

pytestmark = pytest.mark.release

NEVER_RUN = ("updates-never-run", "error")


def found(graph, **arguments):
    return {(finding.rule, finding.severity) for finding in audit_graph(graph, **arguments).findings}


def inputs(*shape):
    return tf.placeholder(tf.float32, shape)


def variable(name, value, size=5, trainable=True):
    return tf.get_variable(name, [size], initializer=tf.constant_initializer(value), trainable=trainable)


def dense(x, units, scope, reuse=None):
    with tf.variable_scope(scope, reuse=reuse):
        return x @ tf.get_variable("weights", [x.shape[-1], units])


def slim_norm(x, is_training, scope="bn", reuse=None):
    return tf_slim.batch_norm(x, decay=0.9, is_training=is_training, scope=scope, reuse=reuse)


def minimize(loss, updates=(), **options):
    with tf.control_dependencies(list(updates)):
        return tf.train.GradientDescentOptimizer(0.01).minimize(loss, **options)


def updates():
    return tf.get_collection(tf.GraphKeys.UPDATE_OPS)


def by_hand():
    moving_mean, moving_variance = (
        variable("moving_mean", 0.0, trainable=False),
        variable("moving_variance", 1.0, 5, False),
    )
    return moving_mean, moving_variance, variable("gamma", 1.0), variable("beta", 0.0)


def averaged(moving, value, share=0.1):
    return tf.assign_sub(moving, share * (moving - value))


def test_a_teacher_that_follows_the_weights_of_its_student_is_not_trained():
    with new_graph() as graph:
        X = inputs(16, 6)

        def network(scope, is_training, reuse=None):
            with tf.variable_scope(scope, reuse=reuse):
                return dense(tf.nn.relu(slim_norm(dense(X, 5, "d1"), is_training)), 3, "d2")

        loss = tf.reduce_mean((network("student", True) - network("teacher", False)) ** 2)
        step = minimize(loss, updates(), var_list=tf.trainable_variables("student"))
        with tf.control_dependencies([step]):
            pairs = zip(tf.global_variables("teacher"), tf.global_variables("student"), strict=True)
            tf.group(*[tf.assign(teacher, 0.99 * teacher + 0.01 * student) for teacher, student in pairs])
    assert not {pair for pair in found(graph) if pair[1] == "error"}


def test_standardised_weights_and_rows_that_are_normalised_one_by_one_are_no_batch_norm():
    with new_graph() as graph:

        def network(reuse=None):
            with tf.variable_scope("net", reuse=reuse):
                weights = tf.get_variable("weights", [3, 3, 3, 5])
                mean, variance = tf.nn.moments(weights, [0, 1, 2])
                weights = (weights - mean) * tf.rsqrt(variance + 1e-5) * variable("gain", 1.0)
                h = tf.nn.conv2d(inputs(16, 8, 8, 3), weights, strides=1, padding="SAME")
                beta, gamma = variable("beta", 0.0), variable("gamma", 1.0)

                def one(row):
                    return tf.nn.batch_normalization(row, *tf.nn.moments(row, [0, 1]), beta, gamma, 1e-3)

                return tf.map_fn(one, h)

        minimize(tf.reduce_mean(network() ** 2))
        network(reuse=True)
    assert found(graph) == set()


@pytest.mark.parametrize("gate", ["share of 0", "predicate made twice"])
def test_an_update_that_changes_nothing_unless_it_trains_is_right(gate):
    with new_graph() as graph:
        X, mode = inputs(16, 6), tf.placeholder(tf.string, [])
        h = dense(X, 5, "d")
        with tf.variable_scope("bn"):
            moving_mean, moving_variance, gamma, beta = by_hand()
            batch = tf.nn.moments(h, [0])
            is_training = tf.equal(mode, "train")
            mean, variance = tf.cond(
                is_training, lambda: batch, lambda: (tf.identity(moving_mean), tf.identity(moving_variance))
            )

            def update(share):
                return averaged(moving_mean, batch[0], share), averaged(moving_variance, batch[1], share)

            if gate == "share of 0":
                made = update(0.1 * tf.cast(is_training, tf.float32))
            else:
                made = [tf.cond(tf.equal(mode, "train"), lambda: tf.group(*update(0.1)), tf.no_op)]
            with tf.control_dependencies(made):
                output = tf.nn.batch_normalization(h, tf.identity(mean), tf.identity(variance), beta, gamma, 1e-3)
        minimize(tf.reduce_mean(output**2))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            rows = np.random.RandomState(0).randn(16, 6)
            session.run(output, {X: rows, mode: "test"})
            assert not session.run(moving_mean).any()
            session.run(output, {X: rows, mode: "train"})
            assert session.run(moving_mean).all()
    assert found(graph) == set()


SPELLINGS = {
    "sqrt(v) + eps": lambda x, m, v: (x - m) / (tf.sqrt(v) + 1e-3),
    "sqrt(v + eps)": lambda x, m, v: (x - m) / tf.sqrt(v + 1e-3),
    "max(v, eps) ** -0.5": lambda x, m, v: (x - m) * tf.pow(tf.maximum(v, 1e-3), -0.5),
    "x + (-m)": lambda x, m, v: (x + (-m)) * tf.rsqrt(v + 1e-3),
    "1 / sqrt": lambda x, m, v: (x - m) * (1.0 / tf.sqrt(v + 1e-3)),
    "x * a - m * a": lambda x, m, v: (lambda a: x * a - m * a)(tf.rsqrt(v + 1e-3)),
}


@pytest.mark.parametrize("axes", ["[0]", "tf.range(1)", "tf.range(tf.rank(h) - 1)", "[-2]"])
@pytest.mark.parametrize("run", [True, False])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_by_hand_is_found(spelling, run, axes):
    with new_graph() as graph:
        h = dense(inputs(16, 6), 5, "d")
        with tf.variable_scope("bn"):
            moving_mean, moving_variance, gamma, beta = by_hand()
            axes = eval(axes, {"tf": tf, "h": h})
            mean = tf.reduce_mean(h, axes)
            variance = tf.reduce_mean(tf.square(h - mean), axes)
            made = averaged(moving_mean, mean), averaged(moving_variance, variance)
            output = SPELLINGS[spelling](h, mean, variance) * gamma + beta
            SPELLINGS[spelling](h, moving_mean, moving_variance) * gamma + beta
        minimize(tf.reduce_mean(output**2), made if run else ())
    report = audit_graph(graph)
    assert {(finding.rule, finding.severity) for finding in report.findings} == (set() if run else {NEVER_RUN})
    (layer,) = report.layers
    assert layer["name"] == "bn" and layer["variables"]["gamma"] == "bn/gamma"
    assert sorted(tower["statistics"] for tower in layer["towers"]) == ["batch", "moving"]
    assert {update["decay"] for update in layer["updates"]} == {0.9}


@pytest.mark.parametrize("version", [1, 2])
def test_two_layers_of_which_a_condition_takes_one_keep_their_updates_to_the_train_op(version):
    with new_graph(version, resource=version == 2) as graph:
        h, is_training = dense(inputs(16, 6), 5, "d"), tf.placeholder(tf.bool, [], name="phase")
        train, test = slim_norm(h, True), slim_norm(h, False, reuse=True)
        output = tf.cond(is_training, lambda: train, lambda: test)
        minimize(tf.reduce_mean(dense(tf.nn.relu(output), 3, "e") ** 2), updates())
    assert found(graph) == set()


def test_an_evaluation_copy_with_statistics_of_its_own_is_found_behind_a_placeholder():
    for scopes, expected in ((("bn", "bn_1"), {"unshared-towers"}), (("bn", "bn"), set())):
        with new_graph() as graph:
            is_training = tf.placeholder(tf.bool, [], name="is_training")
            train = slim_norm(dense(inputs(16, 6), 5, "d"), is_training, scopes[0])
            made = updates()
            slim_norm(dense(inputs(16, 6), 5, "d", True), is_training, scopes[1], scopes[0] == scopes[1] or None)
            minimize(tf.reduce_mean(train**2), made)
        assert {rule for rule, severity in found(graph) if severity == "error"} == expected


def test_a_gamma_without_a_scope_is_unused_too():
    with new_graph() as graph:
        h = dense(inputs(16, 6), 5, "d")
        moving_mean, moving_variance, _, beta = by_hand()
        mean, variance = tf.nn.moments(h, [0])
        made = averaged(moving_mean, mean), averaged(moving_variance, variance)
        output = tf.nn.batch_normalization(h, mean, variance, beta, None, 1e-3)
        tf.nn.batch_normalization(h, moving_mean, moving_variance, beta, None, 1e-3)
        minimize(tf.reduce_mean(output**2), made)
    (finding,) = audit_graph(graph).findings
    assert (finding.rule, finding.evidence) == ("unused-parameter", ("gamma",))


@pytest.mark.parametrize("debiased", [True, False])
def test_a_debiased_average_holds_nothing_of_its_start(debiased):
    with new_graph() as graph:
        h = dense(inputs(16, 6), 5, "d")
        with tf.variable_scope("bn"):
            mean, variance = tf.nn.moments(h, [0])
            average = tf.train.ExponentialMovingAverage(0.999, zero_debias=debiased)
            update = average.apply([mean, variance])
            beta = variable("beta", 0.0)
            output = tf.nn.batch_normalization(h, mean, variance, beta, None, 1e-3)
            tf.nn.batch_normalization(h, average.average(mean), average.average(variance), beta, None, 1e-3)
        minimize(tf.reduce_mean(output**2), [update])
    assert found(graph, num_steps=100) == (set() if debiased else {("slow-decay", "warning")})


def test_a_train_op_that_is_named_counts_by_itself():
    with new_graph() as graph:
        output = slim_norm(dense(inputs(16, 6), 5, "d"), True)
        minimize(tf.reduce_mean(output**2), name="train")
        tf.group(*updates(), name="update")
    (undecided,) = (one for one in audit_graph(graph).undecided if one.rule == "updates-never-run")
    assert "update is fetched" in undecided.message
    assert found(graph, train_op="train") == {NEVER_RUN}


def test_what_is_added_at_each_place_is_no_bias():
    for shape, expected in (
        ([4, 4, 5], set()),
        ([5], {("cancelled-bias", "note")}),
        ([1, 1, 5], {("cancelled-bias", "note")}),
    ):
        with new_graph() as graph:
            h = inputs(16, 4, 4, 5) + tf.get_variable("added", shape)
            minimize(tf.reduce_mean(slim_norm(h, True) ** 2), updates())
        assert found(graph) == expected


def test_inputs_that_are_standardised_by_running_statistics_are_no_frozen_layer():
    with new_graph() as graph:
        X = inputs(16, 5)
        with tf.variable_scope("observations"):
            moving_mean = variable("moving_mean", 0.0, trainable=False)
            moving_variance = variable("moving_variance", 1.0, trainable=False)
            batch = tf.nn.moments(X, [0])
            made = averaged(moving_mean, batch[0]), averaged(moving_variance, batch[1])
        h = dense((X - moving_mean) / tf.sqrt(moving_variance + 1e-3), 3, "d")
        minimize(tf.reduce_mean(h**2), made)
    assert found(graph) == set()


def test_of_several_savers_the_one_that_wrote_the_file_counts(tmp_path):
    with new_graph():
        output = slim_norm(dense(inputs(16, 6), 5, "d"), True)
        minimize(tf.reduce_mean(output**2), updates())
        savers = {"all": tf.train.Saver(), "trainable": tf.train.Saver(tf.trainable_variables())}
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(tf.assign_add(tf.get_default_graph().get_collection("variables")[0], tf.ones([6, 5])))
            for name, saver in savers.items():
                saver.save(session, str(tmp_path / name))
    not_saved = {("statistics-not-saved", "error")}
    assert found(tmp_path / "all.meta") == set()
    assert found(tmp_path / "trainable.meta") == found(tmp_path / "trainable") == not_saved


@pytest.mark.parametrize("forgotten", ["moving_mean", "moving_variance"])
def test_one_statistic_that_is_never_assigned_is_found(forgotten):
    with new_graph() as graph:
        h = dense(inputs(16, 6), 5, "d")
        with tf.variable_scope("bn"):
            moving_mean, moving_variance, gamma, beta = by_hand()
            mean, variance = tf.nn.moments(h, [0])
            made = {"moving_variance": averaged(moving_mean, mean)} if forgotten == "moving_variance" else {}
            made = made or {"moving_mean": averaged(moving_variance, variance)}
            output = tf.nn.batch_normalization(h, mean, variance, beta, gamma, 1e-3)
            tf.nn.batch_normalization(h, moving_mean, moving_variance, beta, gamma, 1e-3)
        minimize(tf.reduce_mean(output**2), made.values())
    (finding,) = audit_graph(graph).findings
    assert (finding.rule, finding.layer, finding.evidence) == ("no-updates", "bn", (f"bn/{forgotten}",))


def test_statistics_without_a_scope_and_those_of_tensorflow_2_are_found_untouched(tmp_path):
    import tensorflow

    class Layer(tensorflow.Module):
        def __init__(self):
            super().__init__()
            self.gamma, self.beta = tensorflow.Variable(tensorflow.ones(5)), tensorflow.Variable(tensorflow.zeros(5))
            self.moving_mean = tensorflow.Variable(tensorflow.zeros(5), trainable=False, name="moving_mean")
            self.moving_variance = tensorflow.Variable(tensorflow.ones(5), trainable=False, name="moving_variance")

        @tensorflow.function(input_signature=[tensorflow.TensorSpec([None, 5])])
        def call(self, x):
            parts = self.moving_mean, self.moving_variance, self.beta, self.gamma
            return tensorflow.nn.batch_normalization(x, *parts, 1e-3)

    layer = Layer()
    tensorflow.saved_model.save(layer, str(tmp_path / "model"), signatures=layer.call)
    with new_graph(), tf.Session() as session:
        variable("moving_mean", 0.0), variable("moving_variance", 1.0)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "bare"), write_meta_graph=False)
    assert found(tmp_path / "model") == found(tmp_path / "bare") == {("statistics-untouched", "error")}


def test_evidence_inside_a_function_is_the_op_that_calls_it():
    with new_graph(2) as graph:
        h, is_training = dense(inputs(16, 6), 5, "d"), tf.placeholder(tf.bool, [], name="phase")
        minimize(tf.reduce_mean(slim_norm(h, is_training) ** 2))
        names = {op.name for op in graph.get_operations()}
        kinds = {op.type for op in graph.get_operations()}
    report = audit_graph(graph)
    assert "If" in kinds and report.findings
    assert all(name in names for finding in report.findings for name in finding.evidence)
