"""The digits: every source gives the same ones, in the same order, or one line that says what is wrong with it."""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from urllib.error import URLError

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as st_numpy
from scipy.io import savemat
from sklearn.datasets import fetch_openml
from sklearn.model_selection import train_test_split

from bn_graph.config import ENGINES
from bn_graph.errors import InputError
from bn_graph.mnist import LazyRows, Mnist, data_lines, load_mnist, split
from tests.formats.digit_files import (
    IDX_FILES,
    IMAGES,
    LABELS,
    PARTS,
    idx,
    idx_folder,
    in_original_order,
    made_up,
    mat_file,
    npz_file,
)
from tests.helpers import run_python
from tests.paths import REFERENCE, ROOT

EMBEDDED = ROOT / "bn_graph" / "data" / "mnist.npz"
LECUN_MD5 = (  # of the four IDX files that he published, unpacked
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)


def assert_same(loaded, expected):
    data, target = expected
    assert loaded.data.dtype == np.uint8 and loaded.target.dtype == np.float64
    np.testing.assert_array_equal(loaded.data, data)
    np.testing.assert_array_equal(loaded.target, target)


def refusal(source):
    """The one line with which `source` is refused."""
    with pytest.raises(InputError) as raised:
        load_mnist(source)
    message = str(raised.value)
    assert message.splitlines() == [message]
    assert str(source) in message
    return message


@pytest.fixture(scope="module")
def lecun():
    """LeCun's four arrays, in his order."""
    with np.load(EMBEDDED) as archive:
        return {name: archive[name] for name in PARTS}


@pytest.fixture(scope="module")
def stratified(mnist):
    return split(mnist, "stratified")


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


# The embedded digits.


def test_the_embedded_digits_are_lecuns_to_the_last_bit(lecun):
    assert tuple(hashlib.md5(idx(lecun[name])).hexdigest() for name in PARTS) == LECUN_MD5


def test_the_embedded_digits_come_in_the_order_of_mnist_original(mnist, lecun):
    assert mnist.data.shape == (70000, 784) and mnist.target.shape == (70000,)
    assert (np.diff(mnist.target[:60000]) >= 0).all() and (np.diff(mnist.target[60000:]) >= 0).all()
    assert_same(mnist, in_original_order(lecun))
    assert mnist.source == "embedded"


def test_the_embedded_digits_are_what_is_loaded_when_nothing_is_asked_for(mnist):
    assert_same(load_mnist(), mnist[:2])


def test_a_damaged_embedded_file_is_refused(mnist, tmp_path, monkeypatch):
    content = bytearray(EMBEDDED.read_bytes())
    # A byte that nothing else would miss: the year in which the archive says that its first part was written.
    content[13] ^= 2
    damaged = tmp_path / "mnist.npz"
    damaged.write_bytes(content)
    assert_same(load_mnist(damaged), mnist[:2])
    monkeypatch.setattr("bn_graph.mnist._EMBEDDED", damaged)
    with pytest.raises(InputError) as raised:
        load_mnist("embedded")
    message = str(raised.value)
    assert message.splitlines() == [message]
    assert message.startswith(f"{damaged}: damaged")


def test_an_embedded_file_that_is_gone_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("bn_graph.mnist._EMBEDDED", tmp_path / "gone.npz")
    with pytest.raises(InputError, match="gone.npz: No such file"):
        load_mnist("embedded")


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


# Data that memory does not hold.


@pytest.fixture
def little_memory(monkeypatch):
    """As if this many bytes were free: less than all images, more than what is kept of each row."""
    monkeypatch.setattr("bn_graph.memory.free_memory", lambda: 100_000)


@pytest.fixture(scope="module")
def too_many():
    return made_up(200, 100)


def test_plain_idx_files_that_memory_does_not_hold_are_read_row_by_row(little_memory, too_many, tmp_path):
    loaded = load_mnist(idx_folder(tmp_path / "large", too_many))
    assert isinstance(loaded.data, LazyRows)
    assert all(isinstance(part, np.memmap) for part in loaded.data._parts)
    assert_same(loaded, in_original_order(too_many))


