"""Digits from files of every layout and from OpenML: the same ones, or one line that says what is wrong with them."""

import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from urllib.error import URLError

import numpy as np
import pytest
from scipy.io import savemat
from sklearn.datasets import fetch_openml

from bn_graph.errors import InputError
from bn_graph.mnist import load_mnist
from tests.formats.digit_files import (
    IDX_FILES,
    IMAGES,
    LABELS,
    idx_folder,
    in_original_order,
    made_up,
    mat_file,
    npz_file,
)
from tests.formats.loading import assert_same, refusal
from tests.helpers import run_python

pytestmark = pytest.mark.release


@pytest.fixture(scope="module")
def small():
    return made_up(120, 40)


@pytest.fixture(scope="module")
def files(small, tmp_path_factory):
    """The small digits in every layout that a file may have."""
    folder = tmp_path_factory.mktemp("small")
    flat = {name: part.reshape(len(part), -1) if name[0] == "x" else part for name, part in small.items()}
    data, target = in_original_order(small)
    savemat(folder / "packed.mat", {"data": data.T, "label": target[None]}, do_compression=True)
    return {
        "npz": npz_file(folder / "plain.npz", small),
        "packed npz": npz_file(folder / "packed.npz", small, save=np.savez_compressed),
        "npz of flat images": npz_file(folder / "flat.npz", flat),
        "IDX": idx_folder(folder / "plain", small),
        "IDX, packed": idx_folder(folder / "packed", small, packed=IDX_FILES),
        "IDX, half of it packed": idx_folder(folder / "half", small, packed=IDX_FILES[1:3]),
        "mat": mat_file(folder / "plain.mat", small),
        "packed mat": folder / "packed.mat",
        "mat with more in it": mat_file(folder / "more.mat", small, mldata_descr_ordering=np.array(["a"], object)),
    }


# Every other source.


@pytest.mark.parametrize(
    "layout",
    [
        "npz",
        "packed npz",
        "npz of flat images",
        "IDX",
        "IDX, packed",
        "IDX, half of it packed",
        "mat",
        "packed mat",
        "mat with more in it",
    ],
)
def test_every_layout_gives_the_same_digits(files, small, layout):
    loaded = load_mnist(files[layout])
    assert_same(loaded, in_original_order(small))
    assert loaded.source == str(files[layout])
    assert_same(load_mnist(str(files[layout])), loaded[:2])


def test_lecuns_own_files_give_the_embedded_digits(mnist, lecun, tmp_path):
    assert_same(load_mnist(idx_folder(tmp_path / "lecun", lecun)), mnist[:2])


def test_a_mat_file_keeps_its_order(small, tmp_path):
    # mldata's file is in the order of 'MNIST original' already.
    data, target = in_original_order(small)
    mat = mat_file(tmp_path / "backwards.mat", small, data=data[::-1].T, label=target[::-1][None])
    assert_same(load_mnist(mat), (data[::-1], target[::-1]))


@pytest.mark.parametrize("dtype", [np.int16, np.uint64, np.int64, ">i4", np.float16, np.float32, np.float64, ">f8"])
def test_whole_numbers_of_any_type_are_accepted(small, tmp_path, dtype):
    parts = {name: part.astype(dtype) for name, part in small.items()}
    parts["x_train"][0, 0, :2] = 0, 255
    expected = in_original_order({name: part.astype(np.uint8) for name, part in parts.items()})
    assert_same(load_mnist(npz_file(tmp_path / "wide.npz", parts)), expected)
    mat = mat_file(tmp_path / "wide.mat", small, data=expected[0].T.astype(dtype), label=expected[1][None])
    assert_same(load_mnist(mat), expected)


@pytest.mark.parametrize("rows", [(20, 10), (1, 29), (0, 30)])
def test_other_data_may_have_any_number_of_rows(tmp_path, rows):
    parts = made_up(*rows)
    for source in (npz_file(tmp_path / "other.npz", parts), idx_folder(tmp_path / "other", parts)):
        loaded = load_mnist(source)
        assert_same(loaded, in_original_order(parts))
        assert len(loaded.data) == 30


# OpenML. scikit-learn's own code runs; only what it would ask the network for is answered here.


class Answer(io.BytesIO):
    """What urlopen returns."""

    def info(self):
        return {"Content-Encoding": "gzip"}


