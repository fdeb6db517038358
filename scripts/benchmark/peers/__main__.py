#!/usr/bin/env python3
"""Trains the tutorial's network once, by one system, and prints what was measured as one JSON object.

python scripts/benchmark/peers jax
python scripts/benchmark/peers session --hidden-size 4096 --steps 30 --eval-every 10
"""

import dataclasses
import importlib
import json
import os
import sys
from pathlib import Path

if not __package__:  # as Python runs a folder: sys.path has it first, and in it are modules named torch, jax and keras
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmark.peers import SYSTEMS
from benchmark.peers.task import Task
from bn_graph.cli import Parser, import_tensorflow, run
from bn_graph.config import NOTEBOOK
from bn_graph.mnist import load_mnist, split

parser = Parser(__doc__)
option = parser.add_argument
option("system", choices=[name for name, system in SYSTEMS.items() if system.train])
option(
    "--turns", action="store_true", default=False, help="before each block of steps print `ready` and wait for a line"
)
option("--data", default="embedded", metavar="SOURCE", help="as for run_tutorial.py (default: embedded)")
option("--steps", type=int, metavar="N", help=f"training steps (default: {NOTEBOOK.steps})")
option("--batch-size", type=int, metavar="N", help=f"rows in a batch (default: {NOTEBOOK.batch_size})")
option("--hidden-size", type=int, metavar="N", help=f"units of the hidden layer (default: {NOTEBOOK.hidden_size})")
option("--eval-every", type=int, metavar="N", help=f"steps between validations (default: {NOTEBOOK.eval_every})")


def command(arguments):
    settings = {"seed": 1, "eval_every": NOTEBOOK.eval_every, **vars(arguments)}
    system, source, turns = SYSTEMS[settings.pop("system")], settings.pop("data"), settings.pop("turns")
    config = dataclasses.replace(NOTEBOOK, **settings, print_every=settings["eval_every"])
    os.environ["KERAS_BACKEND"] = "tensorflow"
    missing = missing_package(system.packages)
    if missing:
        print(json.dumps({"missing": missing}))
        return
    module, function = system.train.split(":")
    train = getattr(importlib.import_module(f"benchmark.peers.{module}"), function)
    print(json.dumps(train(Task(config, split(load_mnist(source), "original"), turns))))


def missing_package(packages):
    """Imports packages. Returns the name of the first one that is not installed, or None."""
    for package in packages:
        try:
            if package == "tensorflow":
                import_tensorflow()
            else:
                importlib.import_module(package)
        except ModuleNotFoundError as error:
            return error.name or package
    return None


if __name__ == "__main__":
    run(parser, command)
