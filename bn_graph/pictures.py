"""Pictures that bn_graph writes, and how it knows them again."""

import io
import warnings

from bn_graph.files import open_file

SOFTWARE = "bn_graph"  # in the metadata of every picture


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
