#!/usr/bin/env python3
"""Trains the tutorial's network once, by one system of the benchmark, and prints what it measured as one JSON object.

python scripts/peers.py jax
python scripts/peers.py session --hidden-size 4096 --steps 30 --eval-every 10

`scripts/benchmark.py` calls it, once for each system and round. Every system trains on the same rows in the same order,
with the numbers of `bn_graph.config`, and is written as its own users would write it for a computer without a GPU.
"""

import dataclasses
import functools
import importlib
import json
import os
import time
from typing import Any

import numpy as np

from bn_graph.command import Parser, import_tensorflow, run
from bn_graph.config import NOTEBOOK
from bn_graph.mnist import load_mnist, split

LEARNING_RATE_DECAY, DECAY_STEPS = 0.95, 500  # a staircase, in bn_graph/graph.py
BN_EPSILON = 0.001
STDDEV = 0.01  # of the initial weights


@dataclasses.dataclass(frozen=True)
class Task:
    """What to train, and on what."""

    config: Any  # TutorialConfig
    splits: Any  # Splits

    @functools.cached_property
    def offsets(self):
        """The first row of each step's batch."""
        rows = self.splits.train_y.shape[0] - self.config.batch_size
        return np.arange(self.config.steps) * self.config.batch_size % rows

    @functools.cached_property
    def train_X(self):
        return np.asarray(self.splits.train_X)

    def digits(self, part):
        """The rows of a part (train, valid or test) and their digits, float32 [rows, 784] and int32 [rows]."""
        y = getattr(self.splits, f"{part}_y").argmax(axis=1).astype(np.int32)
        return np.asarray(getattr(self.splits, f"{part}_X")), y

    def blocks(self):
        """The steps between two validations, as (begin, end): step 0 alone, then eval_every steps each."""
        ends = [*range(1, self.config.steps, self.config.eval_every), self.config.steps]
        return list(zip([0, *ends], ends, strict=False))


def measured(blocks, seconds, losses, valid_accuracy=(), test_accuracy=None):
    """What every system returns.

    Args:
        blocks: (steps before the block, steps in it, seconds) of all training between two validations.
        seconds: from the start of the first step, which compiles what is compiled, to the end of the last one,
            validations included.
        losses: of the steps, or the means of blocks of them.
    """
    return {
        "blocks": [list(block) for block in blocks],
        "seconds": seconds,
        "loss": float(losses[-1]),
        "valid_accuracy": [float(accuracy) for accuracy in valid_accuracy],
        "test_accuracy": None if test_accuracy is None else float(test_accuracy),
    }


def loop(task, train, evaluate):
    """The tutorial's loop. train(begin, end) does these steps and returns their losses, as Python's numbers or numpy's,
    so that they are done; evaluate(part) returns the accuracy on the valid or test part.
    """
    blocks, losses, valid_accuracy = [], [], []
    start = time.perf_counter()
    for begin, end in task.blocks():
        before = time.perf_counter()
        losses.extend(train(begin, end))
        blocks.append((begin, end - begin, time.perf_counter() - before))
        if (end - 1) % task.config.eval_every == 0:
            valid_accuracy.append(evaluate("valid"))
    return measured(blocks, time.perf_counter() - start, losses, valid_accuracy, evaluate("test"))


# The port and the original. Their loops are their own; so a block is timed by watching the session.


class Watch:
    """Times blocks of training in a loop that is not ours, by Session.run, for as long as it is a context.

    Such a loop fetches a list of things when it trains, and one thing when it initialises, validates or tests.
    """

    def __enter__(self):
        from bn_graph.tf1 import tf

        self.session, self.run = tf.Session, tf.Session.run
        self.seconds = []  # of the blocks
        self.ends = []  # of them
        self.resumed = time.perf_counter()
        trained = False

        def watched(session, fetches, *args, **kwargs):
            nonlocal trained
            training = isinstance(fetches, list | tuple)
            if trained and not training:
                self.ends.append(time.perf_counter())
                self.seconds.append(self.ends[-1] - self.resumed)
            result = self.run(session, fetches, *args, **kwargs)
            if not training:
                self.resumed = time.perf_counter()
            trained = training
            return result

        tf.Session.run = watched
        return self

    def __exit__(self, *error):
        self.session.run = self.run

    def measured(self, task, record):
        blocks = task.blocks()
        # What came before is no step: some loop may bring its data into the session first.
        seconds, ends = self.seconds[-len(blocks) :], self.ends[-len(blocks) :]
        if len(seconds) != len(blocks):
            raise AssertionError(f"expected {len(blocks)} blocks of training, found {len(seconds)}")
        timed = [(begin, end - begin, took) for (begin, end), took in zip(blocks, seconds, strict=True)]
        whole = ends[-1] - ends[0] + seconds[0]
        return measured(timed, whole, record.train_loss, record.valid_accuracy, record.test_accuracy)


