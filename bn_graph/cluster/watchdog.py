"""TODO."""

import os
import select
import signal
import sys
import threading
import time

LONGEST_SAVE = 10.0  # seconds after a signal

LOOK_EVERY = 0.5  # seconds between two looks at whether something has come


class Watch(threading.Thread):
    """Ends the process when nothing was done for `patience` seconds, wherever in TensorFlow it waits.

    A signal is seen too while TensorFlow waits, when Python does not see it. The process has then ten seconds to end by
    itself.

    Args:
        patience: seconds.
        who_is_gone: called when they have passed; the line that is said on stderr.
    """

    def __init__(self, patience, who_is_gone):
        super().__init__(daemon=True)
        self._patience, self._who_is_gone = patience, who_is_gone
        self._signals, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written)
        self.kept()

    def kept(self):
        """Something was done."""
        self._since = time.monotonic()

    def run(self):
        code = 1
        while time.monotonic() - self._since < self._patience:
            if select.select([self._signals], [], [], LOOK_EVERY)[0]:
                code, self._patience = 128 + os.read(self._signals, 1)[0], min(self._patience, LONGEST_SAVE)
                self.kept()
        try:
            if code == 1:
                sys.stderr.write(f"{self._who_is_gone()}\n")
            sys.stderr.flush()
        finally:  # also where nobody reads stderr any more
            os._exit(code)
