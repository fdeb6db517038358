"""The port beside the original of 2016, measured live: the same where it can be the same, and where chaos begins.

`compare` trains everything and returns one plain dict. `bn_graph.report` makes the page of it. Three rules decide
whether the port is the original, and the tests have the same ones:

    envelope    The training loss stays as near to the recorded one as TF 0.12.1 stays to itself, when its initial
                weights are moved by one unit in the last place, times three.
    one step    One training step from each recorded state gives the recorded step within rounding.
    accuracy    Validation and test accuracies are near the recorded ones.

No p-value is a rule: it would break one for nobody's fault every now and then.
"""

import dataclasses
import datetime
import hashlib
import json
import math
import platform
from pathlib import Path

import numpy as np
from scipy import stats

from bn_graph.config import EDITIONS, LARGEST_SEED, NOTEBOOK, PAGE, SCRIPT, InputError
from bn_graph.graph import build_graph
from bn_graph.mnist import split
from bn_graph.record import TrainingRecord, versions
from bn_graph.tf1 import tf
from bn_graph.training import batch_offset, train

REFERENCE = Path(__file__).parent / "reference"

# The runs of TF 0.12.1 that were recorded, from seed 1 on the original split, and which of them an edition is.
RECORDED = {
    "page": dataclasses.replace(PAGE, updates="collected"),
    "page_control_dependencies": PAGE,
    "script": SCRIPT,
    "notebook": NOTEBOOK,
}
RUN_OF_EDITION = {"page": "page_control_dependencies", "script": "script", "notebook": "notebook"}
RECORDED_SEED = 1
STATE_STEPS = (0, 1, 50, 999)  # the steps before and after which the variables were recorded
STATE_HIDDEN_SIZE = 16
UPDATE_KINDS = ("AssignSub", "AssignSubVariableOp")  # what moves a moving average, then and now
STRATIFIED_SEEDS = 3  # at most: the split is a smaller question than the port, and each seed is a run more

ENVELOPES = 3  # how many one-ulp envelopes the port may be away
FLOOR = 1e-4  # a relative difference in loss that is always allowed
# In the page as printed the biases, which are rounding errors, reach the validation and the test.
TOLERANCE = {"page": 0.05, "page_control_dependencies": 0.003, "script": 0.003, "notebook": 0.003}

EPS = np.finfo(np.float32).eps
TINY = np.finfo(np.float32).tiny
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # AdamOptimizer's defaults


def recording(name):
    """What TF 0.12.1 did in one of the recorded runs, 1000 steps from seed 1 on the original split, as a dict.

    Among its keys: train_loss and train_accuracy, one number a step; valid_step and valid_accuracy; test_accuracy;
    one_ulp, two runs whose initial weights were moved by one unit in the last place. Accuracies are fractions.

    name: page (as printed), page_control_dependencies, script or notebook; `InputError` for another.
    """
    if name not in RECORDED:
        raise InputError(f"recording must be {' or '.join(RECORDED)}, found {name!r}")
    return json.loads((REFERENCE / f"{name}.json").read_text())


