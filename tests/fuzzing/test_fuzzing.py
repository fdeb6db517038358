"""No input makes a parser do anything but accept it or refuse it in one line: see __init__.py.

Here is a tenth of what `python -m tests.fuzzing` does.
"""

import pytest

from tests.fuzzing import bad_parsers
from tests.fuzzing.harness import HANG, fuzz, input_of
from tests.fuzzing.parsers import PARSERS
from tests.helpers import run_module


@pytest.mark.parametrize("name", PARSERS)
def test_two_thousand_damaged_inputs_are_accepted_or_refused_in_one_line(name, tmp_path):
    outcome = fuzz(name, 2000, folder=tmp_path)
    assert not outcome.finding, outcome.finding
    assert outcome.accepted + outcome.refused == 2000
    assert outcome.refused > outcome.accepted > 20  # the inputs are damaged, and some get far


FOUND = {
    "an exception": "KeyError: 'key'",
    "a hang": "hangs: no answer in 1 s",
    "a hang in C": "hangs: no answer in 1 s",
    "memory": "takes 200 MB of memory for 3 bytes",
    "a crash": "ended Python with code -6",
    "an exit": "SystemExit",
    "unpickling": "unpickles",
    "unpickling in secret": "unpickles",
    "code": "runs code of <string>",
    "a program": "subprocess.Popen",
    "a file elsewhere": "elsewhere' to write",
    "a file from C": "writes ['elsewhere']",
    "a rename": "os.rename",
    "a warning": "UserWarning: look",
    "a line on the screen": "prints something",
    "two lines": "a refusal that is not one line to be read",
    "a long line": "a refusal that is not one line to be read",
    "no name": "a refusal that does not name",
}


@pytest.mark.parametrize("name", bad_parsers.PARSERS)
def test_a_parser_that_does_what_none_may_is_found_and_its_input_is_kept(name, tmp_path):
    hang = 1 if "hang" in name else HANG
    outcome = fuzz(name, 500, module="tests.fuzzing.bad_parsers", folder=tmp_path, hang=hang)
    assert FOUND[name] in outcome.finding
    assert outcome.accepted < 500 and outcome.refused == 0
    assert input_of(outcome.saved) == {"input": b"bad"}
    again = fuzz(name, 1, module="tests.fuzzing.bad_parsers", replay=outcome.saved, hang=hang)
    assert FOUND[name] in again.finding


def test_the_command_says_what_it_ran_and_knows_its_parsers(tmp_path):
    process = run_module("tests.fuzzing", "record", "--inputs", "50", "--seed", "3", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    seed, line = process.stdout.splitlines()
    assert seed == "seed 3" and line.startswith("record: 50 inputs, ") and "slowest" in line and "memory" in line
    process = run_module("tests.fuzzing", "--replay", "nowhere.zip", cwd=tmp_path)
    assert process.returncode == 2
    assert process.stderr.startswith("python -m tests.fuzzing: nowhere.zip: expected the kept input of a finding (")
    process = run_module("tests.fuzzing", "recorder", cwd=tmp_path)
    assert process.returncode == 2
    assert process.stderr == f"python -m tests.fuzzing: PARSER must be one of {', '.join(PARSERS)}, found recorder\n"
