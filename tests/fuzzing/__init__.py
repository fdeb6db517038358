"""Fuzzing: many thousands of damaged inputs for each parser, and what each of them must keep to.

A parser may refuse an input by `InputError`, in one line that names it, or accept it. Whatever else it does is a
finding: another exception, a crash, a hang, memory out of proportion to the input, a warning or a line on the screen,
unpickling, running code or a program, a connection, or a file that is written, renamed or removed.

`parsers.py` has the parsers, each with the module that makes its inputs; `python -m tests.fuzzing` is the command.
Each parser runs in a process of its own, so that one that ends Python or never returns is a finding too. It needs
Linux, whose /proc tells the peak memory.
"""
