"""A graph, and what the audit should find in it."""

import functools
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class Case:
    name: str
    build: Any
    expected: set  # of (rule, severity): all that is found, and nothing else
    optional: tuple = ()  # (rule, severity): what may be found besides; the specification leaves it open
    layer: Any = "bn"  # of all findings that are expected; a tuple: one of these; None: whatever it is called
    still: Any = None  # layers whose statistics a training step leaves as they are, proved in a session; None: by rule
    session: bool = True  # whether it can be run
    doubts: Any = None  # the rules that are undecided; None: whichever they are
    on_batch: Any = None  # whether one row of the evaluation depends on the others; None: nobody looks
    marks: tuple = ()  # pytest's

    def __str__(self):
        return self.name

    @functools.cached_property
    def built(self):
        return self.build()


def clean(name, build, **more):
    return Case(name, build, set(), **more)


BOTH = dict(train=True, valid=False)
