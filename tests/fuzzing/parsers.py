"""Every parser of what a user gives, and what makes the inputs that it is fuzzed with.

The inputs are mutations that know the format, drawn by `random.Random`. Hypothesis takes 10 ms to draw a record with
three values of JSON in it, and this 0.06 ms: 20 000 inputs would be minutes. What else it is good at, to make a failing
input smaller, needs the parser in its own process, which an input may end.

The command needs no more than the names. So what takes long to import, TensorFlow above all, is imported by the
functions that the child calls.
"""

from tests.fuzzing import checkpoints, graphs, idx, matlab, npz, outputs, programs, records, saved_runs, tf_config
from tests.fuzzing.harness import Parser

PARSERS = {
    # Memory is asked for what a packed file says that it holds, a thousand times its size.
    "IDX": Parser(idx.seeds, idx.damage, idx.parse, expansion=5000),
    "npz": Parser(npz.seeds, npz.damage, npz.parse, expansion=5000),
    "mat": Parser(matlab.seeds, matlab.damage, matlab.parse, expansion=5000),
    "record": Parser(records.seeds, records.damage, records.parse),
    "output": Parser(outputs.seeds, outputs.damage, outputs.parse, expansion=5000),
    "checkpoint V1": Parser(checkpoints.v1_seeds, checkpoints.damage_of("v1"), checkpoints.parse_of("v1")),
    "checkpoint V2": Parser(checkpoints.v2_seeds, checkpoints.damage_of("v2"), checkpoints.parse_of("v2")),
    "TF_CONFIG": Parser(tf_config.seeds, tf_config.damage, tf_config.parse, named="TF_CONFIG"),
    "run": Parser(saved_runs.seeds, saved_runs.damage, saved_runs.parse),
    "program": Parser(programs.seeds, programs.damage, programs.parse),
    "graph": Parser(graphs.seeds, graphs.damage, graphs.parse, expansion=200),
}
