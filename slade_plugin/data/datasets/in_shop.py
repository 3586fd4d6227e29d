"""DeepFashion In-shop Clothes Retrieval (Liu et al., CVPR 2016): the clothes that are labeled."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.datasets.retrieval_roles import ROLES
from slade_plugin.data.files.image_list import ImageList, remap_labels
from slade_plugin.data.files.list_files import read_rows
from slade_plugin.data.files.locating import prefix_of

_PARTITION = tuple(f"{folder}list_eval_partition.txt" for folder in ("Eval/", "Anno/", ""))
_IMAGES = ("Img/img", "img", "Img/img_highres", "img_highres")
_PREFIXES = tuple(
    f"{images}/{doubled}" for images in _IMAGES for doubled in ("", f"{Path(images).name}/")
)
_COLUMNS = "image_name item_id evaluation_status"
_ONE_OF_EACH_ROLE = 2


class InShop(ImageFiles):
    """In-shop: 7,982 items, each image train, query or gallery.

    Looked for in ``in_shop``, the archive's own ``In-shop Clothes Retrieval Benchmark``, the root,
    and folders whose names begin alike. The partition file may lie in ``Eval``, ``Anno`` or beside
    them; the images, the small ones first, in ``Img/img``, ``img``, ``Img/img_highres`` or
    ``img_highres``, each of which may be doubled.

    To be split by `QueryGallerySplitManager` and evaluated by `QueryGalleryTester`. Some training
    items have one image; ``min_images_per_class: 2`` leaves them out, and no other image.

    Attributes:
        roles: (N,) "train", "query" or "gallery".
    """

    published: ClassVar[PublishedCounts | None] = PublishedCounts(
        7_982, 52_712, "list_eval_partition.txt of DeepFashion In-shop"
    )
    how_to_get: ClassVar[str] = (
        "Get the In-shop Clothes Retrieval Benchmark of DeepFashion "
        "(mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html), and put Eval and Img, "
        "with img.zip unpacked in it, into DATASET_ROOT/in_shop."
    )

    folder_stems: ClassVar[tuple[str, ...]] = ("inshop", "deepfashion")

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        """List all images of the partition file.

        Raises:
            DataError: If files are missing, or the partition file is cut off or says something
                else than a role.
        """
        folder = cls.locate(
            root, [_PARTITION, _IMAGES], "in_shop", "In-shop Clothes Retrieval Benchmark", ""
        )
        partition = next(folder / name for name in _PARTITION if (folder / name).exists())
        count = next(iter(read_rows(partition, "number_of_images")), [""])[0]
        rows = read_rows(partition, _COLUMNS, separator=None, skip=2)
        if not rows or count != str(len(rows)):
            raise DataError(
                f"{partition} names {len(rows)} images, and {count!r} in its first line; expected "
                "equal numbers. Fetch the file again, it may be cut off."
            )
        paths, items, roles = zip(*rows, strict=True)
        unknown = sorted(set(roles) - set(ROLES))
        if unknown:
            raise DataError(
                f"{partition}: evaluation_status is {unknown[0]!r}; expected one of "
                f"{', '.join(ROLES)}. Fetch the file again."
            )
        labels, names = remap_labels(items)
        # The file has img/ wherever the images are.
        below = [path.removeprefix("img/") for path in paths]
        prefix = prefix_of(folder, _PREFIXES, below)
        places = [prefix + path for path in below]
        return ImageList(folder, np.array(places), labels, names.tolist(), roles=np.array(roles))

    def _check_options(self, min_images_per_class: Any, excluded_classes: Any) -> None:
        super()._check_options(min_images_per_class, excluded_classes)
        if min_images_per_class > _ONE_OF_EACH_ROLE:
            raise ConfigError(
                f"InShop: min_images_per_class is {min_images_per_class}; expected 1 or 2, since "
                "more would take query and gallery images out of the test (config_dataset)."
            )
