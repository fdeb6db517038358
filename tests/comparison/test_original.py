"""The original's own text, run today. (tests/comparison/test_compare.py has the part of the report on such a run.)"""

import ast
import importlib.util
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bn_graph import InputError
from bn_graph.comparison.original import python2
from bn_graph.comparison.original.beside import evaluations
from bn_graph.comparison.original.mends import find_mends
from bn_graph.comparison.original.run import run_original, warning_of
from bn_graph.comparison.original.year_2016 import fetch_mldata, tensorflow_modules, train_test_split
from bn_graph.comparison.recordings import recording
from bn_graph.formats.program import Program, read_program
from bn_graph.tf1 import tf
from tests.comparison.texts import STEPS, TEXT, as_page
from tests.paths import ROOT


def program(text):
    lines = text.splitlines()
    return Program("text.py", lines, [f"line {number}" for number in range(1, len(lines) + 1)])


# Python 2 as Python 3.


def test_python_2_becomes_python_3_line_for_line():
    before = TEXT.splitlines()
    after = python2.to_python3(before)
    assert len(after) == len(before)
    compile("\n".join(after), "text", "exec")
    with pytest.raises(SyntaxError):
        compile("\n".join(before), "text", "exec")


@pytest.mark.parametrize(
    "text, printed",
    [
        ('print "a",\nprint >>out, "b"\nprint("c")', "a b\nc\n"),
        ("try:\n    1 / 0\nexcept ZeroDivisionError, error:\n    print 'no'", "no\n"),
        ("print {'a': 1}.has_key('a'), 0777, 5L, `3`, 1 <> 2", "True 511 5 3 True\n"),
        ("print reduce(lambda a, b: a + b, xrange(4)), map(str, [1, 2])", "6 ['1', '2']\n"),
        ("%matplotlib inline\n!ls\nprint 5 % 3", "2\n"),
        ("if True:\n        print 'blanks'\n\tprint 'a tab'", "blanks\na tab\n"),
        ("from __future__ import print_function\nprint('a', end='')", "a"),
        ("print('a', end='')", "a"),
        ("print f'{1 + 1}'", "2\n"),
    ],
)
def test_what_python_2_prints_is_printed(text, printed, capsys):
    lines = python2.to_python3(text.splitlines())
    names = {"__name__": "__main__", "out": sys.stdout} | python2.BUILTINS
    exec(compile("\n".join(lines), "text", "exec", dont_inherit=True), names)
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    "text, index",
    [
        ("a = 1\nthis is no Python", 1),
        ("a = (1,\n", None),
        ("if a:\nb = 1", 1),
        ("if a:\n    b\n  c", 2),
        ("'''", None),
    ],
)
def test_what_is_no_python_is_told_with_its_line(text, index):
    with pytest.raises(python2.NotPython) as error:
        python2.to_python3(text.splitlines())
    assert str(error.value) and index in (None, error.value.index)


def test_the_divisions_are_named_for_python_2_dropped_their_remainder():
    assert python2.divisions(["a = 1 // 2", "b = a / 2", "c = '/'"]) == [1]


def test_a_missing_fissix_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="--original needs the package fissix: pip install 'fissix>="):
        python2.check_fissix()
    setup = (ROOT / "setup.py").read_text()
    assert f'"original": ["{python2.FISSIX}"]' in setup


# The mends.

BROKEN = """import tensorflow as tf
with tf.Session() as session:
    a = session.run([accuracy], feed_dict={keep: 1.0})
    print("%4f" % (a*100))
    updates = ops.GraphKeys.UPDATE_OPS"""


def test_the_two_lines_at_which_the_page_crashes_are_found_and_mended():
    first, second = find_mends(BROKEN.splitlines())
    assert (first.index, second.index) == (0, 2)
    assert first.after == "import tensorflow as tf; from tensorflow.python.framework import ops"
    assert second.after == "    a = session.run(accuracy, feed_dict={keep: 1.0})"
    for mend in (first, second):
        ast.parse(mend.after.strip())
        assert mend.before == BROKEN.splitlines()[mend.index]


@pytest.mark.parametrize(
    "old, new",
    [
        ("tf\n", "tf; from tensorflow.python.framework import ops\n"),  # it is imported
        ("ops.GraphKeys", "tf.GraphKeys"),
        ("ops.GraphKeys", "my.ops.GraphKeys"),
    ],
)
def test_a_text_that_imports_what_it_uses_is_not_mended_there(old, new):
    assert [mend.index for mend in find_mends(BROKEN.replace(old, new, 1).splitlines())] == [2]


def test_a_list_that_is_not_multiplied_is_left_alone():
    assert [mend.index for mend in find_mends(BROKEN.replace("a*100", "a[0]*100").splitlines())] == [0]


# The libraries of 2016.


def test_the_digits_come_in_the_place_of_mldata_org(mnist):
    digits = fetch_mldata("MNIST original", data_home="./")
    assert digits.data.shape == (70000, 784) and digits.data.dtype == np.uint8
    np.testing.assert_array_equal(digits.target, mnist.target)
    with pytest.raises(ValueError, match="mldata.org is gone; .* has 'MNIST original', not 'iris'"):
        fetch_mldata("iris")


def test_a_stratified_split_is_that_of_2016_and_another_is_todays(mnist, original):
    rows = np.arange(len(mnist.target))
    options = {"test_size": 10000, "random_state": 102, "stratify": mnist.target}
    _, valid_rows = train_test_split(None, rows, **options)
    np.testing.assert_array_equal(valid_rows, original.valid_rows)
    _, in_parts = train_test_split(None, rows, **options | {"test_size": 1 / 7})
    np.testing.assert_array_equal(in_parts, original.valid_rows)
    todays = train_test_split(lambda *arrays, **options: (arrays, options), rows, test_size=0.5, random_state=3)
    assert todays == ((rows,), {"stratify": None, "test_size": 0.5, "random_state": 3})