def compare(mnist, edition="notebook", seeds=10, bar=None):
    """Trains the port, the 2016 graph and both pages, and returns all that was measured as a dict, ready for JSON.

    Args:
        mnist: `Mnist`.
        edition: page, script or notebook.
        seeds: the port is trained from the seeds 1 to this number; 2 or more.
        bar: a `tqdm` bar, which is given its total and moved on by every training step; None: no progress.

    Raises `InputError` where edition or seeds is outside this.
    """
    if edition not in EDITIONS:
        raise InputError(f"edition must be {' or '.join(EDITIONS)}, found {edition!r}")
    if not 2 <= seeds <= LARGEST_SEED:
        raise InputError(f"seeds must be a whole number from 2 to {LARGEST_SEED}, found {seeds}")
    name = RUN_OF_EDITION[edition]
    # Validation is the dearest part of a run, so it is done where a line is printed. It draws nothing.
    config = dataclasses.replace(RECORDED[name], seed=RECORDED_SEED, eval_every=RECORDED[name].print_every)
    others = [dataclasses.replace(config, seed=seed) for seed in range(1, seeds + 1)]
    pages = {
        page: dataclasses.replace(RECORDED[page], seed=RECORDED_SEED)
        for page in ("page", "page_control_dependencies")
        if page != name
    }
    stratified_seeds = min(seeds, STRATIFIED_SEEDS)
    if bar is not None:
        runs = 1 + seeds + stratified_seeds + len(pages)  # the first is the 2016 graph
        bar.reset(total=runs * config.steps)

    def progress(steps):
        for step in steps:
            yield step
            if bar is not None:
                bar.update()

    original, stratified = split(mnist, "original"), split(mnist, "stratified")
    imported = Imported(name, config)
    graph_2016 = imported.train(original, progress)
    tutorial = build_graph(config, original)
    graph = compare_graphs(recording(name), imported, tutorial)
    # The first run is the session loop, as published; in the others the loop is in the graph. The same numbers, faster.
    port = [trained(tutorial, original, progress, engine="session")]
    del tutorial, imported
    port += [trained(build_graph(other, original), original, progress) for other in others[1:]]
    apart = [trained(build_graph(other, stratified), stratified, progress) for other in others[:stratified_seeds]]
    records = {name: port[0][0]}
    for page, page_config in pages.items():
        records[page], _ = trained(build_graph(page_config, original), original, progress)

    rules = []
    for run, record in records.items():
        rules.append(envelope_rule(run, record.train_loss))
        rules.append(accuracy_rule(run, record))
        if has_states(run):
            rules.append(one_step_rule(run, original))
    broken = [f"{rule['run']}: {rule['rule']}: {rule['says']}" for rule in rules if not rule["kept"]]
    recorded = recording(name)
    return _plain(
        {
            "generator": "bn_graph",
            "edition": edition,
            "run": name,
            "made": made(mnist, recorded),
            "verdict": {"same": not broken, "broken": broken},
            "rules": rules,
            "steps": compare_steps(edition, recorded, graph_2016, records[name]),
            "losses": compare_losses(recorded, graph_2016, records[name]),
            "seeds": compare_seeds(edition, [record for record, _ in port]),
            "split": compare_splits(original, port, stratified, apart),
            "graph": graph,
            "page": compare_pages(records["page"], records["page_control_dependencies"]),
        }
    )


def trained(tutorial, splits, progress=None, engine="in_graph"):
    """Trains. Returns the record, and for each test row whether it was recognised in the end, bool [rows]."""
    with tf.Session(graph=tutorial.graph) as session:
        record = train(tutorial, splits, session, progress=progress, engine=engine)
        logits = session.run(tutorial.test_logits, tutorial.test_feed)
    return record, logits.argmax(axis=1) == splits.test_y.argmax(axis=1)


