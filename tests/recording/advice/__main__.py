"""Follows what the audit says to write, in the old releases and libraries themselves.

    python -m tests.audit.advice FOLDER > fixes.json        with today's Python; FOLDER has the recorded graphs
    python2.7 -m tests.recording.advice fixes.json          in each of the old environments

A graph with a fault is built again. Lines that can be executed are executed in it. Options are given to the calls of
the library that they are meant for. Then ten steps are run, and an evaluation. It is seen whether the statistics move,
and whether a prediction depends on the rest of its batch.
"""

from __future__ import print_function

import collections
import os
import re
import sys
from contextlib import contextmanager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from tests.recording.audit_graphs.__main__ import chosen_cases, read_json
from tests.recording.audit_graphs.cases import Built
from tests.recording.audit_graphs.networks import RELEASE
from tests.recording.audit_graphs.sessions import feeds, moves

STATISTIC = r"((moving|pop)_(mean|var|variance)|(mean|variance)/EMA|moments/.*ExponentialMovingAverage)(_\d+)?:0$"
MAKES_A_TRAIN_OP = "    train_op = optimizer.minimize(loss)"


def follow(case, rule, text):
    """Builds the graph of a case as a fix says. Returns what is proven of it; an error says what is not."""
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        if case.cond_v2:
            tf.enable_control_flow_v2()
        try:
            with told(text) as calls:
                graph = case.build()
            if not isinstance(graph, Built):
                return "left out: it saves files"
            lines = executable(text)
            # Names of scopes are the program's own; and for an unknown library the next audit knows more.
            if not (lines or calls[0]) or rule == "unshared-towers" or case.name == "keras_loop_frozen":
                return "left out: an instruction to the program"
            train = execute(lines)["train_op"] if lines else graph.train
        finally:
            if case.cond_v2:
                tf.disable_control_flow_v2()
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()], feeds())
            return proven(session, graph, train, rule, text)


def proven(session, graph, train, rule, text):
    if "evaluation tower" in text:
        if rule == "updates-in-evaluation":
            moved, _ = moves(session, tf.global_variables(), graph.evaluate, training=False)
            assert not moved, moved
            return "evaluating moves nothing"
        assert is_independent(session, graph.evaluate), "a prediction depends on its batch"
        return "a prediction does not depend on its batch"
    watched = [v for v in tf.global_variables() if re.search(STATISTIC, v.name) and "target" not in v.name]
    if "in the step that trains" in text:
        layer = re.search("trains (.*):", text).group(1)
        watched = [v for v in watched if v.name.startswith(layer)]
    before = session.run(watched)
    for _ in range(10):
        session.run(train, feeds())
    after = session.run(watched)
    still = [v.name for v, b, a in zip(watched, before, after) if np.array_equal(b, a)]
    assert watched and not still, still
    return "the statistics move"


def is_independent(session, logits):
    """Whether the first row's result is the same with other rows behind it."""
    fed = feeds(training=False)
    others = dict(fed)
    for tensor, value in fed.items():
        if value is not False and tensor.dtype.base_dtype == tf.float32 and np.ndim(value) > 1:
            others[tensor] = np.concatenate([value[:1], 3 * value[1:] + 1])
    source = logits.op.inputs[0] if logits.op.type == "ArgMax" else logits
    one, other = session.run(source, fed), session.run(source, others)
    return np.allclose(one[0], other[0], 1e-5, 1e-6)


def executable(text):
    """The lines of a fix that can be executed, or None."""
    first, _, rest = text.partition("\n")
    lines = rest if re.match(r"[\w.]+\(", first) else text
    known = "control_dependencies(update_ops)" not in lines or "update_ops = " in lines
    return lines if MAKES_A_TRAIN_OP in lines and known and "control_dependencies(model." not in lines else None


