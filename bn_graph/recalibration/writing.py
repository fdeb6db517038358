"""Writes a new checkpoint, or a new frozen graph. What was there before is never touched."""

import os
import shutil
from pathlib import Path

import numpy as np

from bn_graph.errors import InputError, first_line
from bn_graph.files import check_utf8, make_folder, sync, sync_tree, temporary_beside
from bn_graph.formats.tf_checkpoint import Checkpoint
from bn_graph.tf1 import tf

_SUFFIXES = (".data-00000-of-00001", ".meta", ".index")  # in this order: a checkpoint is there when its .index is


def check_output_is_new(path, suffixes=("", *_SUFFIXES)) -> None:
    """Raises `InputError` where a file of this name is there, or none can be."""
    check_utf8(path)
    for suffix in suffixes:
        if os.path.lexists(f"{path}{suffix}"):
            raise InputError(f"{path}{suffix}: exists; name a new checkpoint")
    if not Path(path).name or str(path).endswith(os.sep):
        raise InputError(f"{path}: expected the name of a new checkpoint, found a folder")


def write_checkpoint(checkpoint: Checkpoint, path, values: dict, meta_graph=None) -> None:
    """Writes a checkpoint of all variables of `checkpoint`, bit for bit, but for `values`.

    Args:
        path: the prefix of its files, in the format V2, which every Saver since TensorFlow 0.12 reads.
        values: name to array, of variables that have another value, or that `checkpoint` lacks.
        meta_graph: a .meta file that is copied beside it, or None.

    Raises `InputError` where it cannot be written, or `checkpoint` is damaged; nothing is there then.
    """
    path = Path(path)
    for name in checkpoint.variables.keys() - values.keys():
        if isinstance(checkpoint.variables[name][1], np.dtype):
            checkpoint.read(name)  # raises `InputError`, where TensorFlow's own reader may end Python
    try:
        make_folder(path.parent)
        with temporary_beside(path) as folder:
            _save(checkpoint, folder / "checkpoint", values)
            if meta_graph:
                shutil.copyfile(meta_graph, folder / "checkpoint.meta")
            sync_tree(folder)
            check_output_is_new(path)
            _move(folder, path)
            sync(path.parent)
    except (OSError, tf.errors.OpError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or first_line(error)
        raise InputError(f"{path}: cannot be written: {reason}") from None


def _move(folder, path):
    """Moves the files of a checkpoint out of its temporary folder: all of them, or none."""
    moved = []
    try:
        for suffix in _SUFFIXES:
            if (folder / f"checkpoint{suffix}").exists():
                moved.append((folder / f"checkpoint{suffix}").rename(f"{path}{suffix}"))
    except BaseException:
        for file in moved:
            file.unlink()
        raise


def _save(checkpoint, prefix, values):
    kept = [name for name in checkpoint.variables if name not in values]
    dtypes = [tf.as_dtype(checkpoint.variables[name][1]) for name in kept]
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = tf.raw_ops.RestoreV2(
            prefix=checkpoint.path, tensor_names=kept, shape_and_slices=[""] * len(kept), dtypes=dtypes
        )
        fed = {tf.placeholder(value.dtype, value.shape): value for value in values.values()}
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=[*kept, *values],
            shape_and_slices=[""] * (len(kept) + len(values)),
            tensors=[*tensors, *fed],
        )
        session.run(save, fed)
