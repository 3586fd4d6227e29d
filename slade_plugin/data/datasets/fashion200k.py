"""Fashion200k (Han et al., ICCV 2017): clothes for the unlabeled pool."""

from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from slade_plugin.base.errors import DataError
from slade_plugin.base.warning import warn_once
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.image_filters import drop_missing
from slade_plugin.data.files.image_list import ImageList, remap_labels
from slade_plugin.data.files.list_files import read_rows
from slade_plugin.data.files.locating import Needed, prefix_of

_LISTS = tuple(
    f"{category}_{subset}_detect_all.txt"
    for category, subset in product(("dress", "jacket", "pants", "skirt", "top"), ("train", "test"))
)
_LISTED = 172_049 + 29_789  # rows of the train and the test lists
_DEPTH_OF_ITEM = 3  # women/<category>/<subcategory>/<item>/<file>


class Fashion200k(ImageFiles):
    """Fashion200k: a class is an item, which is the folder of a product.

    Looked for in ``fashion200k``, ``Fashion200k`` and the root: ``labels`` with the ten lists of
    detected clothes, and ``women`` with the images. Train and test lists are combined. Listed
    images that are missing, as some are in the published archive, are left out and counted.

    ``min_images_per_class: match`` comes near to the filtered version of the SLADE poster, whose
    rule is not published.
    """

    matched: ClassVar[PublishedCounts | None] = PublishedCounts(1_045, 14_635, "the SLADE poster")
    how_to_get: ClassVar[str] = (
        "Ask its authors for it (github.com/xthan/fashion-200k), and put labels and women into "
        "DATASET_ROOT/fashion200k."
    )

    folder_stems: ClassVar[tuple[str, ...]] = ("fashion200k",)

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        """List the images of the ten lists.

        Raises:
            DataError: If a list is missing or damaged, or all images are missing.
        """
        needed: Needed = [*((f"labels/{name}", name) for name in _LISTS), "women"]
        folder = cls.locate(root, needed, "fashion200k", "Fashion200k", "")
        lists = folder / "labels" if (folder / "labels").is_dir() else folder
        listed: list[str] = []
        for name in _LISTS:
            rows = read_rows(lists / name, "path score_and_text", separator="\t")
            listed += [path for path, _ in rows]
        paths = list(dict.fromkeys(listed))
        parts = [path.split("/") for path in paths]
        odd = [path for path, p in zip(paths, parts, strict=True) if len(p) != _DEPTH_OF_ITEM + 2]
        if odd:
            raise DataError(
                f"{lists}: {odd[0]!r} names no item; expected paths such as "
                "women/dresses/casual_and_day_dresses/51727804/51727804_0.jpeg. Fetch the lists "
                "again."
            )
        labels, names = remap_labels([p[_DEPTH_OF_ITEM] for p in parts])
        prefix = prefix_of(folder, ["", "women/"], paths)
        paths = [prefix + path for path in paths]
        images, missing = drop_missing(ImageList(folder, np.array(paths), labels, names.tolist()))
        if missing or len(listed) != _LISTED:
            warn_once(
                f"{cls.__name__}: the lists name {len(listed)} images (the published ones "
                f"{_LISTED}), of which {len(missing)} are missing in {folder}"
                + (f", for example {missing[0]}" if missing else "")
            )
        return images
