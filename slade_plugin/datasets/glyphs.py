"""``Glyphs``: letters of real fonts as a metric learning data set that needs no download.

Ours, not the paper's. Classes are letters; the images of a class are the faces (up to 21 text faces
that matplotlib ships) times a few seeded distortions. Labeled data are the Latin letters, the
unlabeled pool the Greek, Cyrillic, Armenian and Georgian ones that look like no Latin letter.
``glyph_rendering`` says what a class is and how an image is made.

The images are rendered once (about ten seconds) and kept beside their labels:

    dataset_root/glyphs/v2_all_x3.json             classes, image counts, versions, hashes
    dataset_root/glyphs/v2_all_x3_<hash>.npy       (N, 32, 32) uint8, both subsets, memory-mapped

The manifest is written last and names the array by its hash, so processes that render at the same
time cannot mix their files. The hash is that of the array rendered here, not one fixed in the code:
another Pillow or FreeType may draw a pixel differently, and the manifest records which were used.
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image
from torch.utils.data import Dataset

from slade_plugin.datasets import glyph_rendering
from slade_plugin.errors import ConfigError, DataError
from slade_plugin.files import atomic_write, sha256_of_file, write_json

logger = logging.getLogger(__name__)

SUBSETS = ("labeled", "unlabeled")

# path -> (modification time, size, hash) of files whose hash was checked in this process: the host
# builds one instance per transform and split.
_verified: dict[Path, tuple[int, int, str]] = {}


class Glyphs(Dataset[dict[str, Any]]):
    """One subset of the letters, in the host's form.

    Args:
        root: The host's ``dataset_root``; files go to ``root/glyphs``.
        transform: Applied to the PIL image (mode "L", 32 x 32).
        download: Ignored, the host passes it: what is missing is rendered in either case.
        subset: "labeled" = Latin; "unlabeled" = the pool. The pool has true labels too. They are
            there to *measure* pseudo labels and must not be trained on.
        instances_per_face: Distorted images per class and face, at least 1.
        letters_per_script: Render only this many letters of each script, for a quick trial; None =
            all. At least 2.

    Attributes:
        labels: (N,) int64, 0 to K - 1, sorted, all K present.
        class_names: K Unicode names; entry k belongs to label k. Classes are in a seeded random
            order, so the host's halves and folds of the sorted labels are alike in difficulty.

    Raises:
        ConfigError: If ``subset`` or a number is not one of those above.
        DataError: If ``root`` is not writable, a font is missing, or a stored file is damaged.
        ExperimentError: If the disk is full.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Image.Image], Any] | None = None,
        download: bool = False,
        subset: str = "labeled",
        instances_per_face: int = 3,
        letters_per_script: int | None = None,
    ) -> None:
        """Renders the images if this is the first time, checks them, reads the labels."""
        if subset not in SUBSETS:
            raise ConfigError(
                f"Glyphs: subset is {subset!r}; expected one of {', '.join(SUBSETS)}. Change it "
                "under dataset: Glyphs in config_dataset."
            )
        _check_number("instances_per_face", instances_per_face, smallest=1)
        if letters_per_script is not None:
            _check_number("letters_per_script", letters_per_script, smallest=2)
        self.transform = transform
        self.subset = subset

        folder = Path(root) / "glyphs"
        amount = "all" if letters_per_script is None else f"first{letters_per_script}"
        stem = f"v{glyph_rendering.RECIPE_VERSION}_{amount}_x{instances_per_face}"
        manifest_path = folder / f"{stem}.json"
        if not manifest_path.exists():
            _render(folder, stem, instances_per_face, letters_per_script)
        manifest = _read_manifest(manifest_path)

        self._path = folder / manifest["images_file"]
        self._sha256 = manifest["images_sha256"]
        _verify(self._path, self._sha256, manifest_path)
        self._images: npt.NDArray[np.uint8] | None = None

        counts = {name: [c["images"] for c in manifest["classes"][name]] for name in SUBSETS}
        # The array holds the labeled images first.
        self._start = sum(counts["labeled"]) if subset == "unlabeled" else 0
        self.labels: npt.NDArray[np.int64] = np.repeat(
            np.arange(len(counts[subset]), dtype=np.int64), counts[subset]
        )
        self.class_names: list[str] = [c["name"] for c in manifest["classes"][subset]]

    def __len__(self) -> int:
        """Number of images of the subset."""
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns {"data": the transformed image, "label": int}."""
        label = int(self.labels[index])  # raises the IndexError that ends a loop
        place = self._start + int(index) % len(self)
        image: Any = Image.fromarray(np.asarray(self.images[place]))
        if self.transform is not None:
            image = self.transform(image)
        return {"data": image, "label": label}

    @property
    def fingerprint(self) -> str:
        """A hash that changes with the images and the subset, for manifests and records."""
        return hashlib.sha256(f"{self._sha256} {self.subset}".encode()).hexdigest()

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """The whole memory-mapped array, both subsets: (N, 32, 32), read only."""
        if self._images is None:
            self._images = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return self._images

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the map out: a pickled map is a copy of all images, in every worker."""
        return {**self.__dict__, "_images": None}


