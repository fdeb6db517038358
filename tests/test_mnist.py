"""The digits that come with the package, data that memory does not hold, and the splits. (Other sources: formats/.)"""

import dataclasses
import hashlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as st_numpy
from scipy.io import savemat
from sklearn.model_selection import train_test_split

from bn_graph.config import EXACT_ENGINES
from bn_graph.errors import InputError
from bn_graph.mnist import LazyRows, Mnist, data_lines, load_mnist, split
from tests.formats.digit_files import (
    IDX_FILES,
    PARTS,
    idx,
    idx_folder,
    in_original_order,
    made_up,
    mat_file,
    npz_file,
)
from tests.formats.loading import assert_same, refusal
from tests.helpers import run_python
from tests.paths import REFERENCE, ROOT

pytestmark = pytest.mark.release

EMBEDDED = ROOT / "bn_graph" / "data" / "mnist.npz"
LECUN_MD5 = (  # of the four IDX files that he published, unpacked
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)


@pytest.fixture(scope="module")
def stratified(mnist):
    return split(mnist, "stratified")


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
        return [train(build_graph(config, splits), splits, engine=engine).train_loss for engine in EXACT_ENGINES]

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
        st_numpy.basic_indices(expected.shape, allow_newaxis=True)
        | st_numpy.integer_array_indices(expected.shape[:1])
        | st_numpy.integer_array_indices(expected.shape)
        | st_numpy.arrays(bool, len(expected))
        | strategies.lists(strategies.integers(0, len(expected) - 1), min_size=1)
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
