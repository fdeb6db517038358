"""JAX with optax: the step in `jit`, and the loop over the steps in `jit`."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmark.peers.task import BN_EPSILON, DECAY_STEPS, LEARNING_RATE_DECAY, STDDEV, loop


class State(NamedTuple):
    """All that a step changes."""

    parameters: Any
    moving: Any  # means and variances
    optimizer: Any
    key: Any  # of the dropout masks to come


def build_optimizer(config):
    rate = optax.exponential_decay(config.learning_rate, DECAY_STEPS, LEARNING_RATE_DECAY, staircase=True)
    return optax.adam(rate)


def initialize(task):
    config = task.config
    sizes = {
        "hidden": (task.num_features, config.hidden_size),
        "output": (config.hidden_size, task.num_classes),
    }
    parameters, moving = {}, {}
    keys = jax.random.split(jax.random.key(config.seed))
    for (name, (inputs, units)), key in zip(sizes.items(), keys, strict=True):
        weights = STDDEV * jax.random.truncated_normal(key, -2, 2, (inputs, units))
        vectors = {"biases": jnp.ones(units), "beta": jnp.zeros(units), "gamma": jnp.ones(units)}
        parameters[name] = {"weights": weights, **vectors}
        moving[name] = {"mean": jnp.zeros(units), "variance": jnp.ones(units)}
    optimizer = build_optimizer(config).init(parameters)
    return State(parameters, moving, optimizer, jax.random.key(config.seed + 1))


def dense_batch_norm(X, parameters, moving, config, training):
    X = X @ parameters["weights"] + parameters["biases"]
    if training:
        mean, variance = X.mean(axis=0), X.var(axis=0)
        new = {"mean": mean, "variance": variance}
        moving = jax.tree.map(lambda old, new: config.decay * old + (1 - config.decay) * new, moving, new)
    else:
        mean, variance = moving["mean"], moving["variance"]
    X = (X - mean) * jax.lax.rsqrt(variance + BN_EPSILON) * parameters["gamma"] + parameters["beta"]
    return jax.nn.relu(X), moving


def model(parameters, moving, X, config, dropout_key=None):
    """The logits and the new moving statistics. Without a key for dropout the model is evaluated."""
    training = dropout_key is not None
    X, hidden = dense_batch_norm(X, parameters["hidden"], moving["hidden"], config, training)
    if training:
        mask = jax.random.bernoulli(dropout_key, config.keep_prob, X.shape)
        X = jnp.where(mask, X / config.keep_prob, 0)
    logits, output = dense_batch_norm(X, parameters["output"], moving["output"], config, training)
    return logits, {"hidden": hidden, "output": output}


def train_step(config, state, X, y):
    """The next state, the loss and the accuracy on the batch."""

    def loss_of(parameters):
        logits, moving = model(parameters, state.moving, X, config, dropout_key)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, (moving, (logits.argmax(axis=1) == y).mean())

    key, dropout_key = jax.random.split(state.key)
    (loss, (moving, accuracy)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.parameters)
    updates, optimizer = build_optimizer(config).update(gradients, state.optimizer)
    return State(optax.apply_updates(state.parameters, updates), moving, optimizer, key), loss, accuracy


def train_steps(config, state, digits, offsets, num_steps):
    """The state after so many steps, the losses and the accuracies. `digits`: all of X and y."""

    def body(number, carried):
        state, losses, accuracies = carried
        batch = (jax.lax.dynamic_slice_in_dim(data, offsets[number], config.batch_size) for data in digits)
        state, loss, accuracy = train_step(config, state, *batch)
        return state, losses.at[number].set(loss), accuracies.at[number].set(accuracy)

    empty = jnp.zeros(offsets.shape)
    return jax.lax.fori_loop(0, num_steps, body, (state, empty, empty))


def accuracy_of(config, state, X, y):
    logits, _ = model(state.parameters, state.moving, X, config)
    return (logits.argmax(axis=1) == y).mean()


class Trainer:
    """The state that is trained, and its accuracy. The subclasses train."""

    def __init__(self, task):
        self.config, self.offsets, self.state = task.config, task.offsets, initialize(task)
        self.digits = {part: jax.device_put(task.digits(part)) for part in ("valid", "test")}
        self.accuracy_of = jax.jit(functools.partial(accuracy_of, task.config))

    def evaluate(self, part):
        return self.accuracy_of(self.state, *self.digits[part]).item()


class StepTrainer(Trainer):
    """Compiles the step. Python loops over the steps and hands over each batch."""

    def __init__(self, task):
        super().__init__(task)
        self.train_X, self.train_y = task.digits("train")
        self.train_step = jax.jit(functools.partial(train_step, task.config), donate_argnums=0)

    def train(self, begin, end):
        losses = []
        for offset in self.offsets[begin:end]:
            rows = slice(offset, offset + self.config.batch_size)
            self.state, loss, accuracy = self.train_step(self.state, self.train_X[rows], self.train_y[rows])
            losses.append((loss, accuracy))
        return [loss for loss, _ in jax.device_get(losses)]  # until here Python need not wait for a step


class LoopTrainer(Trainer):
    """Compiles the loop over the steps between two validations. The digits stay on JAX's device."""

    def __init__(self, task):
        super().__init__(task)
        self.train_digits = jax.device_put(task.digits("train"))
        self.train_steps = jax.jit(functools.partial(train_steps, task.config), donate_argnums=0)

    def train(self, begin, end):
        offsets = np.resize(self.offsets[begin:end], self.config.eval_every)  # of one length, to be compiled once
        self.state, *measures = self.train_steps(self.state, self.train_digits, offsets, end - begin)
        losses, _ = jax.device_get(measures)
        return losses[: end - begin]


def step_in_jit(task):
    trainer = StepTrainer(task)
    return loop(task, trainer.train, trainer.evaluate)


def loop_in_jit(task):
    trainer = LoopTrainer(task)
    return loop(task, trainer.train, trainer.evaluate)
