"""Count the files of a list that differ, byte for byte."""

import numpy as np
import numpy.typing as npt

from slade_plugin.base.files import sha256_of_file
from slade_plugin.data.files.image_list import ImageList


def equal_sized(images: ImageList) -> npt.NDArray[np.int64]:
    """Find the images that share their size in bytes with another: only these can be equal."""
    _, index, counts = np.unique(images.sizes, return_inverse=True, return_counts=True)
    return np.flatnonzero((counts[index] > 1) & (images.sizes > 0))


def count_distinct_files(images: ImageList, limit: int) -> int:
    """Count different contents up to a limit, reading no more files than needed.

    A file that cannot be read counts as different: reporting it is left to decoding.
    """
    doubtful = equal_sized(images).tolist()
    count = len(images) - len(doubtful)
    digests: set[str] = set()
    for index in doubtful:
        if count + len(digests) >= limit:
            break
        digests.add(_digest(images, index))
    return min(count + len(digests), limit)


def _digest(images: ImageList, index: int) -> str:
    path = images.path(index)
    try:
        return sha256_of_file(path)
    except OSError:
        return str(path)