def test_they_are_split_and_trained_on_as_if_they_were_held(monkeypatch, too_many, tmp_path):
    from bn_graph import PAGE, build_graph, train

    folder = idx_folder(tmp_path / "large", too_many)
    config = dataclasses.replace(PAGE, seed=1, hidden_size=8, steps=20, batch_size=16, eval_every=5, print_every=5)

    def losses():
        splits = split(load_mnist(folder), valid_size=50, test_size=50)
        return [train(build_graph(config, splits), splits, engine=engine).train_loss for engine in ENGINES]

    held = losses()
    monkeypatch.setattr("bn_graph.memory.free_memory", lambda: 150_000)
    assert losses() == held
    assert held[0] == held[1]


@pytest.mark.parametrize("layout", ["npz", "IDX", "mat", "packed mat"])
def test_other_files_that_memory_does_not_hold_are_refused_before_they_are_read(
    little_memory, too_many, tmp_path, layout
):
    if layout == "npz":
        source = npz_file(tmp_path / "large.npz", too_many, np.savez_compressed)
    elif layout == "mat":
        source = mat_file(tmp_path / "large.mat", too_many)
    elif layout == "packed mat":  # what is in the file would fit
        source = tmp_path / "large.mat"
        empty = {"data": np.zeros((784, 300), np.uint8), "label": np.arange(300.0)[None] % 10}
        savemat(source, empty, do_compression=True)
        assert source.stat().st_size < 10_000
    else:
        source = idx_folder(tmp_path / "large", too_many, packed=IDX_FILES)
    assert "GB of memory" in refusal(source) and "are free" in refusal(source)


def test_more_rows_than_memory_holds_the_labels_of_are_refused(monkeypatch, too_many, tmp_path):
    monkeypatch.setattr("bn_graph.memory.free_memory", lambda: 10_000)
    assert "the labels and the order of 300 rows take 0.0 GB" in refusal(idx_folder(tmp_path / "large", too_many))


@pytest.mark.parametrize("parts", [1, 2, 3])
@hypothesis.given(data=strategies.data())
def test_rows_read_like_the_array_of_them(parts, data):
    rng = np.random.default_rng(parts)
    arrays = [rng.integers(0, 256, (rows, 784), np.uint8) for rows in (5, 3, 4)[:parts]]
    whole = np.concatenate(arrays)
    order = rng.permutation(np.repeat(np.arange(len(whole)), 2))
    rows, expected = LazyRows(arrays if parts > 1 else arrays[0], order, np.float32), whole[order].astype(np.float32)
    assert (rows.shape, rows.dtype, len(rows)) == (expected.shape, expected.dtype, len(expected))
    index = data.draw(
        st_numpy.basic_indices(expected.shape, allow_newaxis=False, allow_ellipsis=False)
        | st_numpy.integer_array_indices(expected.shape[:1])
        | st_numpy.arrays(bool, len(expected))
    )
    found = rows[index]
    np.testing.assert_array_equal(found, expected[index], strict=True)
    np.testing.assert_array_equal(np.asarray(rows), expected, strict=True)
    some = LazyRows(rows, np.arange(0, len(order), 3), np.uint8)  # rows of rows
    np.testing.assert_array_equal(np.asarray(some), whole[order][::3], strict=True)


# Splits.


SMALL_SPLITS = ("unequal", "tied", "equal", "skewed", "five_digits", "sorted")


@pytest.fixture(scope="module")
def small_splits():
    with np.load(REFERENCE / "splits_small_scikit-learn-0.18.1.npz") as archive:
        return {name: archive[name] for name in archive.files}


def labelled(labels):
    """Digits with these labels, and images that tell which row they are."""
    labels = np.asarray(labels, np.float64)
    data = np.zeros((len(labels), 784), np.uint8)
    data[:, 0], data[:, 1] = np.divmod(np.arange(len(labels)), 256)
    return Mnist(data, labels, "made up")


