"""8-bit gray levels from images of 12, 16 and 32 bits and of floats.

Black and white are known, never estimated from the pixels: one image alone cannot
show whether it is dark or stored with 12 bits.

    16-bit PNG and TIFF, PGM    0 to 65535 (Pillow scales PGM by its header)
    12-bit TIFF                 0 to 4095
    floats                      0 to 1
    32-bit integers             not known
    anything above              `value_range` of the data set, if given
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from slade_plugin.base.errors import DataError

ValueRange = tuple[float, float]
"""The values that stand for black and for white."""

_ROWS = 256
_FULL_16_BIT = (0, 65535)
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # TIFF 6.0, "PhotometricInterpretation"
# An image that is not flat but fills fewer gray levels was read with the wrong range: 12 bits
# stored in 16 fill 16 levels.
_FEWEST_LEVELS = 17


class Storage(NamedTuple):
    """How a file stores its pixels.

    Attributes:
        raw_mode: Pillow's name, such as "I;16B" or "RGB;16L"; "" if it gives none.
        kind: Format of the file, such as "PNG".
        is_inverted: Whether 0 is white and Pillow leaves it so.
    """

    raw_mode: str
    kind: str
    is_inverted: bool

    @classmethod
    def of(cls, image: Image.Image) -> "Storage":
        """Read it from an open image before it is loaded, which drops it."""
        tile = getattr(image, "tile", [])
        args = tile[0].args if tile else ""
        raw_mode = args[0] if isinstance(args, tuple | list) and args else args
        tags = getattr(image, "tag_v2", {})
        inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        return cls(raw_mode if isinstance(raw_mode, str) else "", image.format or "", inverted)

    @property
    def known_range(self) -> ValueRange | None:
        """The range that the format itself fixes."""
        if self.raw_mode.startswith("F"):
            return (0, 1)
        if self.raw_mode == "I;12":
            return (0, 4095)
        is_16_bit = self.raw_mode.startswith("I;16") and not self.raw_mode.endswith("S")
        return _FULL_16_BIT if is_16_bit or self.kind == "PPM" else None


def has_gray_levels(image: Image.Image) -> bool:
    """Whether Pillow can convert the image by itself, since it has 8 bits per channel."""
    return not image.mode.startswith(("I", "F"))


def to_gray_levels(
    image: Image.Image, storage: Storage, value_range: Sequence[float] | None = None
) -> Image.Image:
    """Convert one channel of more than 8 bits to gray levels.

    Args:
        image: Loaded, whole, of a mode that begins with "I" or "F".
        storage: Of the same file.
        value_range: Overrides the known range.

    Returns:
        Mode "L".

    Raises:
        DataError: If the range is not known, a value lies outside it, or the gray levels would be
            nearly constant although the values are not.
    """
    known = value_range or storage.known_range
    ends = [(float(part.min()), float(part.max())) for part in _parts(image)]
    if not np.isfinite(ends).all():
        raise DataError("it holds NaN or infinite values; expected numbers")
    least, most = min(low for low, _ in ends), max(high for _, high in ends)
    found = f"its values ({storage.raw_mode or image.mode}) are {least:g} to {most:g}"
    if known is None or least < known[0] or most > known[1]:
        expected = f"{known[0]:g} to {known[1]:g}" if known else "8 or 16 bits"
        raise DataError(f"{found}; expected {expected}. {_remedy(least, most)}")
    levels = np.concatenate([_scaled(part, known) for part in _parts(image)])
    if storage.is_inverted:
        levels = 255 - levels
    count = int(np.ptp(levels)) + 1
    if least < most and count < _FEWEST_LEVELS:
        raise DataError(
            f"{found}, which is {count} of 256 gray levels; expected values that fill the range "
            f"{known[0]:g} to {known[1]:g}. {_remedy(least, most)}"
        )
    return Image.fromarray(levels)


def check_deep_color(
    image: Image.Image, storage: Storage, value_range: Sequence[float] | None = None
) -> None:
    """Check a color image of which Pillow keeps the upper 8 of 16 bits.

    Args:
        image: Loaded, whole. One of 8 bits per channel passes.
        storage: Of the same file.
        value_range: That of the data set.

    Raises:
        DataError: If the upper 8 bits are not the image.
    """
    if ";16" not in storage.raw_mode or image.mode not in ("RGB", "RGBA", "LA"):
        return
    remedy = "Save the images with 8 bits per channel"
    if value_range and tuple(value_range) != _FULL_16_BIT:
        raise DataError(
            f"it has 16 bits a channel in color, where value_range is not supported. {remedy}"
        )
    bands = image.getextrema()[: 1 if image.mode == "LA" else 3]
    most = max(int(high) for _, high in bands)  # type: ignore[misc]
    if most < _FEWEST_LEVELS - 1:
        raise DataError(
            f"its 16-bit values stay below {256 * (most + 1)} of 65536, so it would be black; "
            f"expected values that fill the 16 bits. {remedy}"
        )


def _parts(image: Image.Image) -> Iterator[npt.NDArray[np.generic]]:
    """Yield the values row block by row block, which bounds the memory of a large image."""
    for top in range(0, image.height, _ROWS):
        box = (0, top, image.width, min(top + _ROWS, image.height))
        yield np.asarray(image.crop(box))


def _scaled(values: npt.NDArray[np.generic], known: Sequence[float]) -> npt.NDArray[np.uint8]:
    if tuple(known) == _FULL_16_BIT and values.dtype.kind in "iu":
        return (values // 257).astype(np.uint8)
    low, high = known
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.rint(scaled).astype(np.uint8)


def _remedy(least: float, most: float) -> str:
    """Return the remedy, with the range that the values suggest."""
    low = 0 if least >= 0 else -(2 ** math.ceil(math.log2(-least)))
    high = 1 if most <= 1 else 2 ** math.ceil(math.log2(most + 1)) - 1
    return (
        "Name the values of black and white, for example "
        f"value_range: [{low:g}, {max(high, 255) if high > 1 else 1:g}] (config_dataset), or save "
        "the images with 8 bits"
    )
