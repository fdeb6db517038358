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

from bn_graph.cli import Parser, import_tensorflow, run
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
    so that they are done; evaluate(part) returns the accuracy on the valid or test part, None: there is none.
    """
    blocks, losses, valid_accuracy = [], [], []
    start = time.perf_counter()
    for begin, end in task.blocks():
        before = time.perf_counter()
        losses.extend(train(begin, end))
        blocks.append((begin, end - begin, time.perf_counter() - before))
        if evaluate and (end - 1) % task.config.eval_every == 0:
            valid_accuracy.append(evaluate("valid"))
    seconds = time.perf_counter() - start
    return measured(blocks, seconds, losses, valid_accuracy, evaluate and evaluate("test"))


# The port and the original.


def port(task, engine):
    """What `bn_graph.train` does, with the benchmark's clock."""
    from bn_graph import build_graph
    from bn_graph.engines.in_graph import InGraphLoop
    from bn_graph.tf1 import tf
    from bn_graph.training import SessionLoop

    tutorial = build_graph(task.config, task.splits)
    with tf.Session(graph=tutorial.graph) as session:
        engine = {"session": SessionLoop, "in_graph": InGraphLoop}[engine](tutorial, task.splits, session)
        session.run(tutorial.init_op)
        evaluate = {"valid": engine.valid_accuracy, "test": engine.test_accuracy}
        return loop(
            task,
            train=lambda begin, end: (engine.train(step, end)[0] for step in range(begin, end)),
            evaluate=lambda part: evaluate[part](),
        )


def graph_2016(task):
    """The graph that TensorFlow 0.12.1 built, in today's TensorFlow, in the tutorial's session loop."""
    from bn_graph.comparison.graph_2016 import Graph2016
    from bn_graph.tf1 import tf

    config, splits = task.config, task.splits
    imported = Graph2016("notebook", config)
    end = imported.end_point
    fetches = [end("train_op"), end("train_loss"), end("train_accuracy")]
    train_X, train_y = np.asarray(splits.train_X), splits.train_y
    sets = {
        part: {
            end(f"{part}_x"): np.asarray(getattr(splits, f"{part}_X")),
            end(f"{part}_y"): getattr(splits, f"{part}_y"),
            end("keep_prob"): 1.0,
        }
        for part in ("valid", "test")
    }
    with tf.Session(graph=imported.graph) as session:
        session.run(end("init_op"))

        def train(begin, stop):
            for offset in task.offsets[begin:stop]:
                rows = slice(offset, offset + config.batch_size)
                feed = {
                    end("batch_x"): train_X[rows],
                    end("batch_y"): train_y[rows],
                    end("keep_prob"): config.keep_prob,
                }
                _, loss, _ = session.run(fetches, feed)
                yield loss

        return loop(task, train, evaluate=lambda part: session.run(end(f"{part}_accuracy"), sets[part]))


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

            return loop(task, train, evaluate=None)


# The peers.


def keras_model(task, steps_per_execution=1):
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
        steps_per_execution=steps_per_execution,
    )
    return model


def keras_fit(task):
    """An epoch is `eval_every` steps: validation comes after steps 49, 99 and so on, one earlier than the others'."""
    import keras
    import tensorflow as tf

    config = task.config
    model = keras_model(task, steps_per_execution=config.eval_every)  # twice as fast as 1
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
            rows = slice(offset, offset + config.batch_size)
            loss, _ = model.train_on_batch(X[rows], y[rows])
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


def jax_jit(task, loops):
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

    @functools.partial(jax.jit, donate_argnums=0)
    def steps(state, X, y, offsets, num_steps):
        def body(number, carried):
            state, losses, accuracies = carried
            rows = (jax.lax.dynamic_slice_in_dim(data, offsets[number], config.batch_size) for data in (X, y))
            state, loss, accuracy = step(state, *rows)
            return state, losses.at[number].set(loss), accuracies.at[number].set(accuracy)

        empty = jnp.zeros(offsets.shape)
        return jax.lax.fori_loop(0, num_steps, body, (state, empty, empty))

    X, y = task.digits("train")
    if loops:
        X, y = jax.device_put((X, y))
    else:
        step = jax.jit(step, donate_argnums=0)
    sets = {part: jax.device_put(task.digits(part)) for part in ("valid", "test")}

    def train(begin, end):
        nonlocal state
        if loops:
            offsets = np.resize(task.offsets[begin:end], config.eval_every)  # of one length, to be compiled once
            state, *measures = steps(state, X, y, offsets, end - begin)
            losses, _ = jax.device_get(measures)
            return losses[: end - begin]
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
    "jax": (functools.partial(jax_jit, loops=False), ["jax", "optax"]),
    "jax_loop": (functools.partial(jax_jit, loops=True), ["jax", "optax"]),
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