def made(mnist, recorded):
    """Which versions and data both sides are made of."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "machine": platform.machine(),
        "versions": versions("scipy", "matplotlib", "jinja2"),
        "original_versions": {key: recorded[key] for key in ("python", "tensorflow", "numpy", "scikit_learn")},
        "data": {
            "source": mnist.source,
            "rows": len(mnist.data),
            "sha256": hashlib.sha256(np.asarray(mnist.data)).hexdigest(),
        },
    }


# The 2016 graph itself.


class Imported:
    """The MetaGraph that TF 0.12.1 built for the run `name`, with the seed of `config`, imported."""

    def __init__(self, name, config):
        self.config = config
        meta = tf.MetaGraphDef()
        meta.ParseFromString((REFERENCE / "graph" / f"{name}.meta").read_bytes())
        for node in meta.graph_def.node:
            if node.op in ("TruncatedNormal", "RandomUniform"):
                node.attr["seed"].i = config.seed
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf.train.import_meta_graph(meta)
            weights = [v for v in tf.global_variables() if v.op.name.endswith("weights")]
            self.weights = [(v, tf.placeholder(tf.float32, v.shape)) for v in weights]
            self.set_weights = tf.group(*(tf.assign(v, placeholder) for v, placeholder in self.weights))

    def end(self, name):
        """One of its end points: batch_x, batch_y, keep_prob, train_loss, train_op and so on."""
        return self.graph.get_collection(f"tutorial/{name}")[0]

    def train(self, splits, progress=None, nudge=None, evaluate=True):
        """Trains it as `bn_graph.train` trains the port, and returns a `TrainingRecord`.

        `nudge`: a RandomState that moves each initial weight by -1, 0 or +1 unit in the last place.
        `evaluate`: False leaves out validation and test, for those who look at the losses only.
        """
        config, end = self.config, self.end
        record = TrainingRecord(config, split=splits.how, data=splits.source)
        step_fetches = [end("train_op"), end("train_loss"), end("train_accuracy")]
        valid_X, test_X = np.asarray(splits.valid_X), np.asarray(splits.test_X)
        valid_feed = {end("valid_x"): valid_X, end("valid_y"): splits.valid_y, end("keep_prob"): 1.0}
        test_feed = {end("test_x"): test_X, end("test_y"): splits.test_y, end("keep_prob"): 1.0}
        with tf.Session(graph=self.graph) as session:
            session.run(end("init_op"))
            if nudge is not None:
                self._nudge(session, nudge)
            for step in (progress or iter)(range(config.steps)):
                X, y = batch(splits, step, config.batch_size)
                feed = {end("batch_x"): X, end("batch_y"): y, end("keep_prob"): config.keep_prob}
                _, loss, accuracy = session.run(step_fetches, feed)
                record.train_loss.append(float(loss))
                record.train_accuracy.append(float(accuracy))
                if evaluate and step % config.eval_every == 0:
                    record.valid_step.append(step)
                    record.valid_accuracy.append(float(session.run(end("valid_accuracy"), valid_feed)))
                    record.learning_rate.append(float(session.run(end("learning_rate"))))
            if evaluate:
                record.test_accuracy = float(session.run(end("test_accuracy"), test_feed))
        return record

    def _nudge(self, session, nudge):
        feed = {}
        for variable, placeholder in self.weights:
            value = session.run(variable)
            ways = [np.nextafter(value, np.float32(-np.inf)), value, np.nextafter(value, np.float32(np.inf))]
            feed[placeholder] = np.choose(nudge.randint(0, 3, value.shape), ways)
        session.run(self.set_weights, feed)


def batch(splits, step, size):
    """The tutorial's batch: images and one-hot labels."""
    offset = batch_offset(step, size, len(splits.train_y))
    return splits.train_X[offset : offset + size], splits.train_y[offset : offset + size]


# The rules. Each returns which rule it is, of which run, whether it is kept, the largest part of what is allowed that
# was used ("worst": above 1 it is broken), and a line that says so.


def largest_so_far(losses, reference):
    """At each step, the largest relative difference in loss so far."""
    return np.maximum.accumulate(np.abs(np.array(losses) / np.array(reference) - 1))


def envelope(recorded):
    """At each step, how far TF 0.12.1 has drifted from itself from initial weights that are one ulp away."""
    return np.max([largest_so_far(run["train_loss"], recorded["train_loss"]) for run in recorded["one_ulp"]], axis=0)


def envelope_rule(name, losses):
    recorded = recording(name)
    found = largest_so_far(losses, recorded["train_loss"])
    ratio = found / np.maximum(ENVELOPES * envelope(recorded), FLOOR)
    step = int(ratio.argmax())
    return _rule(
        "envelope",
        name,
        ratio[step],
        f"at step {step} the training loss is {found[step]:.2g} (relative) from the recorded one",
    )