def port(task, engine):
    from bn_graph import build_graph, train

    tutorial = build_graph(task.config, task.splits)
    with Watch() as watch:
        record = train(tutorial, task.splits, engine=engine)
    return watch.measured(task, record)


def graph_2016(task):
    """The graph that TensorFlow 0.12.1 built, in today's TensorFlow."""
    from bn_graph.compare import Imported

    imported = Imported("notebook", task.config)
    whole = {f"{part}_X": np.asarray(getattr(task.splits, f"{part}_X")) for part in ("train", "valid", "test")}
    with Watch() as watch:
        record = imported.train(task.splits._replace(**whole))
    return watch.measured(task, record)


def floor(task):
    """The least that a step costs: X W, X^T of the same shape as its gradient, and Adam's pass over W. Nothing else."""
    from bn_graph.tf1 import tf

    config = task.config
    batches = min(config.eval_every, config.steps)
    rows = np.concatenate([task.splits.train_X[at : at + config.batch_size] for at in task.offsets[:batches]])
    shape = [rows.shape[1], config.hidden_size]
    with tf.Graph().as_default():
        weights = tf.Variable(tf.truncated_normal(shape, stddev=STDDEV, seed=1), use_resource=True)
        moments = [tf.Variable(tf.zeros(shape), use_resource=True) for _ in range(2)]
        digits_in = tf.placeholder(tf.float32, rows.shape)
        resident = tf.Variable(digits_in, use_resource=True)
        digits, num_steps = resident.value(), tf.placeholder(tf.int32, [])

        def step(number):
            X = tf.slice(digits, [number % batches * config.batch_size, 0], [config.batch_size, -1])
            product = tf.matmul(X, weights)
            adam = tf.raw_ops.ResourceApplyAdam(
                var=weights.handle,
                m=moments[0].handle,
                v=moments[1].handle,
                beta1_power=0.9,
                beta2_power=0.999,
                lr=1e-5,
                beta1=0.9,
                beta2=0.999,
                epsilon=1e-8,
                grad=tf.matmul(X, product, transpose_a=True),
            )
            with tf.control_dependencies([adam]):
                return number + 1

        steps = tf.while_loop(lambda number: number < num_steps, step, [0], parallel_iterations=1)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer(), {digits_in: rows})

            def train(begin, end):
                session.run(steps, {num_steps: end - begin})
                return [0.0]

            blocks = []
            for begin, end in task.blocks():
                before = time.perf_counter()
                train(begin, end)
                blocks.append((begin, end - begin, time.perf_counter() - before))
    return measured(blocks, sum(seconds for *_, seconds in blocks), [0.0])


# The peers.


def keras_model(task):
    import keras

    config = task.config
    keras.utils.set_random_seed(config.seed)

    def layer(units):
        weights = keras.initializers.TruncatedNormal(stddev=STDDEV)
        yield keras.layers.Dense(units, kernel_initializer=weights, bias_initializer="ones")
        yield keras.layers.BatchNormalization(momentum=config.decay, epsilon=BN_EPSILON)
        yield keras.layers.ReLU()

    digits = keras.Input([task.splits.train_X.shape[1]])
    dropout = keras.layers.Dropout(1 - config.keep_prob)
    model = keras.Sequential([digits, *layer(config.hidden_size), dropout, *layer(task.splits.train_y.shape[1])])
    rate = keras.optimizers.schedules.ExponentialDecay(
        config.learning_rate, DECAY_STEPS, LEARNING_RATE_DECAY, staircase=True
    )
    model.compile(
        optimizer=keras.optimizers.Adam(rate, epsilon=1e-8),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **json.loads(os.environ.get("TRY_COMPILE", "{}")),
    )
    return model