def assert_holds_its_rows(splits, digits):
    one_hot = np.eye(10, dtype=np.float32)[digits.target.astype(int)]
    for name in ("train", "valid", "test"):
        X, y, rows = (getattr(splits, f"{name}_{what}") for what in ("X", "y", "rows"))
        assert X.dtype == np.float32 and y.dtype == np.float32 and rows.dtype == np.int64
        np.testing.assert_array_equal(X, digits.data[rows])
        np.testing.assert_array_equal(y, one_hot[rows])


def split_refusal(*arguments, **options):
    with pytest.raises(InputError) as raised:
        split(*arguments, **options)
    message = str(raised.value)
    assert message.splitlines() == [message]
    return message


def test_original_draws_the_70000_rows_that_scikit_learn_0_18_1_drew(original):
    with np.load(REFERENCE / "splits_scikit-learn-0.18.1.npz") as recorded:
        for name in ("train", "valid", "test"):
            np.testing.assert_array_equal(getattr(original, f"{name}_rows"), recorded[name])
    assert original.split == "original" and original.source == "embedded"


@pytest.mark.parametrize("case", SMALL_SPLITS)
def test_original_draws_from_other_digits_what_scikit_learn_0_18_1_drew(small_splits, case):
    valid_size, test_size = small_splits[f"{case}_sizes"].tolist()
    digits = labelled(small_splits[f"{case}_labels"])
    splits = split(digits, "original", valid_size=valid_size, test_size=test_size)
    for name in ("train", "valid", "test"):
        np.testing.assert_array_equal(getattr(splits, f"{name}_rows"), small_splits[f"{case}_{name}"])
    assert_holds_its_rows(splits, digits)


def test_every_recorded_small_split_is_tested(small_splits):
    assert {name.rpartition("_")[0] for name in small_splits} == set(SMALL_SPLITS)


def test_in_original_the_training_and_test_set_share_rows_and_repeat_them(original):
    assert np.isin(original.test_rows, original.train_rows).sum() == 5291
    assert len(np.unique(original.train_rows)) == 34756
    assert len(np.unique(original.test_rows)) == 9307
    # The first of the two calls was right.
    assert len(np.unique(original.valid_rows)) == 10000
    assert not np.isin(original.valid_rows, np.append(original.train_rows, original.test_rows)).any()


def test_the_sets_of_original_hold_the_rows_they_name(mnist, original):
    assert_holds_its_rows(original, mnist)


def test_the_sets_of_stratified_hold_the_rows_they_name(mnist, stratified):
    assert_holds_its_rows(stratified, mnist)
    assert stratified.split == "stratified" and stratified.source == "embedded"


def test_stratified_is_the_default(mnist, stratified):
    np.testing.assert_array_equal(split(mnist).train_rows, stratified.train_rows)


def test_stratified_sets_are_disjoint_and_cover_all_rows(stratified):
    rows = (stratified.train_rows, stratified.valid_rows, stratified.test_rows)
    assert [len(each) for each in rows] == [50000, 10000, 10000]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(70000))


def test_stratified_sets_have_each_digits_share_to_within_one_row(mnist, stratified):
    drawn = {name: getattr(stratified, f"{name}_y").sum(axis=0, dtype=float) for name in ("train", "valid", "test")}
    everything = np.bincount(mnist.target.astype(int))
    assert (np.abs(drawn["valid"] - everything / 7) < 1).all()
    rest = everything - drawn["valid"]
    assert (np.abs(drawn["test"] - rest / 6) < 1).all()
    assert (np.abs(drawn["train"] - rest * 5 / 6) < 1).all()


def tutorial_splits(digits, valid_size, test_size):
    """The tutorial's own lines."""
    mnist_X = digits.data.astype(np.float32)
    mnist_y = digits.target.astype(np.float32)
    mnist_y = np.arange(10) == mnist_y[:, None]
    mnist_y = mnist_y.astype(np.float32)
    train_X, valid_X, train_y, valid_y = train_test_split(
        mnist_X, mnist_y, test_size=valid_size, random_state=102, stratify=digits.target
    )
    train_X, test_X, train_y, test_y = train_test_split(
        train_X, train_y, test_size=test_size, random_state=325, stratify=train_y
    )
    return train_X, train_y, valid_X, valid_y, test_X, test_y


