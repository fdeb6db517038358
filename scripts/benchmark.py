#!/usr/bin/env python3
"""Measures on this machine what the README says of speed.

python scripts/benchmark.py                 # training: the port's two engines beside other libraries
python scripts/benchmark.py scale           # small and large networks, batches and data
python scripts/benchmark.py audit           # the time of an audit against the size of the graph
python scripts/benchmark.py comparison      # ten seeds of compare_with_notebook.py
python scripts/benchmark.py cluster         # clusters on the loopback beside one process: steps, and bytes of a step
"""

import contextlib
import importlib.metadata
import itertools
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bn_graph.cli import FORCE, Parser, check_output, dies_with_us, import_tensorflow, run
from bn_graph.config import NOTEBOOK
from bn_graph.errors import InputError

SCRIPTS = Path(__file__).resolve().parent
REFERENCE = SCRIPTS.parent / "bn_graph" / "comparison" / "reference"
BLOCK = NOTEBOOK.eval_every  # steps between two validations
TIMEOUT = 600  # seconds, for one process
BAND = 0.02  # how far below the original's validation accuracy a system may end
AUDIT_REPEATS = 5

SYSTEMS = {  # in the order of their turns, and what they are called
    "in_graph": "this port, engine in_graph",
    "session": "this port, engine session",
    "graph_2016": "the graph of 2016, imported",
    "original": "the original, TensorFlow 0.12.1",
    "keras_fit": "Keras 3 on TensorFlow, fit",
    "keras_train_on_batch": "Keras 3 on TensorFlow, train_on_batch",
    "torch": "PyTorch",
    "torch_compile": "PyTorch, torch.compile",
    "jax": "JAX, jit",
    "jax_loop": "JAX, fori_loop inside jit",
    "floor": "floor: two products and Adam",
}
SCALED = ("in_graph", "session", "floor")

# fmt: off
# ruff: noqa: E501
parser = Parser(description=__doc__.splitlines()[0])
option = parser.add_argument
option("what", nargs="?", default="training", choices=["training", "scale", "audit", "comparison", "cluster"], help="training (default): the port beside other libraries; scale: small and large; audit: an audit against the size of its graph; comparison: ten seeds of compare_with_notebook.py; cluster: clusters on the loopback")
option("--rounds", type=int, default=None, metavar="N", help="turns of every system (default: 5; scale, comparison: 1; cluster: 3)")
option("--steps", type=int, default=NOTEBOOK.steps, metavar="N", help=f"training: steps, a multiple of {BLOCK}, {2 * BLOCK} or more (default: {NOTEBOOK.steps})")
option("--systems", default=None, metavar="A,B", help=f"training and scale: only these of {', '.join(SYSTEMS)}")
option("--original", default=None, metavar="PYTHON", help="training: a Python 2.7 with TensorFlow 0.12.1, for the system `original`")
option("--json", default=None, metavar="FILE.json", help="write all that was measured")
option("--plot", default=None, metavar="FILE.png", help="training, scale and audit: write a picture of it")
option("--force", **FORCE)
# fmt: on


class Failed(Exception):
    """A process that did not do what it should. The message may have several lines."""


# One process.


