"""Draw a contact sheet with one row per class, to check labels, boxes and decoding by eye."""

import io
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from slade_plugin.base.errors import DataError
from slade_plugin.base.files import atomic_write
from slade_plugin.data.files.image_list import ImageList

CELL = 96  # pixels, of an image with its border
TITLE = 18  # height of a row's title
ROWS = 20  # maximum number of classes
COLUMNS = 10  # maximum number of images per class


def write_contact_sheet(images: ImageList, path: Path) -> None:
    """Write a PNG of some classes, spread evenly over their order, and some images of each.

    Bounding boxes are drawn in red; an image that cannot be decoded is a gray field with a cross.

    Args:
        images: The list.
        path: The PNG to write.

    Raises:
        ExperimentError: If it cannot be written.
    """
    classes = _spread(np.arange(len(images.class_names)), ROWS)
    sizes = np.bincount(images.labels)
    columns = int(min(COLUMNS, sizes[classes].max()))
    sheet = Image.new("RGB", (columns * CELL, len(classes) * (CELL + TITLE)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(
        str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 11
    )
    for row, label in enumerate(classes):
        top = row * (CELL + TITLE)
        title = f"{images.class_names[label]}  ({sizes[label]})"
        draw.text((3, top + 2), title, fill="black", font=font)
        for column, index in enumerate(_spread(np.flatnonzero(images.labels == label), columns)):
            sheet.paste(_thumbnail(images, int(index)), (column * CELL + 2, top + TITLE + 2))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    with atomic_write(path) as handle:
        handle.write(buffer.getvalue())


def _spread(places: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Choose at most ``most`` of the places, evenly spaced."""
    return places[np.linspace(0, len(places) - 1, min(most, len(places))).astype(int)]


def _thumbnail(images: ImageList, index: int) -> Image.Image:
    size = (CELL - 4, CELL - 4)
    try:
        image = images.decode(index)
    except DataError:
        image = Image.new("RGB", size, "lightgrey")
        ImageDraw.Draw(image).line([(0, 0), size, (0, size[1]), (size[0], 0)], fill="red")
        return image
    width, height = image.size
    image.thumbnail(size)
    if images.boxes is not None:
        scale = np.tile(np.divide(image.size, (width, height)), 2)
        x1, y1, x2, y2 = np.clip(images.boxes[index] * scale, 0, CELL - 5)
        ImageDraw.Draw(image).rectangle(
            (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline="red"
        )
    return image
