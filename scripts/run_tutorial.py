#!/usr/bin/env python3
"""Runs the 2016 tutorial "Using Batch Normalization" on today's TensorFlow and prints what it printed.

python scripts/run_tutorial.py
python scripts/run_tutorial.py --edition notebook --split original --seed 1
python scripts/run_tutorial.py --edition page --updates collected    # the page as printed
python scripts/run_tutorial.py --checkpoint-dir DIR    # the same again goes on where it was killed
"""

import signal

if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of what is being imported

import contextlib
import dataclasses
import functools
import os
import sys
from argparse import BooleanOptionalAction

from bn_graph.cli import FORCE, Parser, Signals, check_folder, check_output, import_tensorflow, run, writing
from bn_graph.cluster.tf_config import cluster_of
from bn_graph.config import (
    BATCH_NORM_SETTINGS,
    EDITIONS,
    ENGINES,
    IS_TRAINING,
    NOTEBOOK,
    PAGE,
    PUBLISHED,
    SPLITS,
    UPDATES,
)
from bn_graph.errors import InputError, one_line
from bn_graph.files import check_checkpoint_exists
from bn_graph.record import record_written_by_us

# fmt: off
# ruff: noqa: E501
parser = Parser(__doc__)
option = parser.add_argument
option("--edition", choices=EDITIONS, default="page", help="which published text (default: page)")
option("--batch-norm", action=BooleanOptionalAction, help="normalise X*weights+biases of both layers (default: yes)")
option("--updates", choices=UPDATES, help="who updates the moving averages: the train op depends on the update ops (default for page), batch_norm runs them in place (default for script and notebook), or nobody does (the page as printed)")
option("--center", action=BooleanOptionalAction, help="batch_norm adds beta (default: yes)")
option("--scale", action=BooleanOptionalAction, help="batch_norm multiplies by gamma (default: in the notebook)")
option("--decay", type=float, help=f"of the moving averages, 0 to 1 (default: {PAGE.decay})")
option("--is-training", choices=IS_TRAINING, help="a Python bool and three towers, or a placeholder and one (default: bool)")
option("--data", default="embedded", metavar="SOURCE", help="embedded, openml, or a path: an .npz file, a .mat file or a folder of IDX files (default: embedded)")
option("--split", choices=SPLITS, default="stratified", help="disjoint sets, or those that scikit-learn 0.18.1 drew (default: stratified)")
option("--seed", type=int, metavar="N", help="graph-level seed (default: one is drawn)")
option("--steps", type=int, metavar="N", help=f"training steps (default: {PAGE.steps})")
option("--batch-size", type=int, metavar="N", help=f"rows in a batch (default: {PAGE.batch_size})")
option("--hidden-size", type=int, metavar="N", help=f"units of the hidden layer (default: {PAGE.hidden_size})")
option("--learning-rate", type=float, metavar="RATE", help=f"before its decay (default: {PAGE.learning_rate})")
option("--keep-prob", type=float, metavar="P", help=f"what dropout keeps, more than 0, at most 1 (default: {PAGE.keep_prob})")
option("--eval-every", type=int, metavar="N", help=f"steps between two validations (default: {PAGE.eval_every})")
option("--print-every", type=int, metavar="N", help=f"steps between two printed lines, a multiple of --eval-every (default: {PAGE.print_every}, notebook {NOTEBOOK.print_every})")
option("--engine", choices=ENGINES, default="session", help="who loops over the steps: Python, as in the tutorial; the graph, for the same numbers; or XLA, for others within rounding, the fastest with TensorFlow 2.21 (default: session)")
option("--record", default=None, metavar="FILE.json", help="write what was measured")
option("--plot", default=None, metavar="FILE.png", help="write a picture of it")
option("--force", **FORCE)
option("--logdir", default=None, metavar="DIR", help="write TensorBoard event files: scalars, histograms inside the layers, moving statistics")
option("--restore", default=None, metavar="CHECKPOINT", help="start from what TF 0.12's Saver saved: a V1 file or the prefix of V2 files; with --steps 0, test it")
option("--checkpoint-dir", default=None, metavar="DIR", help="save the run there, and go on from what is saved there; SIGINT, SIGTERM and SIGHUP save and end")
option("--checkpoint-every", type=int, metavar="N", help="steps between two checkpoints (default: 100)")
option("--sync", action="store_true", default=False, help="in a cluster (TF_CONFIG): the replicas make each step together (default: each by itself)")
option("--patience", type=float, metavar="SECONDS", help="in a cluster: how long nothing may happen, 1 or more (default: 60)")
option("--quiet", action="store_true", default=False, help="print nothing")
# fmt: on


