"""The page, the picture and the JSON of a comparison that `bn_graph.comparison.compare` measured.

A number that was not finite is None in a comparison. It is written as a dash.
"""

import base64
import json
from pathlib import Path

import jinja2

from bn_graph.comparison.figures import comparison_figure, draw_envelope, draw_pages, draw_seeds, one_figure
from bn_graph.files import make_folder, open_file, read_whole, write_whole
from bn_graph.pictures import picture_written_by_us, png

GENERATOR = '<meta name="generator" content="bn_graph">'  # by which we know our own page again
_DPI = 160
_LARGEST_JSON = 2**28  # bytes; a comparison of a thousand seeds has a twentieth
_TEMPLATE = Path(__file__).parent / "report.html"


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
    environment.filters |= {"percent": _percent, "points": _points, "number": _number, "loss": _loss}
    pictures = {
        draw.__name__.removeprefix("draw_"): base64.b64encode(png(one_figure(draw, comparison), _DPI)).decode()
        for draw in (draw_envelope, draw_seeds, draw_pages)
    }
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        c=comparison, pictures=pictures, generator=GENERATOR
    )


def summary_lines(comparison: dict):
    """The short table that the command prints."""
    columns = {"printed": "printed, 2016", "graph_2016": "2016 graph, now", "port": "this port", "recorded": "recorded"}
    if comparison["edition"] != "notebook":
        del columns["printed"]  # only the notebook was published with its output
    yield "      " + "".join(f"{title:>18}" for title in columns.values()) + f"{'port apart from recorded':>32}"
    yield "  step" + "".join(f"{'loss':>10}{'valid':>8}" for _ in columns) + (f"{'so far':>16}{'one-ulp envelope':>18}")
    for row in comparison["steps"]:
        cells = "".join(
            f"{_loss(row[column]['train_loss']):>10}{_percent(row[column]['valid_accuracy'], 1):>8}"
            if row[column]
            else f"{'':>18}"
            for column in columns
        )
        yield f"{row['step']:6}{cells}{_number(row['apart']):>16}{_number(row['envelope']):>18}"
    seeds = comparison["seeds"]
    for side, title in (("port", "port"), ("original", "TF 0.12.1")):
        if seeds[side]:
            test = seeds[side]["test"]
            yield (
                f"Test accuracy over {test['n']} seeds, {title}: {_percent(test['mean'])} on average, "
                f"standard deviation {_points(test['std'])}, {_percent(test['lowest'])} to {_percent(test['highest'])}"
            )
    page = comparison["page"]
    yield (
        f"The page as printed: {_percent(page['printed']['test_accuracy'])}; "
        f"with control dependencies: {_percent(page['mended']['test_accuracy'])}"
    )
    if comparison["verdict"]["same"]:
        yield "The port is the original, by every rule."


def _percent(fraction, digits=2):
    """An accuracy."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f} %"


def _points(fraction, digits=2):
    """A difference of accuracies, in percentage points."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f}"


def _number(value):
    """A number with two digits that count."""
    return "–" if value is None else f"{value:.2g}"


def _loss(value):
    """A loss, as the tutorial prints it."""
    return "–" if value is None else f"{value:.6f}"
