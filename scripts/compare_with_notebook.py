#!/usr/bin/env python3
"""Trains the tutorial's port beside the original of 2016 and writes a page on what is the same.

python scripts/compare_with_notebook.py
python scripts/compare_with_notebook.py --edition page --seeds 3 --out somewhere
python scripts/compare_with_notebook.py --original bnexample.ipynb --original page.md --mend
"""

import signal

if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of what is being imported

import sys
from pathlib import Path

from bn_graph.cli import FORCE, Parser, check_folder, check_output, import_tensorflow, run, writing
from bn_graph.config import EDITIONS, LARGEST_SEED
from bn_graph.errors import InputError

# fmt: off
# ruff: noqa: E501
parser = Parser(__doc__, epilog="Exit code 1: the port is not the original, by the rules that the page names.")
option = parser.add_argument
option("--edition", choices=EDITIONS, default="notebook", help="which published text (default: notebook, the only one whose printed output was published)")
option("--seeds", type=int, default=10, metavar="N", help="train the port from the seeds 1 to N, 2 or more (default: 10)")
option("--out", default="comparison", metavar="DIR", help="where to write report.html, comparison.png and comparison.json (default: comparison)")
option("--original", action="append", default=[], metavar="FILE", help="run this copy of the author's script (.py), notebook (.ipynb) or page (.md), too; may be given again. It is somebody's program: it runs with your rights")
option("--mend", action="store_true", default=False, help="with --original: first mend the two lines at which the page as printed crashes")
option("--minutes", type=float, default=30, metavar="N", help="with --original: end a program that runs longer (default: 30)")
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

    programs = read_programs(arguments)

    from tqdm import tqdm

    from bn_graph.mnist import load_mnist

    mnist = load_mnist()
    originals = [run_program(program, arguments) for program in programs]
    import_tensorflow()
    from bn_graph.comparison.compare import compare

    with tqdm(unit="step", leave=False, disable=None) as bar:
        comparison = compare(mnist, arguments.edition, arguments.seeds, bar, originals)
    for line in summary_lines(comparison):
        print(line)
    with writing():
        write_comparison(comparison, folder)
    print(f"Written: {', '.join(str(folder / name) for name in FILES)}")
    broken = comparison["verdict"]["broken"]
    if broken:
        more = f" ({len(broken) - 1} more in the report)" if len(broken) > 1 else ""
        print(f"{parser.prog}: the port is not the original: {broken[0]}{more}", file=sys.stderr)
        return 1


def read_programs(arguments):
    """The programs of `--original`. Every mistake that can be seen without running one is an error here."""
    from bn_graph.comparison.original.python2 import check_fissix
    from bn_graph.formats.program import read_program

    if not arguments.original:
        if arguments.mend:
            raise InputError("--mend is for a program of --original, and there is none")
        return []
    if not arguments.minutes > 0:
        raise InputError(f"--minutes must be above 0, found {arguments.minutes:g}")
    check_fissix()
    return [read_program(path) for path in arguments.original]


def run_program(program, arguments):
    from tqdm import tqdm

    from bn_graph.comparison.original.run import run_original, warning_of

    print(warning_of(program), file=sys.stderr)
    with tqdm(unit="step", leave=False, disable=None) as bar:
        return run_original(program, arguments.mend, 60 * arguments.minutes, bar.update)


run(parser, command)
