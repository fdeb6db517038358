"""Draws the picture of README.md: the page as printed beside the page with the missing lines.

python -m bn_graph.comparison.page bn_graph/comparison/page.png
"""

from bn_graph.cli import FORCE, Parser, check_output, import_tensorflow, run
from bn_graph.comparison.figures import draw_validation, one_figure
from bn_graph.files import write_whole
from bn_graph.pictures import picture_written_by_us, png

WIDTH, HEIGHT, DPI = 5.2, 3.3, 160  # inches; as wide as the text of a README, and readable on a phone

parser = Parser(__doc__)
parser.add_argument("picture", metavar="FILE.png", help="where to write the picture")
parser.add_argument("--steps", type=int, metavar="N", help="training steps (default: 1000)")
parser.add_argument("--force", **FORCE)


def command(arguments):
    check_output(arguments.picture, ".png", picture_written_by_us, arguments.force)
    changes = {"steps": arguments.steps} if "steps" in arguments else {}
    import_tensorflow()
    figure = one_figure(draw_validation, train_both(**changes))
    figure.set_size_inches(WIDTH, HEIGHT)
    write_whole(arguments.picture, png(figure, DPI))


def train_both(**changes):
    """The records of the page as printed and of the page with the missing lines, from seed 1, as they were recorded.

    changes: settings that are other than the page's.
    """
    import dataclasses

    from bn_graph.comparison.recordings import RECORDED, RECORDED_SEED
    from bn_graph.graph import build_graph
    from bn_graph.mnist import load_mnist, split
    from bn_graph.training import train

    splits = split(load_mnist(), "original")
    names = {"printed": "page", "mended": "page_control_dependencies"}
    configs = {key: dataclasses.replace(RECORDED[name], seed=RECORDED_SEED, **changes) for key, name in names.items()}
    return {key: train(build_graph(config, splits), splits, engine="in_graph") for key, config in configs.items()}


if __name__ == "__main__":
    run(parser, command)
