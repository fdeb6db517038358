#!/usr/bin/env python3
"""Says whether the batch-norm layers of a TensorFlow 1 graph or checkpoint are right.

python scripts/audit_graph.py model.ckpt-1000.meta --num-steps 1000
python scripts/audit_graph.py --explain updates-never-run
"""

import signal

if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of what is being imported

import json
from pathlib import Path

from bn_graph.audit.rules import explain, list_rules
from bn_graph.cli import Parser, PrintAndExit, import_tensorflow, run
from bn_graph.files import check_exists

parser = Parser(
    __doc__,
    epilog="Exit code: 0 where there is no error and no warning, 1 where there is one, 2 where PATH cannot be read.",
)
parser.add_argument(
    "path",
    metavar="PATH",
    help="a MetaGraph (.meta), a GraphDef (.pb, .pbtxt), the folder of a SavedModel, or a checkpoint, with its .meta "
    "beside it where there is one",
)
parser.add_argument(
    "--train-op",
    metavar="NAME",
    action="append",
    help="the op that trains; may be given several times (default: the collection TRAIN_OP)",
)
parser.add_argument("--loss", metavar="NAME", help="the loss, where no train op can be found")
parser.add_argument("--num-steps", metavar="N", type=int, help="how many steps are trained: judges decay")
parser.add_argument("--json", action="store_true", help="print one JSON object")
parser.add_argument("--rules", action=PrintAndExit, nargs=0, text=list_rules, help="list the rules, and exit")
parser.add_argument(
    "--explain",
    metavar="RULE",
    action=PrintAndExit,
    text=explain,
    help="say what a rule finds, what follows from it, and how it looks wrong and right, and exit",
)


def command(arguments):
    options = vars(arguments)
    path, as_json = options.pop("path"), options.pop("json", False)
    if Path(path).suffix in (".meta", ".pb", ".pbtxt"):
        check_exists(path)
    else:
        check_exists(path, ("", ".index"), "there is no such file")
    import_tensorflow()
    from bn_graph.audit import audit_graph

    report = audit_graph(path, **options)
    print(json.dumps(report.to_json(), indent=2) if as_json else report)
    return 0 if report.clean else 1


run(parser, command)