def accuracy_rule(name, record):
    recorded = recording(name)
    expected = dict(zip(recorded["valid_step"], recorded["valid_accuracy"], strict=True))
    apart = {
        f"validation accuracy at step {step}": abs(accuracy - expected[step])
        for step, accuracy in zip(record.valid_step, record.valid_accuracy, strict=True)
    }
    apart["test accuracy"] = abs(record.test_accuracy - recorded["test_accuracy"])
    worst = _worst(apart)
    return _rule(
        "accuracy",
        name,
        apart[worst] / TOLERANCE[name],
        f"the {worst} is {100 * apart[worst]:.2f} points from the recorded one",
    )


def one_step_rule(name, splits):
    config = dataclasses.replace(RECORDED[name], seed=RECORDED_SEED, hidden_size=STATE_HIDDEN_SIZE)
    tutorial = build_graph(config, splits)
    found = {
        (variable, step): ratio
        for step in STATE_STEPS
        for variable, ratio in one_step(tutorial, name, step, splits).items()
    }
    worst, step = _worst(found)
    return _rule("one step", name, found[worst, step], f"{worst} after step {step} is furthest from the recorded one")


def _worst(found):
    """The key of the largest number, where one that is not a number is larger than all."""
    return max(found, key=lambda key: math.inf if math.isnan(found[key]) else found[key])


def _rule(rule, run, worst, says):
    worst = float(worst)
    kept = worst <= 1  # not so where it is not a number
    return {"rule": rule, "run": run, "kept": kept, "worst": worst, "says": f"{says}: {worst:.2g} of what is allowed"}


def has_states(name):
    """Whether states of the recorded run `name` were recorded, to step from. (Of the script there are none.)"""
    return (REFERENCE / "state" / f"{name}_hidden16_step0000_before.npz").exists()


