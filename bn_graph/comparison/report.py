"""The page, the picture and the JSON of a comparison that `bn_graph.comparison.compare` measured.

A number that was not finite is None in a comparison. It is written as a dash.
"""

import base64
import io
import json
from pathlib import Path

import jinja2

from bn_graph.comparison.figures import comparison_figure, draw_envelope, draw_pages, draw_seeds, one_figure
from bn_graph.files import make_folder, open_file, read_whole, write_whole
from bn_graph.pictures import picture_written_by_us, png

GENERATOR = '<meta name="generator" content="bn_graph">'  # by which we know our own page again
_DPI = 160
_COLOURS = 64  # of a picture in the page, which makes it a third as large and looks the same
_LARGEST_JSON = 2**28  # bytes; a comparison of a thousand seeds has a twentieth
_FOLDER = Path(__file__).parent
_CONTENTS = {  # the parts of the page, by their ids
    "checks": "The checks",
    "limits": "The limits, and why they are these",
    "controls": "Negative control: ports broken on purpose",
    "steps": "Step by step",
    "originals": "The original's own text, run today",
    "seeds": "Over the seeds",
    "split": "The split",
    "code": "The code, line by line",
    "graph": "The graph, part by part",
    "page": "The page: what the missing lines cost",
    "made": "What made this",
}


def page_written_by_us(path) -> bool:
    """Whether the file `path` is a page that bn_graph wrote."""
    with open_file(path) as file:
        return GENERATOR.encode() in file.read(1000)


def json_written_by_us(path) -> bool:
    """Whether the file `path` is the JSON of a comparison."""
    try:
        content = json.loads(read_whole(path, _LARGEST_JSON))
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("generator") == "bn_graph"


# The files of a comparison, and for each how one of ours is known again.
FILES = {
    "report.html": page_written_by_us,
    "comparison.png": picture_written_by_us,
    "comparison.json": json_written_by_us,
}


def write_comparison(comparison: dict, folder) -> None:
    """Writes report.html, comparison.png and comparison.json into `folder`, replacing them. Raises OSError.

    The folder is made where there is none.
    """
    folder = Path(folder)
    make_folder(folder)
    text = json.dumps(comparison, indent=1, allow_nan=False) + "\n"
    write_whole(folder / "comparison.json", text.encode())
    write_whole(folder / "comparison.png", png(comparison_figure(comparison), _DPI))
    write_whole(folder / "report.html", html_page(comparison).encode())