def config_of(arguments):
    edition = PUBLISHED[arguments.edition]
    settings = {field.name for field in dataclasses.fields(edition)}
    given = {name: value for name, value in vars(arguments).items() if name in settings}
    if not given.get("batch_norm", True):
        for name in BATCH_NORM_SETTINGS:
            if name in given:
                option = f"--no-{name}" if given[name] is False else f"--{name}"
                raise InputError(f"{option} has no effect with --no-batch-norm; leave one of them out")
    return dataclasses.replace(edition, **given)


def command(arguments):
    config, cluster = config_of(arguments), cluster_of(os.environ)
    check_options(arguments, cluster)
    is_chief = cluster is None or cluster.replica == 0
    if not is_chief:  # the same command, but only the chief prints and writes
        arguments.record = arguments.plot = arguments.checkpoint_dir = None
    check_outputs(arguments)
    console = Console(arguments.quiet, is_chief)
    with open_checkpoints(arguments, console.note) as checkpoints:
        if checkpoints:
            config = checkpoints.with_seed(config)
        with Signals() if checkpoints else contextlib.nullcontext() as signals:
            stop = signals and (lambda: signals.number)
            options = dict(log=console.log, progress=console.progress, checkpoints=checkpoints, stop=stop)
            run_it = functools.partial(run_in_cluster, cluster) if cluster else run_alone
            record, failure = run_it(arguments, config, console, **options)
        if record is None:  # not the chief
            return 0
        if record.test_accuracy is None:
            if not checkpoints.failure:  # which was said
                done = f"{record.num_steps} of {record.config.steps} steps"
                console.note(f"{arguments.checkpoint_dir}: saved after {done}; the same command goes on")
            return 128 + signals.number
        write_outputs(record, arguments)
        failure = checkpoints and checkpoints.failure or failure
        if failure:
            raise InputError(failure)
        return 0


class Console:
    """The tutorial's lines on stdout; notes, and progress where it is a terminal, on stderr."""

    def __init__(self, quiet, is_chief):
        from tqdm import tqdm

        self._tqdm, self._quiet, self._is_chief = tqdm, quiet, is_chief

    def log(self, line):
        if not self._quiet and self._is_chief:
            self._tqdm.write(line)  # print, where there is no progress bar on the screen
            sys.stdout.flush()

    def note(self, line):
        if not self._quiet:
            self._tqdm.write(f"{parser.prog}: {one_line(line)}", file=sys.stderr)

    def progress(self, steps):
        disable = True if self._quiet else None
        return self._tqdm(steps, unit="step", leave=False, disable=disable, initial=steps.start, total=steps.stop)


def run_alone(arguments, config, console, **options):
    """Trains in this process. Returns the record, and why event files could not be written or None."""
    splits = load_splits(arguments, console)
    import_tensorflow()
    from bn_graph import build_graph, restore_original_checkpoint, train
    from bn_graph.saving.restore import unused_parameters

    def start(session):
        if arguments.restore:
            missing = restore_original_checkpoint(tutorial, session, arguments.restore)
            for line in restored_lines(missing, unused_parameters(tutorial, session), splits.split):
                if not arguments.quiet:
                    print(f"{arguments.restore}: {line}", file=sys.stderr)

    tutorial = build_graph(config, splits)
    with open_summaries(arguments, tutorial, console.note) as summaries:
        options |= dict(start=start, restored=arguments.restore, summaries=summaries, engine=arguments.engine)
        record = train(tutorial, splits, **options)
    return record, summaries and summaries.failure


