"""Runs the lessons and compares their outputs with the committed ones.

python -m tests.lessons                    # run all of them, and say what differs
python -m tests.lessons 0 4 --write        # write the outputs of a clean run into two of them
python -m tests.lessons --address https://github.com/OWNER/NAME    # badges, and what Colab installs

A cell's metadata say how its outputs are compared. Without any, all text must be equal.

tag `timing`: it prints times, which are others in every run; only the kinds of its outputs are compared.
tag `widget`: it shows controls, which have random names. It must run; its outputs are not committed.
`tolerance`: {"relative": R, "absolute": A}: numbers may differ by A, and by R times the committed one.
tags `exercise`, `check`: where the reader writes an answer, and what says "right" or "not yet".
"""

import copy
import re

from bn_graph.cli import Parser, run
from bn_graph.errors import InputError
from tests.paths import ROOT

FOLDER = ROOT / "scripts" / "notebooks"
ORDER = "0234561789"  # in which they are read
SECONDS = 180  # that one cell may take
PLACEHOLDER = "<this repository>"  # where the address is not known
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_SPACE = re.compile(r"[ \t]+")
_CODE = re.compile(r"```python\n(.*?)```", re.S)
_ADDRESS = re.compile(r'(?<=REPOSITORY = ").*(?="\n)')
_BADGES = re.compile(r"\n\n\[!\[Open In Colab\].*", re.S)


def paths():
    """The lessons, in the order of their numbers."""
    return sorted(FOLDER.glob("[0-9]_*.ipynb"))


def read(path):
    import nbformat  # here, so that the parser and the list of lessons need not the extra `lessons`

    return nbformat.read(path, as_version=4)


def write(notebook, path):
    import nbformat

    nbformat.write(notebook, path)


class Lesson:
    """A lesson that runs in a kernel of its own while this context lasts, as a new copy without outputs."""

    def __init__(self, path):
        from nbclient import NotebookClient

        self.notebook = read(path)
        for cell in self.notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        resources = {"metadata": {"path": str(FOLDER)}}
        self._client = NotebookClient(
            self.notebook, timeout=SECONDS, resources=resources, record_timing=False, coalesce_streams=True
        )
        self._kernel = self._client.setup_kernel()

    def __enter__(self):
        self._kernel.__enter__()
        return self

    def __exit__(self, *error):
        return self._kernel.__exit__(*error)

    def run(self):
        """Runs all cells, and returns the notebook with its outputs."""
        for index, cell in enumerate(self.notebook.cells):
            self._client.execute_cell(cell, index)
        # An editor writes the number of a cell's run. Here it is the number of the cell.
        for cell in self.notebook.cells:
            if has_tag(cell, "widget"):
                cell.outputs = []
        self.notebook.metadata = {key: self.notebook.metadata[key] for key in ("kernelspec", "language_info")}
        self.notebook.metadata["language_info"] = {"name": "python"}
        return self.notebook

    def say(self, source):
        """What `source` prints, run after all cells."""
        cell = copy.deepcopy(next(cell for cell in self.notebook.cells if cell.cell_type == "code"))
        cell.source, cell.outputs = source, []
        self.notebook.cells.append(cell)
        try:
            self._client.execute_cell(cell, len(self.notebook.cells) - 1)
        finally:
            self.notebook.cells.pop()
        return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def has_tag(cell, tag):
    return tag in cell.metadata.get("tags", [])


def answers(notebook):
    """(check, answer) of each exercise: the source that says right or not yet, and the source of the hidden answer."""
    for index, cell in enumerate(notebook.cells):
        if has_tag(cell, "check"):
            hidden = "".join(cell.source for cell in notebook.cells[index + 1 : index + 2])
            code = _CODE.findall(hidden)
            if "<details>" not in hidden or not code:
                raise ValueError(f"cell {index} is a check, and no hidden answer follows it")
            yield cell.source, "\n".join(code)


def differences(committed, new):
    """What differs between the outputs of two runs of a notebook, in lines; nothing where it may."""
    for index, (cell, other) in enumerate(zip(committed.cells, new.cells, strict=True)):
        if cell.cell_type != "code" or has_tag(cell, "widget"):
            continue
        kinds, other_kinds = ([_kind(output) for output in some.outputs] for some in (cell, other))
        if kinds != other_kinds:
            yield f"cell {index}: committed {kinds}, now {other_kinds}"
        elif not has_tag(cell, "timing"):
            for output, other_output in zip(cell.outputs, other.outputs, strict=True):
                for line in _different_lines(_text(output), _text(other_output), cell.metadata.get("tolerance", {})):
                    yield f"cell {index}: {line}"


