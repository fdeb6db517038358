"""Trains every recorded graph in a watched session, and follows every fix for its updates: what the tests do with some.

python -m tests.audit
"""

import collections
import json
import sys
import tarfile
import tempfile
from pathlib import Path

from tqdm import tqdm

from bn_graph.cli import Parser, run
from bn_graph.tf1 import tf
from tests.audit.advice.recorded import follow_fixes, is_about_updates
from tests.audit.sessions import CannotRun
from tests.audit.watching import watch_recording
from tests.paths import REFERENCE

parser = Parser(__doc__)


def command(arguments):
    tf.logging.set_verbosity(tf.logging.ERROR)
    counts, wrong = collections.Counter(), {}
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(REFERENCE / "audit.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        expected = json.loads(Path(folder, "expected.json").read_text())
        for name, entry in tqdm(expected.items(), unit="graph", leave=False, disable=None):
            path = Path(folder, name)
            try:
                is_idle, said = watch_recording(path, entry)
            except CannotRun as error:
                counts[f"graphs not watched: {error}"] += 1
            else:
                counts["graphs watched, idle" if is_idle else "graphs watched, right"] += 1
                if is_idle != bool(said):
                    wrong[name] = said or "nothing is said while it trains"
            for _, fault, reason in follow_fixes(path, entry) if is_about_updates(entry) else ():
                counts[f"fixes not followed: {reason}" if reason else "fixes followed"] += 1
                if fault:
                    wrong[name] = fault
    for what, count in sorted(counts.items()):
        print(f"{count:5} {what}")
    for name, what in wrong.items():
        print(f"WRONG {name}: {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    run(parser, command)
