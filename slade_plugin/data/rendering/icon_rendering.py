"""Render icons, the images of ``Icons``; write no files.

Ours, not the paper's. Each drawing is rendered large in black on white, cut to its ink, and scaled
down to 32 x 32 with a margin of two pixels, its proportions kept.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.data.rendering.icon_concepts import Drawing

IMAGE_SIZE = 32
MARGIN = 2
RENDER_SIZE = 128
# A drawing whose longest side has fewer pixels in the large rendering is rendered again, larger.
MIN_INK = 2 * IMAGE_SIZE
# Gray levels (standard deviation) below which an image counts as blank.
MIN_CONTRAST = 3.0
# Two drawings of one concept whose pixels correlate more than this are one: sets borrow icons.
SAME_DRAWING = 0.97

UInt8Array = npt.NDArray[np.uint8]


def render(drawing: Drawing) -> UInt8Array | None:
    """Render an icon: (32, 32), 0 = ink, 255 = paper; None if nothing can be seen."""
    ink = _draw(drawing, RENDER_SIZE)
    if ink is not None and max(ink.size) < MIN_INK:
        ink = _draw(drawing, -(-RENDER_SIZE * MIN_INK // max(ink.size)))
    if ink is None:
        return None
    longest = max(ink.size)
    square = Image.new("L", (longest, longest), 255)
    square.paste(ink, ((longest - ink.width) // 2, (longest - ink.height) // 2))
    inner = IMAGE_SIZE - 2 * MARGIN
    image = Image.new("L", (IMAGE_SIZE, IMAGE_SIZE), 255)
    image.paste(square.resize((inner, inner), Image.Resampling.LANCZOS), (MARGIN, MARGIN))
    pixels = np.asarray(image)
    return pixels if pixels.std() >= MIN_CONTRAST else None


def check_renderer() -> None:
    """Check that resvg-py, an extra that nothing else needs, is installed."""
    try:
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"Icons are rendered with resvg-py, which cannot be imported: {error}. Install it: "
            "`pip install resvg-py`, or the plugin with its extra [icons]."
        ) from error


def _draw(drawing: Drawing, size: int) -> Image.Image | None:
    """Draw the icon on white, cut to its ink; its view box is ``size`` pixels. None if bad."""
    import resvg_py  # an extra, see check_renderer

    left, top, width, height = drawing.view_box
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}" '
        f'color="#000">{drawing.body}</svg>'
    )
    try:
        png = bytes(
            resvg_py.svg_to_bytes(
                svg_string=svg,
                skip_system_fonts=True,
                width=size if width >= height else None,
                height=None if width >= height else size,
            )
        )
    except ValueError:  # a body that is not SVG
        return None
    drawn = Image.open(io.BytesIO(png)).convert("RGBA")
    image = Image.new("RGBA", drawn.size, "white")
    image.alpha_composite(drawn)
    gray = image.convert("L")
    box = gray.point(lambda level: 255 - level).getbbox()
    return gray.crop(box) if box else None


def distinct(images: UInt8Array) -> npt.NDArray[np.intp]:
    """Find the images that are not near duplicates of an earlier kept one.

    Args:
        images: (N, 32, 32), of one concept; none is uniform.
    """
    pixels = _standardized(images)
    alike = pixels @ pixels.T > SAME_DRAWING
    kept: list[int] = []
    for place in range(len(images)):
        if not alike[place, kept].any():
            kept.append(place)
    return np.array(kept, dtype=np.intp)


def repeats(images: UInt8Array, others: UInt8Array) -> npt.NDArray[np.bool_]:
    """Mark the images (N, 32, 32) that are near duplicates of one of the others: (N,)."""
    rows, columns = _standardized(images), _standardized(others).T
    # Piece by piece: a whole data set's correlations would fill the memory.
    pieces = (rows[i : i + 1000] @ columns for i in range(0, len(rows), 1000))
    return np.concatenate([(piece > SAME_DRAWING).any(axis=1) for piece in pieces])


def _standardized(images: UInt8Array) -> npt.NDArray[np.float64]:
    """Return the images as rows of mean 0 and length 1, so that products are correlations."""
    pixels = images.reshape(len(images), -1).astype(np.float64)
    pixels -= pixels.mean(axis=1, keepdims=True)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    return pixels
