"""A picture of a run."""

import os

import numpy as np

from bn_graph.files import write_whole
from bn_graph.pictures import BLUE, GREEN, STYLE, VERMILION, png
from bn_graph.record import TrainingRecord


def plot_record(record: TrainingRecord, path: str | os.PathLike) -> None:
    """Writes a PNG of a `TrainingRecord` to `path`, replacing it. Raises OSError."""
    write_whole(path, png(record_figure(record)))


def record_figure(record):
    """A matplotlib figure of a `TrainingRecord`: loss, training and validation accuracy over the steps."""
    import matplotlib  # here: importing it takes a second, which --help can spare
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 6))
        loss, accuracy = figure.subplots(2, 1, sharex=True)
        figure.suptitle(_title(record))
        _draw_loss(loss, record)
        _draw_accuracy(accuracy, record)
    return figure


def _title(record):
    config = record.config
    return (
        f"Edition {config.edition}: {record.test_accuracy:.2%} of the test rows are right after {config.steps} steps\n"
        f"{config.batch_norm_words()}, split {record.split}, seed {config.seed}"
    )


def _draw_loss(axes, record):
    axes.plot(np.arange(record.num_steps), record.train_loss, linewidth=0.8)
    axes.set(title="Loss of each training batch", ylabel="loss")
    axes.set_ylim(bottom=0)


def _draw_accuracy(axes, record):
    train, valid = 100 * np.array(record.train_accuracy), 100 * np.array(record.valid_accuracy)
    axes.plot(np.arange(record.num_steps), train, color=BLUE, linewidth=0.5, alpha=0.5, label="training batch")
    axes.plot(record.valid_step, valid, color=VERMILION, marker="o", label="validation")
    axes.axhline(100 * record.test_accuracy, color=GREEN, linestyle="--", label="test, at the end")
    axes.set(title="Accuracy on training batches, validation and test", xlabel="step", ylabel="accuracy (%)")
    axes.set_ylim(0, 101)
    axes.legend(loc="lower right")
