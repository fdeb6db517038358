"""Recalibrates every recorded graph, and counts: what was right, what cannot be estimated, and why.

python -m tests.recalibration
"""

import collections
import json
import re
import sys
import tarfile
import tempfile
from pathlib import Path

from tqdm import tqdm

from bn_graph import InputError
from bn_graph.cli import Parser, run
from tests.audit.sessions import CannotRun
from tests.paths import REFERENCE
from tests.recalibration.recorded import recalibrated_recording

parser = Parser(__doc__)


def command(arguments):
    counts, reasons, wrong = collections.Counter(), collections.defaultdict(list), {}
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(REFERENCE / "audit.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        expected = json.loads(Path(folder, "expected.json").read_text())
        for name, entry in tqdm(expected.items(), unit="graph", leave=False, disable=None):
            with tempfile.TemporaryDirectory() as made:
                try:
                    done = recalibrated_recording(Path(folder, name), entry, Path(made))
                except (CannotRun, InputError) as error:
                    reasons[_kind(str(error).replace(f"{folder}/{name}: ", ""))].append(name)
                    continue
                except Exception as error:  # not a way to refuse a graph
                    wrong[name] = [f"{type(error).__name__}: {error}"]
                    continue
            counts["graphs recalibrated"] += 1
            counts["layers estimated"] += len(done.report.layers)
            counts["statistics compared with what the graph's own update stores"] += len(done.stored)
            counts["layers compared between training and evaluation"] += len(done.towers)
            if done.wrong():
                wrong[name] = done.wrong()
            for reason in done.report.skipped.values():
                reasons[f"one of several layers: {reason}"].append(name)
    for what, count in counts.items():
        print(f"{count:5} {what}")
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        print(f"{len(names):5} {reason}: {', '.join(names[:3])}{' ...' * (len(names) > 3)}")
    for name, what in wrong.items():
        print(f"WRONG {name}: {'; '.join(what)}", file=sys.stderr)
    return 1 if wrong else 0


def _kind(error):
    """An error without what only one graph has: the names of its layers and ops."""
    error = re.sub(r"^no layer can be estimated: \S+: ", "no layer: ", error)
    return re.sub(r"needs values for .*;", "needs values that nothing gives;", error)


if __name__ == "__main__":
    run(parser, command)
