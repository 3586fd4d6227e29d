"""Decode any image file to an upright RGB image of 8 bits per channel, at a bounded cost."""

import math
import os
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt
from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.base.warning import warn_once
from slade_plugin.data.files.value_ranges import (
    Storage,
    check_deep_color,
    has_gray_levels,
    to_gray_levels,
)

MAX_ASPECT = 20
"""Longest side in short sides; a longer image is cut to its middle, see `read_rgb`."""
MAX_REDUCTION = 20
"""Sides of the largest decoded square, in short sides of what it is resized to; see `reduction`."""
FEWEST_LEVELS = 8
"""An image whose channels span fewer values is nearly one color."""
LEAST_TARGET = 256
"""Smaller targets count as this one, so that a 24-megapixel PNG is read for any of them."""

_ORIENTATION = 0x0112  # the EXIF tag; CIPA DC-008, "Orientation"
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ROWS = 256  # made opaque at once: bounds the memory of a large image
_JPEG_SCALES = (8, 4, 2)  # that a JPEG decoder divides width and height by, at no cost
_FAIR = 3  # resizing by at least this factor hides the decoder's own


def read_rgb(
    path: str | os.PathLike[str],
    box: npt.ArrayLike | None = None,
    value_range: Sequence[float] | None = None,
    short_side: int | None = None,
) -> Image.Image:
    """Decode an image file.

    Gray, palette and CMYK images become RGB, transparent pixels white, and the EXIF orientation is
    applied. For more than 8 bits see `value_ranges`. Of an animation the first frame is read.

    Memory and time are bounded by what the image is resized to, see `reduction`. An image (or box)
    longer than `MAX_ASPECT` times its short side is cut to its middle, since transforms that set
    the short side would enlarge the long one without a limit.

    Args:
        path: The file.
        box: x1, y1, x2, y2 in pixels of the file as it is stored, before orientation: what lies
            outside is cut off. Rounded outwards and clipped to the image.
        value_range: The values of black and white in files of one channel of more than 8 bits;
            None = as the format fixes them.
        short_side: What the image (or box) is resized to next. A larger JPEG is decoded at 1/2, 1/4
            or 1/8 of its size.

    Returns:
        A loaded image of mode "RGB"; the file is closed.

    Raises:
        DataError: If the file cannot be decoded whole, its range of values is not known, or the box
            is empty; it names the file.
    """
    try:
        with Image.open(path) as image:
            storage = Storage.of(image)
            width, region = image.width, (0, 0, *image.size)
            if box is not None:
                region = _pixels(box, image.size, 1)
            scale = reduction(image, short_side, min(region[2] - region[0], region[3] - region[1]))
            if scale > 1:
                image.draft(None, (image.width // scale, image.height // scale))
            image.load()
            orientation = 1
            with suppress(Exception):  # broken EXIF data around a whole image
                orientation = image.getexif().get(_ORIENTATION, 1)
            upright: Image.Image = image
            if has_gray_levels(image):
                check_deep_color(image, storage, value_range)
            else:
                upright = to_gray_levels(image, storage, value_range)
            if box is not None:
                upright = upright.crop(_pixels(box, image.size, image.width / width))
            upright = to_rgb(_without_ends(upright))
            upright.info.clear()  # no later reader may apply the orientation again
    # Pillow meets damaged files with a dozen kinds of errors.
    except Exception as error:
        reason = str(error).removesuffix(".") or type(error).__name__
        raise DataError(
            f"{path} cannot be decoded: {reason}. Replace the file, or let a few be skipped: "
            "max_unreadable of the data set (config_dataset)."
        ) from error
    method = _UPRIGHT.get(orientation)
    return upright if method is None else upright.transpose(method)


def reduction(image: Image.Image, short_side: int | None = None, short: int | None = None) -> int:
    """Tell from its header what a file's width and height are divided by when it is decoded.

    A JPEG is divided as long as its short side stays above `_FAIR` times the one it is resized to,
    and further until (`MAX_REDUCTION` x short_side)^2 pixels are left. Other formats cannot be
    decoded at a smaller size, and the decoder of a progressive JPEG keeps all of it: those of more
    pixels are refused.

    Args:
        image: Open, not loaded.
        short_side: What it is resized to; None and less than `LEAST_TARGET` count as that.
        short: Its short side, or that of its box; None = its own.

    Returns:
        1, 2, 4 or 8.

    Raises:
        DataError: If it is too large to be decoded.
    """
    most = (MAX_REDUCTION * max(short_side or 0, LEAST_TARGET)) ** 2
    pixels = image.width * image.height
    is_jpeg = image.format in ("JPEG", "MPO")
    if pixels > most and (not is_jpeg or "progressive" in image.info):
        raise DataError(
            f"it has {image.width} x {image.height} pixels; expected at most {most / 1e6:.0f} "
            "million, except in a JPEG that is not progressive. Save it smaller"
        )
    needed = min(image.size) if short is None else short
    fair = needed / (_FAIR * short_side) if short_side and is_jpeg else 1
    least = math.sqrt(pixels / most)
    return next((s for s in _JPEG_SCALES if fair >= s or least > s / 2), 1)


def _without_ends(image: Image.Image) -> Image.Image:
    """Cut an image to its middle if it is longer than `MAX_ASPECT` times its short side."""
    longest = MAX_ASPECT * min(image.size)
    if max(image.size) <= longest:
        return image
    warn_once(
        f"images longer than {MAX_ASPECT} times their short side are cut to their middle "
        "(slade-bench data verify names them)."
    )
    width, height = (min(side, longest) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _pixels(box: npt.ArrayLike, size: tuple[int, int], scale: float) -> tuple[int, int, int, int]:
    """Convert the box to whole pixels of the decoded image."""
    x1, y1, x2, y2 = (float(v) * scale for v in np.asarray(box))
    left, top = max(math.floor(x1), 0), max(math.floor(y1), 0)
    right, bottom = min(math.ceil(x2), size[0]), min(math.ceil(y2), size[1])
    if right <= left or bottom <= top:
        raise DataError(f"its bounding box {x1:g}, {y1:g}, {x2:g}, {y2:g} is outside {size}")
    return left, top, right, bottom


def count_levels(image: Image.Image) -> int:
    """Return the widest span of values in a channel of an RGB image, 1 to 256."""
    return max(int(high) - int(low) for low, high in image.getextrema()) + 1  # type: ignore[misc]


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any 8-bit mode to RGB, with transparent parts on white."""
    if not image.has_transparency_data:
        # A copy even of an RGB image, since the file's own object closes with the file.
        return image.convert("RGB")
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, _ROWS):
        box = (0, top, image.width, min(top + _ROWS, image.height))
        rows = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", rows.size, "white")
        rgb.paste(Image.alpha_composite(white, rows).convert("RGB"), box)
    return rgb
