"""Sizes of data sets according to their authors."""

import logging
from typing import NamedTuple

from slade_plugin.base.warning import warn_once
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
        """Log whether a list has these counts; a difference once per process.

        Args:
            name: Of the data set.
            images: All its images.
        """
        counts = len(images.class_names), len(images)
        found = f"{name}: {counts[1]} images of {counts[0]} classes in {images.root}"
        if counts == self[:2]:
            logger.info("%s, as published", found)
        else:
            warn_once(
                f"{found}; published are {self.images} images of {self.classes} classes "
                f"({self.source})"
            )
