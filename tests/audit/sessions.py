"""Runs graphs, those that were built here and those of old releases, and says what their moving statistics did."""

import contextlib
import dataclasses
import re
from pathlib import Path

import numpy as np
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from bn_graph.tf1 import tf
from tests.audit.networks import Built

TIMEOUT = 10_000  # ms, of a run; some graphs wait for what nobody puts into their queues
STATISTIC = re.compile(
    r"((moving|pop)_(mean|var|variance)|(mean|variance)/EMA|moments/.*ExponentialMovingAverage)(_\d+)?$"
)


@dataclasses.dataclass
class Imported(Built):
    """A recorded graph."""

    switches: list = dataclasses.field(default_factory=list)  # variables that decide whether it trains


class CannotRun(Exception):
    """Why today's TensorFlow cannot run a recorded graph, in a few words."""


@contextlib.contextmanager
def session_of(graph):
    """A session that rewrites nothing: it is as correct, and slower."""
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with graph.as_default(), tf.Session(graph=graph, config=config) as session:
        yield session


def imported(path, entry):
    """A recorded graph as today's TensorFlow imports it. Raises `CannotRun`.

    entry: what expected.json says of it.
    """
    meta_graph = _meta_graph(path)
    _forget_shapes_of_gradients(meta_graph.graph_def)
    with tf.Graph().as_default() as graph:
        try:
            tf.train.import_meta_graph(meta_graph)
        except (ValueError, KeyError) as error:  # KeyError: a collection names an op of a function
            raise CannotRun(f"it cannot be imported: {error}") from None
        if not all(hasattr(variable, "initializer") for variable in tf.global_variables() + tf.local_variables()):
            raise CannotRun("its variables are known by name alone")
        if any("Queue" in op.type for op in graph.get_operations()):
            raise CannotRun("it waits for a queue")
        if entry["train_op"] and not _is_there(graph, entry["train_op"]):
            raise CannotRun("its train op is in another MetaGraph")
        named = [graph.get_operation_by_name(entry["train_op"])] if entry["train_op"] else []
        train = named or graph.get_collection("train_op") or _optimizers(graph)
        init = tf.group(tf.global_variables_initializer(), tf.local_variables_initializer())
        switches = [variable for variable in tf.global_variables() if variable.dtype.is_bool]
    return Imported(graph, {"train_op": entry["train_op"]}, train, feeds(graph), init=init, switches=switches)


def _meta_graph(path):
    for file in (path, Path(f"{path}.meta"), path / "saved_model.pb"):
        if file.is_file() and file.suffix == ".meta":
            meta_graph = tf.MetaGraphDef()
            meta_graph.ParseFromString(file.read_bytes())
            return meta_graph
        if file.name == "saved_model.pb" and file.is_file():
            saved_model = SavedModel()
            saved_model.ParseFromString(file.read_bytes())
            return saved_model.meta_graphs[0]
    raise CannotRun("it is no MetaGraph")


def _forget_shapes_of_gradients(graph_def):
    """Those of some fused ops have other shapes today, and the importer compares."""
    for nodes in [graph_def.node, *(function.node_def for function in graph_def.library.function)]:
        for node in nodes:
            if "_grad/" in node.name or "Grad" in node.op:
                node.attr.pop("_output_shapes", None)


def _optimizers(graph):
    return [op for op in graph.get_operations() if re.match("(Resource)?(Sparse)?Apply", op.type)]


def feeds(graph, batch=8):
    """Something for every placeholder; is_training is True."""
    random, fed = np.random.RandomState(1), {}
    for op in graph.get_operations():
        if op.type != "Placeholder" and not op.name.endswith("keras_learning_phase"):
            continue
        tensor = op.outputs[0]
        if tensor.dtype == tf.resource:
            continue
        sizes = tensor.shape.as_list() if tensor.shape.ndims else []
        shape = [size or (batch if axis == 0 else 3) for axis, size in enumerate(sizes)]
        if tensor.dtype.is_bool:
            fed[tensor] = True
        elif tensor.dtype.is_integer:
            fed[tensor] = np.zeros(shape, int) if op.name == "mode" else random.randint(0, 3, shape)
        elif tensor.dtype == tf.string:
            fed[tensor] = "train"
        else:
            fed[tensor] = random.normal(0.5, 2.0, shape)
    return fed


def loss_of(graph):
    """The tensor that is minimised: where gradients begin. Of several losses, as in a GAN, the sum."""
    losses = {}
    for op in graph.get_operations():
        match = re.match(r"(.*/)?(gradients(_\d+)?)/(.+?)_grad/", op.name)
        scope, name = (match[1] or "", match[4]) if match else ("", "")
        for forward in (name, scope + name):
            if match and _is_there(graph, forward):
                losses.setdefault(match[2], graph.get_operation_by_name(forward).outputs[0])
    return tf.add_n([tf.reduce_sum(tf.cast(loss, tf.float32)) for loss in losses.values()])


def names_behind(tensor):
    """The names of all ops that run where a tensor is fetched."""
    stack, names = [tensor.op], set()
    while stack:
        op = stack.pop()
        if op.name not in names:
            names.add(op.name)
            stack += [source.op for source in op.inputs] + list(op.control_inputs)
    return names


def _is_there(graph, name):
    try:
        graph.get_operation_by_name(name)
    except (KeyError, ValueError):
        return False
    return True


def initialize(session, built):
    """Twice, if need be: old releases let an initial value read a variable that may not have been initialized yet."""
    try:
        run(session, built.init, built.feed)
    except tf.errors.FailedPreconditionError:
        run(session, built.init, built.feed)
    for switch in getattr(built, "switches", ()):
        session.run(switch.initializer, {switch.initializer.inputs[1]: True})


def run(session, fetches, feed):
    """Runs the fetches. Raises `CannotRun` where they read a checkpoint or a function that is not there."""
    try:
        return session.run(fetches, feed, options=tf.RunOptions(timeout_in_ms=TIMEOUT))
    except tf.errors.NotFoundError:
        raise CannotRun("it reads what is not there") from None


def moving_statistics():
    """The moving statistics in the default graph, by name."""
    return {v.op.name: v for v in tf.global_variables() if STATISTIC.search(v.op.name)}


def statistics_of(report, layers):
    """The moving statistics of some layers of an `AuditReport`, named by `layers`, in the default graph, by name."""
    variables = {layer["name"]: layer["variables"] for layer in report.layers}
    own = {variables[layer][f"moving_{part}"] for layer in layers for part in ("mean", "variance")}
    return {v.op.name: v for v in tf.global_variables() + tf.local_variables() if v.op.name in own}


def values(session, variables):
    return session.run({name: variable.read_value() for name, variable in variables.items()})


def still(before, after):
    """The names of the variables whose value is the same bit for bit."""
    return {name for name in before if np.array_equal(before[name], after[name], equal_nan=True)}
