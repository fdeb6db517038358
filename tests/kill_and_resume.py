"""Kills runs of the tutorial at random moments, resumes each, and checks that they end in the same bits.

python -m tests.kill_and_resume
python -m tests.kill_and_resume --kills 5 --seed 7
"""

import itertools
import os
import random
import runpy
import select
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from bn_graph.cli import Parser, import_tensorflow, run
from bn_graph.config import EXACT_ENGINES, check_whole
from tests.paths import ROOT

parser = Parser(
    __doc__,
    prog="python -m tests.kill_and_resume",
    epilog="Exit code 1: a run ended in other numbers, or not at all.",
)
option = parser.add_argument
option("--kills", type=int, default=50, metavar="N", help="how many runs to kill and resume (default: 50)")
option("--seed", type=int, metavar="N", help="of the moments (default: one is drawn)")
option("--steps", type=int, default=200, metavar="N", help="of each run (default: 200)")

SAVE_EVERY, VALIDATE_EVERY = 10, 50
MEASURES = ("train_loss", "train_accuracy", "valid_step", "valid_accuracy", "learning_rate", "test_accuracy")
HANG = 300  # seconds: no run takes as long

# What a run is in the middle of when it is killed, and within how many seconds after that has begun. TensorFlow
# prepares the graph in the first step.
MOMENTS = {"anywhere": None, "a save": 0.02, "a validation": 0.03, "the first step": 0.3}


def command(arguments):
    check_whole("--kills", arguments.kills, 1)
    check_whole("--steps", arguments.steps, 1)
    seed = getattr(arguments, "seed", random.SystemRandom().randrange(10**6))
    print(f"seed {seed}", flush=True)
    draw = random.Random(seed)
    import_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        whole = Run(Path(folder, "whole"), arguments.steps, "session")
        if whole.wait() != 0:
            return whole.complain("the uninterrupted run failed")
        seconds = time.monotonic() - begun
        for kill in range(arguments.kills):
            moment = list(MOMENTS)[kill % len(MOMENTS)]
            path = Path(folder, str(kill))
            killed, delay = killed_run(path, arguments.steps, moment, seconds, draw)
            found = max((int(step.name[5:]) for step in path.glob("checkpoints/step-*")), default=None)
            resumed = Run(path, arguments.steps, draw.choice(EXACT_ENGINES))
            if resumed.wait() != 0:
                return resumed.complain("the resumed run failed")
            from_where = "nothing was saved" if found is None else f"{found} steps were saved"
            print(
                f"{kill + 1}: {killed.engine}, killed {delay:.3f} s into {moment}, {from_where}, {resumed.engine}: ",
                end="",
            )
            different = differences(whole, resumed)
            print(different or "the same bits", flush=True)
            if different:
                return 1
    print(f"{arguments.kills} runs were killed with SIGKILL. Each ended in the bits of an uninterrupted one.")


def killed_run(path, steps, moment, seconds, draw):
    """A run that was killed in the middle of `moment`, and after how many seconds of it."""
    for _ in range(100):  # some are done with it before
        occasions = {"a save": steps // SAVE_EVERY, "a validation": -(-steps // VALIDATE_EVERY)}.get(moment, 1)
        delay = draw.uniform(0, MOMENTS[moment] or seconds)
        killed = Run(path, steps, draw.choice(EXACT_ENGINES), moment, draw.randrange(occasions))
        killed.kill_after(delay)
        if killed.wait() == -signal.SIGKILL:
            return killed, delay
        shutil.rmtree(path)
    raise RuntimeError(f"no run could be killed in the middle of {moment}")


class Run:
    """scripts/run_tutorial.py in a process of its own, forked from this one, which has TensorFlow imported."""

    def __init__(self, path, steps, engine, moment="anywhere", occasion=0):
        path.mkdir(exist_ok=True)
        self.path, self.engine = path, engine
        self._moment_comes, tell = os.pipe()
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                for number, name in ((1, "stdout"), (2, "stderr")):
                    os.dup2(os.open(path / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
                _watch(moment, occasion, lambda: os.write(tell, b"!"))
                _run_tutorial("--steps", steps, "--engine", engine, "--checkpoint-dir", path / "checkpoints")
            except SystemExit as end:
                code = end.code or 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        os.close(tell)

    def kill_after(self, seconds):
        """Waits for the moment, and for so many seconds, and kills the process if it is still there."""
        select.select([self._moment_comes], [], [], HANG)
        time.sleep(seconds)
        os.kill(self._pid, signal.SIGKILL)  # nobody has waited for it: the number is still its own

    def wait(self):
        """The exit code, or minus the signal that ended it."""
        end = time.monotonic() + HANG
        while time.monotonic() < end:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                os.close(self._moment_comes)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(self._pid, signal.SIGKILL)
        raise RuntimeError(f"a run hangs; what it printed: {(self.path / 'stderr').read_text()}")

    def complain(self, what):
        print(f"{what}: {(self.path / 'stderr').read_text()}")
        return 1


def _watch(moment, occasion, tell):
    """Has `tell` called when `moment` begins, for the time number `occasion`."""
    from bn_graph.engines.in_graph import InGraphLoop
    from bn_graph.saving.checkpoints import CheckpointFolder
    from bn_graph.training import SessionLoop

    beginnings = {
        "anywhere": [],
        "a save": [(CheckpointFolder, "save")],
        "a validation": [(SessionLoop, "valid_accuracy"), (InGraphLoop, "valid_accuracy")],
        "the first step": [(SessionLoop, "train"), (InGraphLoop, "train")],
    }[moment]
    if not beginnings:
        tell()
    for owner, name in beginnings:
        setattr(owner, name, _told(getattr(owner, name), occasion, tell))


def _told(method, occasion, tell):
    calls = itertools.count()

    def watched(*arguments, **options):
        if next(calls) == occasion:
            tell()
        return method(*arguments, **options)

    return watched


def _run_tutorial(*arguments):
    script = ROOT / "scripts" / "run_tutorial.py"
    fixed = ["--seed", 1, "--hidden-size", 64, "--checkpoint-every", SAVE_EVERY, "--eval-every", VALIDATE_EVERY]
    record = arguments[-1].parent / "record.json"
    sys.argv = [script.name, *map(str, [*fixed, "--record", record, *arguments])]
    runpy.run_path(str(script), run_name="__main__")


def differences(one, other):
    """What is not the same in two runs that ended; empty where all is."""
    from bn_graph import TrainingRecord
    from bn_graph.saving.restore import read_checkpoint

    found = []
    if (one.path / "stdout").read_bytes() != (other.path / "stdout").read_bytes():
        found.append("stdout")
    records = [TrainingRecord.load(run.path / "record.json") for run in (one, other)]
    found += [name for name in MEASURES if getattr(records[0], name) != getattr(records[1], name)]
    steps = records[0].config.steps
    values = [read_checkpoint(run.path / "checkpoints" / f"step-{steps}" / "variables") for run in (one, other)]
    found += [name for name in values[0] if values[0][name].tobytes() != values[1][name].tobytes()]
    return f"not the same: {', '.join(found)}" if found else ""


if __name__ == "__main__":
    run(parser, command)
