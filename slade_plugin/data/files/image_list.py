"""The image files of a data set, with their classes."""

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.image_decoding import read_rgb
from slade_plugin.data.files.value_ranges import ValueRange


@dataclass(frozen=True, eq=False)
class ImageList:
    """The image files of a data set.

    Attributes:
        root: Images are ``root / path``.
        paths: (N,) str, relative, with "/". An array, not a list: worker processes would copy a
            list by counting references.
        labels: (N,) int64, 0 to K - 1, all K present.
        class_names: K names; entry k belongs to label k.
        boxes: (N, 4) float64, x1, y1, x2, y2 in pixels of the file as it is stored, or None.
        roles: (N,) names out of `slade_plugin.data.datasets.retrieval_roles`, or None.
        value_range: Black and white in images of more than 8 bits, or None; see `value_ranges`.

    Raises:
        DataError: If the list is empty, lengths differ, a path comes twice or a label has no image.
    """

    root: Path
    paths: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    class_names: list[str]
    boxes: npt.NDArray[np.float64] | None = None
    roles: npt.NDArray[np.str_] | None = None
    value_range: ValueRange | None = None

    def __post_init__(self) -> None:
        """Check what every reader relies on."""
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
        """Return the number of images."""
        return len(self.paths)

    def path(self, index: int) -> Path:
        """Return the file of one image."""
        return self.root / str(self.paths[index])

    def decode(
        self, index: int, crop_to_box: bool = False, short_side: int | None = None
    ) -> Image.Image:
        """Decode one image as RGB, whole or its bounding box.

        Args:
            index: Its place in the list.
            crop_to_box: Whether to cut it to its box.
            short_side: What it is resized to next, see `read_rgb`.

        Raises:
            DataError: If it cannot be decoded.
        """
        box = self.boxes[index] if crop_to_box and self.boxes is not None else None
        return read_rgb(self.path(index), box, self.value_range, short_side)

    def keep(self, mask: npt.ArrayLike) -> "ImageList":
        """Return the images where ``mask`` (N,) is true; labels become dense, in the same order.

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
        part = replace(
            self,
            paths=self.paths[mask],
            labels=labels,
            class_names=[self.class_names[k] for k in kept],
            boxes=None if self.boxes is None else self.boxes[mask],
            roles=None if self.roles is None else self.roles[mask],
        )
        if "_stats" in self.__dict__:  # spares asking the file system again
            part.__dict__["_stats"] = self._stats[mask]
        return part

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(N,) sizes of the files in bytes; -1 where no regular file can be reached."""
        return self._stats[:, 0]

    @property
    def modified(self) -> npt.NDArray[np.int64]:
        """(N,) modification times of the files in ns; -1 for an unreachable file."""
        return self._stats[:, 1]

    @property
    def files(self) -> npt.NDArray[np.int64]:
        """(N, 2) device and inode, equal if two paths lead to one file; -1 if unreachable."""
        return self._stats[:, 2:]

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
        if self.value_range is not None:
            digest.update(repr(self.value_range).encode())
        return digest.hexdigest()


def remap_labels(ids: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Make sparse ids dense.

    Args:
        ids: (N,) numbers or names.

    Returns:
        (N,) labels from 0 to K - 1 and (K,) the different ids, sorted; label k is entry k.
    """
    unique, labels = np.unique(np.asarray(ids), return_inverse=True)
    return labels.astype(np.int64), unique


def check_one_label_a_file(images: ImageList) -> None:
    """Check that no two links with different labels lead to one file.

    Raises:
        DataError: If there are such links; the first two are named.
    """
    files = images.files
    order = np.lexsort(files.T)
    same = (np.diff(files[order], axis=0) == 0).all(axis=1)
    differ = np.diff(images.labels[order]) != 0
    for place in np.flatnonzero(same & differ & (images.sizes[order][1:] >= 0)):
        first, second = sorted(order[place : place + 2].tolist())
        target = os.path.realpath(images.path(first))
        if target == os.path.realpath(images.path(second)):  # otherwise hard links, as copies are
            raise DataError(
                f"{images.paths[first]} and {images.paths[second]} in {images.root} are one file, "
                f"{target}, with the labels {images.class_names[images.labels[first]]!r} and "
                f"{images.class_names[images.labels[second]]!r}; expected one label per image. "
                "Remove one of the links."
            )


def _stat(path: str) -> tuple[int, int, int, int]:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # ValueError: a null character in the name
        return -1, -1, -1, -1
    if not S_ISREG(stat.st_mode):  # a folder, or a pipe, on which reading would wait for ever
        return -1, -1, -1, -1
    # File numbers of some network file systems fill 64 bits.
    return stat.st_size, stat.st_mtime_ns, stat.st_dev, stat.st_ino & (2**63 - 1)
