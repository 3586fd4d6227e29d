"""Which image files make up a data set, with their classes, and what can be left out of it."""

import hashlib
import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.base.suggestions import nearest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ImageList:
    """The image files of a data set. Nothing here opens an image.

    Attributes:
        root: Images are ``root / path``.
        paths: (N,) str, relative, with "/". An array, not a list: worker processes would copy a
            list by counting references.
        labels: (N,) int64, 0 to K - 1, all K present.
        class_names: K names; entry k belongs to label k.
        boxes: (N, 4) float64, x1, y1, x2, y2 in pixels of the file as it is stored, or None.
        roles: (N,) names out of `slade_plugin.data.datasets.retrieval_roles`, or None.

    Raises:
        DataError: If the list is empty, lengths differ, a path comes twice or a label has no image.
    """

    root: Path
    paths: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    class_names: list[str]
    boxes: npt.NDArray[np.float64] | None = None
    roles: npt.NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        """Checks what every reader relies on."""
        object.__setattr__(self, "root", Path(self.root))
        object.__setattr__(self, "paths", np.asarray(self.paths, dtype=np.str_))
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int64))
        lengths = [len(self.paths), len(self.labels)]
        if self.boxes is not None:
            object.__setattr__(self, "boxes", np.asarray(self.boxes, np.float64).reshape(-1, 4))
            lengths.append(len(self.boxes))
        if self.roles is not None:
            object.__setattr__(self, "roles", np.asarray(self.roles, dtype=np.str_))
            lengths.append(len(self.roles))
        if len(set(lengths)) > 1 or not lengths[0]:
            raise DataError(
                f"{self.root}: numbers of images, labels (boxes, roles) are {lengths}; expected "
                "equal ones above 0."
            )
        unique, counts = np.unique(self.paths, return_counts=True)
        if len(unique) < len(self):
            raise DataError(
                f"{self.root}: {len(self) - len(unique)} images are listed more than once, for "
                f"example {unique[counts > 1][0]}; expected each path once."
            )
        present = np.unique(self.labels)
        if not np.array_equal(present, np.arange(len(self.class_names))):
            raise DataError(
                f"{self.root}: {len(present)} different labels from {present[0]} to {present[-1]} "
                f"for {len(self.class_names)} class names; expected labels 0 to "
                f"{len(self.class_names) - 1}, each with an image (see remap_labels)."
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def path(self, index: int) -> Path:
        """The file of one image."""
        return self.root / str(self.paths[index])

    def keep(self, mask: npt.ArrayLike) -> "ImageList":
        """The images where ``mask`` (N,) is true; labels are made dense again, in the same order.

        Raises:
            DataError: If none is left.
        """
        mask = np.asarray(mask, dtype=bool)
        if not mask.any():
            raise DataError(
                f"{self.root}: none of {len(self)} images is left; expected at least one. Relax "
                "the filters of the data set (config_dataset)."
            )
        labels, kept = remap_labels(self.labels[mask])
        part = ImageList(
            self.root,
            self.paths[mask],
            labels,
            [self.class_names[k] for k in kept],
            None if self.boxes is None else self.boxes[mask],
            None if self.roles is None else self.roles[mask],
        )
        if "_stats" in self.__dict__:  # spares asking the file system again
            part.__dict__["_stats"] = self._stats[mask]
        return part

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(N,) sizes of the files in bytes; -1 where there is no file that can be reached."""
        return self._stats[:, 0]

    @property
    def modified(self) -> npt.NDArray[np.int64]:
        """(N,) times at which the files were changed, in ns; -1 likewise."""
        return self._stats[:, 1]

    @cached_property
    def _stats(self) -> npt.NDArray[np.int64]:
        return np.array([_stat(os.path.join(self.root, path)) for path in self.paths], np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over paths, labels, class names, roles and file sizes.

        The sizes stand for the content, which would take minutes to read. The root is left out: a
        data set that was moved is the same.
        """
        digest = hashlib.sha256()
        roles = [] if self.roles is None else [self.roles.tolist()]
        for names in (self.paths.tolist(), self.class_names, *roles):
            digest.update("\0".join([*names, ""]).encode("utf-8", "surrogateescape"))
        for numbers in (self.labels, self.sizes):
            digest.update(numbers.astype("<i8").tobytes())
        return digest.hexdigest()


def remap_labels(ids: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Makes sparse ids dense.

    Args:
        ids: (N,) numbers or names.

    Returns:
        (N,) labels from 0 to K - 1 and (K,) the different ids, sorted; label k is entry k.
    """
    unique, labels = np.unique(np.asarray(ids), return_inverse=True)
    return labels.astype(np.int64), unique


def drop_missing(images: ImageList) -> tuple[ImageList, list[str]]:
    """Leaves out images whose file is not there.

    Returns:
        The rest, and the paths that were left out.

    Raises:
        DataError: If no file is there.
    """
    there = images.sizes >= 0
    if there.all():
        return images, []
    if not there.any():
        raise DataError(
            f"none of the {len(images)} listed images is there, for example {images.path(0)}; "
            "expected them where the lists say. Unpack them there, or change dataset_root."
        )
    return images.keep(there), images.paths[~there].tolist()


def drop_classes(images: ImageList, names: Collection[str]) -> ImageList:
    """Leaves out whole classes by name.

    Raises:
        ConfigError: If a name is no class; the nearest one is named.
        DataError: If nothing is left.
    """
    known = set(images.class_names)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"{len(unknown)} of {len(names)} excluded classes are not in {images.root}: "
            f"{unknown[0]!r}{nearest(unknown[0], known)}; expected names as in class_names. Change "
            "excluded_classes in config_dataset."
        )
    excluded = set(names)
    keep = np.array([name not in excluded for name in images.class_names])
    return images.keep(keep[images.labels])


def drop_small_classes(images: ImageList, min_images: int) -> ImageList:
    """Leaves out classes of fewer than ``min_images`` images.

    Raises:
        DataError: If nothing is left.
    """
    sizes = np.bincount(images.labels)
    return images.keep(sizes[images.labels] >= min_images)


def drop_small_classes_to_match(
    images: ImageList, classes: int, number_of_images: int
) -> tuple[ImageList, int]:
    """Leaves out small classes so that what remains comes nearest to published counts.

    Nearest is the least sum of the two relative differences; of equal thresholds the lowest.

    Args:
        images: The whole list.
        classes: Published number of classes.
        number_of_images: Published number of images.

    Returns:
        The rest, and the least number of images that a class was to have.
    """
    sizes = np.sort(np.bincount(images.labels))
    # A class stays from a threshold of 1 up to its size: only sizes + 1 change anything.
    thresholds = np.unique([1, *(sizes[:-1] + 1)])
    thresholds = thresholds[thresholds <= sizes[-1]]
    first = np.searchsorted(sizes, thresholds)
    left_classes = len(sizes) - first
    left_images = sizes.sum() - np.concatenate([[0], np.cumsum(sizes)])[first]
    difference = (
        abs(left_classes - classes) / classes
        + abs(left_images - number_of_images) / number_of_images
    )
    best = int(np.argmin(difference))
    threshold = int(thresholds[best])
    logger.warning(
        "%s: classes of at least %d images: %d classes, %d images; published: %d classes, %d "
        "images, by a rule that is not.",
        images.root,
        threshold,
        left_classes[best],
        left_images[best],
        classes,
        number_of_images,
    )
    return drop_small_classes(images, threshold), threshold


def names_from_file(path: str | os.PathLike[str]) -> list[str]:
    """Reads names, one a line (UTF-8); empty lines are left out.

    Raises:
        ConfigError: If the file cannot be read.
    """
    try:
        lines: Sequence[str] = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"excluded_classes: {path} cannot be read: {error}; expected a list of names or a "
            "UTF-8 file with one name a line. Change it in config_dataset."
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _stat(path: str) -> tuple[int, int]:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # ValueError: a null character in the name
        return -1, -1
    return stat.st_size, stat.st_mtime_ns
