"""What a README holds for a test: its commands, its programs, its samples of output, and its links."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tests.paths import ROOT

_FENCE = re.compile(r"```(\w*)$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`([^`\n]+)`")
_INLINE_COMMAND = re.compile(r"(python\S*|pip|pytest|ruff|jupyter|git|tar|py27\S*) \S|\.ci/run|\w+\.py --?\w")
_SHELLS = {"sh", "bash", "shell", "console"}


class Part(NamedTuple):
    """A part of a README."""

    path: Path
    line: int
    text: str

    def __str__(self):
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.text.splitlines()[0]}"


class Page(NamedTuple):
    """A README, taken apart. Each is a list of `Part`s."""

    commands: list  # as they are typed, a multi-line one with its line breaks; those inside of a line of text, too
    printed: dict  # of those that begin with a prompt, to what stands under them
    programs: list  # in Python
    samples: list  # of output
    links: list


def readmes():
    """The READMEs of the repository."""
    found = [ROOT / "README.md"]
    for folder in ("bn_graph", "scripts", "tests"):
        found += sorted((ROOT / folder).rglob("README*.md"))
    return found


def read(path) -> Page:
    """Takes a README apart. Raises ValueError for a fence in a language that it does not know."""
    page, text = Page([], {}, [], [], []), []
    for block in _blocks(path.read_text(encoding="utf-8").splitlines()):
        kind, number, lines = block
        if kind == "text":
            text.append((number, "\n".join(lines)))
        elif kind == "indented" or kind in _SHELLS:
            _add_commands(page, path, number, lines)
        elif kind in ("python", ""):
            (page.programs if kind else page.samples).append(Part(path, number, "\n".join(lines)))
        else:
            raise ValueError(f"{path}:{number}: a fence in {kind}; expected python, sh, or none for output")
    for number, line in text:
        page.links.extend(Part(path, number, target) for target in _LINK.findall(line))
        commands = [span for span in _INLINE.findall(line) if _INLINE_COMMAND.match(span)]
        page.commands.extend(Part(path, number, command) for command in commands)
    return page


def _blocks(lines):
    """(kind, number of the first line, lines) of each line of text, each indented block, and each fence."""
    number = 0
    while number < len(lines):
        begin, fence = number, _FENCE.match(lines[number])
        if fence:
            end = lines.index("```", number + 1)
            yield fence[1], begin + 2, lines[begin + 1 : end]
            number = end + 1
        elif lines[number].startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            while number < len(lines) and lines[number].startswith("    "):
                number += 1
            yield "indented", begin + 1, [line[4:] for line in lines[begin:number]]
        else:
            yield "text", begin + 1, [lines[number]]
            number += 1


def _add_commands(page, path, number, lines):
    if lines[0].startswith("$ "):
        for place, line in enumerate(lines):
            if line.startswith("$ "):
                command = Part(path, number + place, line[2:])
                page.commands.append(command)
                page.printed[command] = []
            else:
                page.printed[command].append(line)
        return
    begun = []
    for place, line in enumerate(lines):
        begun.append(line)
        if _is_whole("\n".join(begun)):
            page.commands.append(Part(path, number + place - len(begun) + 1, "\n".join(begun)))
            begun = []
    if begun:
        raise ValueError(f"{path}:{number}: a command without an end: {begun}")


def _is_whole(command):
    try:
        return not command.endswith("\\") and shlex.split(command, comments=True) is not None
    except ValueError:
        return False


def words(command):
    """The simple commands of a command, each as a list of words: `a && b` is two."""
    lexer = shlex.shlex(command.replace("\\\n", ""), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    simple = [[]]
    for word in lexer:
        if word in ("&&", "||", ";", "|"):
            simple.append([])
        else:
            simple[-1].append(word)
    return [[word for word in one if word != "do"] for one in simple if one and one != ["done"]]
