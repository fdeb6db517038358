#!/usr/bin/env python3
"""Estimates the moving statistics of a trained checkpoint anew, from data and without training.

python scripts/recalibrate.py run/step-1000/variables rescued.ckpt    # a checkpoint of the tutorial's network
python scripts/recalibrate.py model.ckpt-500 rescued.ckpt --data images.npz --feed keep_prob=1.0
"""

import signal

if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of what is being imported

import json

from bn_graph.cli import Parser, import_tensorflow, run
from bn_graph.files import check_exists
from bn_graph.formats.graph_paths import find_graph

# fmt: off
# ruff: noqa: E501
parser = Parser(
    __doc__,
    epilog="This imports and runs the graph: do it with graphs that you would run yourself. Exit code: 0 where every layer was estimated, 1 where one was left as it was, 2 where nothing could be done.",
)
option = parser.add_argument
option("checkpoint", metavar="CHECKPOINT", help="the prefix of a checkpoint (before .index, or before its step), a V1 file, a folder with a checkpoint in it, or a frozen graph (.pb, .pbtxt)")
option("output", metavar="OUT", help="the prefix of the new checkpoint, or the new frozen graph")
option("--graph", metavar="FILE.meta", help="the graph that trained it (default: the .meta beside the checkpoint)")
option("--data", metavar="FILE.npz", help="arrays of rows, named after the placeholders that they are fed to")
option("--feed", metavar="NAME=VALUE", action="append", help="a value for another placeholder; may be given several times")
option("--batch-size", metavar="N", type=int, help="rows in a batch (default: what the placeholder has, or else 64)")
option("--batches", metavar="N", type=int, help="how many batches (default: all whole ones)")
option("--estimate", metavar="WHICH", help="population: the variance of all values; batch: the mean of the batches' variances (default: population)")
option("--seed", metavar="N", type=int, help="of the random order of the rows (default: 1)")
option("--split", metavar="SPLIT", help="of the digits, for the tutorial's network: stratified or original (default: stratified)")
option("--json", action="store_true", help="print one JSON object")
# fmt: on


def command(arguments):
    options = vars(arguments)
    checkpoint, output = options.pop("checkpoint"), options.pop("output")
    as_json = options.pop("json", False)
    for path in filter(None, (checkpoint, options.get("graph"))):
        find_graph(path)
    if "data" in options:
        check_exists(options["data"])
    import_tensorflow()
    from tqdm import tqdm

    from bn_graph.recalibration.feeds import parse_feed
    from bn_graph.recalibration.recalibrate import recalibrate

    if "feed" in options:
        options["feed"] = dict(map(parse_feed, options["feed"]))

    def progress(batches):
        return tqdm(batches, unit="batch", leave=False, disable=None)

    report = recalibrate(checkpoint, output, progress=progress, **options)
    print(json.dumps(report.to_json(), indent=2) if as_json else report)
    return 0 if report.complete else 1


run(parser, command)