def one_step(tutorial, name, step, splits):
    """Trains one step from a recorded state. How far is the result from the recorded one, in units of rounding?

    Rounding is this. TF 0.12 computes a batch's variance as E[(x - s)^2] - (E[x] - s)^2, s the moving mean, and
    so with an error of eps times the condition number 1 + (mean - s)^2 / variance. (The port, on today's tf.nn.moments,
    does without it.) Everything behind it, every gradient then, differs by eps times that number and a constant for
    the order of the sums. Adam divides a gradient by its own size; what an error in the gradient does to a parameter
    is therefore computed, not guessed: the furthest that Adam goes with any gradient inside the error.

    Biases in front of batch norm have a gradient of rounding errors alone, and are not compared.

    Args:
        tutorial: `TutorialGraph` of the run's settings, with 16 hidden units and three towers.
        name: page, page_control_dependencies or notebook.
        step: 0, 1, 50 or 999.
        splits: `Splits`, the original ones.

    Returns: a dict, from `loss` and each variable to its largest difference; up to 1 it is rounding.
    """
    before, after = (
        np.load(REFERENCE / "state" / f"{name}_hidden16_step{step:04d}_{when}.npz") for when in ("before", "after")
    )
    loss, found, moments = _step_from(tutorial, before, step, splits)

    ratios = {"loss": _ratio(loss, after["loss"], 1e-5 * np.abs(after["loss"]))}
    condition = {
        scope: 1 + (mean - before[f"{scope}.moving_mean"]) ** 2 / variance
        for scope, (mean, variance) in moments.items()
    }
    worst = max(number.max() for number in condition.values())
    for scope, (mean, variance) in moments.items():
        moved = 0.1 if tutorial.config.updates != "collected" else 0.0
        for key, error in (
            ("moving_mean", 8 * EPS * (np.abs(mean) + np.sqrt(variance))),
            ("moving_variance", 8 * EPS * condition[scope] * variance),
        ):
            recorded = after[f"{scope}.{key}"]
            allowed = moved * error + bool(moved) * EPS * np.abs(recorded)
            ratios[f"{scope}/{key}"] = _ratio(found[f"{scope}/{key}"], recorded, allowed)
    for variable, value in found.items():
        key = variable.replace("/", ".")
        if f"{key}.Adam" not in before.files or variable.endswith("biases"):
            continue
        m, v = before[f"{key}.Adam"].astype(float), before[f"{key}.Adam_1"].astype(float)
        g = (after[f"{key}.Adam"] - m) / (1 - BETA1) + m
        error = 16 * EPS * worst * np.abs(g).max()
        rate = 0.001 * 0.95 ** (step // 500)
        exact, *_ = adam(before[key].astype(float), m, v, g, step + 1, rate)
        reach = [adam(before[key], m, v, g + part * error, step + 1, rate)[0] for part in np.linspace(-1, 1, 41)]
        error = error + 2 * EPS * np.abs(m).max() / (1 - BETA1)  # m itself is known to its ulp only
        far = np.max(np.abs(np.array(reach) - exact), axis=0)
        # The sum rounds at the size of the parameter, the half dozen operations before it at the size of the step.
        rounding = EPS * np.abs(after[key]) + 8 * EPS * np.abs(exact - before[key])
        squared = (1 - BETA2) * (2 * np.abs(g) * error + error**2) + 2 * EPS * after[f"{key}.Adam_1"]
        ratios[variable] = _ratio(value, after[key], far + rounding)
        ratios[f"{variable}/Adam"] = _ratio(found[f"{variable}/Adam"], after[f"{key}.Adam"], (1 - BETA1) * error)
        ratios[f"{variable}/Adam_1"] = _ratio(found[f"{variable}/Adam_1"], after[f"{key}.Adam_1"], squared)
    for variable, value in found.items():
        if variable not in ratios and "biases" not in variable:
            # gamma where nobody trains it, the step, Adam's powers (0.9^1000 is denormal, and kernels flush it or not)
            recorded = after[variable.replace("/", ".")]
            ratios[variable] = _ratio(value, recorded, TINY + 2 * EPS * np.abs(recorded))
    return ratios


def _step_from(tutorial, state, step, splits):
    """Sets the variables, brings the dropout's stream to `step`, trains one step.

    Returns the loss, the variables after it, and by layer the mean and variance of the batch before normalisation.
    """
    graph = tutorial.graph
    # A stateful random op goes on from run to run, so `step` draws bring it to where the recorded run had it.
    draw = next(op for op in graph.get_operations() if op.type == "RandomUniform")
    with graph.as_default(), tf.Session() as session:
        for name, variable in tutorial.variables.items():
            session.run(variable.initializer, {variable.initializer.inputs[1]: state[name.replace("/", ".")]})
        for _ in range(step):
            session.run(draw)
        pre_norm = {scope: layer.pre_norm for scope, layer in tutorial.train_layers.items()}
        feed = tutorial.train_feed(*batch(splits, step, tutorial.config.batch_size))
        loss, pre_norm, _ = session.run([tutorial.train_loss, pre_norm, tutorial.train_op], feed)
        moments = {
            scope: (inputs.mean(axis=0, dtype=float), inputs.var(axis=0, dtype=float))
            for scope, inputs in pre_norm.items()
        }
        return loss, session.run(tutorial.variables), moments


def adam(before, m, v, g, t, rate):
    """What ResourceApplyAdam computes, in float64: the new parameter, m and v after gradient g at step t."""
    m, v = m + (g - m) * (1 - BETA1), v + (g * g - v) * (1 - BETA2)
    return before - rate * np.sqrt(1 - BETA2**t) / (1 - BETA1**t) * m / (np.sqrt(v) + EPSILON), m, v


def _ratio(found, expected, allowed):
    apart = np.abs(np.asarray(found, float) - np.asarray(expected, float))
    return float((apart / np.maximum(allowed, TINY)).max())


# What the page shows.


def compare_steps(edition, recorded, graph_2016, port):
    """One row for each printed step: the notebook of 2016 (or None), the 2016 graph now, the port, the recorded run."""
    printed = printed_notebook() if edition == "notebook" else {}
    recorded_valid = dict(zip(recorded["valid_step"], recorded["valid_accuracy"], strict=True))
    found = largest_so_far(port.train_loss, recorded["train_loss"])
    drift = envelope(recorded)
    return [
        {
            "step": step,
            "printed": printed.get(step),
            "graph_2016": _at(graph_2016, index, step),
            "port": _at(port, index, step),
            "recorded": {
                "train_loss": recorded["train_loss"][step],
                "train_accuracy": recorded["train_accuracy"][step],
                "valid_accuracy": recorded_valid[step],
            },
            "apart": found[step],
            "envelope": drift[step],
        }
        for index, step in enumerate(port.valid_step)
    ]


def _at(record, index, step):
    return {
        "train_loss": record.train_loss[step],
        "train_accuracy": record.train_accuracy[step],
        "valid_accuracy": record.valid_accuracy[index],
    }


def printed_notebook():
    """What the author's notebook printed in 2016: a dict from the step to fractions. Its seed is unknown."""
    printed = json.loads((REFERENCE / "notebook_printed.json").read_text())
    columns = zip(
        printed["step"],
        printed["train_loss"],
        printed["train_accuracy_percent"],
        printed["valid_accuracy_percent"],
        strict=True,
    )
    return {
        step: {"train_loss": loss, "train_accuracy": train / 100, "valid_accuracy": valid / 100}
        for step, loss, train, valid in columns
    }


def compare_losses(recorded, graph_2016, port):
    """Every step: the losses, the largest relative difference so far, and what is allowed."""
    drift = envelope(recorded)
    chaos = np.flatnonzero(drift > FLOOR)
    return {
        "recorded": recorded["train_loss"],
        "port": port.train_loss,
        "graph_2016": graph_2016.train_loss,
        "port_apart": largest_so_far(port.train_loss, recorded["train_loss"]),
        "graph_2016_apart": largest_so_far(graph_2016.train_loss, recorded["train_loss"]),
        "envelope": drift,
        "envelopes_allowed": ENVELOPES,
        "floor": FLOOR,
        # where TF 0.12.1 and itself, one ulp apart, are further apart than what is always allowed
        "chaos_step": int(chaos[0]) if chaos.size else None,
        "test_accuracy": {
            "recorded": recorded["test_accuracy"],
            "port": port.test_accuracy,
            "graph_2016": graph_2016.test_accuracy,
        },
    }


def compare_seeds(edition, records):
    """The accuracies over the seeds; for the notebook beside the original's own ten seeds and its printed curve."""
    found = {"edition": edition, "port": _over_seeds([r.config.seed for r in records], [_curve(r) for r in records])}
    found["original"] = found["printed"] = found["tests"] = None
    if edition != "notebook":
        return found
    recorded = json.loads((REFERENCE / "notebook_seeds_1_to_10.json").read_text())
    steps = found["port"]["valid_step"]
    curves = []
    for run in recorded.values():
        valid = dict(zip(run["valid_step"], run["valid_accuracy"], strict=True))
        curves.append((steps, [valid[step] for step in steps], run["test_accuracy"]))
    found["original"] = _over_seeds([int(seed) for seed in recorded], curves)
    found["tests"] = {
        "test": two_samples(found["port"]["test_accuracy"], found["original"]["test_accuracy"]),
        "valid": two_samples(
            [curve[-1] for curve in found["port"]["valid_accuracy"]],
            [curve[-1] for curve in found["original"]["valid_accuracy"]],
        ),
    }
    printed = json.loads((REFERENCE / "notebook_printed.json").read_text())
    # Today's Python would not print 95.00 for a whole percent: the notebook rounded, so it says a span.
    half = 0.005 if printed["valid_accuracy_is_rounded_to_whole_percent"] else 0.0
    test = printed["test_accuracy_percent"] / 100
    found["printed"] = {
        "half_width": half,
        "valid": [
            {"step": step, "accuracy": at["valid_accuracy"]}
            | {
                side: _inside(at["valid_accuracy"], half, found[side]["valid"][steps.index(step)])
                for side in ("port", "original")
            }
            for step, at in printed_notebook().items()
        ],
        "test": {"accuracy": test} | {side: _inside(test, 5e-7, found[side]["test"]) for side in ("port", "original")},
    }
    return found


def _curve(record):
    return record.valid_step, record.valid_accuracy, record.test_accuracy


def _over_seeds(seeds, curves):
    steps = curves[0][0]
    valid, test = [curve for _, curve, _ in curves], [accuracy for _, _, accuracy in curves]
    return {
        "seeds": seeds,
        "valid_step": steps,
        "valid_accuracy": valid,
        "test_accuracy": test,
        "valid": [statistics(column) for column in zip(*valid, strict=True)],
        "test": statistics(test),
    }


def statistics(values):
    return {
        "n": len(values),
        "mean": np.mean(values),
        "std": np.std(values, ddof=1),
        "lowest": np.min(values),
        "highest": np.max(values),
    }


def _inside(value, half, band):
    """Whether a printed number, which stands for value - half to value + half, can lie in the range."""
    return bool(value + half >= band["lowest"] and value - half <= band["highest"])


def two_samples(first, second):
    """Two tests whether two samples come from one place: of the means (Welch's t) and of the ranks (Mann-Whitney)."""
    welch = stats.ttest_ind(first, second, equal_var=False)
    interval = welch.confidence_interval(0.95)
    ranks = stats.mannwhitneyu(first, second)
    return {
        "difference": np.mean(first) - np.mean(second),
        "low": interval.low,
        "high": interval.high,
        "welch": {"statistic": welch.statistic, "df": welch.df, "p": welch.pvalue},
        "mann_whitney": {"statistic": ranks.statistic, "p": ranks.pvalue},
    }


def compare_splits(original, port, stratified, apart):
    """The two splits: their rows, the accuracies on the same seeds, and rows that were also training rows.

    `port` and `apart`: lists of records and recognised test rows, of the original and the stratified split.
    """
    same_seeds = port[: len(apart)]
    found = {}
    for splits, runs in ((original, same_seeds), (stratified, apart)):
        records = [record for record, _ in runs]
        found[splits.how] = {
            "rows": {
                part: {
                    "rows": len(rows),
                    "distinct": len(np.unique(rows)),
                    "in_training": int(np.isin(rows, splits.train_rows).sum()),
                }
                for part, rows in (("valid", splits.valid_rows), ("test", splits.test_rows))
            }
            | {"train": {"rows": len(splits.train_rows), "distinct": len(np.unique(splits.train_rows))}}
        } | _over_seeds([record.config.seed for record in records], [_curve(record) for record in records])
    found["test"] = two_samples(found["original"]["test_accuracy"], found["stratified"]["test_accuracy"])

    seen = np.isin(original.test_rows, original.train_rows)
    _, once = np.unique(original.test_rows, return_index=True)  # a row that occurs twice is one image
    recognised = port[0][1]
    counts = {}
    for group, rows in (("seen", seen), ("unseen", ~seen)):
        distinct = once[rows[once]]
        right, total = int(recognised[distinct].sum()), len(distinct)
        interval = stats.binomtest(right, total).proportion_ci()
        accuracies = [float(right_rows[rows].mean()) for _, right_rows in port]
        found[group] = {
            "rows": int(rows.sum()),
            "accuracy": accuracies,
            "over_seeds": statistics(accuracies),
            "first_seed": {
                "distinct": total,
                "right": right,
                "accuracy": right / total,
                "low": interval.low,
                "high": interval.high,
            },
        }
        counts[group] = [right, total - right]
    gaps = np.subtract(found["seen"]["accuracy"], found["unseen"]["accuracy"])
    found["gap"] = {"over_seeds": statistics(gaps), "fisher_p": stats.fisher_exact(list(counts.values())).pvalue}
    # by how much the shared rows flatter the test accuracy
    lifts = np.subtract([record.test_accuracy for record, _ in port], found["unseen"]["accuracy"])
    found["lift"] = statistics(lifts)
    return found


def compare_pages(printed, mended):
    """The page as printed beside the page with control dependencies, with what TF 0.12.1 recorded of both."""
    sides = {"printed": ("page", printed), "mended": ("page_control_dependencies", mended)}
    found = {"step": printed.valid_step}
    for side, (name, record) in sides.items():
        recorded = recording(name)
        found[side] = {
            "train_loss": [record.train_loss[step] for step in record.valid_step],
            "train_accuracy": [record.train_accuracy[step] for step in record.valid_step],
            "valid_accuracy": record.valid_accuracy,
            "test_accuracy": record.test_accuracy,
            "recorded_valid_accuracy": recorded["valid_accuracy"],
            "recorded_test_accuracy": recorded["test_accuracy"],
        }
    found["cost"] = mended.test_accuracy - printed.test_accuracy
    found["recorded_cost"] = found["mended"]["recorded_test_accuracy"] - found["printed"]["recorded_test_accuracy"]
    return found


def compare_graphs(recorded, imported, tutorial):
    """The graph that TF 0.12.1 built beside the port's. By part, rows of name, original, port and same."""
    with imported.graph.as_default():
        original_kinds = {variable.op.type for variable in tf.global_variables()}
    original = {
        "variables": {v["name"]: _variable(v["dtype"], v["shape"], v["trainable"]) for v in recorded["variables"]},
        "collections": recorded["collections"],
        "update ops": _update_ops(imported.graph, imported.end("train_op")),
        "random ops": {op["name"]: _random(op["type"], op["seed"], op["seed2"]) for op in recorded["random_ops"]},
        "kinds of op": {"a variable": sorted(original_kinds), "an update": _kinds(imported.graph, UPDATE_KINDS)},
    }
    graph = tutorial.graph
    with graph.as_default():
        trainable = {variable.op.name for variable in tf.trainable_variables()}
    port = {
        "variables": {
            name: _variable(v.dtype.base_dtype.name, v.shape.as_list(), name in trainable)
            for name, v in tutorial.variables.items()
        },
        "collections": {
            key: [member.name for member in graph.get_collection(key)]
            for key in sorted(graph.get_all_collection_keys())
        },
        "update ops": _update_ops(graph, tutorial.train_op),
        "random ops": {
            op.name: _random(op.type, op.get_attr("seed"), op.get_attr("seed2"))
            for op in graph.get_operations()
            if {"seed", "seed2"} <= set(op.node_def.attr)
        },
        "kinds of op": {
            "a variable": sorted({variable.op.type for variable in tutorial.variables.values()}),
            "an update": _kinds(graph, UPDATE_KINDS),
        },
    }
    return {
        part: [
            {
                "name": name,
                "original": original[part].get(name),
                "port": port[part].get(name),
                "same": original[part].get(name) == port[part].get(name),
            }
            for name in dict.fromkeys([*original[part], *port[part]])
        ]
        for part in original
    }


def _variable(dtype, shape, trainable):
    return {"dtype": dtype, "shape": shape, "trainable": trainable}


def _random(kind, seed, op_seed):
    return {"kind": kind, "seed": seed, "op_seed": op_seed}


def _update_ops(graph, train_op):
    """From each moving average to the op that updates it, and who runs that op."""
    collected = _behind(getattr(member, "op", member) for member in graph.get_collection(tf.GraphKeys.UPDATE_OPS))
    trained = _behind([train_op])
    found = {}
    for op in graph.get_operations():
        if op.type in UPDATE_KINDS:
            found[op.inputs[0].op.name] = {
                "name": op.name,
                "in_update_ops": op in collected,
                "run_by_train_op": op in trained,
            }
    return found


def _kinds(graph, kinds):
    return sorted({op.type for op in graph.get_operations() if op.type in kinds})


def _behind(ops):
    """These ops and all that they depend on."""
    found, waiting = set(), list(ops)
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [*(tensor.op for tensor in op.inputs), *op.control_inputs]
    return found


def _plain(value):
    """The value in Python's own types. A number that is not finite becomes None."""
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(x) for x in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
