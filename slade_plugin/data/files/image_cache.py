"""Decoded and resized images in one file, so that training does not wait for JPEG decoding.

    <folder>/<key>.rgb     pixels, uint8 RGB, one image after the other
    <folder>/<key>.rows    width, height and CRC-32 of each, uint32; 0, 0, 0 if it cannot be decoded
    <folder>/<key>.json    the manifest: whose images they are, sizes and hashes of the other two
    <folder>/<key>.lock    held by the process that builds

The key is the name and fingerprint of the data set and the short side; files that were changed
since make it a cache of other images. The manifest is written last; without it, building resumes
after the last complete image. The pixels are memory-mapped: worker processes and runs on the
same machine share them.
"""

import copy
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional, v2
from tqdm import tqdm

from slade_plugin.base.errors import DataError
from slade_plugin.base.files import MANIFEST_HASH, manifest_hash, sha256_of_file, write_manifest
from slade_plugin.base.locks import lock_file
from slade_plugin.base.machine import usable_cores
from slade_plugin.data.files.cache_settings import CacheSettings
from slade_plugin.data.files.image_decoding import FEWEST_LEVELS, count_levels

logger = logging.getLogger(__name__)

_FORMAT = 3  # raise it with every change of `read_rgb` that alters a pixel
_CHUNK = 256  # images decoded between two writes; about 70 MB at a short side of 256
_ROW = np.dtype("<u4")
_COLUMNS = 3


def shrink(image: Image.Image, short_side: int) -> Image.Image:
    """Shrink an image to a short side; return a smaller one as it is."""
    if min(image.size) <= short_side:
        return image  # enlarging it is left to the transforms, which lose nothing by it
    resized: Image.Image = functional.resize(image, [short_side])
    return resized


def target_side(transform: Any) -> int | None:
    """Return the short side that a transform begins by resizing to; None without such a Resize."""
    steps = getattr(transform, "transforms", [transform])
    # The host puts a change of channels in front for trunks that expect BGR.
    first = next((step for step in steps if type(step).__name__ != "ConvertToBGR"), None)
    if isinstance(first, transforms.Resize | v2.Resize):
        return int(np.max(first.size))
    return None


