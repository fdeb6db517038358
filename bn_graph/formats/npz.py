"""TODO."""

import warnings
import zipfile

import numpy as np

from bn_graph.errors import InputError
from bn_graph.files import open_file
from bn_graph.formats.digit_arrays import _PARTS, _TWICE, _checked, _first_line
from bn_graph.memory import check_memory


def _npz(path):
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            names = [f"{name}.npy" for name in _PARTS]
            missing = [name for name in names if name not in archive.namelist()]
            if missing:
                raise InputError(f"{path}: has no {missing[0][:-4]}; expected {', '.join(_PARTS)}")
            check_memory(path, 2 * sum(archive.getinfo(name).file_size for name in names), _TWICE)
            arrays = [_npy(archive, name) for name in names]
    except InputError:
        raise
    except Exception as error:  # the zip and npy readers raise a dozen kinds for broken bytes
        raise InputError(f"{path}: not a whole .npz file of plain arrays ({_first_line(error)})") from None
    return _checked(arrays, [f"{path}: {name}" for name in _PARTS])


def _npy(archive, name):
    with archive.open(name) as file:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it was written by Python 2
            array = np.lib.format.read_array(file, allow_pickle=False)
        while file.read(1 << 20):  # to the end, where the checksum is compared; numpy stops where the array ends
            pass
    return array
