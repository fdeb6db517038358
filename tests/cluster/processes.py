"""The processes of a cluster, for a test."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from tests.cluster.environment import tf_config
from tests.paths import ROOT

LONGEST = 300  # seconds that a test waits for a process
ONE_TOWER = ["--is-training", "placeholder"]  # three are twice as long in building


class Processes:
    """The processes of a cluster on the loopback, each started by `start`. They end with the context.

    held_at: a text, or None. Of a process that has printed it nothing more is read. It waits in its next `print` but
        one, because its pipe has room for one. So a test need not be quick where it wants to do something at that step.
    """

    def __init__(self, folder, *options, workers=2, ps=1):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(workers + ps)]
            for found in sockets:
                found.bind(("127.0.0.1", 0))
            free = [f"127.0.0.1:{found.getsockname()[1]}" for found in sockets]
        jobs = {"chief": free[:1], "worker": free[1:workers], "ps": free[workers:]}
        self.cluster = {job: addresses for job, addresses in jobs.items() if addresses}
        self.folder, self.options = folder, options
        self.running, self.printed, self.held_at, self._readers = {}, {}, None, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.kill()
            process.wait(LONGEST)

    def start(self, job, index=0, *options, script=(ROOT / "scripts" / "run_tutorial.py",)):
        """Starts a process, or the same one again. Its stdout and stderr are in `printed`, as they come.

        script: what Python is called with, before the options.
        """
        name = f"{job} {index}"
        # Each write to such a pipe takes a page of its own, pipe(2), and this one has one page.
        reader, writer = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        self.running[name] = subprocess.Popen(
            list(map(str, [sys.executable, *script, *self.options, *options])),
            cwd=self.folder,
            env={**os.environ, **tf_config(self.cluster, job, index)},
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
        )
        os.close(writer)
        self.printed[name] = []
        self._readers[name] = threading.Thread(target=self._read, args=(reader, self.printed[name]), daemon=True)
        self._readers[name].start()

    def start_all(self):
        for job, addresses in self.cluster.items():
            for index in range(len(addresses)):
                self.start(job, index)

    def wait_for(self, name, text):
        """Waits until the process has printed the text."""

        def has_printed():
            has_ended = not self._readers[name].is_alive()
            if any(text in line for line in self.printed[name]):
                return True
            assert not has_ended, f"{name} ended before it printed {text!r}; printed:\n{self.all_printed()}"
            return False

        self.until(has_printed, f"{name} to print {text!r}")

    def kill(self, name, number=signal.SIGKILL):
        """Sends a signal that ends the process. Returns its exit code."""
        self.running[name].send_signal(number)
        return self.running[name].wait(LONGEST)

    def end(self):
        """Waits until all have ended by themselves. Returns their exit codes by name."""
        return {name: self.end_of(name) for name in self.running}

    def end_of(self, name):
        """Waits until the process has ended by itself and all that it printed is read. Returns its exit code."""
        self.until(lambda: self.running[name].poll() is not None, f"{name} to end")
        self._readers[name].join(LONGEST)
        return self.running[name].returncode

    def address(self, name):
        job, index = name.split()
        return self.cluster[job][int(index)]

    def all_printed(self):
        return "".join(f"{name}: {line}" for name, lines in self.printed.items() for line in lines)

    def _read(self, reader, lines):
        with open(reader) as printed:
            for line in printed:
                lines.append(line)
                while self.held_at and self.held_at in line:
                    time.sleep(0.02)

    def until(self, come, what):
        late = time.monotonic() + LONGEST
        while not come():
            assert time.monotonic() < late, f"waited {LONGEST} s for {what}; printed:\n{self.all_printed()}"
            time.sleep(0.02)
