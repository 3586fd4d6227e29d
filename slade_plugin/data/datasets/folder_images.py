"""``FolderImages``: your own images, labeled or not, given by a path."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.settings import checked_arguments
from slade_plugin.base.suggestions import quoting_hint
from slade_plugin.base.warning import warn_once
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.files.class_spellings import describe_groups, similar_names
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.files.image_table import read_labeled_table, read_path_list
from slade_plugin.data.files.image_tree import check_exists, read_class_folders, read_image_tree

# argument `labeled` -> the flag of the command line that fills in `path`
FLAGS = {True: "--labeled", False: "--unlabeled"}
_EXPECTED = {
    True: "your labeled images: a folder with one folder per class, or a CSV file of path,label",
    False: "your unlabeled images: a folder, or a text file with one path per line",
}


class FolderImages(ImageFiles):
    """Your own images: a tree of folders, or a text file that lists them.

    Labeled images: one folder per class, or a CSV of path and label. Unlabeled ones: any tree of
    images, or a text file with one path per line. See `image_tree` and `image_table`. Classes whose
    names look like spellings of one name are named in a warning.

    Args:
        root: The host's ``dataset_root``.
        transform: Applied to the PIL image (mode "RGB").
        download: Ignored, the host passes it.
        path: The folder or file, absolute or below ``root``; --labeled and --unlabeled fill it in.
            "" is ``root`` itself.
        labeled: Whether there are labels; if not, all images have label 0.
        merge_spellings: Make one class of names that differ only in case, spaces, Unicode form or
            number format; see `spelling_key`.
        **options: Those of `ImageFiles`.

    Raises:
        ConfigError: If there is no path.
        DataError: If the images or the list cannot be read; see the readers.
    """

    classes_named_by_user: ClassVar[bool] = True
    how_to_get: ClassVar[str] = "These are your own images: give --labeled PATH --unlabeled PATH."

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Image.Image], Any] | None = None,
        download: bool = False,
        *,
        path: str | None = "",
        labeled: bool = True,
        merge_spellings: bool = False,
        **options: Any,
    ) -> None:
        """Find the images without opening them."""
        if not isinstance(path, str | None):
            raise ConfigError(
                f"FolderImages: path is {path!r}; expected a folder or a file{quoting_hint(path)} "
                "(config_dataset)."
            )
        checked_arguments("FolderImages", FolderImages.__init__, locals(), "config_dataset")
        if path is None:
            raise ConfigError(f"{FLAGS[labeled]} is not given; expected {_EXPECTED[labeled]}.")
        self.path, self.labeled, self.merge_spellings = path, labeled, merge_spellings
        super().__init__(root, transform, download, **options)

    def find_options(self) -> dict[str, Any]:
        """Arguments of `find`."""
        options = {"path": self.path, "labeled": self.labeled}
        return options | {"merge_spellings": self.merge_spellings}

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        """List the images of a folder or of a file, whichever exists."""
        place, labeled = Path(root, options.get("path", "")), options.get("labeled", True)
        check_exists(place, FLAGS[labeled])
        if not labeled:
            return read_image_tree(place) if place.is_dir() else read_path_list(place)
        read = read_class_folders if place.is_dir() else read_labeled_table
        images = read(place, options.get("merge_spellings", False), options.get("least_classes", 2))
        groups = similar_names(images.class_names)
        if groups:
            warn_once(
                f"{place}: {len(groups)} class names have several spellings: "
                f"{describe_groups(groups)}. They are kept apart; rename them, or set "
                "merge_spellings: True (config_dataset) to make one class of each group."
            )
        return images
