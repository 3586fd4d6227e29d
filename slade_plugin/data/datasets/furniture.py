"""``Furniture``: 3D models seen in random rooms, a data set of color images with rich backgrounds.

Ours, not the paper's. A class is one 3D model of Sweet Home 3D's furniture libraries, an image one
random view of it: pose, light, floor, wall, other objects and camera differ. Labeled classes are
the models of the maker Scopia, the pool those of all other makers: other classes of overlapping
kinds, as CUB-200 and NABirds are. The images are not shipped: ``slade-bench build furniture``
renders them out of two Debian packages.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.base.settings import Range, checked_arguments
from slade_plugin.data.datasets.stored_images import StoredImages, Subset
from slade_plugin.data.rendering.furniture_packages import HOW_TO_GET

RECIPE_VERSION = 1
"""Raise it with every change of the recipe that alters an image or a class."""

VIEWS, SIZE = 12, 96
MIN_VIEWS, MIN_SIZE = 2, 32


def folder_of(dataset_root: str | os.PathLike[str]) -> Path:
    """Return the folder of the files."""
    return Path(dataset_root) / "furniture"


def stem_of(views: Annotated[int, Range(MIN_VIEWS)], size: Annotated[int, Range(MIN_SIZE)]) -> str:
    """Return the name of the files without hash and extension.

    Raises:
        ConfigError: If a number is not an integer or too small.
    """
    checked_arguments("Furniture", stem_of, locals(), "config_dataset or on the command line")
    return f"v{RECIPE_VERSION}_{views}_views_{size}_px"


class Furniture(StoredImages):
    """One subset of the images, in the host's form.

    Args:
        root: The host's ``dataset_root``; the files are in ``root/furniture``.
        transform: Applied to the PIL image (mode "RGB", size x size).
        download: Ignored, the host passes it: the packages are fetched by hand.
        subset: "labeled" or "unlabeled" = the pool. The pool has true labels too. They are there
            to *measure* pseudo labels and must not be trained on.
        views: Images of a class, as built.
        size: Height and width, as built.

    Attributes:
        labels: (N,) int64, 0 to K - 1, sorted, all K present.
        class_names: K models, such as "Scopia/bathroom3"; entry k belongs to label k. Classes are
            in a seeded random order, so the host's halves and folds of the sorted labels are alike
            in difficulty.

    Raises:
        ConfigError: If ``subset`` or a number is not one of those above.
        DataError: If the images were not built, or a stored file is damaged.
    """

    remedy = "and build them again (slade-bench build furniture)"

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Image.Image], Any] | None = None,
        download: bool = False,
        subset: Subset = "labeled",
        views: Annotated[int, Range(MIN_VIEWS)] = VIEWS,
        size: Annotated[int, Range(MIN_SIZE)] = SIZE,
    ) -> None:
        """Check the built files and read the labels."""
        checked_arguments("Furniture", Furniture.__init__, locals(), "config_dataset")
        manifest_path = folder_of(root) / f"{stem_of(views, size)}.json"
        if not manifest_path.exists():
            raise DataError(
                f"Furniture: {manifest_path} does not exist. The images are rendered once, out of "
                f"two Debian packages. {HOW_TO_GET} Then `slade-bench build furniture FOLDER "
                f"--dataset_root {root} --views {views} --size {size}` with the folder that holds "
                "them (it needs `pip install slade-plugin[furniture]`). If the images are "
                "elsewhere, change dataset_root."
            )
        super().__init__(manifest_path, transform, subset)
