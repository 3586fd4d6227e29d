"""``Glyphs``: letters of real fonts as a metric learning data set that needs no download.

Not in the paper. Classes are letters; the images of a class are the faces (up to 21 text faces
that matplotlib ships) times a few seeded distortions. Labeled data are the Latin letters, the
unlabeled pool the Greek, Cyrillic, Armenian and Georgian ones that look like no Latin letter.
``glyph_classes`` defines the classes, ``glyph_rendering`` draws the images.

The images are rendered once (about ten seconds) and stored as described in ``stored_images``:

    dataset_root/glyphs/v2_all_x3.json
    dataset_root/glyphs/v2_all_x3_<hash>.npy       (N, 32, 32) uint8
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from slade_plugin.base.settings import Range, checked_arguments
from slade_plugin.data.datasets.stored_images import (
    SUBSETS,
    StoredImages,
    Subset,
    check_writable,
    store,
)
from slade_plugin.data.rendering import glyph_classes, glyph_rendering

logger = logging.getLogger(__name__)


class Glyphs(StoredImages):
    """One subset of the letters, in the host's form.

    Args:
        root: The host's ``dataset_root``; files go to ``root/glyphs``.
        transform: Applied to the PIL image (mode "L", 32 x 32).
        download: Ignored but passed by the host: missing images are always rendered.
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

    remedy = "to have the images rendered again at the next run"

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Image.Image], Any] | None = None,
        download: bool = False,
        subset: Subset = "labeled",
        instances_per_face: Annotated[int, Range(1)] = 3,
        letters_per_script: Annotated[int | None, Range(2)] = None,
    ) -> None:
        """Render the images on first use, check them and read the labels."""
        checked_arguments("Glyphs", Glyphs.__init__, locals(), "config_dataset")
        manifest_path = build(root, instances_per_face, letters_per_script)
        super().__init__(manifest_path, transform, subset)


def build(
    dataset_root: str | os.PathLike[str],
    instances_per_face: Annotated[int, Range(1)] = 3,
    letters_per_script: Annotated[int | None, Range(2)] = None,
) -> Path:
    """Render the images unless they exist.

    Args:
        dataset_root: The host's; files go to ``dataset_root/glyphs``.
        instances_per_face: As for ``Glyphs``.
        letters_per_script: As for ``Glyphs``.

    Returns:
        The manifest's path.

    Raises:
        ConfigError: If a number is too small.
        DataError: If the folder is not writable.
    """
    checked_arguments("Glyphs", build, locals(), "config_dataset or on the command line")
    folder = Path(dataset_root) / "glyphs"
    amount = "all" if letters_per_script is None else f"first{letters_per_script}"
    stem = f"v{glyph_rendering.RECIPE_VERSION}_{amount}_x{instances_per_face}"
    manifest_path = folder / f"{stem}.json"
    if not manifest_path.exists():
        _render(folder, stem, instances_per_face, letters_per_script)
    return manifest_path


def _render(
    folder: Path, stem: str, instances_per_face: int, letters_per_script: int | None
) -> None:
    """Render both subsets and write the array, then the manifest."""
    check_writable("Glyphs", folder)  # before the work, not after it
    logger.info("Glyphs: rendering the letters, once, into %s", folder)
    faces = glyph_classes.load_faces()
    candidates = glyph_classes.candidate_letters(faces, letters_per_script)
    glyphs = glyph_classes.draw_glyphs(
        [letter for letters in candidates.values() for letter in letters], faces
    )
    found = glyph_classes.find_classes(candidates, glyphs, faces)

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
    facts = {
        "recipe_version": glyph_rendering.RECIPE_VERSION,
        "seed": glyph_classes.SEED,
        "instances_per_face": instances_per_face,
        "letters_per_script": letters_per_script,
        "versions": {
            "matplotlib": matplotlib.__version__,
            "Pillow": PIL.__version__,
            "numpy": np.__version__,
        },
    }
    store("Glyphs", folder, stem, np.stack(images), facts, classes)