def keras_fit(task):
    """An epoch is `eval_every` steps, so that validation comes after steps 49, 99 and so on, one earlier than the others'."""
    import keras
    import tensorflow as tf

    config, model = task.config, keras_model(task)
    X, y = map(tf.constant, task.digits("train"))

    def batch(offset):
        return X[offset : offset + config.batch_size], y[offset : offset + config.batch_size]

    batches = tf.data.Dataset.from_tensor_slices(task.offsets).map(batch).prefetch(tf.data.AUTOTUNE)
    blocks = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.before = time.perf_counter()

        def on_test_begin(self, logs=None):  # the epoch's validation
            block = len(blocks) * config.eval_every
            blocks.append((block, config.eval_every, time.perf_counter() - self.before))

    start = time.perf_counter()
    history = model.fit(
        batches,
        epochs=config.steps // config.eval_every,
        steps_per_epoch=config.eval_every,
        validation_data=task.digits("valid"),
        validation_batch_size=1000,
        callbacks=[Clock()],
        verbose=0,
    ).history
    seconds = time.perf_counter() - start
    _, test_accuracy = model.evaluate(*task.digits("test"), batch_size=1000, verbose=0)
    return measured(blocks, seconds, history["loss"], history["val_accuracy"], test_accuracy)


def keras_train_on_batch(task):
    config, model = task.config, keras_model(task)
    X, y = task.digits("train")
    sets = {part: task.digits(part) for part in ("valid", "test")}

    def train(begin, end):
        for offset in task.offsets[begin:end]:
            model.reset_metrics()  # or they would be means since the last validation
            loss, _ = model.train_on_batch(X[offset : offset + config.batch_size], y[offset : offset + config.batch_size])
            yield loss

    def evaluate(part):
        return model.evaluate(*sets[part], batch_size=1000, verbose=0)[1]

    return loop(task, train, evaluate)


def pytorch(task, compiled):
    import torch
    from torch import nn

    config = task.config
    torch.manual_seed(config.seed)

    def layer(inputs, units):
        linear = nn.Linear(inputs, units)
        nn.init.trunc_normal_(linear.weight, std=STDDEV, a=-2 * STDDEV, b=2 * STDDEV)
        nn.init.ones_(linear.bias)
        return linear, nn.BatchNorm1d(units, eps=BN_EPSILON, momentum=1 - config.decay), nn.ReLU()

    hidden = layer(task.splits.train_X.shape[1], config.hidden_size)
    model = nn.Sequential(
        *hidden, nn.Dropout(1 - config.keep_prob), *layer(config.hidden_size, task.splits.train_y.shape[1])
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, DECAY_STEPS, LEARNING_RATE_DECAY)
    X, y = map(torch.from_numpy, task.digits("train"))
    y = y.long()
    sets = {part: tuple(map(torch.from_numpy, task.digits(part))) for part in ("valid", "test")}

    def forward(X, y):
        logits = model(X)
        return nn.functional.cross_entropy(logits, y), (logits.argmax(1) == y).float().mean()

    if compiled:
        forward = torch.compile(forward)

    def train(begin, end):
        model.train()
        for offset in task.offsets[begin:end]:
            optimizer.zero_grad(set_to_none=True)
            loss, accuracy = forward(X[offset : offset + config.batch_size], y[offset : offset + config.batch_size])
            loss.backward()
            optimizer.step()
            schedule.step()
            accuracy.item()
            yield loss.item()

    @torch.inference_mode()
    def evaluate(part):
        model.eval()
        X, y = sets[part]
        return (model(X).argmax(1) == y).float().mean().item()

    return loop(task, train, evaluate)


