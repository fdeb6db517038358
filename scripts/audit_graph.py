#!/usr/bin/env python3
"""Says whether the batch-norm layers of TensorFlow 1 graphs or checkpoints are right.

python scripts/audit_graph.py model.ckpt-1000.meta --num-steps 1000
python scripts/audit_graph.py --explain updates-never-run
"""

import signal

if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of what is being imported

import functools
import sys

from bn_graph.audit.rules import explain, list_rules
from bn_graph.audit.selection import FORMATS, check_path, rule_names, selected_rules, try_each
from bn_graph.audit.summary import SEVERITIES
from bn_graph.cli import Parser, PrintAndExit, argument_type, has_colours, import_tensorflow, run
from bn_graph.errors import one_line

parser = Parser(
    __doc__,
    epilog="Exit code: 0 where no error and no warning is reported, 1 where one is, 2 where a PATH cannot be read.",
)
parser.add_argument(
    "path",
    metavar="PATH",
    nargs="+",
    help="a MetaGraph (.meta), a GraphDef (.pb, .pbtxt), an event file of TensorBoard, or a checkpoint, with its graph "
    "beside it where there is one; or the folder that holds them, or a SavedModel",
)
parser.add_argument(
    "--train-op",
    metavar="NAME",
    action="append",
    help="the op that trains; may be given several times (default: the collection TRAIN_OP)",
)
parser.add_argument(
    "--also-run",
    metavar="NAME",
    action="append",
    help="an op that the program runs beside the train op; may be given several times",
)
parser.add_argument("--loss", metavar="NAME", help="the loss, where no train op can be found")
parser.add_argument("--num-steps", metavar="N", type=int, help="how many steps are trained: judges decay")
RULE_NAMES = {"metavar": "RULES", "type": argument_type(rule_names)}
parser.add_argument("--select", help="report these rules alone, with commas between", **RULE_NAMES)
parser.add_argument("--ignore", help="report all but these rules", **RULE_NAMES)
parser.add_argument("--severity", choices=SEVERITIES, help="report what is as severe as this, or more (default: note)")
parser.add_argument("--format", choices=FORMATS, help="how the reports are printed (default: text)")
parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
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
    given, output = options.pop("path"), FORMATS[options.pop("format", "text")]
    rules = selected_rules(options.pop("select", None), options.pop("ignore", []))
    severity = options.pop("severity", "note")
    paths, refused = try_each(check_path, given)
    reports = []
    if paths:
        import_tensorflow()
        from bn_graph.audit import audit_graph

        reports, unread = try_each(functools.partial(audit_graph, **options), paths)
        refused += unread
    reports = [report.reduced(rules, severity) for report in reports]
    if reports:
        print(output.render(reports, has_colours(sys.stdout), several=len(given) > 1))
    for line in dict.fromkeys(one_line(str(error)) for error in refused):
        print(f"{parser.prog}: {line}", file=sys.stderr)
    return 2 if refused else 0 if all(report.clean for report in reports) else 1


run(parser, command)
