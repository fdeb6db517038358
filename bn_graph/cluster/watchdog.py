"""Ends a process of a cluster in which nothing was done for too long.

TensorFlow may wait for a peer anywhere in its C++, where Python sees neither a timeout nor a signal. So a thread looks.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time

POLL_SECONDS = 0.5  # between two looks at whether something has come
_SHUTDOWN_SECONDS = 10.0  # after a signal, in which the chief may save; and for the last line


class Watchdog(threading.Thread):
    """Ends the process when nothing was done for `patience` seconds, wherever in TensorFlow it waits.

    The exit code is then 1. A signal is seen too while TensorFlow waits, when Python does not see it. The process has
    then ten seconds to end by itself; otherwise its exit code is 128 and the signal's number.

    Args:
        patience: seconds.
        timeout_line: called when they have passed; returns the line for stderr.

    resets: how often something was done.
    """

    def __init__(self, patience: float, timeout_line):
        super().__init__(daemon=True)
        self._patience, self._timeout_line = patience, timeout_line
        self._signals, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end)  # Python writes the number of each signal into it
        self.resets = 0
        self.reset()

    def reset(self):
        """Begins the time anew: something was done."""
        self._since = time.monotonic()
        self.resets += 1

    def run(self):
        code = 1
        while time.monotonic() - self._since < self._patience:
            if select.select([self._signals], [], [], POLL_SECONDS)[0]:
                code = 128 + os.read(self._signals, 1)[0]
                self._patience = min(self._patience, _SHUTDOWN_SECONDS)
                self.reset()
        if code == 1:
            # In a thread, because whoever is to read stderr may be stopped, too.
            line = threading.Thread(target=self._write_line, daemon=True)
            line.start()
            line.join(_SHUTDOWN_SECONDS)
        os._exit(code)

    def _write_line(self):
        with contextlib.suppress(OSError):  # nobody reads stderr any more
            sys.stderr.write(f"{self._timeout_line()}\n")
            sys.stderr.flush()