def jax_jit(task):
    import jax
    import jax.numpy as jnp
    import optax

    config = task.config
    sizes = {
        "hidden": (task.splits.train_X.shape[1], config.hidden_size),
        "output": (config.hidden_size, task.splits.train_y.shape[1]),
    }
    key = jax.random.key(config.seed)
    parameters, moving = {}, {}
    for (name, (inputs, units)), layer_key in zip(sizes.items(), jax.random.split(key), strict=True):
        weights = STDDEV * jax.random.truncated_normal(layer_key, -2, 2, (inputs, units))
        vectors = {"biases": jnp.ones(units), "beta": jnp.zeros(units), "gamma": jnp.ones(units)}
        parameters[name] = {"weights": weights, **vectors}
        moving[name] = {"mean": jnp.zeros(units), "variance": jnp.ones(units)}
    rate = optax.exponential_decay(config.learning_rate, DECAY_STEPS, LEARNING_RATE_DECAY, staircase=True)
    optimizer = optax.adam(rate)
    state = parameters, moving, optimizer.init(parameters), jax.random.key(config.seed + 1)

    def layer(X, parameters, moving, training):
        X = X @ parameters["weights"] + parameters["biases"]
        if training:
            mean, variance = X.mean(axis=0), X.var(axis=0)
            new = {"mean": mean, "variance": variance}
            moving = jax.tree.map(lambda old, new: config.decay * old + (1 - config.decay) * new, moving, new)
        else:
            mean, variance = moving["mean"], moving["variance"]
        X = (X - mean) * jax.lax.rsqrt(variance + BN_EPSILON) * parameters["gamma"] + parameters["beta"]
        return jax.nn.relu(X), moving

    def model(parameters, moving, X, key=None):
        X, hidden = layer(X, parameters["hidden"], moving["hidden"], key is not None)
        if key is not None:
            X = jnp.where(jax.random.bernoulli(key, config.keep_prob, X.shape), X / config.keep_prob, 0)
        logits, output = layer(X, parameters["output"], moving["output"], key is not None)
        return logits, {"hidden": hidden, "output": output}

    def loss_and_more(parameters, moving, X, y, key):
        logits, moving = model(parameters, moving, X, key)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, (moving, (logits.argmax(axis=1) == y).mean())

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, X, y):
        parameters, moving, optimizer_state, key = state
        key, dropout_key = jax.random.split(key)
        (loss, (moving, accuracy)), gradients = jax.value_and_grad(loss_and_more, has_aux=True)(
            parameters, moving, X, y, dropout_key
        )
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return (optax.apply_updates(parameters, updates), moving, optimizer_state, key), loss, accuracy

    @jax.jit
    def accuracy_of(parameters, moving, X, y):
        logits, _ = model(parameters, moving, X)
        return (logits.argmax(axis=1) == y).mean()

    X, y = task.digits("train")
    sets = {part: jax.device_put(task.digits(part)) for part in ("valid", "test")}

    def train(begin, end):
        nonlocal state
        measures = []
        for offset in task.offsets[begin:end]:
            rows = slice(offset, offset + config.batch_size)
            state, *measure = step(state, X[rows], y[rows])
            measures.append(measure)
        losses, _ = zip(*jax.device_get(measures), strict=True)  # until here Python need not wait for a step
        return losses

    def evaluate(part):
        parameters, moving, *_ = state
        return accuracy_of(parameters, moving, *sets[part]).item()

    return loop(task, train, evaluate)


# Each system: what trains, and the packages that it needs beside those of the port.
SYSTEMS = {
    "in_graph": (functools.partial(port, engine="in_graph"), ["tensorflow"]),
    "session": (functools.partial(port, engine="session"), ["tensorflow"]),
    "graph_2016": (graph_2016, ["tensorflow"]),
    "keras_fit": (keras_fit, ["tensorflow", "keras"]),
    "keras_train_on_batch": (keras_train_on_batch, ["tensorflow", "keras"]),
    "torch": (functools.partial(pytorch, compiled=False), ["torch"]),
    "torch_compile": (functools.partial(pytorch, compiled=True), ["torch"]),
    "jax": (jax_jit, ["jax", "optax"]),
    "floor": (floor, ["tensorflow"]),
}

parser = Parser(description=__doc__.splitlines()[0])
option = parser.add_argument
option("system", choices=SYSTEMS)
option("--data", default="embedded", metavar="SOURCE", help="as for run_tutorial.py (default: embedded)")
option("--steps", type=int, metavar="N", help=f"training steps (default: {NOTEBOOK.steps})")
option("--batch-size", type=int, metavar="N", help=f"rows in a batch (default: {NOTEBOOK.batch_size})")
option("--hidden-size", type=int, metavar="N", help=f"units of the hidden layer (default: {NOTEBOOK.hidden_size})")
option("--eval-every", type=int, metavar="N", help=f"steps between validations (default: {NOTEBOOK.eval_every})")


def command(arguments):
    settings = {"seed": 1, **vars(arguments)}
    train, packages = SYSTEMS[settings.pop("system")]
    source = settings.pop("data")
    if "eval_every" in settings:
        settings["print_every"] = settings["eval_every"]
    else:
        settings["print_every"] = NOTEBOOK.eval_every
    config = dataclasses.replace(NOTEBOOK, **settings)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    for package in packages:
        try:
            if package == "tensorflow":
                import_tensorflow()
            else:
                importlib.import_module(package)
        except ModuleNotFoundError as error:
            print(json.dumps({"missing": error.name or package}))
            return
    print(json.dumps(train(Task(config, split(load_mnist(source), "original")))))


if __name__ == "__main__":
    run(parser, command)
