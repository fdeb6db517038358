"""Checkpoints of a run: whatever happens to it, it ends in the same numbers, bit for bit."""

import dataclasses
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from bn_graph import NOTEBOOK, PAGE, InputError, TrainingRecord, build_graph, train
from bn_graph.cli import Signals
from bn_graph.config import ENGINES, EXACT_ENGINES, IS_TRAINING, UPDATES
from bn_graph.saving.checkpoints import CheckpointFolder, DamagedError, read_saved_run
from bn_graph.saving.restore import read_checkpoint
from bn_graph.tf1 import tf
from tests.helpers import in_process, run_module
from tests.paths import ROOT

MEASURES = ("train_loss", "train_accuracy", "valid_step", "valid_accuracy", "learning_rate", "test_accuracy")
QUICK = {"seed": 7, "hidden_size": 32, "steps": 40, "eval_every": 7, "print_every": 14}
CONFIG = dataclasses.replace(NOTEBOOK, **QUICK)


def trained(config, splits, folder=None, engine="session", every=10, stop_after=None, notes=None, **arguments):
    """The record of a run, the values of its variables afterwards, and its lines."""
    tutorial, lines, asked = build_graph(config, splits), [], []

    def stop():
        asked.append(True)
        return len(asked) == stop_after

    with tf.Session(graph=tutorial.graph) as session:

        def once(checkpoints):
            return train(tutorial, splits, session, log=lines.append, engine=engine, checkpoints=checkpoints,
                         stop=stop, **arguments)  # fmt: skip

        if folder is None:
            record = once(None)
        else:
            with CheckpointFolder(folder, every, None if notes is None else notes.append) as checkpoints:
                record = once(checkpoints)
        return record, session.run(tutorial.variables), lines


def assert_the_same(one, other):
    """That two runs have the same numbers, variables and lines, bit for bit."""
    for name in MEASURES:
        assert getattr(one[0], name) == getattr(other[0], name), name
    assert one[1].keys() == other[1].keys()
    for name, value in one[1].items():
        assert value.tobytes() == other[1][name].tobytes(), name
    assert one[2] == other[2]


@pytest.fixture(scope="module")
def whole(splits, tmp_path_factory):
    """A run that nobody interrupted: the record, the variables and the lines; and its checkpoints, one of each step."""
    folder = tmp_path_factory.mktemp("whole") / "new" / "folder"
    return *trained(CONFIG, splits, folder, every=20), folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy of the checkpoints after 20 and 40 steps."""
    shutil.copytree(whole[3], tmp_path / "run")
    return tmp_path / "run"


def uninterrupted(engine, whole, splits):
    """What a run that nobody stops ends in: `compiled` rounds in another way than the exact engines."""
    return whole if engine in EXACT_ENGINES else trained(CONFIG, splits, engine=engine)


def without_the_last(folder):
    shutil.rmtree(folder / "step-40")
    return folder


# the same bits


@pytest.mark.release
@pytest.mark.parametrize("is_training", IS_TRAINING)
@pytest.mark.parametrize("updates", UPDATES)
def test_a_run_that_is_stopped_goes_on_to_the_same_bits_in_either_engine(splits, tmp_path, updates, is_training):
    config = dataclasses.replace(PAGE, updates=updates, is_training=is_training, **QUICK | {"steps": 30})
    uninterrupted = trained(config, splits)
    for first, second in (EXACT_ENGINES, EXACT_ENGINES[::-1]):
        stopped, _, _ = trained(config, splits, tmp_path / first, first, stop_after=5)
        assert 0 < len(stopped.train_loss) < 30 and stopped.test_accuracy is None
        resumed = trained(config, splits, tmp_path / first, second)
        assert_the_same(resumed, uninterrupted)
        assert resumed[0].engine == second


@pytest.mark.parametrize("after", [15, 25])
def test_a_run_that_fails_goes_on_in_the_same_process_from_what_was_saved(whole, splits, tmp_path, after):
    class PeerIsLostError(Exception):
        """As where a cluster's chief loses a parameter server."""

    def fail():
        asked.append(True)
        if len(asked) == after:
            raise PeerIsLostError

    asked, notes = [], []
    with CheckpointFolder(tmp_path, 10, notes.append) as checkpoints:
        with pytest.raises(PeerIsLostError):
            train(build_graph(CONFIG, splits), splits, checkpoints=checkpoints, stop=fail)
        record = train(build_graph(CONFIG, splits), splits, checkpoints=checkpoints)
    assert notes == [f"{tmp_path}: going on after {after // 10 * 10} of 40 steps"]
    for name in MEASURES:
        assert getattr(record, name) == getattr(whole[0], name), name
    assert read_saved_run(tmp_path / "step-40").record.train_loss == whole[0].train_loss


