"""Feeds damaged inputs to every parser of what a user gives, and says what each parser did with them.

python -m tests.fuzzing
python -m tests.fuzzing npz record --inputs 1000 --seed 7
python -m tests.fuzzing --replay fuzz-npz-0-1234.zip
"""

import secrets
import zipfile

from bn_graph.cli import Parser, run
from bn_graph.errors import InputError
from tests.fuzzing.harness import fuzz, parser_of
from tests.fuzzing.parsers import PARSERS

parser = Parser(
    __doc__,
    prog="python -m tests.fuzzing",
    epilog="Exit code 1: a finding. Its input is kept in this folder.",
)
parser.add_argument("parsers", nargs="*", default=[], metavar="PARSER", help=f"of {', '.join(PARSERS)} (default: all)")
parser.add_argument("--inputs", type=int, default=20_000, metavar="N", help="for each parser (default: 20000)")
parser.add_argument("--seed", type=int, default=None, metavar="N", help="of the inputs (default: one is drawn)")
parser.add_argument("--replay", default=None, metavar="FILE", help="the input that a finding was kept in, and no other")


def command(arguments):
    names = arguments.parsers or list(PARSERS)
    if arguments.replay:
        try:
            names = [parser_of(arguments.replay)]
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{arguments.replay}: expected the kept input of a finding ({error})") from None
    unknown = [name for name in names if name not in PARSERS]
    if unknown or arguments.inputs < 1:
        accepted = f"PARSER must be one of {', '.join(PARSERS)}" if unknown else "--inputs must be 1 or more"
        raise InputError(f"{accepted}, found {unknown[0] if unknown else arguments.inputs}")
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    if not arguments.replay:
        print(f"seed {seed}")
    for name in names:
        outcome = fuzz(name, arguments.inputs, seed, replay=arguments.replay)
        print(f"{name}: {outcome}", flush=True)
        if outcome.finding:
            print(f"{name}: {outcome.finding}\nThe input: {outcome.saved}; again by --replay {outcome.saved}")
            return 1


if __name__ == "__main__":
    run(parser, command)