def _kind(output):
    """What kind of output it is: stdout, or the types of what is shown."""
    return output.get("name") or ", ".join(sorted(output.get("data", {})))


def _text(output):
    data = output.get("data", {})
    if "image/png" in data:  # its bytes depend on matplotlib and on the fonts, and its text says nothing
        return ""
    return output.get("text") or data.get("text/markdown") or data.get("text/plain", "")


def _different_lines(text, other, tolerance):
    lines, others = text.splitlines(), other.splitlines()
    if len(lines) != len(others):
        yield f"committed {len(lines)} lines, now {len(others)}"
    for line, other_line in zip(lines, others, strict=False):
        if not _is_like(line, other_line, **tolerance):
            yield f"committed {line!r}, now {other_line!r}"


def _is_like(line, other, relative=0.0, absolute=0.0):
    """Whether two lines have the same words, and numbers that are near each other."""
    if line == other:
        return True
    words, other_words = (_SPACE.sub(" ", _NUMBER.sub("#", text)) for text in (line, other))
    pairs = zip(_numbers(line), _numbers(other), strict=False)
    return words == other_words and all(abs(x - y) <= absolute + relative * abs(x) for x, y in pairs)


def _numbers(text):
    return [float(number) for number in _NUMBER.findall(text)]


def unprinted_numbers(notebook):
    """The numbers in a notebook's prose that none of its outputs or code has, to the digits that the prose gives."""
    known = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            known.update(map(abs, _numbers(cell.source)))
            for output in cell.outputs:
                known.update(map(abs, _numbers(_text(output))))
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and "<details>" not in cell.source:
            for number in _PROSE_NUMBER.findall(_measured_text(cell.source)):
                digits = len(number.partition(".")[2])
                value = float(number.replace(" ", ""))
                if not any(round(other, digits) == value for other in known):
                    yield f"cell {index}: {number}"


# With a decimal point or a per cent sign: what was measured. Sizes and years are whole numbers.
_PROSE_NUMBER = re.compile(r"(?<![\w./-])(?:\d+\.\d+|\d+(?= %))(?![\w/]|\.\d)")
_NOT_MEASURED = (
    r"(?s)## Exercise.*",  # its numbers are given
    r"(?s)```.*?```",
    r"(?m)^    .*$",
    r"`[^`\n]*`",
    r"\[[^\]]*\]\([^)]*\)",
    r"(?m)^#.*$",
    r"(?:Python|TensorFlow|section) \d[\d.]*",
)


def _measured_text(markdown):
    for pattern in _NOT_MEASURED:
        markdown = re.sub(pattern, " ", markdown)
    return markdown


def set_address(path, address):
    """Writes the address of the repository into a lesson: what Colab installs from, and its badges."""
    notebook = read(path)
    header, first = notebook.cells[:2]
    first.source = _ADDRESS.sub(address or PLACEHOLDER, first.source)
    header.source = _BADGES.sub("", header.source)
    if address:
        name = f"{address.partition('github.com/')[2]}"
        where = f"scripts/notebooks/{path.name}"
        header.source += (
            f"\n\n[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
            f"(https://colab.research.google.com/github/{name}/blob/main/{where}) "
            f"[![Binder](https://mybinder.org/badge_logo.svg)]"
            f"(https://mybinder.org/v2/gh/{name}/main?labpath={where})"
        )
    write(notebook, path)


parser = Parser(__doc__)
option = parser.add_argument
option("lessons", nargs="*", metavar="N", help="numbers of lessons (default: all)")
option("--write", action="store_true", help="write the new outputs into the notebooks")
option("--address", metavar="URL", help="write the repository's address into badges and cells; none: take it away")


def command(arguments):
    options = vars(arguments)
    lessons = chosen(options.get("lessons", []))
    if "address" in options:
        for path in lessons:
            set_address(path, "" if options["address"] == "none" else options["address"].rstrip("/"))
        return 0
    different = False
    for path in lessons:
        committed = read(path)
        with Lesson(path) as lesson:
            new = lesson.run()
        lines = list(differences(committed, new))
        different |= bool(lines)
        print(path.name, *(lines or ["as committed"]), sep="\n    ", flush=True)
        if "write" in options:
            write(new, path)
    return int(different and "write" not in options)


def chosen(numbers):
    """The paths of the lessons with these numbers; all of them where there is none."""
    known = {path.name[0]: path for path in paths()}
    for number in numbers:
        if number not in known:
            raise InputError(f"lesson {number}: expected one of {', '.join(known)}")
    return [known[number] for number in numbers or known]


if __name__ == "__main__":
    run(parser, command)
