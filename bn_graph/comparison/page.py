"""Draws the picture of README.md: the page as printed, and the page with its two missing lines.

python -m bn_graph.comparison.page bn_graph/comparison/page.png
"""

import dataclasses

from bn_graph.cli import FORCE, Parser, check_output, run
from bn_graph.comparison.figures import draw_validation, one_figure
from bn_graph.comparison.recordings import RECORDED, RECORDED_SEED
from bn_graph.config import PAGE
from bn_graph.files import write_whole
from bn_graph.graph import build_graph
from bn_graph.mnist import load_mnist, split
from bn_graph.pictures import picture_written_by_us, png
from bn_graph.training import train

WIDTH, HEIGHT, DPI = 5.2, 3.3, 160  # inches; as wide as the text of a README, and readable on a phone

parser = Parser(__doc__)
parser.add_argument("picture", metavar="FILE.png", help="where to write the picture")
parser.add_argument("--steps", type=int, default=PAGE.steps, metavar="N", help=f"default: {PAGE.steps}")
parser.add_argument("--force", **FORCE)


def command(arguments):
    check_output(arguments.picture, ".png", picture_written_by_us, arguments.force)
    splits = split(load_mnist(), "original")
    printed, mended = (
        train_page(dataclasses.replace(RECORDED[name], seed=RECORDED_SEED, steps=arguments.steps), splits)
        for name in ("page", "page_control_dependencies")
    )
    figure = one_figure(draw_validation, {"printed": printed, "mended": mended})
    figure.set_size_inches(WIDTH, HEIGHT)
    write_whole(arguments.picture, png(figure, DPI))


def train_page(config, splits):
    return train(build_graph(config, splits), splits, engine="in_graph")


if __name__ == "__main__":
    run(parser, command)
