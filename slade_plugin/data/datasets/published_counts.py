"""Sizes of data sets according to their authors."""

import logging
from functools import cache
from pathlib import Path
from typing import NamedTuple

from slade_plugin.data.files.image_list import ImageList

logger = logging.getLogger(__name__)


class PublishedCounts(NamedTuple):
    """The size of a data set as published.

    Attributes:
        classes: Number of classes.
        images: Number of images.
        source: Publication or file that states it.
    """

    classes: int
    images: int
    source: str

    def compare(self, name: str, images: ImageList) -> None:
        """Log once per process whether a list has these counts.

        Args:
            name: Of the data set.
            images: All its images.
        """
        _log(self, name, images.root, len(images.class_names), len(images))


@cache
def _log(published: PublishedCounts, name: str, root: Path, classes: int, images: int) -> None:
    found = f"{name}: {images} images of {classes} classes"
    if (classes, images) == published[:2]:
        logger.info("%s in %s, as published", found, root)
    else:
        logger.warning(
            "%s in %s; published are %d images of %d classes (%s)",
            *(found, root, published.images, published.classes, published.source),
        )
