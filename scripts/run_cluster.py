#!/usr/bin/env python3
"""Runs the tutorial as a small cluster of processes on this machine's loopback, to try it.

python scripts/run_cluster.py --workers 2 --ps 1
python scripts/run_cluster.py --workers 2 --ps 1 --sync --steps 200 --seed 1
"""

import signal

if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of what is being imported

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import run_tutorial

from bn_graph.cli import Parser, run, set_parent_death_signal
from bn_graph.errors import InputError

HOST = "127.0.0.1"
MOST = 64  # processes of a kind
FAREWELL = 20  # seconds in which a process ends by itself, before it is killed

own = Parser(add_help=False)
option = own.add_argument
option("--workers", type=int, default=2, metavar="N", help="replicas, the chief among them (default: 2)")
option("--ps", type=int, default=1, metavar="N", help="parameter servers (default: 1)")
parser = Parser(__doc__, parents=[own, run_tutorial.parser], conflict_handler="resolve")


def command(arguments):
    for name in ("workers", "ps"):
        if not 1 <= getattr(arguments, name) <= MOST:
            raise InputError(f"--{name} must be from 1 to {MOST}, found {getattr(arguments, name)}")
    run_tutorial.config_of(arguments)  # so that a mistake is said once
    _, options = own.parse_known_args()
    addresses = free_addresses(arguments.workers + arguments.ps)
    replicas, ps = addresses[: arguments.workers], addresses[arguments.workers :]
    jobs = {"ps": ps, "worker": replicas[1:], "chief": replicas[:1]}
    jobs = {job: tasks for job, tasks in jobs.items() if tasks}
    with contextlib.ExitStack() as stack:  # the chief is ended first, because it may want to save
        tasks = [(job, index) for job in jobs for index in range(len(jobs[job]))]
        processes = [stack.enter_context(started(jobs, *task, options)) for task in tasks]
        for (job, index), process in zip(tasks[:-1], processes, strict=False):
            threading.Thread(target=relay, args=(f"{job} {index}", process.stderr), daemon=True).start()
        code = processes[-1].wait()
        if code:
            sys.exit(code if code > 0 else 128 - code)


def free_addresses(number):
    """So many addresses of the loopback whose ports are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for found in sockets:
            found.bind((HOST, 0))
        return [f"{HOST}:{found.getsockname()[1]}" for found in sockets]


@contextlib.contextmanager
def started(jobs, job, index, options):
    """A process of the cluster. It is ended with this context, at once where an exception ends that."""
    process = subprocess.Popen(
        [sys.executable, Path(run_tutorial.__file__), *options],
        env={**os.environ, "TF_CONFIG": json.dumps({"cluster": jobs, "task": {"type": job, "index": index}})},
        stdin=subprocess.DEVNULL,
        stderr=None if job == "chief" else subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us, who end the others in order
        preexec_fn=set_parent_death_signal,
    )
    try:
        yield process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(FAREWELL)
    finally:
        process.terminate()
        try:
            process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def relay(name, lines):
    for line in lines:
        sys.stderr.write(f"{name}: {line.decode(errors='replace')}")


if __name__ == "__main__":
    run(parser, command)