def test_stratified_is_what_the_tutorials_two_calls_give_today(mnist, stratified):
    expected = tutorial_splits(mnist, 10000, 10000)
    for array, tutorials in zip(stratified[:6], expected, strict=True):
        np.testing.assert_array_equal(array, tutorials)


@pytest.mark.parametrize("case", SMALL_SPLITS)
def test_stratified_is_what_the_tutorials_two_calls_give_for_other_digits(small_splits, case):
    valid_size, test_size = small_splits[f"{case}_sizes"].tolist()
    digits = labelled(small_splits[f"{case}_labels"])
    splits = split(digits, "stratified", valid_size=valid_size, test_size=test_size)
    for array, tutorials in zip(splits[:6], tutorial_splits(digits, valid_size, test_size), strict=True):
        np.testing.assert_array_equal(array, tutorials)


@pytest.mark.parametrize("how", ["stratified", "original"])
def test_a_split_leaves_the_digits_and_numpys_random_numbers_alone(how):
    digits = labelled(np.arange(200) % 10)
    before = digits.data.copy(), digits.target.copy()
    np.random.seed(7)
    split(digits, how, valid_size=40, test_size=30)
    assert np.random.randint(10**9) == np.random.RandomState(7).randint(10**9)
    assert_same(digits, before)


@pytest.mark.parametrize("how", ["stratified", "original"])
@pytest.mark.parametrize(
    ("labels", "sizes", "says"),
    [
        (np.arange(200) % 10, {}, "has 200 rows; 20000 for validation and test leave too few"),
        (np.arange(200) % 10, {"valid_size": 100, "test_size": 100}, "has 200 rows; 200 for validation and test"),
        (np.arange(200) % 10, {"valid_size": 100, "test_size": 95}, "has 200 rows; 195 for validation and test"),
        ([0] + [1] * 99 + [2] * 99, {"valid_size": 20, "test_size": 20}, "only 1 member"),
        (np.arange(200) % 10, {"valid_size": 9, "test_size": 20}, "classes"),
        (np.arange(200) % 10, {"valid_size": 0, "test_size": 20}, "cannot be split"),
        (np.arange(200) % 10, {"valid_size": 20, "test_size": 0}, "cannot be split"),
        (np.arange(200) % 10, {"valid_size": 20, "test_size": -1}, "cannot be split"),
    ],
    ids=["few", "no rest", "small rest", "one member", "fewer than classes", "no valid", "no test", "negative"],
)
def test_what_cannot_be_split_is_refused_in_one_line(how, labels, sizes, says):
    message = split_refusal(labelled(labels), how, **sizes)
    assert message.startswith("made up: ")
    assert says in message


def test_a_digit_used_up_by_the_validation_set_is_not_called_another_digit():
    # Three zeros of 63 rows: two go to the validation set, and one is left to divide. There is no 9 here.
    message = split_refusal(labelled([0] * 3 + [1] * 30 + [2] * 30), "stratified", valid_size=30, test_size=8)
    assert "cannot be split" in message and "9" not in message


def test_another_way_to_split_is_refused(mnist):
    assert split_refusal(mnist, "random") == "split must be stratified or original, found 'random'"


# What the tutorial prints, and what the digits do without.


def test_the_lines_about_the_data_are_those_that_the_tutorial_printed(mnist, original, stratified):
    printed = (REFERENCE / "console" / "notebook.txt").read_text().splitlines()
    assert printed[11] == "Initialized"
    assert list(data_lines(mnist, original)) == printed[:11]
    assert list(data_lines(mnist, stratified)) == printed[:11]


def test_the_digits_and_their_splits_do_without_tensorflow():
    run_python("""
import sys
from bn_graph import load_mnist, split
for how in ("stratified", "original"):
    split(load_mnist(), how)
loaded = {"tensorflow", "tf_slim", "keras"} & set(sys.modules)
assert not loaded, loaded
""")
