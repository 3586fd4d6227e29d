"""Hashes that stay nearly the same when a photograph is resized, re-encoded or made grey.

The DCT hash that is usually called pHash: 32 x 32 grey values, the 8 x 8 lowest frequencies, one
bit each for "above their median". A few lines on scipy, so that nobody has to install a package of
hashes for them.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
from PIL import Image
from scipy.fft import dctn
from tqdm import tqdm

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.image_decoding import read_rgb

BITS = 64
_SIDE, _KEPT = 32, 8
_LEAST_CONTRAST = 8  # grey levels; all flat images look alike
_THREADS = 8  # decoding lets other threads run


def perceptual_hash(image: Image.Image) -> np.ndarray | None:
    """Hashes one image.

    Args:
        image: Any mode.

    Returns:
        (8,) uint8, 64 bits; None for an image that is one colour all over.
    """
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    grey = np.asarray(small, dtype=np.float64)
    if np.ptp(grey) < _LEAST_CONTRAST:
        return None
    low = dctn(grey)[:_KEPT, :_KEPT]
    return np.packbits(low > np.median(low))


def hash_files(files: Sequence[Path], what: str) -> np.ndarray:
    """Decodes and hashes images.

    Args:
        files: N paths.
        what: What they are, for the progress bar.

    Returns:
        (N, 9) uint8: 1 and the hash; 0 in front for an image that has none, since it is one colour
        or cannot be decoded, which is not for this check to report.
    """
    hashes = np.zeros((len(files), 1 + BITS // 8), dtype=np.uint8)
    with ThreadPoolExecutor(_THREADS) as threads:
        found = tqdm(threads.map(_hash_file, files), f"perceptual hashes of {what}", len(files))
        for row, value in zip(hashes, found, strict=True):
            if value is not None:
                row[0], row[1:] = 1, value
    return hashes


def _hash_file(path: Path) -> np.ndarray | None:
    try:
        return perceptual_hash(read_rgb(path))
    except DataError:
        return None


def near_identical(
    hashes: np.ndarray, others: np.ndarray, max_bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the images whose hashes differ in few bits from one of `others`.

    Args:
        hashes: (N, 9) uint8 as `hash_files` gives them.
        others: (M, 9) uint8 likewise.
        max_bits: Largest number of differing bits, 0 to 64.

    Returns:
        (N,) int64, the place of the nearest in `others`, -1 where none is that near; and (N,)
        int64, the number of bits in which it differs, -1 likewise.
    """
    nearest, bits = (np.full(len(hashes), -1, dtype=np.int64) for _ in range(2))
    hashed, others_hashed = np.flatnonzero(hashes[:, 0]), np.flatnonzero(others[:, 0])
    if not len(hashed) or not len(others_hashed):
        return nearest, bits
    index = faiss.IndexBinaryFlat(BITS)
    index.add(np.ascontiguousarray(others[others_hashed, 1:]))
    distances, places = index.search(np.ascontiguousarray(hashes[hashed, 1:]), 1)
    near = distances[:, 0] <= max_bits
    nearest[hashed[near]] = others_hashed[places[near, 0]]
    bits[hashed[near]] = distances[near, 0]
    return nearest, bits
