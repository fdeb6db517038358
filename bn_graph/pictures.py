"""Pictures that bn_graph writes, and how it knows them again."""

import io
import warnings

from bn_graph.files import open_file

SOFTWARE = "bn_graph"  # in the metadata of every picture

# Colours that the colour-blind tell apart, in the order in which lines take them: M. Okabe and K. Ito, "Color Universal
# Design", https://jfly.uni-koeln.de/color/, without the yellow, which is too pale on white.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
GREY = "#666666"  # for what stands behind the curves: limits, starting points, training batches

# matplotlib's settings for every picture of bn_graph: `with matplotlib.rc_context(STYLE):` around what draws, or
# `plt.style.use(STYLE)` in a notebook. It is a plain dict, so that importing this module need not import matplotlib.
STYLE = {
    "axes.prop_cycle": f"cycler('color', {[BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY]})",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "figure.constrained_layout.use": True,
    "figure.titlesize": 12,
    "grid.alpha": 0.3,
    "legend.fontsize": 9,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


def png(figure, dpi: int = 120) -> bytes:
    """The bytes of a PNG of a matplotlib figure."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi, metadata={"Software": SOFTWARE})
    return content.getvalue()


def picture_written_by_us(path) -> bool:
    """Whether the file `path` is a PNG that bn_graph wrote."""
    from PIL import Image  # here, so that --help need not wait for it

    try:
        with warnings.catch_warnings(), open_file(path) as file:
            warnings.simplefilter("ignore")  # of a picture that says it is enormous
            with Image.open(file, formats=["PNG"]) as image:
                return image.info.get("Software") == SOFTWARE
    except Exception:  # broken pictures raise half a dozen kinds: whatever it is, we did not write it
        return False