def html_page(comparison: dict) -> str:
    """The comparison as one HTML page that needs nothing else: its pictures are inside."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": lambda *arguments: _percent(*arguments).replace(" ", "\u00a0"),  # not broken over two lines
        "points": _points,
        "apart": _points_apart,
        "number": _number,
        "loss": _loss,
        "whole": _whole,
    }
    pictures = {
        draw.__name__.removeprefix("draw_"): base64.b64encode(_small_png(draw, comparison)).decode()
        for draw in (draw_envelope, draw_seeds, draw_pages)
    }
    return environment.from_string(_read("report.html")).render(
        c=comparison,
        pictures=pictures,
        generator=GENERATOR,
        css=_read("report.css"),
        contents=_CONTENTS,
    )


def _read(name):
    return (_FOLDER / name).read_text(encoding="utf-8")


def _small_png(draw, comparison):
    """The bytes of a PNG of one picture, in few colours."""
    from PIL import Image  # here, so that --help need not wait for it

    content = io.BytesIO()
    with Image.open(io.BytesIO(png(one_figure(draw, comparison), _DPI))) as image:
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(content, format="PNG", optimize=True)
    return content.getvalue()


_COLUMNS = {"port": "this port", "recorded": "recorded"}
_WITNESSES = {"graph_2016": "2016 graph, now", "printed": "printed, 2016"}


def summary_lines(comparison: dict):
    """The short table that the command prints, and what was found beside it."""
    yield from _table_lines(comparison)
    seeds = comparison["seeds"]
    for side, title in (("port", "port"), ("original", "TF 0.12.1")):
        if seeds[side]:
            test = seeds[side]["test"]
            yield (
                f"Test accuracy over {test['n']} seeds, {title}: {_percent(test['mean'])} on average, "
                f"standard deviation {_points(test['std'])}, {_percent(test['lowest'])} to {_percent(test['highest'])}"
            )
    if seeds["tests"]:
        yield _equivalence_line(seeds["tests"])
    page = comparison["page"]
    yield (
        f"The page as printed: {_percent(page['printed']['test_accuracy'])}; "
        f"with control dependencies: {_percent(page['mended']['test_accuracy'])}"
    )
    yield _controls_line(comparison["controls"]["ports"])
    for original in comparison["originals"]:
        yield _original_line(original)
    if comparison["verdict"]["same"]:
        yield "The port is the original, by every rule."


def _table_lines(comparison):
    witnesses = dict(_WITNESSES)
    if comparison["edition"] != "notebook":
        del witnesses["printed"]  # only the notebook was published with its output

    def cells(row, columns):
        return "".join(
            f"{_loss(row[column]['train_loss']):>10}{_percent(row[column]['valid_accuracy'], 1):>8}"
            if row[column]
            else f"{'':>18}"
            for column in columns
        )

    def titles(columns):
        return "".join(f"{title:>18}" for title in columns.values())

    yield f"      {titles(_COLUMNS)}{'port apart from recorded':>28}{titles(witnesses)}"
    pair = f"{'loss':>10}{'valid':>8}"
    yield f"  step{pair * len(_COLUMNS)}{'so far':>16}{'allowed':>12}{pair * len(witnesses)}"
    for row in comparison["steps"]:
        apart = f"{_number(row['apart']):>16}{_number(row['allowed']):>12}"
        yield f"{row['step']:6}{cells(row, _COLUMNS)}{apart}{cells(row, witnesses)}"


def _equivalence_line(tests):
    test, margin = tests["test"], _points(tests["margin"], 1)
    verdict = {
        "equivalent": f"equivalent within {margin} points",
        "different": f"further apart than {margin} points",
        "undecided": f"not shown to be within {margin} points; more seeds would tell",
    }[test["verdict"]]
    interval = f"{_points(test['low'])} to {_points(test['high'])}"
    return f"The two averages: {verdict} ({_whole(100 * tests['confidence'])} % interval of the difference {interval})"


def _controls_line(ports):
    found = [
        f"{port['name']} ({', '.join(rule['rule'] for rule in port['rules'] if not rule['kept']) or 'no rule'})"
        for port in ports[1:]
    ]
    return f"Broken on purpose, and the rules that break: {', '.join(found)}"


def _original_line(original):
    port = original["from_port"]
    test = f"test accuracy {_percent(original['test_accuracy'])}"
    if port is None:
        return f"{original['name']}, run today, its seed unknown: {test}"
    return (
        f"{original['name']}, run today from seed {original['seed']}: {port['steps_that_differ']} of "
        f"{original['num_steps']} losses are not the port's; {test}"
    )


def _percent(fraction, digits=2):
    """An accuracy."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f} %"


def _points(fraction, digits=2):
    """A difference of accuracies, in percentage points."""
    return "–" if fraction is None else f"{round(100 * fraction, digits) + 0.0:.{digits}f}"  # never -0.00


def _points_apart(values):
    """The difference of two accuracies, in percentage points."""
    first, second = values
    return "–" if None in values else _points(abs(first - second))


def _whole(value):
    """A number without digits behind the point."""
    return "–" if value is None else f"{value:.0f}"


def _number(value):
    """A number with two digits that count."""
    return "–" if value is None else f"{value:.2g}"


def _loss(value):
    """A loss, as the tutorial prints it."""
    return "–" if value is None else f"{value:.6f}"
