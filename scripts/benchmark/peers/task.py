"""What every system is given, the loop that most of them share, and what they return."""

import dataclasses
import functools
import sys
import time

import numpy as np

from benchmark.processes import READY
from bn_graph.config import TutorialConfig
from bn_graph.mnist import Splits, batch_offset

# The numbers of the tutorial that `TutorialConfig` does not have.
LEARNING_RATE_DECAY, DECAY_STEPS = 0.95, 500  # a staircase, in bn_graph/graph.py
BN_EPSILON = 0.001
STDDEV = 0.01  # of the initial weights


@dataclasses.dataclass(frozen=True)
class Task:
    """What to train, and on what."""

    config: TutorialConfig
    splits: Splits
    turns: bool = False  # other systems are measured beside this one

    def wait_for_turn(self):
        """Lets the other systems work. Returns the seconds that this took. To be called before each block of steps."""
        start = time.perf_counter()
        if self.turns:
            print(READY, flush=True)
            sys.stdin.readline()
        return time.perf_counter() - start

    @property
    def num_features(self):
        return self.splits.train_X.shape[1]

    @property
    def num_classes(self):
        return self.splits.train_y.shape[1]

    @functools.cached_property
    def offsets(self):
        """The first row of each step's batch."""
        return batch_offset(np.arange(self.config.steps), self.config.batch_size, self.splits.train_y.shape[0])

    def digits(self, part):
        """The rows of a part (train, valid or test) and their digits, float32 [rows, 784] and int32 [rows]."""
        y = getattr(self.splits, f"{part}_y").argmax(axis=1).astype(np.int32)
        return np.asarray(getattr(self.splits, f"{part}_X")), y

    def blocks(self):
        """The steps between two validations, as (begin, end): step 0 alone, then eval_every steps each."""
        ends = [*range(1, self.config.steps, self.config.eval_every), self.config.steps]
        return list(zip([0, *ends], ends, strict=False))


def measured(blocks, seconds, losses, valid_accuracy=(), test_accuracy=None):
    """What every system returns.

    Args:
        blocks: (steps before the block, steps in it, seconds) of all training between two validations.
        seconds: from the start of the first step, which compiles what is compiled, to the end of the last one,
            validations included, and without waiting for a turn.
        losses: of the steps, or the means of blocks of them.
    """
    return {
        "blocks": [list(block) for block in blocks],
        "seconds": seconds,
        "loss": float(losses[-1]),
        "valid_accuracy": [float(accuracy) for accuracy in valid_accuracy],
        "test_accuracy": None if test_accuracy is None else float(test_accuracy),
    }


def loop(task, train, evaluate):
    """The tutorial's loop, with the benchmark's clock.

    Args:
        train: called with (begin, end), does these steps and returns their losses, as Python's numbers or numpy's, so
            that they are done.
        evaluate: called with "valid" or "test", returns the accuracy. None: there is none.
    """
    blocks, losses, valid_accuracy = [], [], []
    seconds = 0.0
    for begin, end in task.blocks():
        task.wait_for_turn()
        before = time.perf_counter()
        losses.extend(train(begin, end))
        blocks.append((begin, end - begin, time.perf_counter() - before))
        if evaluate and (end - 1) % task.config.eval_every == 0:
            valid_accuracy.append(evaluate("valid"))
        seconds += time.perf_counter() - before
    return measured(blocks, seconds, losses, valid_accuracy, evaluate and evaluate("test"))