def measure(command, timeout=TIMEOUT):
    """Runs a process. Returns its stdout, the seconds from its start to its end, and its peak memory in bytes.

    Raises `Failed` where it fails or does not end in time.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            start_new_session=True,  # a group of its own, with the processes that it starts
            preexec_fn=dies_with_us,
        )
        late = threading.Event()

        def end():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout, lambda: (late.set(), end()))
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - start
        finally:
            timer.cancel()
            timer.join()  # to fork the next child, it is better to have no threads
            end()
        if process.returncode:
            stderr.seek(0)
            tail = stderr.read().decode(errors="replace").splitlines()[-10:]
            how = f"did not end in {timeout} s" if late.is_set() else f"ended with {process.returncode}"
            raise Failed("\n  ".join([how, *tail]))
        stdout.seek(0)
        unit = 1 if sys.platform == "darwin" else 1024
        return stdout.read().decode(), seconds, usage.ru_maxrss * unit


def measure_system(name, *options, original=None):
    """Lets a system train in a process of its own. Returns what it measured, as a dict.

    `steps_per_second` is the median over blocks of training between two validations, without the first `warm_up` steps;
    `seconds` the loop, with validations; `process_seconds` and `peak_bytes` the whole process.
    """
    command = [sys.executable, SCRIPTS / "peers.py", name, *options]
    if name == "original":
        command = [original, SCRIPTS / "time_original.py", *options]
    stdout, seconds, peak = measure(command)
    found = json.loads(stdout.splitlines()[-1])
    if "missing" in found:
        return found
    warm_up = found["blocks"][1][0] + found["blocks"][1][1] if found["blocks"][0][1] == 1 else found["blocks"][0][1]
    speeds = [steps / took for begin, steps, took in found["blocks"] if begin >= warm_up]
    measures = {"steps_per_second": statistics.median(speeds), "process_seconds": seconds, "peak_bytes": peak}
    return {"system": name, **measures, **found}


def in_turn(names, rounds, measure_one, bar):
    """Measures the systems A B C, A B C. Returns the results by name, what is missing and what failed."""
    results, missing, failed = {name: [] for name in names}, {}, {}
    for _ in range(rounds):
        for name in names:
            if name in missing or name in failed:
                continue
            bar.set_description(name)
            try:
                found = measure_one(name)
            except Failed as error:
                failed[name] = str(error)
            else:
                if "missing" in found:
                    missing[name] = found["missing"]
                else:
                    results[name].append(found)
            bar.update()
    return {name: runs for name, runs in results.items() if runs and name not in failed}, missing, failed


def median_ratio(some, others):
    """The median over the rounds of a round's ratio of speeds. Both had their turn under the same conditions."""
    pairs = zip(some, others, strict=True)
    return statistics.median(one["steps_per_second"] / other["steps_per_second"] for one, other in pairs)


def spread(runs, key, unit=1):
    """Median, least and most over the rounds."""
    values = [run[key] / unit for run in runs]
    return statistics.median(values), min(values), max(values)


