"""Everything that a user can get wrong, and the line that they get.

One line on stderr, exit code 2, and nothing written. In a line `…` stands for what differs between computers and releases
of libraries. (Files damaged at random: tests/fuzzing. Digits and checkpoints with one thing wrong in them: tests/formats.)
"""
# ruff: noqa: E501

import ctypes
import os
import resource
import shlex
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from bn_graph import InputError, TrainingRecord
from bn_graph.tf1 import tf
from tests.audit.networks import network
from tests.formats.digit_files import IMAGES, idx_folder, made_up, npz_file
from tests.helpers import in_process, is_said, run
from tests.paths import PACKAGED, REFERENCE, ROOT
from tests.recalibration.checkpoints import data as rows
from tests.recalibration.checkpoints import save

SMALL = REFERENCE / "checkpoint" / "hidden16_v2.ckpt"
DATA = ".data-00000-of-00001"
LONG = "x" * 300


def png(width, height):
    """The beginning of a picture of this size."""
    header = b"IHDR" + struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with one of everything that is wrong."""
    folder = tmp_path_factory.mktemp("shelf")
    for name in ("folder.json", "folder.png", "folder.meta", "theirs", "foreign", "foreign_json", "foreign_picture",
                 "foreign_folder/report.html", "closed", "linked", "occupied/saved_model.pb", "bad_saved", "elsewhere"):  # fmt: skip
        (folder / name).mkdir(parents=True)
    for name, text in {
        "theirs.json": "{}",
        "theirs.png": "not a picture",
        "deep.json": "[" * 100_000,
        "theirs/thesis.txt": "mine",
        "foreign/report.html": "<html>mine</html>",
        "foreign_json/comparison.json": "[" * 100_000,
        "foreign_picture/comparison.png": "mine",
        "text.ckpt": "not a checkpoint",
        "empty.ckpt": "",
        "empty.meta": "",
    }.items():
        (folder / name).write_text(text)
    for suffix in (".npz", ".mat", ".meta", ".pb", ".pbtxt"):
        (folder / f"text{suffix}").write_text("something else\n")
    (folder / "bad_saved" / "saved_model.pb").write_text("something else\n")
    (folder / "bomb.png").write_bytes(png(100_000, 100_000))
    idx_folder(folder / "pipes", made_up(120, 40), packed=[IMAGES])
    (folder / "pipes" / f"{IMAGES}.gz").unlink()
    for name in ("pipe.json", "pipe.npz", "pipe.mat", "pipe.meta", f"pipes/{IMAGES}"):
        os.mkfifo(folder / name)
    for name, target in {
        "device.json": os.devnull,
        "zeros.npz": "/dev/zero",
        "zeros.mat": "/dev/zero",
        "zeros.pb": "/dev/zero",
        "loop.json": "loop.json",
        "link.json": "theirs.json",
        "lost.json": "no/such/folder/record.json",
        "linked/variables": "../elsewhere",
    }.items():
        (folder / name).symlink_to(target)
    npz_file(folder / "few.npz", made_up(120, 40))
    three = made_up(21000, 3)
    three["y_train"][:] = np.arange(21000) < 3
    npz_file(folder / "three.npz", three)
    shutil.copy(f"{SMALL}.index", folder / "alone.ckpt.index")
    for name, index, data in (("cut.ckpt", None, 1000), ("cut_index.ckpt", 500, None), ("hidden16.ckpt", None, None)):
        (folder / f"{name}.index").write_bytes(Path(f"{SMALL}.index").read_bytes()[:index])
        (folder / f"{name}{DATA}").write_bytes(Path(f"{SMALL}{DATA}").read_bytes()[:data])
    with tf.Graph().as_default(), tf.Session() as session:
        variable = tf.Variable([1.0, 2.0], name="something/else")
        session.run(variable.initializer)
        tf.train.Saver([variable]).save(session, str(folder / "other.ckpt"), write_meta_graph=False, write_state=False)
    shutil.copy(PACKAGED / "graph" / "page.meta", folder / "page.meta")
    (folder / "cut.meta").write_bytes((folder / "page.meta").read_bytes()[:1000])
    for name, nodes in {"twice.pb": ["a", "a"], "nameless.pb": [""]}.items():
        graph = tf.GraphDef()
        for node in nodes:
            graph.node.add(name=node, op="NoOp")
        (folder / name).write_bytes(graph.SerializeToString())
    small_networks(folder)
    for name in ("locked.npz",):
        (folder / name).write_text("mine")
        (folder / name).chmod(0)
    (folder / "closed").chmod(0o555)
    return folder


def small_networks(folder):
    """trained.ckpt has a layer of `hand`, and sonnet.ckpt one of the same name with other shapes; and data for them."""
    for name, layer in (("trained", "hand"), ("sonnet", "sonnet")):
        saved = save(network(layer, train="placeholder", batch=None).graph, folder)
        for suffix in (".index", ".meta", DATA):
            Path(f"{saved.prefix}{suffix}").rename(folder / f"{name}.ckpt{suffix}")
    (folder / "checkpoint").unlink()
    X = rows()
    for name, arrays in {
        "rows": {"X": X},
        "name": {"Z": X},
        "shape": {"X": X[:, :3]},
        "dtype": {"X": X.astype(complex)},
        "words": {"X": np.full([64, 6], "a")},
        "lengths": {"X": X, "y": np.zeros([3, 5])},
        "nan": {"X": np.where(X > 3, np.nan, X)},
        "single": {"X": np.float32(1)},
        "objects": {"X": np.array([{}], object)},
        "none": {},
    }.items():
        np.savez(folder / f"{name}.npz", **arrays)


def contents(folder):
    """All that is in the folder, with its size and its age."""
    return {
        path: (os.lstat(path).st_mode, os.lstat(path).st_size, os.lstat(path).st_mtime_ns) for path in folder.rglob("*")
    }


# fmt: off
# What is typed after the name of the command, and under it the line that is said. LONG is a name of 300 letters.

TABLE = {
    "run_tutorial.py": r"""