def _check_number(name: str, value: int, smallest: int) -> None:
    """Raises ConfigError unless ``value`` is an integer of at least ``smallest``."""
    if not isinstance(value, int) or value < smallest:
        raise ConfigError(
            f"Glyphs: {name} is {value!r}; expected an integer >= {smallest}. Change it under "
            "dataset: Glyphs in config_dataset."
        )


def _render(
    folder: Path, stem: str, instances_per_face: int, letters_per_script: int | None
) -> None:
    """Renders both subsets and writes the array, then the manifest."""
    _check_writable(folder)  # before the work, not after it
    logger.info("Glyphs: rendering the letters, once, into %s", folder)
    faces = glyph_rendering.load_faces()
    candidates = glyph_rendering.candidate_letters(faces, letters_per_script)
    glyphs = glyph_rendering.draw_glyphs(
        [letter for letters in candidates.values() for letter in letters], faces
    )
    found = glyph_rendering.find_classes(candidates, glyphs, faces)

    images: list[npt.NDArray[np.uint8]] = []
    classes: dict[str, list[dict[str, Any]]] = {}
    for subset, subset_classes in zip(SUBSETS, found, strict=True):
        classes[subset] = []
        for item in subset_classes:
            rendered = glyph_rendering.render_class(item, glyphs, faces, instances_per_face)
            images.extend(rendered)
            classes[subset].append(
                {"name": item.name, "letters": item.letters, "images": len(rendered)}
            )
    array = np.stack(images)
    buffer = io.BytesIO()
    np.save(buffer, array)
    content = buffer.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    images_file = f"{stem}_{sha256[:12]}.npy"

    with atomic_write(folder / images_file) as handle:
        handle.write(content)
    manifest: dict[str, Any] = {
        "recipe_version": glyph_rendering.RECIPE_VERSION,
        "seed": glyph_rendering.SEED,
        "instances_per_face": instances_per_face,
        "letters_per_script": letters_per_script,
        "versions": {
            "matplotlib": matplotlib.__version__,
            "Pillow": PIL.__version__,
            "numpy": np.__version__,
        },
        "images_file": images_file,
        "images_sha256": sha256,
        "classes": classes,
    }
    manifest["manifest_sha256"] = _manifest_hash(manifest)
    write_json(folder / f"{stem}.json", manifest)
    logger.info("Glyphs: wrote %d images to %s", len(array), folder / images_file)


def _check_writable(folder: Path) -> None:
    """Makes the folder; raises DataError if that or writing into it is not possible."""
    reason = "no permission to write there"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        writable, reason = False, error.strerror or str(error)
    if not writable:
        raise DataError(
            f"Glyphs cannot store its images in {folder}: {reason}. Expected a folder that can be "
            "written; change dataset_root (--dataset_root), or mend its permissions."
        )


def _manifest_hash(manifest: dict[str, Any]) -> str:
    """Returns the hash of everything in the manifest but the hash itself."""
    rest = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    """Returns the checked manifest: it holds the labels, so one changed digit would move them."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        intact = manifest["manifest_sha256"] == _manifest_hash(manifest)
    except OSError as error:
        raise DataError(
            f"Glyphs cannot read {path}: {error.strerror or error}. Mend its permissions, or "
            "change dataset_root."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, path, "it is not the JSON that was written") from error
    if not intact:
        raise _damaged(path, path, "its content does not match its own hash")
    return dict(manifest)


def _verify(path: Path, sha256: str, manifest_path: Path) -> None:
    """Checks the array file against the manifest, once per process and state of the file."""
    try:
        stat = path.stat()
        state = (stat.st_mtime_ns, stat.st_size, sha256)
        if _verified.get(path) == state:
            return
        found = sha256_of_file(path)
    except OSError as error:
        raise _damaged(path, manifest_path, error.strerror or str(error)) from error
    if found != sha256:
        raise _damaged(path, manifest_path, f"its SHA-256 is {found}, expected {sha256}")
    _verified[path] = state


def _damaged(path: Path, manifest_path: Path, reason: str) -> DataError:
    """Returns the error that names a damaged file and the way out."""
    return DataError(
        f"Glyphs: {path} is damaged or missing: {reason}. Delete {manifest_path} to have the "
        "images rendered again at the next run."
    )
