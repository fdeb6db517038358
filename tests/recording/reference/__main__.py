"""Runs the tutorial as it was published, on the software of 2016, and writes the recordings anew.

    python2.7 -m tests.recording.reference OUTDIR
    python2.7 -m tests.recording.reference OUTDIR --only notebook draws --compare tests/reference REFERENCE

Python 2.7 with tensorflow 0.12.1, numpy 1.11.2, scipy 0.18.1 and scikit-learn 0.18.1; nothing else, not bn_graph.

--compare knows what may differ between computers, and prints it: see comparison.py. It exits with 1 if anything that
has not been through a square root differs in one bit; or if a training loss is further away than three times `one_ulp`,
an accuracy further than rounding moves it, or a result of batch_norm alone by more than 1e-5. Other variables after
training have no limit; their differences are printed.
"""

import argparse
import functools
import os
import sys
import time

NEEDED = "needs Python 2.7 with tensorflow 0.12.1, numpy 1.11.2, scipy 0.18.1 and scikit-learn 0.18.1"


def refuse(found):
    sys.stderr.write("tests.recording.reference: " + NEEDED + "; " + found + "\n")
    sys.exit(2)


if sys.version_info[:2] != (2, 7):
    refuse("this is Python " + sys.version.split()[0])

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

try:
    import numpy
    import scipy
    import sklearn
    import tensorflow as tf

    from tests.recording.reference.batch_norm import record_batch_norm
    from tests.recording.reference.comparison import compare_all
    from tests.recording.reference.draws import record_draws
    from tests.recording.reference.graphs import record_graphs, record_op_seeds
    from tests.recording.reference.runs import record_edition, record_seeds, record_states
    from tests.recording.reference.splits import record_small_splits, record_splits
    from tests.recording.reference.tutorial import EDITIONS, Digits
except ImportError as error:
    refuse(str(error).splitlines()[0])

found = (tf.__version__, numpy.__version__, scipy.__version__, sklearn.__version__)
if found != ("0.12.1", "1.11.2", "0.18.1", "0.18.1"):
    refuse("these are " + ", ".join(found))

tf.logging.set_verbosity(tf.logging.ERROR)  # initialize_all_variables is deprecated, and says so

DIGITS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "bn_graph", "data", "mnist.npz")

# Each is called with the folder to write to and the digits. The quick ones come first.
PARTS = [
    ("splits", record_splits),
    ("small_splits", record_small_splits),
    ("draws", record_draws),
    ("op_seeds", record_op_seeds),
    ("graph", record_graphs),
    ("batch_norm", record_batch_norm),
]
PARTS += [(name, functools.partial(record_edition, name)) for name in sorted(EDITIONS)]
PARTS += [("state", record_states), ("seeds", record_seeds)]


def main():
    parser = argparse.ArgumentParser(
        prog="python2.7 -m tests.recording.reference",
        description="Records what the tutorial does on TensorFlow 0.12.1.",
    )
    parser.add_argument("out", metavar="OUTDIR", help="where the recordings go, laid out like tests/reference")
    parser.add_argument("--digits", default=DIGITS, help="mnist.npz (default: the one in bn_graph/data)")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="record these parts only; no name: none at all")
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="DIR",
        help="compare all files in OUTDIR with those kept in the first DIR with them",
    )
    args = parser.parse_args()
    names = [name for name, _ in PARTS]
    for name in args.only or []:
        if name not in names:
            parser.error("--only " + name + ": no such part; there are " + " ".join(names))
    digits = Digits(args.digits)
    for name, record in PARTS:
        if args.only is None or name in args.only:
            start = time.time()
            record(args.out, digits)
            sys.stderr.write(name + ": " + str(int(round(time.time() - start))) + " s\n")
    if args.compare and not compare_all(args.out, args.compare):
        sys.exit(1)


if __name__ == "__main__":
    main()
