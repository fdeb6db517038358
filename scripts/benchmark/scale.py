"""Small and large: the cost and the memory of a step against the hidden layer, the batch and the data."""

import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmark.processes import progress
from benchmark.reporting import median, median_ratio, new_figure, table
from benchmark.systems import choose, measure_systems
from bn_graph.config import NOTEBOOK
from bn_graph.mnist import load_mnist
from bn_graph.pictures import BLUE, GREEN, ORANGE, SKY, VERMILION

COLORS = {"compiled": GREEN, "in_graph": BLUE, "session": SKY, "jax_loop": ORANGE, "floor": VERMILION}
SYSTEMS = tuple(COLORS)
HIDDEN_SIZES = (64, 256, 1024, 4096, 16384)
BATCH_SIZES = (16, 64, 256, 1024, 4096)
TIMES = (1, 3, 10)  # how often the data have the digits
NUM_CASES = len(HIDDEN_SIZES) + len(BATCH_SIZES) + 2 * len(TIMES)
NUM_FEATURES, NUM_DIGITS = 784, 70000
HEADER = ["", "system", "a step", "of the floor", "peak memory", "digits, weights, Adam", "process"]


def measure(options):
    """Trains the systems at each size. One result for each size, with those of the systems in it."""
    names = choose(options.systems, SYSTEMS, SYSTEMS)
    results, failed = [], {}
    num_runs = options.rounds * len(names) * NUM_CASES
    with tempfile.TemporaryDirectory() as folder, progress(num_runs) as bar:
        for axis, settings in cases(folder):
            case = " ".join([axis, *(Path(str(value)).name for value in settings.values())])
            turns = measure_case(settings, names, options.rounds, bar)
            failed |= {f"{name}, {case}": error for name, error in turns.failed.items()}
            result = {"axis": axis, "case": case, "settings": settings, "bytes": needed_bytes(settings)}
            results.append({**result, "results": turns.results})
    return {"rounds": options.rounds, "results": results, "failed": failed}


def measure_case(settings, names, rounds, bar):
    """Lets the systems take turns with these settings, for four blocks of steps each."""
    hidden_size = settings.get("hidden-size", NOTEBOOK.hidden_size)
    batch_size = settings.get("batch-size", NOTEBOOK.batch_size)
    cost = hidden_size * batch_size / (NOTEBOOK.hidden_size * NOTEBOOK.batch_size)  # of a step; the tutorial's: 1
    block = max(5, min(NOTEBOOK.eval_every, round(NOTEBOOK.eval_every / cost)))  # takes about as long at every size
    options = [f"--{name}={value}" for name, value in settings.items()]
    options += [f"--eval-every={block}", f"--steps={4 * block}"]
    return measure_systems(names, rounds, options, bar)


def needed_bytes(settings):
    """What the digits, the weights of the hidden layer and Adam's moments take at least."""
    times = int(Path(settings["data"]).stem.removesuffix("x")) if "data" in settings else 1
    weights = (NUM_FEATURES + 1) * settings.get("hidden-size", NOTEBOOK.hidden_size) * 4
    return NUM_FEATURES * NUM_DIGITS * times + 3 * weights  # Adam has two numbers for each weight


def cases(folder):
    """What grows, and the options of the peers that say so. Files of data are made in `folder`."""
    grown = [("hidden size", {"hidden-size": size}) for size in HIDDEN_SIZES]
    grown += [("batch", {"batch-size": size}) for size in BATCH_SIZES]
    return itertools.chain(grown, data_cases(folder))


def data_cases(folder):
    """The digits once, three and ten times, in both formats; each is written when it is asked for, and then removed."""
    mnist = load_mnist()
    images, labels = np.asarray(mnist.data).reshape(-1, 28, 28), mnist.target.astype(np.uint8)
    for times in TIMES:
        parts = {}  # LeCun's
        for part, rows in (("train", slice(None, 60000)), ("t10k", slice(60000, None))):
            parts[f"{part}-images-idx3-ubyte"] = np.tile(images[rows], (times, 1, 1))
            parts[f"{part}-labels-idx1-ubyte"] = np.tile(labels[rows], times)
        path = Path(folder) / f"{times}x.npz"
        np.savez(path, **dict(zip(("x_train", "y_train", "x_test", "y_test"), parts.values(), strict=True)))
        yield "data", {"data": path}
        path.unlink()
        path = Path(folder) / f"{times}x.idx"
        write_idx(path, parts)
        del parts  # the process that is measured has the memory for itself
        yield "data", {"data": path}
        shutil.rmtree(path)


def write_idx(folder, arrays):
    """Writes arrays of bytes, by their file names, as IDX files in a new folder."""
    folder.mkdir()
    for name, array in arrays.items():
        with open(folder / name, "wb") as file:
            file.write(np.array([0x0800 + array.ndim, *array.shape], ">u4").tobytes())
            array.tofile(file)


def lines(measured):
    """The lines that are printed."""
    return table(HEADER, [_row(case, name) for case in measured["results"] for name in case["results"]])


def _row(case, name):
    runs, floor = case["results"][name], case["results"].get("floor")
    return [
        case["case"],
        name,
        f"{1000 / median(runs, 'steps_per_second'):.2f} ms",
        f"{median_ratio(runs, floor):.0%}" if floor else "",
        f"{median(runs, 'peak_bytes', 1e6):.0f} MB",
        f"{case['bytes'] / 1e6:.0f} MB",
        f"{median(runs, 'process_seconds'):.1f} s",
    ]


def draw(measured):
    """A figure of the cost of a step and of the memory, against the hidden layer and the batch."""
    figure = new_figure(8, 7)
    for column, (axis, default) in enumerate((("hidden size", NOTEBOOK.hidden_size), ("batch", NOTEBOOK.batch_size))):
        cost, memory = figure.add_subplot(2, 2, 1 + column), figure.add_subplot(2, 2, 3 + column)
        for name, color in COLORS.items():
            done = [case for case in measured["results"] if case["axis"] == axis and name in case["results"]]
            if not done:
                continue
            sizes = [next(iter(case["settings"].values()), default) for case in done]
            runs = [case["results"][name] for case in done]
            cost.plot(sizes, [1000 / median(run, "steps_per_second") for run in runs], "o-", color=color, label=name)
            memory.plot(sizes, [median(run, "peak_bytes", 1e9) for run in runs], "o-", color=color, label=name)
        for axes, label in ((cost, "ms a step"), (memory, "peak memory (GB)")):
            axes.set_xlabel(axis)
            axes.set_ylabel(label)
            if axes.lines:
                axes.set_xscale("log", base=2)
                axes.legend()
        cost.set_yscale("log")
        memory.set_ylim(bottom=0)
    return figure
