"""How recordings are written."""

import json
import os

import numpy as np


def save_json(path, value):
    with open(made(path), "w") as file:
        file.write(json.dumps(value, sort_keys=True) + "\n")


def save_arrays(path, arrays):
    np.savez_compressed(made(path), **arrays)


def made(path):
    """The path, with its folder made."""
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path))
    return path
