"""Hashes that hardly change if a photograph is resized, re-encoded or made gray.

The DCT hash that is usually called pHash: 32 x 32 gray values, the 8 x 8 lowest frequencies, one
bit each for "above their median". A few lines of scipy replace a dependency.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
from PIL import Image
from scipy.fft import dctn
from tqdm import tqdm

from slade_plugin.base.errors import DataError

BITS = 64
_SIDE, _KEPT = 32, 8
_LEAST_CONTRAST = 8  # gray levels; all flat images look alike
_THREADS = 8  # decoding lets other threads run


def perceptual_hash(image: Image.Image) -> np.ndarray | None:
    """Hash one image.

    Args:
        image: Any mode.

    Returns:
        (8,) uint8, 64 bits; None for an image of one color.
    """
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    gray = np.asarray(small, dtype=np.float64)
    if np.ptp(gray) < _LEAST_CONTRAST:
        return None
    low = dctn(gray)[:_KEPT, :_KEPT]
    return np.packbits(low > np.median(low))


def hash_images(decoders: Sequence[Callable[[], Image.Image]], what: str) -> np.ndarray:
    """Decode and hash images.

    Args:
        decoders: N functions, each of which returns one image or raises DataError.
        what: A name for them in the progress bar.

    Returns:
        (N, 9) uint8: 1 and the hash; 0 in front for an image that has none, since it is one color
        or cannot be decoded, which other checks report.
    """
    hashes = np.zeros((len(decoders), 1 + BITS // 8), dtype=np.uint8)
    with ThreadPoolExecutor(_THREADS) as threads:
        found = threads.map(_hash_or_none, decoders)
        bar = tqdm(found, f"perceptual hashes of {what}", len(decoders), disable=None)
        for row, value in zip(hashes, bar, strict=True):
            if value is not None:
                row[0], row[1:] = 1, value
    return hashes


def _hash_or_none(decode: Callable[[], Image.Image]) -> np.ndarray | None:
    try:
        return perceptual_hash(decode())
    except DataError:
        return None


def near_identical(
    hashes: np.ndarray, others: np.ndarray, max_bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the images whose hashes differ in few bits from one of `others`.

    Args:
        hashes: (N, 9) uint8 as `hash_images` returns them.
        others: (M, 9) uint8, as above.
        max_bits: Largest number of differing bits, 0 to 64.

    Returns:
        (N,) int64, the place of the nearest in `others`, -1 where none is that near; and (N,)
        int64, the number of bits in which it differs, or -1.
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
