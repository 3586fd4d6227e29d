"""Any image file as an upright RGB image of 8 bits a channel."""

import math
import os
from contextlib import suppress

import numpy as np
import numpy.typing as npt
from PIL import Image

from slade_plugin.base.errors import DataError

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


def read_rgb(path: str | os.PathLike[str], box: npt.ArrayLike | None = None) -> Image.Image:
    """Decodes an image file.

    Grey, palette, CMYK and 16-bit images become RGB, what is transparent lies on white, and an
    EXIF orientation is applied. Size: Pillow refuses files of more than twice
    ``PIL.Image.MAX_IMAGE_PIXELS`` (2 x 89 million pixels; a file of some kilobytes can claim to be
    so large); a JPEG above the simple limit is decoded at half its width and height.

    Args:
        path: The file.
        box: x1, y1, x2, y2 in pixels of the file as it is stored, before orientation: what lies
            outside is cut off. Rounded outwards and clipped to the image.

    Returns:
        A loaded image of mode "RGB"; the file is closed.

    Raises:
        DataError: If the file cannot be decoded whole or the box is empty; it names the file.
    """
    try:
        with Image.open(path) as image:
            width, _ = image.size
            if width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                image.draft(None, (width // 2, image.height // 2))  # does nothing but in JPEG
            image.load()
            orientation = 1
            with suppress(Exception):  # broken EXIF data around a whole image
                orientation = image.getexif().get(_ORIENTATION, 1)
            upright: Image.Image = image
            if box is not None:
                upright = upright.crop(_pixels(box, image.size, image.width / width))
            upright = _to_rgb(upright)
    # Pillow meets damaged files with a dozen kinds of errors.
    except Exception as error:
        raise DataError(
            f"{path} cannot be decoded: {error or type(error).__name__}. Replace the file, or let "
            "a few be skipped: max_unreadable of the data set (config_dataset)."
        ) from error
    method = _UPRIGHT.get(orientation)
    return upright if method is None else upright.transpose(method)


def _pixels(box: npt.ArrayLike, size: tuple[int, int], scale: float) -> tuple[int, int, int, int]:
    """The box in whole pixels of the decoded image."""
    x1, y1, x2, y2 = (float(v) * scale for v in np.asarray(box))
    left, top = max(math.floor(x1), 0), max(math.floor(y1), 0)
    right, bottom = min(math.ceil(x2), size[0]), min(math.ceil(y2), size[1])
    if right <= left or bottom <= top:
        raise DataError(f"its bounding box {x1:g}, {y1:g}, {x2:g}, {y2:g} is outside {size}")
    return left, top, right, bottom


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    # A copy of an RGB image, since the file's own object closes with the file.
    return image.convert("RGB")
