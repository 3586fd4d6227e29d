"""Find files of one list that are also in another, byte for byte."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from slade_plugin.base.errors import DataError
from slade_plugin.base.files import sha256_of_file

_THREADS = 8  # reading and SHA-256 both let other threads run


def identical_files(
    files: Sequence[Path], sizes: np.ndarray, others: Sequence[Path], other_sizes: np.ndarray
) -> np.ndarray:
    """Find the files that are also in `others`, byte for byte.

    Equal files have equal sizes, so only those whose size is found on both sides are read.

    Args:
        files: N paths.
        sizes: (N,) their sizes in bytes.
        others: M paths.
        other_sizes: (M,) theirs.

    Returns:
        (N,) int64, the place of the first identical file in `others`; -1 where there is none.

    Raises:
        DataError: If a file cannot be read.
    """
    candidates = np.flatnonzero(np.isin(sizes, other_sizes)).tolist()
    other_candidates = np.flatnonzero(np.isin(other_sizes, sizes)).tolist()
    with ThreadPoolExecutor(_THREADS) as threads:
        hashes = list(threads.map(_sha256, [files[i] for i in candidates]))
        other_hashes = list(threads.map(_sha256, [others[i] for i in other_candidates]))
    first = dict(zip(reversed(other_hashes), reversed(other_candidates), strict=True))
    found = np.full(len(files), -1, dtype=np.int64)
    found[candidates] = [first.get(digest, -1) for digest in hashes]
    return found


def _sha256(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be compared with the images of val and test: "
            f"{error.strerror or error}; expected a file that can be read. Restore it, or fix its "
            "permissions."
        ) from error