class ImageCache:
    """The resized images of one data set; built if missing.

    Args:
        dataset: An `ImageFiles` of N images. Its `decode` is called from several threads; its
            `fingerprint` changes with what that gives.
        root: The root it was given.
        settings: Size and place.

    Raises:
        DataError: If the folder cannot be written or has no room.
    """

    def __init__(self, dataset: Any, root: str | os.PathLike[str], settings: CacheSettings) -> None:
        self.settings = settings
        self._decode: Callable[[int], Image.Image] = dataset.decode
        self._identity = {
            "format": _FORMAT,
            "fingerprint": dataset.fingerprint,
            "modified": hashlib.sha256(dataset.image_list.modified.tobytes()).hexdigest(),
            "short_side": settings.short_side,
            "images": len(dataset),
        }
        folder = Path(settings.folder or Path(root) / ".image_cache")
        key = f"{type(dataset).__name__}_{settings.short_side}_{dataset.fingerprint[:16]}"
        self._pixels_path, self._rows_path, self._manifest_path, self._lock_path = (
            folder / f"{key}.{kind}" for kind in ("rgb", "rows", "json", "lock")
        )
        if self._problem() is not None:
            with self._alone():
                problem = self._problem()  # another process may have built it meanwhile
                if problem is not None:
                    self._build(problem)
        self._rows = self._read_rows()
        self._starts = np.concatenate([[0], np.cumsum(_lengths(self._rows))])
        self._places = np.arange(len(dataset))
        self._pixels: npt.NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Omit the map: each process maps the same memory itself."""
        return {**self.__dict__, "_pixels": None}

    def keep(self, mask: npt.ArrayLike) -> Self:
        """Return the same cache for only the images where ``mask`` (N,) is true."""
        part = copy.copy(self)
        part._places = self._places[np.asarray(mask, dtype=bool)]
        return part

    def read(self, index: int) -> Image.Image:
        """Read one image, RGB, with the short side of the settings or smaller.

        An image whose bytes are not those that were written is decoded from its file instead.

        Raises:
            DataError: If the image could not be decoded, and cannot be now.
        """
        place = int(self._places[index])
        width, height, checksum = self._rows[place].tolist()
        if width:
            if self._pixels is None:
                self._pixels = np.memmap(self._pixels_path, dtype=np.uint8, mode="r")
            pixels = self._pixels[self._starts[place] : self._starts[place + 1]]
            if zlib.crc32(pixels.data) == checksum:
                return Image.frombytes("RGB", (width, height), pixels)
            logger.warning(
                "%s is damaged at image %d, which is decoded from its file instead. Delete "
                "this file to have the cache built again.",
                *(self._pixels_path, place),
            )
        return self._resized(place)

    def unreadable(self) -> list[int]:
        """Images that could not be decoded, in the order of the data set."""
        return np.flatnonzero(self._rows[self._places, 0] == 0).tolist()

    def count_distinct(self) -> int:
        """Count different readable images, by size and CRC-32 of their pixels."""
        rows = self._rows[self._places]
        return len(np.unique(rows[rows[:, 0] > 0], axis=0))

    # ---- files --------------------------------------------------------------------------------

    def _problem(self) -> str | None:
        """Explain why the cache cannot be used; None if it can, "" if there is none yet."""
        try:
            manifest = json.loads(self._manifest_path.read_text(encoding="utf-8"))
            if manifest[MANIFEST_HASH] != manifest_hash(manifest):
                return "its manifest does not match its own hash"
            if {key: manifest[key] for key in self._identity} != self._identity:
                return "it was made of other images, of images changed since, or by another version"
            if self._pixels_path.stat().st_size != manifest["bytes"]:
                return f"{self._pixels_path.name} does not have the size that was written"
            if sha256_of_file(self._rows_path) != manifest["rows_sha256"]:
                return f"{self._rows_path.name} does not have the content that was written"
        except FileNotFoundError as error:
            missing = Path(error.filename)
            return "" if missing == self._manifest_path else f"{missing.name} is missing"
        except OSError as error:
            raise self._unusable(error) from error
        except (ValueError, KeyError, TypeError) as error:
            return f"its manifest is not the JSON that was written ({error})"
        return None

    def _read_rows(self) -> npt.NDArray[np.uint32]:
        """Read width, height and CRC-32 of the M written images: (M, 3)."""
        rows = np.fromfile(self._rows_path, dtype=_ROW)
        return rows[: len(rows) // _COLUMNS * _COLUMNS].reshape(-1, _COLUMNS)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time build."""
        try:
            self._lock_path.parent.mkdir(parents=True, exist_ok=True)
            lock = open(self._lock_path, "ab")
        except OSError as error:
            raise self._unusable(error) from error
        with lock:  # closing it gives the lock back
            if not lock_file(lock, self._lock_path):
                logger.warning("waiting for another process to build %s", self._pixels_path)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _build(self, problem: str) -> None:
        """Write all images, or the missing ones if building was interrupted."""
        if problem:
            logger.warning("the cache %s is built again: %s", self._pixels_path, problem)
        try:
            if problem:
                for path in (self._manifest_path, self._rows_path, self._pixels_path):
                    path.unlink(missing_ok=True)
            with open(self._pixels_path, "ab") as pixels, open(self._rows_path, "ab") as rows:
                self._append(pixels, rows)
            manifest = {
                **self._identity,
                "bytes": self._pixels_path.stat().st_size,
                "rows_sha256": sha256_of_file(self._rows_path),
                "pillow": PIL.__version__,
            }
        except OSError as error:
            raise self._unusable(error) from error
        write_manifest(self._manifest_path, manifest)

    def _append(self, pixels: BinaryIO, rows: BinaryIO) -> None:
        """Write the images after the last complete one; both files are open for appending."""
        number, flat = self._identity["images"], 0
        written = self._read_rows()
        ends = np.cumsum([0, *_lengths(written)])
        done = int(np.searchsorted(ends, pixels.tell(), side="right")) - 1
        pixels.truncate(ends[done])
        rows.truncate(done * _COLUMNS * _ROW.itemsize)
        logger.info("%s: resizing %d images, once", self._pixels_path, number - done)
        with (
            ThreadPoolExecutor(usable_cores()) as threads,
            tqdm(
                total=number, initial=done, desc="resizing images", unit="img", disable=None
            ) as bar,
        ):
            for first in range(done, number, _CHUNK):
                chunk = range(first, min(first + _CHUNK, number))
                found = list(threads.map(self._row, chunk))
                for data, _, _ in found:
                    pixels.write(data)
                flat += sum(levels < FEWEST_LEVELS for _, _, levels in found)
                pixels.flush()
                os.fsync(pixels.fileno())  # a row on the disk stands for pixels on the disk
                rows.write(np.array([row for _, row, _ in found], dtype=_ROW).tobytes())
                rows.flush()
                if first == done:
                    self._check_room(pixels.tell() - ends[done], len(chunk), number - done)
                bar.update(len(chunk))
        if flat:
            logger.warning(
                "%d of %d images are nearly one color, as those of unusual value ranges are "
                "(value_range in config_dataset); slade-bench data verify --decode names them.",
                *(flat, number - done),
            )

    def _check_room(self, size: int, images: int, of_images: int) -> None:
        """Check that the disk has room for the missing images."""
        needed = size / images * (of_images - images)
        free = shutil.disk_usage(self._pixels_path.parent).free
        if needed > free:
            raise OSError(
                errno.ENOSPC,
                f"{needed / 1e9:.1f} GB are still to be written, {free / 1e9:.1f} GB are free",
            )

    def _resized(self, place: int) -> Image.Image:
        return shrink(self._decode(place), self.settings.short_side)

    def _row(self, place: int) -> tuple[bytes, tuple[int, int, int], int]:
        """Return an image's bytes, row in the list and levels; no bytes if it is unreadable."""
        try:
            image = self._resized(place)
        except DataError as error:
            logger.warning("left out of the cache: %s", error)
            return b"", (0, 0, 0), FEWEST_LEVELS
        data = image.tobytes()
        return data, (*image.size, zlib.crc32(data)), count_levels(image)

    def _unusable(self, error: OSError) -> DataError:
        return DataError(
            f"the cache of resized images {self._pixels_path} cannot be read or written: "
            f"{error.strerror or error}. Expected a writable folder with free space. Free some "
            "space, fix its permissions, or name another folder: cache: {folder: ...} "
            "(config_dataset). The images written so far are kept, and building resumes after them."
        )


def _lengths(rows: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Return the number of bytes of each image: (M,)."""
    return rows[:, 0].astype(np.int64) * rows[:, 1] * 3