def run_in_cluster(cluster, arguments, config, console, **options):
    """Does the part of this task of the cluster. Returns the record, of the chief alone, and None."""
    import_tensorflow()
    from bn_graph.cluster.tasks import run_task

    patience = {"patience": arguments.patience} if "patience" in arguments else {}
    record = run_task(
        cluster,
        config,
        lambda: load_splits(arguments, console),
        arguments.sync,
        note=console.note,
        train_options=options,
        **patience,
    )
    return record, None


def load_splits(arguments, console):
    from bn_graph.mnist import data_lines, load_mnist, split

    mnist = load_mnist(arguments.data)
    splits = split(mnist, arguments.split)
    for line in data_lines(mnist, splits):
        console.log(line)
    return splits


def open_checkpoints(arguments, note):
    if not arguments.checkpoint_dir:
        return contextlib.nullcontext()
    import_tensorflow()
    from bn_graph.saving.checkpoints import CheckpointFolder

    every = {"every": arguments.checkpoint_every} if "checkpoint_every" in arguments else {}
    return CheckpointFolder(arguments.checkpoint_dir, **every, note=note)


def open_summaries(arguments, tutorial, note):
    if not arguments.logdir:
        return contextlib.nullcontext()
    from bn_graph.saving.summaries import Summaries

    return contextlib.closing(Summaries(tutorial, arguments.logdir, note))


def write_outputs(record, arguments):
    with writing():
        if arguments.record:
            record.save(arguments.record)
        if arguments.plot:
            from bn_graph.saving.plot import plot_record

            plot_record(record, arguments.plot)


def restored_lines(missing, unused, split):
    """What whoever restores a checkpoint should know of it.

    missing: the variables that it does not have. unused: which parameters of batch_norm it has for nothing.
    """
    if missing:
        several = f"{missing[0]} and {len(missing) - 1} others start" if missing[1:] else f"{missing[0]} starts"
        yield f"{several} afresh: not in the checkpoint"
    for name in unused:
        option = {"beta": "--center", "gamma": "--scale"}[name]
        yield f"{name} was trained and is not used here: {option} uses it"
    yield f"the split is {split}: with another one, rows that it was trained on are among the test rows"


def check_options(arguments, cluster):
    if "checkpoint_every" in arguments and not arguments.checkpoint_dir:
        raise InputError("--checkpoint-every needs --checkpoint-dir")
    if cluster is None:
        for name in ("sync", "patience"):
            if getattr(arguments, name, False):
                raise InputError(f"--{name} needs a cluster, named by TF_CONFIG in the environment")
        return
    for name in ("logdir", "restore"):
        if getattr(arguments, name):
            raise InputError(f"--{name} cannot be used in a cluster (TF_CONFIG)")
    if arguments.engine != "session":
        raise InputError(f"--engine {arguments.engine} cannot be used in a cluster (TF_CONFIG); expected session")
    if not 1 <= getattr(arguments, "patience", 60) <= 86400:
        raise InputError(f"--patience must be from 1 to 86400 seconds, found {arguments.patience}")


def check_outputs(arguments):
    """Refuses what cannot be read or written at the end, before any work is done."""
    if arguments.restore:
        check_checkpoint_exists(arguments.restore)
    if arguments.record:
        check_output(arguments.record, ".json", record_written_by_us, arguments.force)
    if arguments.plot:
        from bn_graph.pictures import picture_written_by_us

        check_output(arguments.plot, ".png", picture_written_by_us, arguments.force)
    if arguments.logdir:
        check_folder(arguments.logdir)


if __name__ == "__main__":
    run(parser, command)
