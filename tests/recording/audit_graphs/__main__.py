"""Writes the corpus for the audit: small graphs as old TensorFlow releases and their libraries made them.

    python2.7 -m tests.recording.audit_graphs OUTDIR
    python2.7 -m tests.recording.audit_graphs OUTDIR --only 'contrib_*' 'ckpt_*'
    tar -cJf tests/reference/audit.tar.xz -C OUTDIR .

20 MB, packed 0.7 MB. One run per environment, all into the same OUTDIR:

    Python 2.7, tensorflow 0.12.1, numpy 1.11.2
    Python 2.7, tensorflow 1.4.1
    Python 2.7, tensorflow 1.15.0, dm-sonnet 1.36, tensorflow-probability 0.8.0, tensorpack 0.9.8

Every graph is written as OUTDIR/<release>_<name>.meta (frozen graphs as .pb, checkpoints and SavedModels as folders).
OUTDIR/expected.json says of each what an audit should find; another environment's entries are kept:

    train_op   the name to give to the audit as the train op, or null
    num_steps  the number of steps to give to it, or null
    findings   [rule, severity] pairs, as a set
    may        pairs that are not wrong to find, but need not be found (few graphs)
    undecided  rules that an audit may call undecided, too (few graphs): instead of the finding, or with no finding
    doubts     the rules that an audit has to call undecided, and no others (some graphs)
    layers     names of the layers, or null where no name is the only right one
    why        one sentence

What is expected is thought, not computed. But where a graph can be run it is: what `built` calls the moving statistics
is looked at before and after the train op and the evaluation, and if that contradicts the findings, nothing is written.
"""

from __future__ import print_function

import argparse
import fnmatch
import json
import os
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from tests.recording.audit_graphs import (
    accumulated,
    averages,
    batch_alone,
    by_hand,
    checkpoints,
    contrib_layers,
    copied_networks,
    decays,
    fine_tuning,
    frozen_graphs,
    is_training,
    keras,
    keras_phases,
    lookalikes,
    loop_updates,
    loops,
    optimizers,
    savers,
    side_effects,
    sonnet,
    tensorpack,
    tf_layers,
    towers,
    unused_layers,
)
from tests.recording.audit_graphs.cases import CASES, Built
from tests.recording.audit_graphs.files import write_meta_graph
from tests.recording.audit_graphs.networks import RELEASE, VERSION
from tests.recording.audit_graphs.sessions import contradiction

# In this order: TensorFlow 1.15 numbers the functions of If and While through the whole process.
FAMILIES = [
    contrib_layers,
    savers,
    towers,
    optimizers,
    lookalikes,
    by_hand,
    is_training,
    checkpoints,
    tf_layers,
    loops,
    keras,
    sonnet,
    tensorpack,
    decays,
    copied_networks,
    frozen_graphs,
    fine_tuning,
    accumulated,
    unused_layers,
    batch_alone,
    keras_phases,
    loop_updates,
    averages,
    side_effects,
]


def chosen_cases(patterns):
    """The cases that this release can build, family by family."""
    return [
        case
        for family in FAMILIES
        for case in CASES
        if case.family == family.__name__
        and case.since <= VERSION
        and any(fnmatch.fnmatch(case.name, pattern) for pattern in patterns)
    ]


def write(case, outdir):
    """Builds the graph, writes it and looks whether it does as expected.

    Returns its key in expected.json, and the graph, or None where the function itself ran and saved it.
    """
    key = "%s_%s" % (RELEASE, case.name)
    graph = case.build()
    if isinstance(graph, Built):
        path = os.path.join(outdir, key + ".meta")
        write_meta_graph(path, graph.saver)
        wrong = contradiction(graph, case.findings)
        if wrong:
            os.remove(path)
            raise AssertionError(wrong)
        return key + ".meta", graph
    if graph.kind == "graph_def":
        graph.save(os.path.join(outdir, key + ".pb"))
        return key + ".pb", None
    folder = os.path.join(outdir, key)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return key + "/" + graph.save(folder), None


def record(case, outdir):
    """Writes the graph. Returns its key in expected.json and what is said there."""
    try:
        if case.cond_v2:
            tf.enable_control_flow_v2()
        with tf.Graph().as_default():
            tf.set_random_seed(1)
            key, graph = write(case, outdir)
    finally:
        if case.cond_v2:
            tf.disable_control_flow_v2()
    entry = {
        "train_op": graph.train_op if graph and graph.train_op else case.train_op,
        "num_steps": case.num_steps,
        "findings": sorted(case.findings),
        "layers": case.layers,
        "why": case.why,
    }
    for name in ("may", "undecided"):
        if getattr(case, name):
            entry[name] = sorted(getattr(case, name))
    if case.doubts is not None:
        entry["doubts"] = sorted(case.doubts)
    return key, entry


def main():
    parser = argparse.ArgumentParser(
        prog="python2.7 -m tests.recording.audit_graphs", description=__doc__.splitlines()[0]
    )
    parser.add_argument("outdir", metavar="OUTDIR")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="of names, such as 'contrib_*'")
    arguments = parser.parse_args()
    tf.logging.set_verbosity(tf.logging.ERROR)
    if not os.path.isdir(arguments.outdir):
        os.makedirs(arguments.outdir)
    path = os.path.join(arguments.outdir, "expected.json")
    expected = read_json(path) if os.path.exists(path) else {}
    failed = 0
    for case in chosen_cases(arguments.only):
        try:
            key, entry = record(case, arguments.outdir)
        except Exception as error:
            failed += 1
            print("%-45s FAILED: %s: %s" % (case.name, type(error).__name__, str(error)[:300].replace("\n", " ")))
            if os.environ.get("TRACE"):
                raise
            continue
        expected[key] = entry
        full = os.path.join(arguments.outdir, key)
        print("%-55s %s" % (key, os.path.getsize(full) if os.path.isfile(full) else ""))
        sys.stdout.flush()
        write_json(path, expected)
    return 1 if failed else 0


def read_json(path):
    with open(path) as f:
        return json.load(f)


def write_json(path, value):
    with open(path, "w") as f:
        f.write(json.dumps(value, indent=1, sort_keys=True).replace(" \n", "\n") + "\n")


if __name__ == "__main__":
    sys.exit(main())
