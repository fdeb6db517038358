"""A picture of a run."""

import numpy as np

from bn_graph.files import write_whole
from bn_graph.pictures import png


def plot_record(record, path) -> None:
    """Writes a PNG of a `TrainingRecord` to `path`, replacing it. Raises OSError."""
    write_whole(path, png(record_figure(record)))


def record_figure(record):
    """A matplotlib figure of a `TrainingRecord`: loss, training and validation accuracy over the steps."""
    from matplotlib.figure import Figure  # here: importing it takes a second, which --help can spare

    config = record.config
    figure = Figure(figsize=(8, 6), layout="constrained")
    loss, accuracy = figure.subplots(2, 1, sharex=True)
    figure.suptitle(
        f"{config.edition}, updates: {config.updates}, split: {record.split}, seed {config.seed}\n"
        f"test accuracy {record.test_accuracy:.2%}"
    )

    steps = np.arange(record.num_steps)
    loss.plot(steps, record.train_loss, color="tab:blue", linewidth=0.8)
    loss.set_ylabel("training loss (batch)")
    loss.set_ylim(bottom=0)
    train, valid = 100 * np.array(record.train_accuracy), 100 * np.array(record.valid_accuracy)
    accuracy.plot(steps, train, color="tab:blue", linewidth=0.5, alpha=0.5, label="training (batch)")
    accuracy.plot(record.valid_step, valid, color="tab:orange", marker="o", markersize=3, label="validation")
    accuracy.axhline(100 * record.test_accuracy, color="tab:green", linestyle="--", label="test, at the end")
    accuracy.set_ylabel("accuracy (%)")
    accuracy.set_ylim(0, 101)
    accuracy.set_xlabel("step")
    accuracy.legend(loc="lower right")
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
    return figure
