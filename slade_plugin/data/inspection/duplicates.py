"""Images of one list that are the same file, byte for byte."""

import numpy as np
import numpy.typing as npt

from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection.hash_manifest import UNREADABLE, hash_files


def equal_sized(images: ImageList) -> npt.NDArray[np.int64]:
    """Places of the images whose size in bytes another one has too: only these can be equal."""
    _, index, counts = np.unique(images.sizes, return_inverse=True, return_counts=True)
    return np.flatnonzero((counts[index] > 1) & (images.sizes > 0))


def find_duplicates(images: ImageList, workers: int, progress: bool = True) -> list[list[str]]:
    """Groups of paths with equal content, each sorted, the first of a group in order.

    Raises:
        DataError: If a process dies.
    """
    groups: dict[str, list[str]] = {}
    for path, digest in hash_files(images, equal_sized(images), workers, progress).items():
        groups.setdefault(digest, []).append(path)
    groups.pop(UNREADABLE, None)
    return sorted(sorted(paths) for paths in groups.values() if len(paths) > 1)
