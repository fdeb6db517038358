"""Keras 3 on TensorFlow, by `fit` and by `train_on_batch`."""

import time

import keras
import tensorflow as tf

from benchmark.peers.task import BN_EPSILON, DECAY_STEPS, LEARNING_RATE_DECAY, STDDEV, loop, measured


def build_model(task, steps_per_execution=1):
    config = task.config
    keras.utils.set_random_seed(config.seed)
    digits, dropout = keras.Input([task.num_features]), keras.layers.Dropout(1 - config.keep_prob)
    hidden, output = dense_batch_norm(config.hidden_size, config), dense_batch_norm(task.num_classes, config)
    model = keras.Sequential([digits, *hidden, dropout, *output])
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


def dense_batch_norm(units, config):
    weights = keras.initializers.TruncatedNormal(stddev=STDDEV)
    return [
        keras.layers.Dense(units, kernel_initializer=weights, bias_initializer="ones"),
        keras.layers.BatchNormalization(momentum=config.decay, epsilon=BN_EPSILON),
        keras.layers.ReLU(),
    ]


class Clock(keras.callbacks.Callback):
    """Keeps the blocks of training between two validations, and the seconds of waiting for a turn."""

    def __init__(self, task):
        super().__init__()
        self.blocks, self.waited = [], 0.0
        self._task, self._steps = task, task.config.eval_every  # in an epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.waited += self._task.wait_for_turn()
        self._before = time.perf_counter()

    def on_test_begin(self, logs=None):  # the epoch's validation
        begin = len(self.blocks) * self._steps
        self.blocks.append((begin, self._steps, time.perf_counter() - self._before))


def fit(task):
    """An epoch is `eval_every` steps: validation comes after steps 49, 99 and so on, one earlier than the others'."""
    config = task.config
    model = build_model(task, steps_per_execution=config.eval_every)  # twice as fast as 1
    X, y = map(tf.constant, task.digits("train"))

    def batch(offset):
        return X[offset : offset + config.batch_size], y[offset : offset + config.batch_size]

    batches = tf.data.Dataset.from_tensor_slices(task.offsets).map(batch).prefetch(tf.data.AUTOTUNE)
    clock = Clock(task)
    start = time.perf_counter()
    history = model.fit(
        batches,
        epochs=config.steps // config.eval_every,
        steps_per_epoch=config.eval_every,
        validation_data=task.digits("valid"),
        validation_batch_size=1000,
        callbacks=[clock],
        verbose=0,
    ).history
    seconds = time.perf_counter() - start - clock.waited
    _, test_accuracy = model.evaluate(*task.digits("test"), batch_size=1000, verbose=0)
    return measured(clock.blocks, seconds, history["loss"], history["val_accuracy"], test_accuracy)


def train_on_batch(task):
    config, model = task.config, build_model(task)
    X, y = task.digits("train")
    digits = {part: task.digits(part) for part in ("valid", "test")}

    def train(begin, end):
        for offset in task.offsets[begin:end]:
            model.reset_metrics()  # or they would be means since the last validation
            rows = slice(offset, offset + config.batch_size)
            loss, _ = model.train_on_batch(X[rows], y[rows])
            yield loss

    def evaluate(part):
        return model.evaluate(*digits[part], batch_size=1000, verbose=0)[1]

    return loop(task, train, evaluate)
