"""Write, read and compare hashes of image files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slade_plugin.base.errors import DataError
from slade_plugin.base.files import MANIFEST_HASH, manifest_hash, sha256_of_file, write_manifest
from slade_plugin.data.files.distinct_files import equal_sized
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection.parallel import over_files

UNREADABLE = "unreadable"
_SEED = 0


def sample(images: ImageList, size: int) -> npt.NDArray[np.int64]:
    """Draw a seeded sample of ``size`` images of the list, sorted; all if there are fewer."""
    rng = np.random.default_rng(_SEED)
    return np.sort(rng.choice(len(images), min(size, len(images)), replace=False))


def hash_files(images: ImageList, places: npt.ArrayLike, workers: int) -> dict[str, str]:
    """Hash some images of a list.

    Args:
        images: The list.
        places: (M,) which of them.
        workers: Processes.

    Returns:
        Path -> SHA-256 in hex, or `UNREADABLE`.
    """
    paths = [str(path) for path in images.paths[np.asarray(places, dtype=np.int64)]]
    files = [str(images.root / path) for path in paths]
    return dict(zip(paths, over_files(_hash, files, workers, "Hashing"), strict=True))


def find_duplicates(images: ImageList, workers: int) -> list[list[str]]:
    """Group paths with equal content; each group is sorted, and groups are by first path.

    Raises:
        DataError: If a process dies.
    """
    groups: dict[str, list[str]] = {}
    for path, digest in hash_files(images, equal_sized(images), workers).items():
        groups.setdefault(digest, []).append(path)
    groups.pop(UNREADABLE, None)
    return sorted(sorted(paths) for paths in groups.values() if len(paths) > 1)


def write_hashes(path: Path, name: str, images: ImageList, hashes: Mapping[str, str]) -> int:
    """Write the manifest.

    Args:
        path: Output file.
        name: Of the data set.
        images: The whole list; its fingerprint is kept.
        hashes: As from `hash_files`; unreadable files are left out.

    Returns:
        How many hashes it holds.

    Raises:
        ExperimentError: If it cannot be written.
    """
    facts = {"data_set": name, "images": len(images), "fingerprint": images.fingerprint}
    readable = {file: digest for file, digest in hashes.items() if digest != UNREADABLE}
    write_manifest(path, {**facts, "sha256": readable})
    return len(readable)


def read_hashes(path: Path, name: str) -> dict[str, Any]:
    """Read a manifest.

    Returns:
        What `write_hashes` wrote.

    Raises:
        DataError: If it is damaged or of another data set.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        damaged = manifest[MANIFEST_HASH] != manifest_hash(manifest)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{path} is not a manifest of hashes ({error}); expected a file of --manifest. Name "
            "another file, or delete it to have a new one written."
        ) from error
    if damaged or manifest.get("data_set") != name:
        raise DataError(
            f"{path} is "
            + ("damaged" if damaged else f"of the data set {manifest.get('data_set')!r}")
            + f"; expected a whole manifest of {name!r}. Name another file, or delete it."
        )
    return manifest


def _hash(path: str) -> str:
    try:
        return sha256_of_file(path)
    except OSError:
        return UNREADABLE