$ --edition book
    argument --edition: invalid choice: 'book' (choose from …
$ --edition ''
    argument --edition: invalid choice: '' (choose from …
$ --edition
    argument --edition: expected one argument
$ --updates never
    argument --updates: invalid choice: 'never' (choose from …
$ --is-training True
    argument --is-training: invalid choice: 'True' (choose from …
$ --split half
    argument --split: invalid choice: 'half' (choose from …
$ --engine c
    argument --engine: invalid choice: 'c' (choose from …
$ --center=yes
    argument --center/--no-center: ignored explicit argument 'yes'
$ --no-batch-norm --decay 0.9
    --decay has no effect with --no-batch-norm; leave one of them out
$ --no-batch-norm --no-scale
    --no-scale has no effect with --no-batch-norm; leave one of them out
$ --no-batch-norm --updates in_place
    --updates has no effect with --no-batch-norm; leave one of them out
$ --decay 1.5
    decay must be a number from 0 to 1, found 1.5
$ --decay nan
    decay must be a number from 0 to 1, found nan
$ --decay=-0.1
    decay must be a number from 0 to 1, found -0.1
$ --decay one
    argument --decay: invalid float value: 'one'
$ --keep-prob 0
    keep_prob must be a number greater than 0, at most 1, found 0.0
$ --keep-prob 1.01
    keep_prob must be a number greater than 0, at most 1, found 1.01
$ --keep-prob inf
    keep_prob must be a number greater than 0, at most 1, found inf
$ --learning-rate 0
    learning_rate must be a number greater than 0, less than 2**128, found 0.0
$ --learning-rate -1
    learning_rate must be a number greater than 0, less than 2**128, found -1.0
$ --learning-rate nan
    learning_rate must be a number greater than 0, less than 2**128, found nan
$ --learning-rate 1e39
    learning_rate must be a number greater than 0, less than 2**128, found 1e+39
$ --seed -1
    seed must be a whole number from 0 to 2147483646, found -1
$ --seed 2147483647
    seed must be a whole number from 0 to 2147483646, found 2147483647
$ --seed 1.5
    argument --seed: invalid int value: '1.5'
$ --seed one
    argument --seed: invalid int value: 'one'
$ --seed ''
    argument --seed: invalid int value: ''
$ --steps -5
    steps must be a whole number from 0 to 2147483647, found -5
$ --steps 1e3
    argument --steps: invalid int value: '1e3'
$ --steps 1000000000000000000000000000000
    steps must be a whole number from 0 to 2147483647, found 1000000000000000000000000000000
$ --batch-size 0
    batch_size must be a whole number from 1 to 2147483647, found 0
$ --batch-size 50000
    batch_size must be less than the 50000 training rows, found 50000
$ --batch-size 1000000000000
    batch_size must be a whole number from 1 to 2147483647, found 1000000000000
$ --hidden-size 0
    hidden_size must be a whole number from 1 to 2147483647, found 0
$ --hidden-size 1000000000000
    hidden_size must be a whole number from 1 to 2147483647, found 1000000000000
$ --hidden-size 2000000000
    hidden_size: 2000000000 units take at least 105408.0 GB of memory, and … GB are free
$ --eval-every 0
    eval_every must be a whole number from 1 to 2147483647, found 0
$ --print-every 75
    print_every must be a multiple of eval_every (50), found 75
$ --edition notebook --eval-every 30
    print_every must be a multiple of eval_every (30), found 100
$ --stepz 5
    unrecognized arguments: --stepz 5; did you mean --steps?
$ --step 5
    unrecognized arguments: --step 5; did you mean --steps?
$ surplus
    unrecognized arguments: surplus
$ --data ''
    argument --data: expected a name, found nothing
$ --data embeded
    embeded: no such file; expected embedded, openml or a path
$ --data nowhere.npz
    nowhere.npz: No such file or directory
$ --data nowhere.mat
    nowhere.mat: No such file or directory
$ --data no/such/folder
    no/such/folder: no such file; expected embedded, openml or a path
$ --data 'two\nlines.npz'
    two\nlines.npz: No such file or directory
$ --data 'not\udcffutf8.npz'
    not\udcffutf8.npz: No such file or directory
$ --data LONG.npz
    LONG.npz: File name too long
$ --data theirs.json
    theirs.json: expected a folder of IDX files, an .npz file or a .mat file
$ --data theirs
    theirs: has no train-images-idx3-ubyte or train-images-idx3-ubyte.gz
$ --data text.npz
    text.npz: not a whole .npz file of plain arrays (File is not a zip file)
$ --data text.mat
    text.mat: not a whole MATLAB 5 file (no MATLAB 5 header)
$ --data pipe.npz
    pipe.npz: expected a file, found a pipe or a device
$ --data pipe.mat
    pipe.mat: expected a file, found a pipe or a device
$ --data pipes
    pipes/train-images-idx3-ubyte: expected a file, found a pipe or a device
$ --data zeros.npz
    zeros.npz: expected a file, found a pipe or a device
$ --data zeros.mat
    zeros.mat: expected a file, found a pipe or a device
$ --data few.npz
    few.npz: has 160 rows; 20000 for validation and test leave too few to train on
$ --data three.npz
    three.npz: cannot be split: of digit 2 there is only 1 member to divide
$ --record ''
    argument --record: expected a name, found nothing
$ --record record.txt
    record.txt: expected a file name that ends in .json
$ --record record
    record: expected a file name that ends in .json
$ --record no/such/folder/record.json
    no/such/folder/record.json: cannot be written: No such file or directory
$ --record theirs.png/record.json
    theirs.png/record.json: cannot be written: Not a directory
$ --record theirs.json
    theirs.json: exists and was not written by bn_graph; name another file, or --force
$ --record deep.json
    deep.json: exists and was not written by bn_graph; name another file, or --force
$ --record folder.json
    folder.json: expected a file, found a folder
$ --record pipe.json
    pipe.json: expected a file, found a pipe or a device
$ --record device.json
    device.json: expected a file, found a pipe or a device
$ --record loop.json
    loop.json: cannot be written: Too many levels of symbolic links
$ --record link.json
    link.json: exists and was not written by bn_graph; name another file, or --force
$ --record lost.json
    lost.json: cannot be written: No such file or directory
$ --record LONG.json
    LONG.json: cannot be written: File name too long
$ --record pipe.json --force
    pipe.json: expected a file, found a pipe or a device
$ --record folder.json --force
    folder.json: expected a file, found a folder
$ --record device.json --force
    device.json: expected a file, found a pipe or a device
$ --plot ''
    argument --plot: expected a name, found nothing
$ --plot plot.svg
    plot.svg: expected a file name that ends in .png
$ --plot theirs.png
    theirs.png: exists and was not written by bn_graph; name another file, or --force
$ --plot bomb.png
    bomb.png: exists and was not written by bn_graph; name another file, or --force
$ --plot folder.png
    folder.png: expected a file, found a folder
$ --plot no/such/folder/plot.png
    no/such/folder/plot.png: cannot be written: No such file or directory
$ --logdir ''
    argument --logdir: expected a name, found nothing
$ --logdir theirs.json
    theirs.json: cannot be written: Not a directory
$ --logdir theirs.json/logs
    theirs.json/logs: cannot be written: Not a directory
$ --logdir LONG
    LONG: cannot be written: File name too long
$ --logdir loop.json
    loop.json: cannot be written: Too many levels of symbolic links
$ --checkpoint-dir ''
    argument --checkpoint-dir: expected a name, found nothing
$ --checkpoint-dir theirs.json
    theirs.json: cannot be used for checkpoints: File exists
$ --checkpoint-dir theirs
    theirs: holds 'thesis.txt' and no checkpoint; name an empty or new folder
$ --checkpoint-dir LONG
    LONG: cannot be used for checkpoints: File name too long
$ --checkpoint-dir run --checkpoint-every 0
    checkpoint_every must be a whole number from 1 to 2147483647, found 0
$ --checkpoint-every 5
    --checkpoint-every needs --checkpoint-dir
$ --restore ''
    argument --restore: expected a name, found nothing
$ --restore hidden16.ckpt --is-training placeholder --hidden-size 16 --no-batch-norm
    hidden16.ckpt: has hidden_layer/moving_mean, so it needs batch norm; batch_norm is False
$ --restore nowhere.ckpt --is-training placeholder
    nowhere.ckpt: not a checkpoint that can be read (No such file or directory)
$ --restore cut.ckpt --is-training placeholder --hidden-size 16
    cut.ckpt: not a checkpoint that can be read (hidden_layer/weights: cut.ckpt.data-00000-of-00001: 50176 bytes from 716 on, and it has 1000)
$ --restore hidden16.ckpt --is-training placeholder --hidden-size 8
    hidden16.ckpt: hidden_layer/weights: expected float32 [784, 8], found float32 [784, 16]
$ --restore pipe.json --is-training placeholder
    pipe.json: not a checkpoint that can be read (not a file)
$ --force=yes
    argument --force: ignored explicit argument 'yes'
""",
    "compare_with_notebook.py": r"""
$ --seeds 1
    --seeds must be a whole number from 2 to 2147483646, found 1
$ --seeds two
    argument --seeds: invalid int value: 'two'
$ --seeds 2147483647
    --seeds must be a whole number from 2 to 2147483646, found 2147483647
$ --edition book
    argument --edition: invalid choice: 'book' (choose from …
$ --out ''
    argument --out: expected a name, found nothing
$ --out theirs.json
    theirs.json: cannot be written: Not a directory
$ --out theirs.json/under
    theirs.json/under: cannot be written: Not a directory
$ --out foreign
    foreign/report.html: exists and was not written by bn_graph; name another file, or --force
$ --out foreign_json
    foreign_json/comparison.json: exists and was not written by bn_graph; name another file, or --force
$ --out foreign_picture
    foreign_picture/comparison.png: exists and was not written by bn_graph; name another file, or --force
$ --out foreign_folder --force
    foreign_folder/report.html: expected a file, found a folder
$ --out LONG
    LONG: cannot be written: File name too long
$ --out pipe.json
    pipe.json: cannot be written: Not a directory
$ --original missing.py
    missing.py: No such file or directory
$ --original theirs.json
    theirs.json: expected a name that ends in .py, .ipynb or .md
$ --original ''
    argument --original: expected a name, found nothing
$ --original missing.py --minutes 0
    --minutes must be above 0, found 0
$ --mend
    --mend is for a program of --original, and there is none
$ surplus
    unrecognized arguments: surplus
""",
    "export_model.py": r"""
$
    the following arguments are required: CHECKPOINT, DIR
$ hidden16.ckpt
    the following arguments are required: DIR
$ hidden16.ckpt a b
    unrecognized arguments: b
$ '' out
    argument checkpoint: expected a name, found nothing
$ hidden16.ckpt ''
    argument folder: expected a name, found nothing
$ nowhere.ckpt out
    nowhere.ckpt: not a checkpoint that can be read (No such file or directory)
$ text.ckpt out
    text.ckpt: not a checkpoint that can be read (it does not end as a checkpoint does)
$ empty.ckpt out
    empty.ckpt: not a checkpoint that can be read (it does not end as a checkpoint does)
$ cut.ckpt out
    cut.ckpt: not a checkpoint that can be read (hidden_layer/weights: cut.ckpt.data-00000-of-00001: 50176 bytes from 716 on, and it has 1000)
$ alone.ckpt out
    alone.ckpt: not a checkpoint that can be read (Variable: No such file or directory)
$ other.ckpt out
    other.ckpt: has no hidden_layer/weights [784, units]
$ pipe.json out
    pipe.json: not a checkpoint that can be read (not a file)
$ . out
    .: not a checkpoint that can be read (not a file)
$ hidden16.ckpt theirs
    theirs: has things in it that bn_graph did not write; name another folder, or --force
$ hidden16.ckpt theirs.json
    theirs.json: expected a folder, found a file
$ hidden16.ckpt theirs.json --force
    theirs.json: expected a folder, found a file
$ hidden16.ckpt theirs.json/model
    theirs.json/model: cannot be written: Not a directory
$ hidden16.ckpt pipe.json --force
    pipe.json: expected a folder, found a pipe or a device
$ hidden16.ckpt linked --force
    linked/variables: expected a folder; the export puts variables.index there
$ hidden16.ckpt occupied --force
    occupied/saved_model.pb: expected a file, found a folder
$ hidden16.ckpt loop.json
    loop.json: cannot be written: Too many levels of symbolic links
$ hidden16.ckpt 'not\udcffutf8'
    not\udcffutf8: cannot be written: TensorFlow takes only names in UTF-8
$ hidden16.ckpt LONG
    LONG: cannot be written: File name too long
""",
    "recalibrate.py": r"""
$ trained.ckpt
    the following arguments are required: OUT
$ nowhere.ckpt new
    nowhere.ckpt: there is no such file; there is …
$ text.ckpt new --data rows.npz
    text.ckpt: not a checkpoint that can be read (…
$ cut.ckpt new
    cut.ckpt: …
$ trained.ckpt.meta new --data rows.npz
    trained.ckpt.meta: is no checkpoint; name one, and this as its --graph
$ other.ckpt new --data rows.npz
    other.ckpt: has no .meta beside it; name the graph that trained it: --graph FILE.meta
$ trained.ckpt new --graph nowhere.meta
    nowhere.meta: there is no such file; there is …
$ trained.ckpt new --graph sonnet.ckpt.meta --data rows.npz --batch-size 16
    trained.ckpt: bn/beta: expected shape [1, 5], as in the graph, found [5]
$ trained.ckpt new --graph page.meta
    page.meta: needs values for Placeholder (Placeholder), Placeholder_2 (Placeholder); give them as arrays of --data, or by --feed
$ trained.ckpt new --graph cut.meta
    cut.meta: expected a MetaGraphDef with nodes in it, found something else or damaged bytes
$ trained.ckpt sonnet.ckpt --data rows.npz --batch-size 16
    sonnet.ckpt.data-00000-of-00001: exists; name a new checkpoint
$ trained.ckpt folder.json --data rows.npz --batch-size 16
    folder.json: exists; name a new checkpoint
$ trained.ckpt new/ --data rows.npz --batch-size 16
    new/: expected the name of a new checkpoint, found a folder
$ trained.ckpt new.pb --data rows.npz --batch-size 16
    new.pb: expected the prefix of a new checkpoint, for trained.ckpt is no frozen graph
$ trained.ckpt rows.npz/new --data rows.npz --batch-size 16
    rows.npz/new: cannot be written: File exists
$ twice.pb new.ckpt
    new.ckpt: expected a name that ends in .pb or .pbtxt, for twice.pb is a frozen graph
$ twice.pb new.pb
    twice.pb: the graph has two nodes named a
$ text.pb new.pb
    text.pb: expected a GraphDef or a MetaGraphDef or a SavedModel with nodes in it, found something else or damaged bytes
$ trained.ckpt new
    trained.ckpt: needs values for X (Placeholder); give them as arrays of --data, or by --feed
$ trained.ckpt new --data nowhere.npz
    nowhere.npz: No such file or directory
$ trained.ckpt new --data text.npz
    text.npz: not a whole .npz file of plain arrays (File is not a zip file)
$ trained.ckpt new --data objects.npz
    objects.npz: not a whole .npz file of plain arrays (Object arrays cannot be loaded when allow_pickle=False)
$ trained.ckpt new --data pipe.npz
    pipe.npz: expected a file, found a pipe or a device
$ trained.ckpt new --data none.npz
    none.npz: expected arrays, found none
$ trained.ckpt new --data name.npz
    trained.ckpt: has no tensor 'Z' to be fed; it has X, is_training, y
$ trained.ckpt new --data shape.npz --batch-size 16
    shape.npz: X: expected shape [any, 6], found [16, 3]
$ trained.ckpt new --data dtype.npz --batch-size 16
    dtype.npz: X: expected float32, found complex128
$ trained.ckpt new --data words.npz
    words.npz: X: expected float32, found <U1
$ trained.ckpt new --data lengths.npz
    lengths.npz: y has 3 rows and X has 48; expected as many
$ trained.ckpt new --data nan.npz --batch-size 16
    nan.npz: X: has a value that is not finite
$ trained.ckpt new --data single.npz
    single.npz: X: expected an array of rows, found a single value; use --feed
$ trained.ckpt new --data rows.npz
    rows.npz: expected at least 64 rows, for a batch of 64, found 48
$ trained.ckpt new --data rows.npz --batch-size 16 --batches 4
    rows.npz: expected at least 64 rows, for 4 batches of 16, found 48
$ trained.ckpt new --data rows.npz --batch-size 1
    trained.ckpt: no layer can be estimated: bn: a batch has one value of a channel, and so no variance; expected batches of more rows
$ trained.ckpt new --data rows.npz --batch-size 0
    batch_size must be a whole number from 1 to 2147483647, found 0
$ trained.ckpt new --data rows.npz --batches 0
    batches must be a whole number from 1 to 2147483647, found 0
$ trained.ckpt new --data rows.npz --seed -1
    seed must be a whole number from 0 to 2147483647, found -1
$ trained.ckpt new --data rows.npz --estimate mean
    estimate must be population or batch, found 'mean'
$ hidden16.ckpt new --split half
    split must be stratified or original, found 'half'
$ trained.ckpt new --data rows.npz --feed keep_prob
    --feed keep_prob: expected NAME=VALUE
$ trained.ckpt new --data rows.npz --feed is_training=maybe
    --feed is_training=maybe: expected a number, True or False, or a list of them, found 'maybe'
$ trained.ckpt new --data rows.npz --feed keep_prob=1
    trained.ckpt: has no tensor 'keep_prob' to be fed; it has X, is_training, y
$ trained.ckpt new --data rows.npz --batch-size 16 --feed is_training=False
    --feed is_training: the layers take the statistics of their batch where it is True; leave it out
$ trained.ckpt new --data rows.npz --batch-size 16 --feed is_training=2
    --feed is_training: expected bool, found int64
$ trained.ckpt new --data rows.npz --batch-size 16 --feed X=1
    --feed X: is an array of rows.npz too; leave one of them out
$ trained.ckpt new --data rows.npz --batch-size 16 --feed bn/beta=1
    --feed bn/beta: expected the name of a tensor of numbers, found one of resource
$ trained.ckpt new --data rows.npz --batch-size 16 --feed init=1
    init:0: the graph has an op of this name, but it has no such output
""",
    "audit_graph.py": r"""
$
    the following arguments are required: PATH
$ ''
    argument path: expected a name, found nothing
$ nowhere.meta
    nowhere.meta: there is no such file; there is alone.ckpt, cut.ckpt, cut.meta, …
$ nowhere.ckpt
    nowhere.ckpt: there is no such file; there is …
$ nowhere
    nowhere: there is no such file; there is …
$ nowhere/model.meta
    nowhere/model.meta: there is no such file
$ theirs
    theirs: expected a SavedModel, a checkpoint, a graph or event files in this folder, found none
$ text.meta
    text.meta: expected a MetaGraphDef with nodes in it, found something else or damaged bytes
$ text.pb
    text.pb: expected a GraphDef or a MetaGraphDef or a SavedModel with nodes in it, found something else or damaged bytes
$ text.pbtxt
    text.pbtxt: expected a GraphDef or a MetaGraphDef or a SavedModel with nodes in it, found something else or damaged bytes
$ empty.meta
    empty.meta: expected a MetaGraphDef with nodes in it, found something else or damaged bytes
$ cut.meta
    cut.meta: expected a MetaGraphDef with nodes in it, found something else or damaged bytes
$ pipe.meta
    pipe.meta: expected a file, found a pipe or a device
$ zeros.pb
    zeros.pb: expected a file, found a pipe or a device
$ loop.json
    loop.json: not a checkpoint that can be read (Too many levels of symbolic links)
$ folder.meta
    folder.meta: expected a SavedModel, a checkpoint, a graph or event files in this folder, found none
$ twice.pb
    twice.pb: the graph has two nodes named a
$ LONG.meta
    LONG.meta: File name too long
$ 'two\nlines.meta'
    two\nlines.meta: there is no such file; there is …
$ nameless.pb
    nameless.pb: expected a GraphDef or a MetaGraphDef or a SavedModel with nodes in it, found something else or damaged bytes
$ bad_saved
    bad_saved/saved_model.pb: expected a SavedModel with nodes in it, found something else or damaged bytes
$ text.ckpt
    text.ckpt: not a checkpoint that can be read (it does not end as a checkpoint does)
$ cut_index.ckpt
    cut_index.ckpt: not a checkpoint that can be read (it does not end as a checkpoint does)
$ page.meta --train-op nothing
    page.meta: expected the name of the train op, found 'nothing', which is no op there; it has Adam
$ page.meta --train-op ''
    argument --train-op: expected a name, found nothing
$ page.meta --loss nothing
    page.meta: expected the name of the loss, found 'nothing', which is no op there; it has Adam
$ page.meta --loss 'two\nlines'
    page.meta: expected the name of the loss, found 'two\nlines', which is no op there; it has Adam
$ page.meta --num-steps 0
    num_steps must be a whole number from 1 to 9223372036854775807, found 0
$ page.meta --num-steps -1
    num_steps must be a whole number from 1 to 9223372036854775807, found -1
$ page.meta --num-steps 1.5
    argument --num-steps: invalid int value: '1.5'
$ page.meta --num-steps 999999999999999999999999999999
    num_steps must be a whole number from 1 to 9223372036854775807, found 999999999999999999999999999999
$ page.meta --also-run nothing
    page.meta: expected the name of the op that is run beside it, found 'nothing', which is no op there; it has Adam
$ page.meta --also-run ''
    argument --also-run: expected a name, found nothing
$ page.meta --severity
    argument --severity: expected one argument
$ page.meta --severity fatal
    argument --severity: invalid choice: 'fatal' (choose from …
$ page.meta --format xml
    argument --format: invalid choice: 'xml' (choose from …
$ page.meta --select updates-never-ran
    argument --select: expected rules with commas between, found 'updates-never-ran'; did you mean updates-never-run?
$ page.meta --ignore slow-decay,tiny-batches
    argument --ignore: expected rules with commas between, found 'tiny-batches'; did you mean tiny-batch?
$ page.meta --ignore everything
    argument --ignore: expected rules with commas between, found 'everything'; --rules lists them
$ page.meta --select ','
    argument --select: expected rules with commas between, found ''; --rules lists them
$ page.meta --explain updates-never-ran
    expected a rule, one of no-updates, …; found 'updates-never-ran'
$ page.meta surplus
    surplus: there is no such file; there is …
$ page.meta ''
    argument path: expected a name, found nothing
$ page.meta page.meta --num-steps 0
    num_steps must be a whole number from 1 to 9223372036854775807, found 0
""",
}
# fmt: on


def typed(table):
    """The commands of the table, each with its line."""
    found = []
    for script, text in table.items():
        lines = text.strip("\n").replace("LONG", LONG).splitlines()
        for arguments, line in zip(lines[::2], lines[1::2], strict=True):
            assert arguments.startswith("$") and line.startswith("    ")
            found.append((script, arguments[2:], line.strip()))
    return found


def split(arguments):
    return [word.replace("\\n", "\n").replace("\\udcff", "\udcff") for word in shlex.split(arguments)]


@pytest.mark.parametrize(("script", "arguments", "line"), typed(TABLE), ids=lambda text: text[:50])
def test_a_mistake_is_one_line_and_exit_code_2_and_nothing_is_written(
    shelf, capfd, monkeypatch, script, arguments, line
):
    monkeypatch.chdir(shelf)
    before = contents(shelf)
    process = in_process(capfd, script, *split(arguments))
    assert process.stderr.endswith("\n") and process.stderr[:-1].isprintable()
    assert is_said(f"{script}: {line}", process.stderr[:-1]), process.stderr
    assert process.returncode == 2
    assert "Epoch" not in process.stdout
    assert contents(shelf) == before


# The same by processes of their own, without the rights of root, which opens and writes whatever it likes.
# fmt: off
CLOSED = {
    "run_tutorial.py": r"""
$ --data locked.npz
    locked.npz: Permission denied
$ --record closed/record.json
    closed/record.json: cannot be written: Permission denied
$ --plot closed/plot.png
    closed/plot.png: cannot be written: Permission denied
$ --logdir closed/logs
    closed/logs: cannot be written: Permission denied
$ --checkpoint-dir closed/run
    closed/run: cannot be used for checkpoints: Permission denied
$ --checkpoint-dir 'not\udcffutf8'
    not\udcffutf8: cannot be written: TensorFlow takes only names in UTF-8
$ --record 'not\udcffutf8'
    not\udcffutf8: expected a file name that ends in .json
""",
    "compare_with_notebook.py": r"""
$ --out closed/out
    closed/out: cannot be written: Permission denied
""",
    "export_model.py": r"""
$ hidden16.ckpt closed/model
    closed/model: cannot be written: Permission denied
""",
}
# fmt: on


def without_roots_rights():
    PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


LIBC = ctypes.CDLL(None)


@pytest.mark.parametrize(("script", "arguments", "line"), typed(CLOSED), ids=lambda text: text[:50])
def test_what_is_closed_to_the_user_is_one_line_too(shelf, script, arguments, line):
    before = contents(shelf)
    command = [sys.executable, ROOT / "scripts" / script, *split(arguments)]
    process = run(*command, cwd=shelf, preexec_fn=without_roots_rights)
    assert is_said(f"{script}: {line}\n", process.stderr), process.stderr
    assert process.returncode == 2
    assert contents(shelf) == before


@pytest.mark.release
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nowhere.json", "No such file or directory"),
        ("folder.json", "Is a directory"),
        ("pipe.json", "expected a file, found a pipe or a device"),
        ("bomb.png", "not JSON (not UTF-8 text)"),
        ("no\0name", "no file can have this name"),
    ],
)
def test_what_is_no_file_of_a_record_is_refused(shelf, name, line):
    with pytest.raises(InputError) as raised:
        TrainingRecord.load(shelf / name)
    assert str(raised.value) == f"{shelf / name}: {line}".replace("\0", "\\x00")


# What is there, and was not written by us.

QUICK = ["--steps", "2", "--hidden-size", "4", "--is-training", "placeholder", "--quiet"]


@pytest.mark.release
def test_with_force_a_file_of_others_is_replaced_and_without_it_stays(capfd, tmp_path):
    record, plot = tmp_path / "record.json", tmp_path / "plot.png"
    files = ["--record", record, "--plot", plot]
    record.write_text("mine")
    plot.write_text("mine")
    assert in_process(capfd, "run_tutorial.py", *QUICK, *files).returncode == 2
    assert record.read_text() == plot.read_text() == "mine"
    process = in_process(capfd, "run_tutorial.py", *QUICK, *files, "--force")
    assert process.returncode == 0, process.stderr
    assert TrainingRecord.load(record).config.steps == 2 and plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.release
def test_a_link_is_followed(capfd, tmp_path):
    (tmp_path / "runs").mkdir()
    link = tmp_path / "latest.json"
    link.symlink_to("runs/1.json")
    for _ in range(2):  # to nothing yet, and then to a record of ours
        process = in_process(capfd, "run_tutorial.py", *QUICK, "--record", link)
        assert process.returncode == 0, process.stderr
        assert link.is_symlink() and TrainingRecord.load(tmp_path / "runs" / "1.json").config.steps == 2
        assert sorted(os.listdir(tmp_path)) == ["latest.json", "runs"]
    (tmp_path / "runs" / "1.json").write_text("mine")
    assert in_process(capfd, "run_tutorial.py", *QUICK, "--record", link).returncode == 2
    assert link.read_text() == "mine"


@pytest.mark.release
def test_with_force_an_export_is_put_beside_what_others_wrote(capfd, tmp_path):
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    for name in ("thesis.txt", "variables/thesis.txt", "model.keras"):
        (folder / name).write_text("mine")
    (folder / "saved_model.pb").symlink_to(tmp_path / "elsewhere")
    assert in_process(capfd, "export_model.py", SMALL, folder).returncode == 2
    process = in_process(capfd, "export_model.py", SMALL, folder, "--force")
    assert (process.returncode, process.stderr) == (0, "")
    assert (folder / "thesis.txt").read_text() == (folder / "variables" / "thesis.txt").read_text() == "mine"
    assert (folder / "model.keras").read_bytes().startswith(b"PK") and (folder / "saved_model.pb").stat().st_size > 1000
    assert sorted(os.listdir(tmp_path)) == ["model"]  # nothing was written through the link
    # It is ours now, but for the thesis.
    assert in_process(capfd, "export_model.py", SMALL, folder).returncode == 2
    for path in (folder / "thesis.txt", folder / "variables" / "thesis.txt"):
        path.unlink()
    assert in_process(capfd, "export_model.py", SMALL, folder).returncode == 0
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert in_process(capfd, "export_model.py", SMALL, tmp_path / "link").returncode == 0
    assert sorted(os.listdir(tmp_path / "empty")) == sorted(os.listdir(folder)) and (tmp_path / "link").is_symlink()
    (folder / "notes.txt").write_text("mine")  # an earlier export of ours, with something in it that is not
    process = in_process(capfd, "export_model.py", SMALL, folder)
    assert process.returncode == 2 and (folder / "notes.txt").read_text() == "mine"
    said = f"{folder}: has things in it that bn_graph did not write; name another folder, or --force"
    assert process.stderr == f"export_model.py: {said}\n"


# The streams.


@pytest.mark.parametrize("arguments", ["--help", "--steps 0"])
def test_a_full_disk_behind_stdout_is_one_line(arguments):
    for environment in ({}, {"PYTHONUNBUFFERED": "1"}):
        with open("/dev/full", "w") as full:
            command = [sys.executable, ROOT / "scripts" / "run_tutorial.py", *arguments.split()]
            env = {**os.environ, **environment}
            process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=env, timeout=300)
        assert process.returncode == 2
        assert process.stderr == "run_tutorial.py: standard output: cannot be written: No space left on device\n"


def test_a_record_that_the_disk_does_not_hold_is_one_line_and_leaves_nothing(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "run_tutorial.py", *QUICK, "--steps", "400", "--record", "full.json"]
    process = run(*command, cwd=tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))
    assert process.stderr == "run_tutorial.py: full.json: cannot be written: File too large\n"
    assert process.returncode == 2 and list(tmp_path.iterdir()) == []


def test_closed_streams_are_no_mistake(tmp_path):
    program = f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'scripts' / 'run_tutorial.py'))}"
    command = f"{program} {' '.join(QUICK[:-1])} --record record.json <&- >&- 2>&-"
    process = subprocess.run(["bash", "-c", command], cwd=tmp_path, timeout=300)
    assert process.returncode == 0
    assert TrainingRecord.load(tmp_path / "record.json").config.steps == 2  # and nothing else was printed into it