def openml(images, labels, md5=None):
    """A urlopen that knows one data set, mnist_784, version 1, as OpenML describes it."""
    columns = [f"pixel{i}" for i in range(1, 785)]
    header = "@RELATION mnist_784\n" + "".join(f"@ATTRIBUTE {name} real\n" for name in columns)
    header += "@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}\n@DATA\n"
    cells = np.array([list(b"%03d," % value) for value in range(256)], np.uint8)
    ends = np.array([list(b"%d\n" % digit) for digit in range(10)], np.uint8)
    rows = np.hstack([cells[images.reshape(-1, 784)].reshape(len(images), -1), ends[labels]])
    arff = header.encode() + rows.tobytes()
    column = {"is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
    features = [
        {"index": str(i), "name": name, "data_type": "numeric", "is_target": "false", **column}
        for i, name in enumerate(columns)
    ]
    features += [{"index": "784", "name": "class", "data_type": "nominal", "is_target": "true", **column}]
    description = {
        "id": "554",
        "name": "mnist_784",
        "version": "1",
        "description": "The MNIST database",
        "format": "ARFF",
        "status": "active",
        "file_id": "52667",  # by which older releases of scikit-learn fetch it; newer ones take the url
        "url": "https://api.openml.org/data/v1/download/52667/mnist_784.arff",
        "md5_checksum": md5 or hashlib.md5(arff).hexdigest(),
    }
    answers = {
        "/api/v1/json/data/list/data_name/mnist_784/limit/2/data_version/1": {"data": {"dataset": [{"did": 554}]}},
        "/api/v1/json/data/554": {"data_set_description": description},
        "/api/v1/json/data/features/554": {"data_features": {"feature": features}},
        "/api/v1/json/data/qualities/554": {
            "data_qualities": {"quality": [{"name": "NumberOfInstances", "value": f"{len(images)}.0"}]}
        },
    }
    packed = {path: gzip.compress(json.dumps(answer).encode()) for path, answer in answers.items()}
    for path in ("/data/v1/download/52667/mnist_784.arff", "/data/v1/download/52667"):
        packed[path] = gzip.compress(arff, compresslevel=1)
    return lambda request: Answer(packed[request.selector])


@pytest.fixture
def openml_is(monkeypatch, tmp_path):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    monkeypatch.setattr("sklearn.datasets._openml.time.sleep", lambda seconds: None)
    return lambda urlopen: monkeypatch.setattr("sklearn.datasets._openml.urlopen", urlopen)


def no_network(request):
    raise URLError("Temporary failure in name resolution")


def test_openml_gives_the_embedded_digits(mnist, lecun, small, openml_is, monkeypatch):
    images = np.concatenate([lecun["x_train"], lecun["x_test"]]).reshape(-1, 784)
    labels = np.concatenate([lecun["y_train"], lecun["y_test"]])
    openml_is(openml(small["x_train"], small["y_train"]))

    def fetch_all_of_them(*arguments, **options):
        """scikit-learn's answer for 120 rows, made longer: its parser takes half a minute for 70 000."""
        bunch = fetch_openml(*arguments, **options)
        np.testing.assert_array_equal(bunch.data, small["x_train"].reshape(-1, 784))
        assert bunch.target.tolist() == [str(digit) for digit in small["y_train"]]
        bunch.data = images.astype(bunch.data.dtype)
        bunch.target = np.array(list("0123456789"), bunch.target.dtype)[labels]
        return bunch

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_all_of_them)
    loaded = load_mnist("openml")
    assert_same(loaded, mnist[:2])
    assert loaded.source == "openml"


def test_openml_with_another_number_of_rows_is_refused(small, openml_is):
    openml_is(openml(small["x_train"], small["y_train"]))
    assert refusal("openml") == "openml: expected 70000 rows of mnist_784, found 120"


def test_openml_is_read_from_the_cache_of_scikit_learn(small, openml_is):
    openml_is(openml(small["x_train"], small["y_train"]))
    first = refusal("openml")
    openml_is(no_network)
    assert refusal("openml") == first


@pytest.mark.filterwarnings("ignore:A network error occurred")
def test_openml_without_a_network_is_one_line(openml_is):
    openml_is(no_network)
    assert "Temporary failure in name resolution" in refusal("openml")


@pytest.mark.filterwarnings("ignore:Invalid cache")
def test_a_damaged_download_from_openml_is_one_line(small, openml_is):
    openml_is(openml(small["x_train"], small["y_train"], md5="0" * 32))
    assert "md5 checksum" in refusal("openml")


# What is refused.


def test_an_npz_file_that_is_something_else_is_refused(small, tmp_path):
    source = tmp_path / "false.npz"
    np.save(tmp_path / "array.npy", small["x_train"])
    for content in (
        (tmp_path / "array.npy").read_bytes(),
        pickle.dumps(small),
        gzip.compress(b"digits"),
        b"digits\n",
        b"",
    ):
        source.write_bytes(content)
        assert "not a whole .npz file" in refusal(source)


@pytest.mark.parametrize("content", [b"", b"digits", b"PK\5\6" + bytes(18)])
def test_an_npz_file_with_something_else_for_an_array_is_refused(small, tmp_path, content):
    source = npz_file(tmp_path / "false.npz", {name: part for name, part in small.items() if name != "x_test"})
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("x_test.npy", content)
    assert "not a whole .npz file of plain arrays" in refusal(source)


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_is_ever_unpickled(small, tmp_path):
    trap = tmp_path / "sprung"
    array = np.array([Trap(trap)], dtype=object)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Trap(trap)))
    with open(tmp_path / "npy.npz", "wb") as file:
        np.save(file, array, allow_pickle=True)
    npz_file(tmp_path / "images.npz", {**small, "x_train": array})
    npz_file(tmp_path / "labels.npz", {**small, "y_test": array})
    npz_file(tmp_path / "more.npz", {**small, "more": array})
    for name in ("pickle", "npy", "images", "labels"):
        assert "not a whole .npz file" in refusal(tmp_path / f"{name}.npz")
        assert not trap.exists()
    # What nobody asks for is nobody's harm.
    assert_same(load_mnist(tmp_path / "more.npz"), in_original_order(small))
    assert not trap.exists()
    # The trap works.
    with np.load(tmp_path / "images.npz", allow_pickle=True) as archive:
        assert archive["x_train"].shape == (1,)
    assert trap.exists()


