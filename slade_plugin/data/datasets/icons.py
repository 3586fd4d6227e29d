"""``Icons``: concepts drawn by many independent icon sets, a metric learning data set.

Ours, not the paper's. A class is a concept ("anchor", "bell"), an image one set's drawing of it:
where ``Glyphs`` differ by distortion, icons differ by what their designers drew. Labeled classes
are a random half of the concepts that many sets draw, the pool all other concepts of at least ten
drawings. The images are not shipped: ``icon_building`` makes them out of an npm package.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.base.settings import checked_arguments
from slade_plugin.data.datasets.stored_images import StoredImages, Subset
from slade_plugin.data.rendering.icon_concepts import HOW_TO_GET

RECIPE_VERSION = 1
"""Raise it with every change of the recipe that alters an image or a class."""

STEM = f"v{RECIPE_VERSION}"
BUILD = "slade-bench build icons package --dataset_root {root}"


def folder_of(dataset_root: str | os.PathLike[str]) -> Path:
    """Return the folder of the files."""
    return Path(dataset_root) / "icons"


class Icons(StoredImages):
    """One subset of the icons, in the host's form.

    Args:
        root: The host's ``dataset_root``; the files are in ``root/icons``.
        transform: Applied to the PIL image (mode "L", 32 x 32; dark ink on white paper).
        download: Ignored, the host passes it: the package is fetched by hand.
        subset: "labeled" or "unlabeled" = the pool. The pool has true labels too. They are there
            to *measure* pseudo labels and must not be trained on.

    Attributes:
        labels: (N,) int64, 0 to K - 1, sorted, all K present.
        class_names: K concepts; entry k belongs to label k. Classes are in a seeded random order,
            so the host's halves and folds of the sorted labels are alike in difficulty.

    Raises:
        ConfigError: If ``subset`` is not one of those above.
        DataError: If the images were not built, or a stored file is damaged.
    """

    remedy = "and build them again (slade-bench build icons)"

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Image.Image], Any] | None = None,
        download: bool = False,
        subset: Subset = "labeled",
    ) -> None:
        """Check the built files and read the labels."""
        checked_arguments("Icons", Icons.__init__, locals(), "config_dataset")
        manifest_path = folder_of(root) / f"{STEM}.json"
        if not manifest_path.exists():
            raise DataError(
                f"Icons: {manifest_path} does not exist. The images are built once, out of an npm "
                f"package. {HOW_TO_GET} Then `{BUILD.format(root=root)}` (it needs "
                "`pip install resvg-py`). If they are elsewhere, change dataset_root."
            )
        super().__init__(manifest_path, transform, subset)