@pytest.mark.parametrize("engine", ENGINES)
def test_however_often_it_is_stopped(whole, splits, tmp_path, engine):
    steps = []
    while not steps or steps[-1] is not None:
        resumed = trained(CONFIG, splits, tmp_path, engine, every=3, stop_after=4)
        assert len(steps) < 20
        steps.append(None if resumed[0].test_accuracy is not None else len(resumed[0].train_loss))
    assert len(steps) > 3
    assert_the_same(resumed, uninterrupted(engine, whole, splits))


def test_a_checkpoint_changes_nothing_in_the_run_and_a_run_that_has_ended_ends_again(whole, splits, folder):
    assert_the_same(whole, trained(CONFIG, splits))
    assert_the_same(whole, trained(CONFIG, splits, folder))


def test_keep_prob_1_and_other_settings(splits, tmp_path):
    for number, changes in enumerate([{"keep_prob": 1.0}, {"batch_size": 1000}, {"eval_every": 40, "print_every": 40}]):
        config = dataclasses.replace(PAGE, **QUICK | changes)
        path = tmp_path / str(number)
        trained(config, splits, path, "in_graph", every=8, stop_after=1)
        assert_the_same(trained(config, splits, path, "session"), trained(config, splits))


def test_runs_that_are_killed_at_random_moments_end_in_the_same_bits():
    """Five of the fifty that tests/kill_and_resume.py kills by default."""
    process = run_module("tests.kill_and_resume", "--kills", 5)
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.count(": the same bits\n") == 5


# signals