def test_an_idx_header_cut_short_is_not_blamed_on_its_magic_number(small, tmp_path):
    folder = idx_folder(tmp_path / "short", small)
    for name, length in ((LABELS, 7), (LABELS, 4), (LABELS, 0), (IMAGES, 15), (IMAGES, 4)):  # images are read first
        (folder / name).write_bytes((folder / name).read_bytes()[:length])
        message = refusal(folder)
        assert str(folder / name) in message
        assert f"found {length} bytes" in message and "magic" not in message


@pytest.mark.parametrize("name", ["data", "label"])
def test_a_mat_file_without_images_or_labels_is_refused(small, tmp_path, name):
    data, target = in_original_order(small)
    variables = {"data": data.T, "label": target[None]}
    variables[f"{name}s"] = variables.pop(name)
    savemat(tmp_path / "unlabelled.mat", variables)
    assert f"has no {name}; expected data [784, rows] and label [1, rows]" in refusal(tmp_path / "unlabelled.mat")


def test_a_mat_file_that_is_something_else_is_refused(small, tmp_path):
    source = tmp_path / "false.mat"
    np.save(tmp_path / "array.npy", small["x_train"])
    matlab_73 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + bytes(384) + b"\x89HDF\r\n\x1a\n"
    for content in (
        (tmp_path / "array.npy").read_bytes(),
        pickle.dumps(small),
        matlab_73.ljust(4096, b"\0"),
        matlab_73[512:].ljust(4096, b"\0"),  # HDF5 with no MATLAB header before it
        b"digits\n",
        b"",
    ):
        source.write_bytes(content)
        assert "not a whole MATLAB 5 file" in refusal(source)
    source.write_bytes(matlab_73)
    assert "7.3" in refusal(source)


def test_a_mat_file_with_a_damaged_type_number_does_not_end_python(tmp_path):
    # scipy's loadmat looks such a number up in a table without asking whether it is in there. So: another process.
    content = mat_file(tmp_path / "few.mat", made_up(3, 2)).read_bytes()
    tag = content.rindex(struct.pack("<2I", 9, 8 * 5))  # the labels: float64, 8 bytes for each
    for number in (0, 8, 10, 20, 60000):
        damaged = content[:tag] + struct.pack("<I", number) + content[tag + 4 :]
        (tmp_path / f"{number}.mat").write_bytes(damaged)
    run_python(f"""
from bn_graph.mnist import InputError, load_mnist
for number in (0, 8, 10, 20, 60000):
    try:
        load_mnist({str(tmp_path)!r} + f"/{{number}}.mat")
    except InputError as error:
        assert f"{{number}}.mat: " in str(error) and len(str(error).splitlines()) == 1
    else:
        raise AssertionError(f"type number {{number}} was accepted")
""")


@pytest.mark.parametrize("layout", ["npz", "packed npz", "IDX", "IDX, packed", "mat", "packed mat"])
def test_a_file_cut_short_anywhere_is_refused(tmp_path, layout):
    parts = made_up(2, 1)
    data, target = in_original_order(parts)
    if layout.startswith("IDX"):
        source = idx_folder(tmp_path / "few", parts, packed=IDX_FILES if "packed" in layout else ())
        path = next(source.glob(f"{IMAGES}*"))
    elif layout.endswith("npz"):
        source = path = npz_file(tmp_path / "few.npz", parts, np.savez_compressed if "packed" in layout else np.savez)
    else:
        source = path = tmp_path / "few.mat"
        savemat(path, {"data": data.T, "label": target[None]}, do_compression="packed" in layout)
    content = path.read_bytes()
    assert_same(load_mnist(source), (data, target))
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert str(path) in refusal(source)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_file_is_never_taken_for_other_digits(tmp_path, save):
    # The archive holds a checksum of every part.
    source = npz_file(tmp_path / "few.npz", made_up(2, 1), save)
    content = source.read_bytes()
    whole = load_mnist(source)
    refused = 0
    for position in range(len(content)):
        # every bit of the first part's headers, one bit of each byte behind them
        for bit in range(8) if position < 200 else [position % 8]:
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            source.write_bytes(damaged)
            try:
                loaded = load_mnist(source)
            except InputError as error:
                refused += 1
                assert str(source) in str(error) and len(str(error).splitlines()) == 1 and len(str(error)) < 500
            else:
                assert_same(loaded, whole[:2])
    assert refused > len(content) / 2
