"""The lessons, run and compared with what is committed. Not run by default: python -m pytest -m lessons"""

import copy
import re

import pytest

from tests import lessons
from tests.paths import ROOT

pytestmark = pytest.mark.lessons
EACH = pytest.mark.parametrize("path", lessons.paths(), ids=lambda path: path.stem)
MOST_BYTES = 300_000  # of a notebook, so that GitHub shows it and a clone stays small


@EACH
def test_a_lesson_prints_what_is_committed_and_its_answers_are_right(path):
    committed = lessons.read(path)
    with lessons.Lesson(path) as lesson:
        assert list(lessons.differences(committed, lesson.run())) == []
        exercises = list(lessons.answers(committed))
        assert exercises
        for check, answer in exercises:
            assert lesson.say(check) == "not yet\n"
            lesson.say(answer)
            assert lesson.say(check) == "right\n"


@EACH
def test_every_measured_number_in_the_text_is_one_that_the_lesson_prints(path):
    assert list(lessons.unprinted_numbers(lessons.read(path))) == []


@EACH
def test_a_lesson_is_committed_with_clean_outputs_that_fit_on_a_page(path):
    assert path.stat().st_size < MOST_BYTES
    pictures = 0
    for cell in lessons.read(path).cells:
        for output in cell.get("outputs", []):
            assert output.output_type in ("stream", "display_data"), cell.source
            assert output.get("name") != "stderr", output.text
            pictures += "image/png" in output.get("data", {})
    assert pictures


@EACH
def test_a_lesson_begins_with_what_it_needs_and_leads_to_its_neighbours(path):
    header = lessons.read(path).cells[0].source
    assert "\n| you need | time | previous | next |\n" in header
    names = [next(other.name for other in lessons.paths() if other.name[0] == number) for number in lessons.ORDER]
    place = names.index(path.name)
    neighbours = [names[place - 1] if place else None, *names[place + 1 : place + 2]]
    assert re.findall(r"\]\((\d_\w+\.ipynb)\)", header.split("\n\n")[1]) == [name for name in neighbours if name]


@EACH
def test_every_link_in_a_lesson_leads_somewhere(path):
    for cell in lessons.read(path).cells:
        for target in re.findall(r"\]\(([^)\s]+)\)", cell.source) if cell.cell_type == "markdown" else []:
            assert target.startswith("https://") or (path.parent / target).exists(), target


def test_another_number_word_or_picture_is_a_difference():
    committed = lessons.read(lessons.paths()[0])
    index, output = next(
        (index, cell.outputs[0])
        for index, cell in enumerate(committed.cells)
        if cell.cell_type == "code" and cell.outputs and "tolerance" in cell.metadata
    )
    committed.cells[index].metadata["tolerance"] = {"absolute": 0.5}

    def different(text):
        new = copy.deepcopy(committed)
        new.cells[index].outputs[0].text = text
        return list(lessons.differences(committed, new))

    number = re.search(r"\d+\.\d", output.text)[0]
    assert different(output.text) == []
    assert different(output.text.replace(number, f"{float(number) + 0.4:.1f}", 1)) == []
    assert len(different(output.text.replace(number, f"{float(number) + 0.6:.1f}", 1))) == 1
    assert len(different(output.text.replace("accuracy", "loss", 1))) == 1
    assert different(output.text + "one more line\n")
    new = copy.deepcopy(committed)
    new.cells[index].outputs = []
    assert different(output.text) == [] and list(lessons.differences(committed, new))


def test_a_measured_number_that_no_cell_prints_is_found():
    notebook = lessons.read(lessons.paths()[0])
    notebook.cells[-1].source += "\n\nIt gained 12.345 points, which is 73.7 %."
    last = len(notebook.cells) - 1
    assert list(lessons.unprinted_numbers(notebook)) == [f"cell {last}: 12.345", f"cell {last}: 73.7"]


def test_badges_name_the_repository_and_go_away_again(tmp_path):
    before = lessons.paths()[0]
    path = tmp_path / before.name
    path.write_text(before.read_text())
    lessons.set_address(path, "https://github.com/someone/something")
    header, first = (cell.source for cell in lessons.read(path).cells[:2])
    notebook = f"scripts/notebooks/{path.name}"
    assert f"(https://colab.research.google.com/github/someone/something/blob/main/{notebook})" in header
    assert f"(https://mybinder.org/v2/gh/someone/something/main?labpath={notebook})" in header
    assert 'REPOSITORY = "https://github.com/someone/something"\n' in first
    lessons.set_address(path, "")
    assert lessons.read(path).cells == lessons.read(before).cells


def test_binder_installs_the_extra_of_the_lessons():
    (line,) = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    assert line == ".[lessons]"
    assert '"lessons": [' in (ROOT / "setup.py").read_text()