def table(header, rows):
    """The lines of a table: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip()


# Training.


def benchmark_training(arguments):
    rounds = 5 if arguments.rounds is None else arguments.rounds
    default = [name for name in SYSTEMS if name != "original" or arguments.original]
    names = chosen(arguments.systems, SYSTEMS, default)
    if "original" in names and not arguments.original:
        raise InputError("--systems original needs --original PYTHON, a Python 2.7 with TensorFlow 0.12.1")
    if arguments.steps < 2 * BLOCK or arguments.steps % BLOCK:
        raise InputError(f"--steps must be a multiple of {BLOCK}, {2 * BLOCK} or more, found {arguments.steps}")

    def measure_one(name):
        found = measure_system(name, "--steps", arguments.steps, original=arguments.original)
        if found.get("valid_accuracy"):
            check_learning(found, arguments.steps)
        return found

    with progress(rounds * len(names)) as bar:
        results, missing, failed = in_turn(names, rounds, measure_one, bar)

    port = results.get("in_graph") or results.get("session")
    floor = results.get("floor")
    rows = []
    for name, runs in results.items():
        median, least, most = spread(runs, "steps_per_second")
        times = port is not None and name != "floor"
        rows.append(
            [
                SYSTEMS[name],
                f"{median:.0f} ({least:.0f} to {most:.0f})",
                f"{median_ratio(port, runs):.2f}" if times else "",
                f"{median_ratio(runs, floor):.0%}" if floor else "",
                "{:.1f} s".format(spread(runs, "seconds")[0]),
                "{:.1f} s".format(spread(runs, "process_seconds")[0]),
                "{:.0f} MB".format(spread(runs, "peak_bytes", 1e6)[0]),
                "{:.2%}".format(spread(runs, "test_accuracy")[0]) if runs[0]["test_accuracy"] else "",
            ]
        )
    plural = "s" if rounds > 1 else ""
    print(f"{arguments.steps} steps, {rounds} round{plural}: median (least to most)")
    columns = ["", "steps a second", "port is faster", "of the floor", "loop", "process", "peak memory", "test"]
    for line in table(columns, rows):
        print(line)
    for name, package in missing.items():
        print(f"{SYSTEMS[name]}: left out: {package} is not installed")
    return {"rounds": rounds, "steps": arguments.steps, "results": results, "missing": missing, "failed": failed}


def check_learning(found, steps):
    """Raises `Failed` where the last validation is far below what the original had by then."""
    recorded = json.loads((REFERENCE / "notebook.json").read_text())
    by_then = [at for at, step in enumerate(recorded["valid_step"]) if step < steps][-1]
    expected, reached = recorded["valid_accuracy"][by_then], found["valid_accuracy"][-1]
    if not reached >= expected - BAND:
        raise Failed(f"does not learn: validation accuracy {reached:.2%}; the original had {expected:.2%}")


def draw_training(found):
    names = [name for name in found["results"] if name != "floor"]
    figure = new_figure(8, 1 + 0.4 * len(names))
    axes = figure.subplots()
    for place, name in enumerate(reversed(names)):
        runs = found["results"][name]
        median, least, most = spread(runs, "steps_per_second")
        color = "tab:blue" if name in ("in_graph", "session") else "tab:grey"
        axes.barh(place, median, color=color, xerr=[[median - least], [most - median]], capsize=3, ecolor="black")
    axes.set_yticks(range(len(names)), [SYSTEMS[name] for name in reversed(names)])
    if "floor" in found["results"]:
        median, *_ = spread(found["results"]["floor"], "steps_per_second")
        axes.axvline(median, color="tab:red", linestyle="--", label="floor: two products and Adam")
        axes.legend(loc="upper right", fontsize=8)
    axes.set_xlabel(f"training steps a second, {found['cores']} cores (median and spread of {found['rounds']} rounds)")
    axes.grid(alpha=0.3, axis="x")
    return figure


# Scale.


def benchmark_scale(arguments):
    rounds = 1 if arguments.rounds is None else arguments.rounds
    names = chosen(arguments.systems, SCALED, SCALED)
    cases = [("hidden size", {"hidden-size": size}) for size in (64, 256, 1024, 4096, 16384)]
    cases += [("batch", {"batch-size": size}) for size in (16, 64, 256, 1024, 4096)]
    results, failed = [], {}
    with tempfile.TemporaryDirectory() as folder, progress(rounds * len(names) * (len(cases) + 6)) as bar:
        for axis, settings in itertools.chain(cases, data_cases(folder)):
            size = settings.get("hidden-size", 1024) * settings.get("batch-size", 64) / (1024 * 64)
            block = max(5, min(BLOCK, round(BLOCK / size)))  # as long as a block of the tutorial's, down to five steps
            options = [f"--{name}={value}" for name, value in settings.items()]
            options += [f"--eval-every={block}", f"--steps={4 * block}"]
            runs, _, went_wrong = in_turn(
                names, rounds, lambda name, options=options: measure_system(name, *options), bar
            )
            case = " ".join([axis, *(Path(str(value)).name for value in settings.values())])
            failed |= {f"{name}, {case}": error for name, error in went_wrong.items()}
            data_bytes = 784 * 70000 * (int(Path(settings["data"]).stem[:-1]) if "data" in settings else 1)
            weights = 785 * settings.get("hidden-size", 1024) * 4
            needed = data_bytes + 3 * weights  # Adam has two numbers for each weight
            results.append({"axis": axis, "case": case, "settings": settings, "bytes": needed, "results": runs})
    rows = []
    for result in results:
        floor = result["results"].get("floor")
        for name, runs in result["results"].items():
            median, *_ = spread(runs, "steps_per_second")
            row = [result["case"], name, f"{1000 / median:.2f} ms"]
            row.append(f"{median_ratio(runs, floor):.0%}" if floor else "")
            row += ["{:.0f} MB".format(spread(runs, "peak_bytes", 1e6)[0]), f"{result['bytes'] / 1e6:.0f} MB"]
            rows.append([*row, "{:.1f} s".format(spread(runs, "process_seconds")[0])])
    columns = ["", "system", "a step", "of the floor", "peak memory", "digits, weights, Adam", "process"]
    for line in table(columns, rows):
        print(line)
    return {"rounds": rounds, "results": results, "failed": failed}


def data_cases(folder):
    """The digits once, three and ten times, in both formats; each is written when it is asked for, and then removed."""
    import numpy as np

    from bn_graph.mnist import load_mnist

    mnist = load_mnist()
    data, target = np.asarray(mnist.data).reshape(-1, 28, 28), mnist.target.astype(np.uint8)
    parts = {"train": slice(None, 60000), "t10k": slice(60000, None)}
    for times in (1, 3, 10):
        arrays = {}
        for part, rows in parts.items():
            images, labels = np.tile(data[rows], (times, 1, 1)), np.tile(target[rows], times)
            arrays |= {f"{part}-images-idx3-ubyte": images, f"{part}-labels-idx1-ubyte": labels}
        path = Path(folder) / f"{times}x.npz"
        np.savez(path, **dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays.values(), strict=True)))
        yield "data", {"data": path}
        path.unlink()
        path = Path(folder) / f"{times}x.idx"
        path.mkdir()
        for name, array in arrays.items():
            with open(path / name, "wb") as file:
                file.write(np.array([0x0800 + array.ndim, *array.shape], ">u4").tobytes())
                array.tofile(file)
        del arrays, array
        yield "data", {"data": path}
        shutil.rmtree(path)


def draw_scale(found):
    figure = new_figure(8, 7)
    for column, (axis, default) in enumerate((("hidden size", 1024), ("batch", 64))):
        cost, memory = figure.add_subplot(2, 2, 1 + column), figure.add_subplot(2, 2, 3 + column)
        cases = [result for result in found["results"] if result["axis"] == axis]
        for name, color in zip(SCALED, ("tab:blue", "tab:orange", "tab:red"), strict=True):
            done = [result for result in cases if name in result["results"]]
            if not done:
                continue
            sizes = [next(iter(result["settings"].values()), default) for result in done]
            runs = [result["results"][name] for result in done]
            cost.plot(sizes, [1000 / spread(run, "steps_per_second")[0] for run in runs], "o-", color=color, label=name)
            memory.plot(sizes, [spread(run, "peak_bytes", 1e6)[0] for run in runs], "o-", color=color, label=name)
        for axes, label in ((cost, "ms a step"), (memory, "peak memory (MB)")):
            axes.set_xlabel(axis)
            axes.set_ylabel(label)
            axes.grid(alpha=0.3)
            if axes.lines:
                axes.set_xscale("log", base=2)
                axes.set_yscale("log")
                axes.legend(fontsize=8)
    return figure


# The audit and the comparison.


def stacked_layers(num_layers, in_place):
    """A training and an evaluation tower of dense layers with batch norm, as a GraphDef: about 200 nodes a layer.

    With control dependencies, every op without inputs that the optimizer makes waits for all update ops: the number of
    inputs grows with the square of the layers.
    """
    from bn_graph import batch_norm
    from bn_graph.tf1 import tf

    def tower(is_training, reuse):
        outputs = tf.placeholder(tf.float32, [64, 8])
        for number in range(num_layers):
            scope = f"layer{number}"
            with tf.variable_scope(scope, reuse=reuse):
                weights = tf.get_variable("weights", [8, 8])
            collection = None if in_place else tf.GraphKeys.UPDATE_OPS
            outputs = batch_norm(
                outputs @ weights,
                scale=True,
                is_training=is_training,
                updates_collections=collection,
                reuse=reuse,
                scope=scope,
            )
            outputs = tf.nn.relu(outputs)
        return tf.reduce_mean(outputs)

    with tf.Graph().as_default() as graph:
        loss = tower(True, None)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            tf.train.AdamOptimizer().minimize(loss)
        tower(False, True)
        return graph.as_graph_def(add_shapes=True)


def benchmark_audit(arguments):
    import_tensorflow()
    from bn_graph import audit_graph

    results = []
    for in_place in (True, False):
        print(f"updates {'in place' if in_place else 'as control dependencies'}")
        print("  nodes   inputs   seconds: median (of all)   us a node")
        for num_layers in (10, 20, 40, 80, 160, 320):
            graph_def = stacked_layers(num_layers, in_place)
            seconds = []
            for _ in range(AUDIT_REPEATS):
                before = time.perf_counter()
                report = audit_graph(graph_def)
                seconds.append(time.perf_counter() - before)
            if len(report.layers) != num_layers or report.findings:
                raise AssertionError(f"expected {num_layers} layers and no finding, got {report}")
            median, nodes = statistics.median(seconds), len(graph_def.node)
            inputs = sum(len(node.input) for node in graph_def.node)
            spread = f"{median:.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
            print(f"{nodes:7}{inputs:9}   {spread:25}{1e6 * median / nodes:12.1f}", flush=True)
            results.append({"in_place": in_place, "nodes": nodes, "inputs": inputs, "seconds": seconds})
    return {"results": results, "failed": {}}


def draw_audit(found):
    figure = new_figure(6, 4)
    axes = figure.subplots()
    for in_place, color in ((True, "tab:blue"), (False, "tab:orange")):
        results = [result for result in found["results"] if result["in_place"] == in_place]
        medians = [statistics.median(result["seconds"]) for result in results]
        label = "updates in place" if in_place else "updates as control dependencies"
        axes.plot([result["nodes"] for result in results], medians, "o-", color=color, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("nodes of the graph")
    axes.set_ylabel("seconds of an audit")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def benchmark_comparison(arguments):
    rounds = 1 if arguments.rounds is None else arguments.rounds
    results, failed = {"comparison": [], "import": []}, {}
    with progress(2 * rounds) as bar:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                commands = {
                    "import": ["-c", "import tensorflow"],
                    "comparison": [SCRIPTS / "compare_with_notebook.py", "--seeds", 10, "--out", folder],
                }
                for name, command in commands.items():
                    try:
                        _, seconds, peak = measure([sys.executable, *command])
                        results[name].append({"process_seconds": seconds, "peak_bytes": peak})
                    except Failed as error:
                        failed[name] = str(error)
                    bar.update()
    for name, title in (("import", "import tensorflow"), ("comparison", "comparison, ten seeds")):
        if results[name]:
            median, least, most = spread(results[name], "process_seconds")
            memory, *_ = spread(results[name], "peak_bytes", 1e6)
            print(f"{title:22} {median:6.1f} s ({least:.1f} to {most:.1f}) {memory:6.0f} MB")
    return {"rounds": rounds, "results": results, "failed": failed}


# Clusters.


CLUSTER_STEPS = 200  # between two looks at the counters
CLUSTER_CASES = {  # what they are called, replicas, and options
    "one process": (0, []),
    "1 replica": (1, []),
    "2 replicas, asynchronous": (2, []),
    "2 replicas, synchronous": (2, ["--sync"]),
}


def benchmark_cluster(arguments):
    rounds = 3 if arguments.rounds is None else arguments.rounds
    cases = itertools.product((64, 1024), CLUSTER_CASES, ("control_dependencies", "in_place"))
    cases = {cluster_case(*case): case for case in cases}
    with progress(rounds * len(cases)) as bar:
        results, _, failed = in_turn(cases, rounds, lambda case: measure_cluster(*cases[case]), bar)
    rows = []
    for case, runs in results.items():
        hidden_size, name, updates = cases[case]
        median, least, most = spread(runs, "steps_per_second")
        row = [case, f"{median:.0f} ({least:.0f} to {most:.0f})"]
        alone = results.get(cluster_case(hidden_size, "one process", updates))
        beside = results.get(cluster_case(hidden_size, name, "control_dependencies"))
        row.append(f"{median_ratio(runs, alone):.2f}" if alone else "")
        row.append(f"{median_ratio(runs, beside):.2f}" if beside and updates == "in_place" else "")
        parameters = 785 * hidden_size + 11 * hidden_size + 20  # weights, biases, beta
        sent = spread(runs, "bytes_of_a_step")[0]
        row += [f"{sent / 1e6:.3f} MB", f"{sent / (4 * parameters):.2f}"] if sent > 4 * parameters else ["", ""]
        rows.append(row)
    columns = ["", "steps a second", "of one process", "in place / beside", "sent in a step", "of the parameters"]
    for line in table(columns, rows):
        print(line)
    return {"rounds": rounds, "results": results, "failed": failed}


def cluster_case(hidden_size, name, updates):
    return f"hidden size {hidden_size}, {name}, {updates}"


def measure_cluster(hidden_size, name, updates):
    """One run: the steps of the cluster a second, and the bytes sent over the loopback between two printed lines."""
    import psutil

    replicas, options = CLUSTER_CASES[name]
    script = [SCRIPTS / "run_cluster.py", "--workers", replicas] if replicas else [SCRIPTS / "run_tutorial.py"]
    looks = f"--eval-every={CLUSTER_STEPS} --print-every={CLUSTER_STEPS} --steps={CLUSTER_STEPS + 1}".split()
    options = [*options, "--edition=page", "--updates", updates, "--hidden-size", hidden_size, *looks]
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(
            list(map(str, [sys.executable, *script, *options])),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            preexec_fn=dies_with_us,
        ) as process,
    ):
        timer = threading.Timer(TIMEOUT, process.terminate)
        timer.start()
        looked = []
        try:
            for line in process.stdout:
                if line.startswith("Epoch: "):
                    looked.append((time.perf_counter(), psutil.net_io_counters(pernic=True)["lo"].bytes_sent))
        except BaseException:
            process.terminate()
            raise
        finally:
            timer.cancel()
            timer.join()
        if process.wait() or len(looked) != 2:
            stderr.seek(0)
            raise Failed(f"ended with {process.returncode}: {stderr.read().decode(errors='replace')[-500:]}")
    (begin, before), (end, after) = looked
    return {
        "steps_per_second": CLUSTER_STEPS / (end - begin),
        "bytes_of_a_step": (after - before) / CLUSTER_STEPS,
    }


# The command.


def chosen(asked, possible, default):
    names = list(default) if asked is None else asked.split(",")
    for name in names:
        if name not in possible:
            raise InputError(f"--systems: found {name!r}; expected some of {', '.join(possible)}")
    return list(dict.fromkeys(names))


def progress(total):
    from tqdm import tqdm

    return tqdm(total=total, unit="run", leave=False, disable=None)


def new_figure(width, height):
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def machine():
    """The versions of all that is measured, as far as it is installed, and the computer."""
    from bn_graph.record import versions

    installed = {distribution.metadata["Name"] for distribution in importlib.metadata.distributions()}
    others = [name for name in ("keras", "torch", "jax", "optax") if name in installed]
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.split(": ")[1] for line in lines if line.startswith("model name")), processor)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"versions": versions(*others), "processor": processor, "cores": cores}


def written_by_us(path):
    """Whether the file `path` was written by --json."""
    try:
        return "benchmark" in json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


BENCHMARKS = {  # what measures and prints, and what draws it
    "training": (benchmark_training, draw_training),
    "scale": (benchmark_scale, draw_scale),
    "audit": (benchmark_audit, draw_audit),
    "comparison": (benchmark_comparison, None),
    "cluster": (benchmark_cluster, None),
}


def command(arguments):
    benchmark, draw = BENCHMARKS[arguments.what]
    if arguments.rounds is not None and arguments.rounds < 1:
        raise InputError(f"--rounds must be a whole number, 1 or more, found {arguments.rounds}")
    if arguments.json:
        check_output(arguments.json, ".json", written_by_us, arguments.force)
    if arguments.plot:
        from bn_graph.pictures import picture_written_by_us

        if draw is None:
            raise InputError(f"--plot: there is no picture of {arguments.what}")
        check_output(arguments.plot, ".png", picture_written_by_us, arguments.force)

    about = machine()
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    print(f"{about['processor']}, {about['cores']} cores", flush=True)
    found = {"benchmark": arguments.what, **about, **benchmark(arguments)}

    for name, error in found["failed"].items():
        print(f"{parser.prog}: {name}: {error}", file=sys.stderr)

    from bn_graph.files import write_whole

    try:
        if arguments.json:
            write_whole(arguments.json, (json.dumps(found, indent=1, default=str) + "\n").encode())
        if arguments.plot and found["results"]:
            from bn_graph.pictures import png

            write_whole(arguments.plot, png(draw(found)))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    run(parser, command)
