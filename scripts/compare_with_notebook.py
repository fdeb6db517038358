#!/usr/bin/env python3
"""Trains the tutorial's port beside the original of 2016 and writes a page on what is the same.

python scripts/compare_with_notebook.py
python scripts/compare_with_notebook.py --edition page --seeds 3 --out somewhere
"""

import signal

if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of what is being imported

import sys
from pathlib import Path

from bn_graph.cli import FORCE, Parser, check_folder, check_output, import_tensorflow, run
from bn_graph.config import EDITIONS, LARGEST_SEED
from bn_graph.errors import InputError

# fmt: off
# ruff: noqa: E501
parser = Parser(__doc__, epilog="Exit code 1: the port is not the original, by the rules that the page names.")
option = parser.add_argument
option("--edition", choices=EDITIONS, default="notebook", help="which published text (default: notebook, the only one whose printed output was published)")
option("--seeds", type=int, default=10, metavar="N", help="train the port from the seeds 1 to N, 2 or more (default: 10)")
option("--out", default="comparison", metavar="DIR", help="where to write report.html, comparison.png and comparison.json (default: comparison)")
option("--force", **FORCE)
# fmt: on


def command(arguments):
    from bn_graph.comparison.report import FILES, summary_lines, write_comparison

    if not 2 <= arguments.seeds <= LARGEST_SEED:
        raise InputError(f"--seeds must be a whole number from 2 to {LARGEST_SEED}, found {arguments.seeds}")
    folder = Path(arguments.out)
    check_folder(folder)
    if folder.exists():
        for name, written_by_us in FILES.items():
            check_output(folder / name, Path(name).suffix, written_by_us, arguments.force)

    from tqdm import tqdm

    from bn_graph.mnist import load_mnist

    mnist = load_mnist()
    import_tensorflow()
    from bn_graph.comparison.compare import compare

    with tqdm(unit="step", leave=False, disable=None) as bar:
        comparison = compare(mnist, arguments.edition, arguments.seeds, bar)
    for line in summary_lines(comparison):
        print(line)
    try:
        write_comparison(comparison, folder)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}") from None
    print(f"Written: {', '.join(str(folder / name) for name in FILES)}")
    broken = comparison["verdict"]["broken"]
    if broken:
        more = f" ({len(broken) - 1} more in the report)" if len(broken) > 1 else ""
        print(f"{parser.prog}: the port is not the original: {broken[0]}{more}", file=sys.stderr)
        return 1


run(parser, command)
