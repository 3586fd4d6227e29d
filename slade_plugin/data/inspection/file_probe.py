"""Determine format and size of an image file, and whether it can be read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.image_decoding import count_levels, read_rgb, reduction
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection.parallel import over_files


@dataclass(frozen=True)
class FileProbe:
    """One image file.

    Attributes:
        kind: Format and mode, such as "JPEG RGB"; "" if the header cannot be read.
        width: In pixels, as stored (an EXIF orientation is not applied); 0 if the header cannot
            be read.
        height: The same.
        error: Why it cannot be read; "" if it can.
        levels: The widest span of values in a channel, after decoding, 1 to 256; None before it.
    """

    kind: str = ""
    width: int = 0
    height: int = 0
    error: str = ""
    levels: int | None = None


def probe(
    path: str | os.PathLike[str], decode: bool, value_range: Sequence[float] | None = None
) -> FileProbe:
    """Read the header of an image file and optionally decode all of it.

    A file that is damaged after its header, as after a broken download, is found by decoding only.
    """
    try:
        with Image.open(path) as image:
            kind, (width, height) = f"{image.format} {image.mode}", image.size
            reduction(image)
    # Pillow meets damaged files with a dozen kinds of errors.
    except Exception as error:  # noqa: BLE001
        return FileProbe(error=_reason(error))
    levels = None
    try:
        if decode:
            levels = count_levels(read_rgb(path, value_range=value_range))
    except DataError as error:
        return FileProbe(kind, width, height, _reason(error.__cause__ or error))
    return FileProbe(kind, width, height, levels=levels)


def probe_files(images: ImageList, decode: bool, workers: int) -> list[FileProbe]:
    """Probe every image of a list.

    Args:
        images: N images.
        decode: Decode them, rather than read the headers.
        workers: Processes.

    Returns:
        N probes.

    Raises:
        DataError: If a process dies.
    """
    paths = [str(images.path(index)) for index in range(len(images))]
    title = "Decoding" if decode else "Reading headers"
    read = partial(probe, decode=decode, value_range=images.value_range)
    return over_files(read, paths, workers, title)


def _reason(error: BaseException) -> str:
    """Return the error without the path, which is printed next to it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition(" '")[0] or type(error).__name__
