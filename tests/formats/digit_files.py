"""Made-up digits for tests, and the files that they are loaded from."""

import gzip
import struct

import numpy as np
from scipy.io import savemat

PARTS = ("x_train", "y_train", "x_test", "y_test")
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IMAGES, LABELS = IDX_FILES[:2]


def made_up(train_rows, test_rows):
    """Random images of every digit, in no order, in the layout of LeCun's four files."""
    rng = np.random.default_rng(train_rows)
    parts = {}
    for name, rows in (("train", train_rows), ("test", test_rows)):
        parts[f"x_{name}"] = rng.integers(0, 256, (rows, 28, 28), np.uint8)
        parts[f"y_{name}"] = rng.permutation(np.arange(rows, dtype=np.uint8) % 10)
    return parts


def in_original_order(parts):
    """What 'MNIST original' makes of the four files: each part sorted by digit, and otherwise left in its order."""
    data, target = [], []
    for name in ("train", "test"):
        images, labels = parts[f"x_{name}"].reshape(-1, 784), parts[f"y_{name}"]
        for digit in range(10):
            data.append(images[labels == digit])
            target.append(np.full(len(data[-1]), float(digit)))
    return np.concatenate(data), np.concatenate(target)


def idx(array):
    """The bytes of an IDX file: magic number, shape, unsigned bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def npz_file(path, parts, save=np.savez):
    save(path, **parts)
    return path


def idx_folder(path, parts, packed=()):
    path.mkdir()
    for name, part in zip(IDX_FILES, PARTS, strict=True):
        if name in packed:
            (path / f"{name}.gz").write_bytes(gzip.compress(idx(parts[part])))
        else:
            (path / name).write_bytes(idx(parts[part]))
    return path


def mat_file(path, parts, **changes):
    data, target = in_original_order(parts)
    savemat(path, {"data": data.T, "label": target[None], **changes})
    return path