def execute(lines):
    graph = tf.get_default_graph()
    names = {"tf": tf, "decay": 0.9, "optimizer": tf.train.GradientDescentOptimizer(0.01), "loss": loss_of(graph)}
    variables = dict((v.op.name, v) for v in tf.global_variables())
    for comment in re.findall(r"^# (\w+ = .+)$", lines, re.M):
        for part in comment.split(", "):
            name, target = part.split(" = ")
            names[name] = variables[target] if target in variables else graph.get_tensor_by_name(target)
    exec(compile(lines, "<fix>", "exec"), names)
    return names


def loss_of(graph):
    """Where gradients begin; of several losses the sum."""
    names = set(op.name for op in graph.get_operations())
    losses = collections.OrderedDict()
    for op in graph.get_operations():
        match = re.match(r"(.*/)?(gradients(_\d+)?)/(.+?)_grad/", op.name)
        for forward in match and (match.group(4), (match.group(1) or "") + match.group(4)) or ():
            if forward in names:
                losses.setdefault(match.group(2), graph.get_operation_by_name(forward).outputs[0])
    return tf.add_n([tf.reduce_sum(tf.cast(loss, tf.float32)) for loss in losses.values()])


@contextmanager
def told(text):
    """While this lasts, the library's calls that a fix is about get its options. Yields [how many calls got them]."""
    line, _, comment = text.partition("\n")[0].partition("#")
    options = dict((name, eval(value)) for name, value in re.findall(r"(\w+)=([\w.\"]+)", line) if is_value(value))
    for name, other in re.findall(r"(\w+) is (\w+) in", comment):
        options[other] = options[name]
    place = "training" if "training tower" in comment else "evaluation" if "evaluation tower" in comment else "all"
    done, calls = [0], [0]
    undo = []
    for owner, name, allowed in callables():
        original = getattr(owner, name)
        undo.append((owner, name, original))
        setattr(owner, name, patched(original, options, allowed, place, calls, done))
    try:
        yield done
    finally:
        for owner, name, original in undo:
            setattr(owner, name, original)


def patched(original, options, allowed, place, calls, done):
    own = dict((name, value) for name, value in options.items() if name in allowed)

    def call(*arguments, **given):
        first = calls[0] == 0
        calls[0] += 1
        if own and (place == "all" or (place == "training") == first):
            given.update(own)
            done[0] += 1
        return original(*arguments, **given)

    return call


def is_value(text):
    return text in ("True", "False", "None") or text[0].isdigit() or text[0] == '"'


def callables():
    """(owner, name, options) of the batch norms that the recorded graphs call."""
    from tests.recording.audit_graphs import contrib_layers, is_training, networks

    contrib = ("is_training", "decay", "updates_collections", "fused")
    for module in (networks, contrib_layers, is_training):
        yield module, "contrib_batch_norm", contrib
    if hasattr(tf, "layers"):
        yield tf.layers, "batch_normalization", ("training", "momentum", "fused")
    if RELEASE.startswith("1.15"):
        import sonnet
        import tensorpack.models

        yield sonnet.BatchNorm, "__call__", ("is_training", "test_local_stats")
        yield tensorpack.models, "BatchNorm", ("training", "momentum", "ema_update")


def main():
    fixes = read_json(sys.argv[1])
    counts, failed = collections.Counter(), 0
    for case in chosen_cases(["*"]):
        name = "%s_%s.meta" % (RELEASE, case.name)
        for rule, text in [(rule, text) for rule, texts in sorted(fixes.get(name, {}).items()) for text in texts]:
            try:
                result = follow(case, rule, text)
            except Exception as error:
                failed += 1
                result = "FAILED"
                print("%s %s: %s: %s\n%s" % (name, rule, type(error).__name__, str(error)[:500], text))
                if os.environ.get("TRACE"):
                    raise
            counts[rule, result] += 1
            if result.startswith("left out"):
                print(name, rule, result)
    for (rule, result), count in sorted(counts.items()):
        print("%3d %-24s %s" % (count, rule, result))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