@pytest.mark.release
def test_logits_are_the_first_argument_as_before_1_0_and_contrib_is_there():
    seen = []
    modules = {module.__name__: module for module in tensorflow_modules(seen.append)}
    old = modules["tensorflow"]
    with tf.Graph().as_default():
        logits, labels = tf.constant([[9.0, 0.0]]), tf.constant([[1.0, 0.0]])
        losses = [
            old.nn.softmax_cross_entropy_with_logits(logits, labels),
            old.nn.sparse_softmax_cross_entropy_with_logits(logits, tf.constant([0])),
            tf.reduce_mean(old.nn.sigmoid_cross_entropy_with_logits(logits, tf.constant([[1.0, 0.0]]))),
            old.mul(old.sub(3.0, 1.0), old.neg(2.0)),
        ]
        old.contrib.layers.batch_norm(logits, decay=0.9, scope="a")
        assert [v.op.name for v in tf.global_variables()] == ["a/beta", "a/moving_mean", "a/moving_variance"]
        with tf.Session() as session:
            softmax, sparse, sigmoid, product = session.run(losses)
    assert softmax == sparse == pytest.approx(np.log1p(np.exp(-9)), rel=1e-2)
    assert sigmoid == pytest.approx((np.log1p(np.exp(-9)) + np.log(2)) / 2) and product == -4
    assert seen == [{"decay": 0.9, "scope": "a"}]
    with pytest.raises(AttributeError, match="module 'tensorflow' has no attribute 'nothing'"):
        getattr(old, "nothing")  # noqa: B009


# A program that trains.


@pytest.mark.release
def test_a_text_of_2016_trains_as_tensorflow_0_12_1_did_from_seed_1(tmp_path):
    (tmp_path / "text.md").write_text(as_page(TEXT))
    steps = []
    run = run_original(read_program(tmp_path / "text.md"), progress=lambda: steps.append(1))
    recorded = recording("notebook")
    assert run["graph"] == {"recorded": "notebook", "why_not": "", "updates": "in_place"}
    assert run["losses"] == pytest.approx(recorded["train_loss"][:STEPS], rel=1e-5) and len(steps) == STEPS
    valid, test = evaluations(run)
    assert valid == {0: pytest.approx(recorded["valid_accuracy"][0], abs=5e-4)} and 0.3 < test < 0.6
    assert run["printed"].startswith("digits: (70000, 784)\n") and "tested: 0." in run["printed"]
    # The first line of the code is the page's fifth.
    assert run["syntax"]["changes"][0] == {
        "place": "line 5",
        "before": "%matplotlib inline",
        "after": "# %matplotlib inline",
    }
    assert len(run["syntax"]["divisions"]) == 1


# How a program ends. (Each of these is a process that imports TensorFlow.)

ENDS = {
    "import theano": "line 1: ModuleNotFoundError: No module named 'theano'",
    "import os, sys\nprint 'full disk'\nsys.stdout.flush()\nos._exit(3)": "ended with exit code 3: full disk",
    "print 'hello'": "ran to its end, and no session.run of it ran the op of an optimizer",
    "a = 1\nthis is no Python": "line 2: neither Python 2 nor Python 3: invalid syntax",
}


@pytest.mark.parametrize("text", ENDS)
def test_a_program_that_does_not_train_is_an_error_in_one_line_with_its_last_own_line(text):
    with pytest.raises(InputError) as error:
        run_original(program(text))
    assert str(error.value) == f"text.py: {ENDS[text]}"


def test_a_crash_that_mend_mends_says_so():
    with pytest.raises(InputError) as error:
        run_original(program("import tensorflow as tf\ndef updates():\n    return ops.GraphKeys\n\nprint updates()"))
    assert str(error.value).startswith("text.py: line 3: NameError: name 'ops' is not defined; --mend runs it with its")
    assert "line 1 (the text takes UPDATE_OPS from ops and never imports it: a NameError)" in str(error.value)


def test_an_endless_program_is_ended_after_its_time():
    began = time.monotonic()
    with pytest.raises(InputError, match="text.py: ran for 0.01 minutes and was ended; --minutes allows more"):
        run_original(program("while True:\n    pass"), seconds=0.6)
    assert time.monotonic() - began < 30


def test_ctrl_c_ends_the_program_too(tmp_path):
    (tmp_path / "endless.py").write_text("while True: pass\n")
    command = [sys.executable, ROOT / "scripts" / "compare_with_notebook.py", "--original", "endless.py"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr.readline() == f"{warning_of(Program('endless.py', [], []))}\n"
            child = child_of(process.pid)
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(30) == 128 + signal.SIGINT
        finally:
            process.kill()
        assert process.stderr.read() == ""  # no traceback
    end = time.monotonic() + 30
    while os.path.exists(f"/proc/{child}"):  # until somebody has asked how it ended
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not (tmp_path / "comparison").exists()


def child_of(pid, seconds=30):
    """The process that `pid` has started, as soon as there is one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise AssertionError("no process was started")


# What was measured.


def test_the_accuracy_that_is_evaluated_most_often_is_the_validations_and_another_last_one_the_tests():
    run = {"accuracies": [[1, "valid", 0.1], [51, "valid", 0.5], [51, "valid", 0.5], [100, "test", 0.7]]}
    assert evaluations(run) == ({0: 0.1, 50: 0.5}, 0.7)
    assert evaluations({"accuracies": []}) == ({}, None)
    assert evaluations({"accuracies": [[1, "valid", 0.1]]}) == ({0: 0.1}, None)
