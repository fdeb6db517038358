#!/usr/bin/env python3
"""Exports a TensorFlow 1 checkpoint of the tutorial's network as a SavedModel and a Keras file.

python scripts/export_model.py notebook.ckpt exported
"""

import signal

if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of what is being imported

from bn_graph.cli import FORCE, Parser, import_tensorflow, run
from bn_graph.files import check_checkpoint_exists

parser = Parser(__doc__)
parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a V1 file, or the prefix of V2 files (before .index)")
parser.add_argument("folder", metavar="DIR", help="becomes the SavedModel, with model.keras in it")
parser.add_argument(
    "--force", **FORCE | {"help": "put it into a folder that has other things in it, and leave these there"}
)


def command(arguments):
    check_checkpoint_exists(arguments.checkpoint)
    import_tensorflow()
    from bn_graph.saving.export import KERAS_FILE, export_model

    export_model(arguments.checkpoint, arguments.folder, arguments.force)
    print(f"SavedModel: {arguments.folder}")
    print(f"Keras file: {arguments.folder}/{KERAS_FILE}")


run(parser, command)
