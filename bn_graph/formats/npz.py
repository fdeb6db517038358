"""The digits in one .npz file, in the layout of Keras' mnist.npz: x_train, y_train, x_test, y_test."""

import contextlib
import warnings
import zipfile

import numpy as np

from bn_graph.errors import InputError, first_line
from bn_graph.files import open_file
from bn_graph.formats.digit_arrays import PARTS, check_digits, check_memory_for_digits
from bn_graph.memory import check_memory


def read_npz(path):
    """The digits in the .npz file `path`, as `check_digits` returns them. Raises `InputError`."""
    members = [f"{name}.npy" for name in PARTS]
    with _only_input_errors(path), open_file(path) as file, zipfile.ZipFile(file) as archive:
        missing = [name for name in members if name not in archive.namelist()]
        if missing:
            raise InputError(f"{path}: has no {missing[0][:-4]}; expected {', '.join(PARTS)}")
        check_memory_for_digits(path, sum(archive.getinfo(name).file_size for name in members))
        arrays = [_read_npy(archive, name) for name in members]
    return check_digits(arrays, [f"{path}: {name}" for name in PARTS])


def read_arrays(path) -> dict:
    """Name to array of everything in the .npz file `path`. Raises `InputError`. Nothing is ever unpickled."""
    with _only_input_errors(path), open_file(path) as file, zipfile.ZipFile(file) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        if not members:
            raise InputError(f"{path}: expected arrays, found none")
        check_memory(path, sum(archive.getinfo(name).file_size for name in members), "its arrays take")
        return {name[:-4]: _read_npy(archive, name) for name in members}


@contextlib.contextmanager
def _only_input_errors(path):
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the zip and npy readers raise a dozen kinds for broken bytes
        raise InputError(f"{path}: not a whole .npz file of plain arrays ({first_line(error)})") from None


def _read_npy(archive, name):
    with archive.open(name) as file:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of arrays that Python 2 wrote
            array = np.lib.format.read_array(file, allow_pickle=False)
        # numpy stops where the array ends. The checksum is compared at the end of the member.
        while file.read(1 << 20):
            pass
    return array