@pytest.mark.parametrize(
    ("number", "code", "engine"),
    [(signal.SIGINT, 130, "in_graph"), (signal.SIGTERM, 143, "session")],
)
def test_a_signal_saves_and_the_same_command_goes_on(capfd, tmp_path, number, code, engine):
    record = tmp_path / "record.json"
    options = ["--hidden-size", 8, "--seed", 3, "--steps", 6000, "--is-training", "placeholder", "--engine", engine,
               "--record", record, "--checkpoint-every", 5000, "--checkpoint-dir", tmp_path / "run"]  # fmt: skip
    command = [sys.executable, ROOT / "scripts" / "run_tutorial.py", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "Epoch: 50:" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == code
    (_, folder) = sorted((tmp_path / "run").glob("step-*"), key=lambda path: int(path.name[5:]))
    steps = int(folder.name[5:])
    assert 50 < steps < 5000
    assert said == f"run_tutorial.py: {tmp_path / 'run'}: saved after {steps} of 6000 steps; the same command goes on\n"
    assert not record.exists()
    options[options.index(6000)] = steps + 60
    process = in_process(capfd, "run_tutorial.py", *options)
    assert process.returncode == 2 and f"steps is 6000 there and {steps + 60} here" in process.stderr


def test_a_first_signal_is_noted_and_a_second_one_ends_at_once():
    with pytest.raises(KeyboardInterrupt):
        with Signals() as signals:
            assert signals.number is None
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.number == signal.SIGINT
            os.kill(os.getpid(), signal.SIGINT)
    for number in (signal.SIGTERM, signal.SIGHUP):
        before = signal.getsignal(number)
        with Signals() as signals:
            os.kill(os.getpid(), number)
            assert signals.number == number
        assert signal.getsignal(number) == before


WAITING = """
import sys
from bn_graph.cli import Parser, run
def command(arguments):
    print("begun", flush=True)
    sys.stdin.readline()
run(Parser(), command)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ignored", [False, True])
def test_a_signal_ends_a_command_without_a_word_but_where_it_was_ignored_as_under_nohup(number, ignored):
    handler = signal.SIG_IGN if ignored else signal.SIG_DFL
    before = signal.signal(number, handler)  # a new process inherits SIG_IGN
    try:
        process = subprocess.Popen([sys.executable, "-c", WAITING], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)  # fmt: skip
        with Signals() as signals:
            os.kill(os.getpid(), number)
            assert signals.number == (None if ignored else number)
    finally:
        signal.signal(number, before)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    if not ignored:
        assert process.wait(60) == 128 + number
    assert process.communicate("\n", timeout=60) == ("", "")
    assert process.returncode == (0 if ignored else 128 + number)


# damage


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def fifo(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [cut, flip, empty, fifo, os.unlink])
@pytest.mark.parametrize("name", ["state.json", "variables.index", "variables.data-00000-of-00001"])
def test_of_a_damaged_checkpoint_a_line_says_so_and_the_one_before_is_used(whole, splits, folder, name, damage):
    damage(folder / "step-40" / name)
    notes = []
    with CheckpointFolder(folder, 20, notes.append) as checkpoints:
        assert checkpoints.newest.folder == folder / "step-20"
    (note,) = notes
    assert note.startswith(f"{folder / 'step-40'}: not a whole checkpoint (")
    assert name in note or damage in (cut, empty)
    assert note.endswith("; going on from step-20")
    if damage is flip:
        assert_the_same(trained(CONFIG, splits, folder, every=20), whole)
        assert len(read_saved_run(folder / "step-40").record.train_loss) == 40  # it was written again


def test_no_flipped_bit_goes_unseen(folder):
    draw, saved = random.Random(1), read_saved_run(folder / "step-40")
    for path in sorted((folder / "step-40").iterdir()):
        content = path.read_bytes()
        for _ in range(200):
            place, bit = draw.randrange(len(content)), draw.randrange(8)
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            try:
                assert read_saved_run(folder / "step-40") == saved  # white space in JSON, say
            except DamagedError:
                pass
        path.write_bytes(content)
    assert read_saved_run(folder / "step-40") == saved


def test_where_no_checkpoint_is_whole_nothing_is_begun_and_nothing_removed(folder):
    for step in ("step-20", "step-40"):
        cut(folder / step / "state.json")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"run: no checkpoint in it is whole \(.*step-40: not a whole"):
        CheckpointFolder(folder).__enter__()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_a_newer_release_is_refused_not_taken_for_damaged(folder):
    from bn_graph.saving import saved_run

    path = folder / "step-40" / "state.json"
    state = json.loads(path.read_text())["state"] | {"format": 3}
    path.write_text(json.dumps({"sha256": saved_run.sha256(saved_run.encode_state(state)), "state": state}))
    with pytest.raises(InputError, match="step-40: is of format 3, this release of bn_graph knows 2$"):
        CheckpointFolder(folder).__enter__()


def test_what_a_killed_save_left_behind_is_no_checkpoint_and_is_cleared_away(whole, splits, folder):
    without_the_last(folder)
    shutil.copytree(folder / "step-20", folder / ".saving")
    cut(folder / ".saving" / "state.json")
    assert_the_same(trained(CONFIG, splits, folder, every=20), whole)
    assert sorted(os.listdir(folder)) == [".lock", "record.jsonl", "step-20", "step-40"]


# what it does to the folder


def test_the_two_newest_are_kept_and_what_is_not_ours_stays(splits, tmp_path):
    tmp_path.joinpath("step-7").mkdir()
    tmp_path.joinpath("step-7", "mine.txt").write_text("mine")
    tmp_path.joinpath(".hidden").write_text("mine")
    path = tmp_path / "run"
    trained(CONFIG, splits, path, every=10)
    assert sorted(os.listdir(path)) == [".lock", "record.jsonl", "step-30", "step-40"]
    shutil.move(tmp_path / "step-7", path)
    shutil.rmtree(path / "step-40")
    (path / "notes.txt").write_text("mine")
    trained(CONFIG, splits, path, every=5)
    assert sorted(os.listdir(path)) == [".lock", "notes.txt", "record.jsonl", "step-35", "step-40", "step-7"]
    assert (path / "step-7" / "mine.txt").read_text() == "mine"


def test_files_get_the_rights_that_the_users_umask_leaves(folder):
    umask = os.umask(0)
    os.umask(umask)
    assert (folder / "step-40").stat().st_mode & 0o777 == 0o777 & ~umask
    assert (folder / "step-40" / "state.json").stat().st_mode & 0o777 == 0o666 & ~umask


def test_other_commands_read_the_variables(capfd, whole, folder, tmp_path):
    process = in_process(capfd, "export_model.py", folder / "step-40" / "variables", tmp_path / "exported")
    assert process.returncode == 0, process.stderr
    values = read_checkpoint(folder / "step-40" / "variables")
    assert values.keys() == whole[1].keys()
    for name, value in whole[1].items():
        np.testing.assert_array_equal(values[name], value)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_disk_does_not_end_the_run_and_the_last_checkpoint_is_kept(whole, splits, tmp_path, engine):
    limits, notes, tutorial = resource.getrlimit(resource.RLIMIT_FSIZE), [], build_graph(CONFIG, splits)
    largest = 100_000  # the variables are larger; what else is written now is not

    def fill(line):
        if line.startswith("Epoch: 28"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, limits[1]))

    try:
        with CheckpointFolder(tmp_path, 10, notes.append) as checkpoints:
            record = train(tutorial, splits, log=fill, engine=engine, checkpoints=checkpoints)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (note,) = notes
    assert note == (f"{tmp_path}: the checkpoint after 30 steps cannot be written: File too large; step-20 is kept; "
                    "the run goes on")  # fmt: skip
    assert checkpoints.failure == note.replace(" 30 ", " 40 ").removesuffix("; the run goes on")
    expected = uninterrupted(engine, whole, splits)
    assert record.train_loss == expected[0].train_loss and record.test_accuracy == expected[0].test_accuracy
    assert sorted(os.listdir(tmp_path)) == [".lock", "record.jsonl", "step-10", "step-20"]
    assert_the_same(trained(CONFIG, splits, tmp_path, engine), expected)


def test_a_disk_that_is_full_from_the_start_is_one_line_and_nothing_half_written(capfd, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    options = ["--hidden-size", 64, "--checkpoint-dir", tmp_path / "run", "--record", tmp_path / "record.json"]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        process = in_process(capfd, "run_tutorial.py", *options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert process.returncode == 2
    assert process.stderr == (
        f"run_tutorial.py: {tmp_path / 'run'}: the checkpoint after 0 steps cannot be written: File too large\n"
    )
    assert os.listdir(tmp_path) == ["run"] and os.listdir(tmp_path / "run") == [".lock"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_deleted_under_the_run_is_not_made_again(whole, splits, tmp_path, replaced):
    path, notes, tutorial = tmp_path / "run", [], build_graph(CONFIG, splits)

    def delete(line):
        if line.startswith("Epoch: 28"):
            shutil.rmtree(path)
            if replaced:
                path.mkdir()  # by another run, say

    with CheckpointFolder(path, 10, notes.append) as checkpoints:
        record = train(tutorial, splits, log=delete, checkpoints=checkpoints)
    reason = "the folder was replaced while the run used it" if replaced else "No such file or directory"
    assert notes == [f"{path}: the checkpoint after 30 steps cannot be written: {reason}; the run goes on"]
    assert checkpoints.failure == f"{path}: the checkpoint after 40 steps cannot be written: {reason}"
    assert record.test_accuracy == whole[0].test_accuracy
    assert not replaced or os.listdir(path) == []
    assert replaced or not path.exists()


def test_the_command_says_at_the_end_that_the_last_checkpoint_is_not_there(capfd, monkeypatch, tmp_path):
    def write(self, folder, *_, original=CheckpointFolder._write):
        if folder.name == "step-40":
            raise OSError(28, "No space left on device")
        return original(self, folder, *_)

    monkeypatch.setattr(CheckpointFolder, "_write", write)
    options = ["--hidden-size", 8, "--steps", 40, "--checkpoint-every", 20, "--is-training", "placeholder"]
    files = ["--checkpoint-dir", tmp_path / "run", "--record", tmp_path / "record.json"]
    process = in_process(capfd, "run_tutorial.py", *options, *files)
    assert process.returncode == 2
    line = (
        f"run_tutorial.py: {tmp_path / 'run'}: the checkpoint after 40 steps cannot be written: "
        "No space left on device; step-20 is kept"
    )
    assert process.stderr == f"{line}; the run goes on\n{line}\n"
    assert process.stdout.splitlines()[-1].startswith("Test accuracy") and (tmp_path / "record.json").exists()


# refused


@pytest.mark.parametrize(
    ("settings", "others", "said"),
    [
        ({"seed": 8}, {}, "seed is 7 there and 8 here"),
        ({"scale": False}, {}, "scale is True there and False here"),
        ({"decay": 0.5, "steps": 50}, {}, "decay is 0.9 there and 0.5 here, steps is 40 there and 50 here"),
        ({}, {"restored": "x.ckpt"}, "restored is None there and x.ckpt here"),
        ({}, {"split": "original"}, "split is stratified there and original here"),
        ({}, {"engine": "cluster, 2 replicas"}, "engine is session there and cluster, 2 replicas here"),
    ],
)
def test_another_run_is_refused_with_what_differs(whole, splits, folder, settings, others, said):
    config = dataclasses.replace(whole[0].config, **settings)
    record = TrainingRecord(config, **{"split": "stratified", "data": "embedded"} | others)
    with CheckpointFolder(folder) as checkpoints, pytest.raises(InputError) as refusal:
        checkpoints.latest_for(record, splits)
    assert str(refusal.value) == f"{folder}: holds another run: {said}; name another folder"


def test_other_data_are_refused_though_they_have_the_same_name(whole, splits, folder):
    train_y = splits.train_y.copy()
    train_y[1234] = train_y[1234][::-1]
    with CheckpointFolder(folder) as checkpoints, pytest.raises(InputError, match="the data .embedded. are others"):
        checkpoints.latest_for(whole[0], splits._replace(train_y=train_y))


def test_other_releases_are_said_and_not_refused(whole, splits, folder):
    notes, record = [], TrainingRecord(whole[0].config, split="stratified", data="embedded")
    record.versions = record.versions | {"numpy": "1.11.2"}
    with CheckpointFolder(folder, note=notes.append) as checkpoints:
        assert checkpoints.latest_for(record, splits)
    assert notes == [
        f"{folder}: begun with numpy {np.__version__}, here is 1.11.2: numbers may differ",
        f"{folder}: going on after 40 of 40 steps",
    ]


def test_a_folder_that_another_run_is_using_and_one_of_other_things_are_refused(capfd, folder, tmp_path):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("mine")
    with CheckpointFolder(folder):
        for path, said in {
            folder: "another run is using it; name another folder",
            tmp_path / "foreign": "holds 'notes.txt' and no checkpoint; name an empty or new folder",
            tmp_path / "foreign" / "notes.txt": "cannot be used for checkpoints: File exists",
            "/proc/run": "cannot be used for checkpoints: No such file or directory",
        }.items():
            process = in_process(capfd, "run_tutorial.py", "--checkpoint-dir", path)
            assert (process.returncode, process.stdout) == (2, "")
            assert process.stderr == f"run_tutorial.py: {path}: {said}\n"
    assert os.listdir(tmp_path / "foreign") == ["notes.txt"]


# the command


def test_the_command_goes_on_with_the_seed_that_it_drew_and_prints_all_again(capfd, tmp_path):
    record, path = tmp_path / "record.json", tmp_path / "run"
    options = [
        "--hidden-size",
        8,
        "--steps",
        60,
        "--checkpoint-every",
        20,
        "--checkpoint-dir",
        path,
        "--record",
        record,
    ]
    first = in_process(capfd, "run_tutorial.py", *options)
    assert (first.returncode, first.stderr) == (0, "")
    before = TrainingRecord.load(record)
    shutil.rmtree(path / "step-60")
    second = in_process(capfd, "run_tutorial.py", *options)
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert second.stderr == f"run_tutorial.py: {path}: going on after 40 of 60 steps\n"
    after = TrainingRecord.load(record)
    assert after.config == before.config and after.train_loss == before.train_loss
    quiet = in_process(capfd, "run_tutorial.py", *options, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_event_files_of_a_resumed_run_hold_what_those_of_a_whole_one_hold(splits, tmp_path):
    from bn_graph.saving.summaries import Summaries

    def events(name, stop=None):
        tutorial = build_graph(CONFIG, splits)
        summaries = Summaries(tutorial, tmp_path / name)
        with CheckpointFolder(tmp_path / f"{name} checkpoints", 10) as checkpoints:
            train(tutorial, splits, summaries=summaries, checkpoints=checkpoints, stop=stop)
        summaries.close()
        found, begins = {}, []
        for path in sorted((tmp_path / name).iterdir(), key=os.path.getmtime):
            for event in tf.train.summary_iterator(str(path)):
                if event.session_log.status == tf.SessionLog.START:
                    begins.append(event.step)
                for value in event.summary.value:
                    found[event.step, value.tag] = value.SerializeToString(deterministic=True)
        return found, begins

    steps = iter(range(100))
    events("stopped", stop=lambda: next(steps) == 22)
    (file,) = (tmp_path / "stopped").iterdir()
    file.rename(file.with_suffix(".before"))  # its name is the second in which it was begun, and the process
    shutil.rmtree(tmp_path / "stopped checkpoints" / "step-23")  # as if it had been killed: the events are ahead
    resumed, begins = events("stopped")
    assert begins == [20]  # TensorBoard forgets what was written of this step and later ones
    assert resumed == events("whole")[0]


def test_a_full_disk_ends_the_event_files_and_not_the_run(capfd, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    options = ["--hidden-size", 8, "--steps", 60, "--is-training", "placeholder", "--logdir", tmp_path / "logs"]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        process = in_process(capfd, "run_tutorial.py", *options, "--record", tmp_path / "record.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (file,) = (tmp_path / "logs").iterdir()
    assert process.returncode == 2
    line = f"run_tutorial.py: {file}: cannot be written: File too large"
    assert process.stderr == f"{line}; the run goes on\n{line}\n"
    assert TrainingRecord.load(tmp_path / "record.json").test_accuracy is not None
