"""Small images made once and stored with their labels; base of our data sets.

    folder/<stem>.json             classes, image counts, versions, hashes: the manifest
    folder/<stem>_<hash>.npy       (N, H, W) or (N, H, W, 3) uint8, both subsets, memory-mapped

The manifest is written last and names the array by its hash, so processes that write at the same
time cannot mix their files. The hash is that of the array made here, not one fixed in the code:
another version of a library may draw a pixel differently, and the manifest records which were used.
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms import Normalize, ToTensor

from slade_plugin.base.errors import DataError
from slade_plugin.base.files import (
    MANIFEST_HASH,
    atomic_write,
    manifest_hash,
    sha256_of_file,
    write_manifest,
)

logger = logging.getLogger(__name__)

Subset = Literal["labeled", "unlabeled"]
SUBSETS = get_args(Subset)

# path -> (modification time, size, hash) of files whose hash was checked in this process: the host
# builds one instance per transform and split.
_verified: dict[Path, tuple[int, int, str]] = {}


class StoredImages(Dataset[dict[str, Any]]):
    """One subset of the stored images, in the host's form. Subclasses find or make the files.

    Args:
        manifest_path: The manifest, as ``store`` wrote it.
        transform: Applied to the PIL image (mode "L" or "RGB").
        subset: "labeled" or "unlabeled", checked by the subclass.

    Attributes:
        labels: (N,) int64, 0 to K - 1, sorted, all K present.
        class_names: K names; entry k belongs to label k.

    Raises:
        DataError: If a stored file is damaged.
    """

    remedy: ClassVar[str]
    """How to get the images back after deleting the manifest; ends a sentence."""

    def __init__(
        self,
        manifest_path: Path,
        transform: Callable[[Image.Image], Any] | None,
        subset: str,
    ) -> None:
        """Check the files and read the labels."""
        self.transform = transform
        self.subset = subset
        manifest = self._read_manifest(manifest_path)

        self._path = manifest_path.parent / manifest["images_file"]
        self._sha256 = manifest["images_sha256"]
        self._verify(manifest_path)
        self._images: npt.NDArray[np.uint8] | None = None

        counts = {name: [c["images"] for c in manifest["classes"][name]] for name in SUBSETS}
        # The array holds the labeled images first.
        self._start = sum(counts["labeled"]) if subset == "unlabeled" else 0
        self.labels: npt.NDArray[np.int64] = np.repeat(
            np.arange(len(counts[subset]), dtype=np.int64), counts[subset]
        )
        self.class_names: list[str] = [c["name"] for c in manifest["classes"][subset]]

    def __len__(self) -> int:
        """Return the number of images of the subset."""
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return {"data": the transformed image, "label": int}."""
        label = int(self.labels[index])  # raises the IndexError that ends a loop
        place = self._start + int(index) % len(self)
        image: Any = Image.fromarray(np.asarray(self.images[place]))
        if self.transform is not None:
            image = self.transform(image)
        return {"data": image, "label": label}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return the items of a batch, which torch's data loader requests together.

        Where the transform only turns pixels into numbers, it is applied to the whole batch: bit
        for bit the same, in a tenth of the time.
        """
        steps = getattr(self.transform, "transforms", [])
        if [type(step) for step in steps] != [ToTensor, Normalize]:
            return [self[index] for index in indices]
        labels = self.labels[np.asarray(indices)]
        pixels = torch.from_numpy(self.images[self._start + np.asarray(indices) % len(self)])
        channels_first = pixels.reshape(*pixels.shape[:3], -1).permute(0, 3, 1, 2).contiguous()
        images = steps[1](channels_first.to(torch.get_default_dtype()).div(255))  # (B, C, H, W)
        return [
            {"data": image, "label": label}
            for image, label in zip(images, labels.tolist(), strict=True)
        ]

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the images and the subset, for manifests and records."""
        return hashlib.sha256(f"{self._sha256} {self.subset}".encode()).hexdigest()

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """The whole memory-mapped array, both subsets: (N, H, W) or (N, H, W, 3), read only."""
        if self._images is None:
            self._images = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return self._images

    def __getstate__(self) -> dict[str, Any]:
        """Omit the map: a pickled map would copy all images into every worker."""
        return {**self.__dict__, "_images": None}

    def _read_manifest(self, path: Path) -> dict[str, Any]:
        """Read and check the manifest, which holds the labels."""
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            intact = manifest[MANIFEST_HASH] == manifest_hash(manifest)
        except OSError as error:
            raise DataError(
                f"{type(self).__name__} cannot read {path}: {error.strerror or error}. Fix its "
                "permissions, or change dataset_root."
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(path, path, "it is not the JSON that was written") from error
        if not intact:
            raise self._damaged(path, path, "its content does not match its own hash")
        return dict(manifest)

    def _verify(self, manifest_path: Path) -> None:
        """Check the array file against the manifest, once per process and state of the file."""
        try:
            stat = self._path.stat()
            state = (stat.st_mtime_ns, stat.st_size, self._sha256)
            if _verified.get(self._path) == state:
                return
            found = sha256_of_file(self._path)
        except OSError as error:
            raise self._damaged(self._path, manifest_path, error.strerror or str(error)) from error
        if found != self._sha256:
            raise self._damaged(
                self._path, manifest_path, f"its SHA-256 is {found}, expected {self._sha256}"
            )
        _verified[self._path] = state

    def _damaged(self, path: Path, manifest_path: Path, reason: str) -> DataError:
        """Return the error that names a damaged file and the remedy."""
        return DataError(
            f"{type(self).__name__}: {path} is damaged or missing: {reason}. Delete "
            f"{manifest_path} {self.remedy}."
        )


def check_writable(name: str, folder: Path) -> None:
    """Make the folder of the data set ``name``.

    Raises:
        DataError: If that or writing into it is not possible.
    """
    reason = "no permission to write there"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        writable, reason = False, error.strerror or str(error)
    if not writable:
        raise DataError(
            f"{name} cannot store its images in {folder}: {reason}. Expected a folder that can be "
            "written; change dataset_root (--dataset_root), or fix its permissions."
        )


def store(
    name: str,
    folder: Path,
    stem: str,
    images: npt.NDArray[np.uint8],
    facts: Mapping[str, Any],
    classes: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Path:
    """Write the array, then the manifest.

    Args:
        name: The data set's name, for the log.
        folder: Destination folder (must exist).
        stem: File name without hash and extension.
        images: (N, H, W) gray or (N, H, W, 3) RGB: the labeled ones first, classes in order.
        facts: How they were made, for the manifest.
        classes: Subset -> one entry per class, with at least "name" and "images" (their number).

    Returns:
        The manifest's path.

    Raises:
        ExperimentError: If a file cannot be written.
    """
    buffer = io.BytesIO()
    np.save(buffer, images)
    content = buffer.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    images_file = f"{stem}_{sha256[:12]}.npy"

    with atomic_write(folder / images_file) as handle:
        handle.write(content)
    manifest = {
        **facts,
        "images_file": images_file,
        "images_sha256": sha256,
        "classes": classes,
    }
    manifest_path = folder / f"{stem}.json"
    write_manifest(manifest_path, manifest)
    logger.info("%s: wrote %d images to %s", name, len(images), folder / images_file)
    return manifest_path
