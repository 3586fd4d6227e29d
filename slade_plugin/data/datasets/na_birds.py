"""``NABirds``: North American birds, the paper's unlabeled pool for CUB-200-2011."""

from pathlib import Path
from typing import Any, ClassVar

from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.bird_lists import NEEDED, read_bird_lists
from slade_plugin.data.files.image_list import ImageList


class NABirds(ImageFiles):
    """NABirds: 555 categories, which are species or, where they look different, sex and age.

    All images, regardless of its train_test_split.txt; the categories are the leaves of
    hierarchy.txt. As a pool, its labels only measure pseudo labels. Its species overlap those of
    CUB-200-2011, test classes included: that is the paper's protocol, and belongs beside its
    scores. Options and attributes: `ImageFiles`. Looked for in ``root/nabirds``
    and ``root`` itself.
    """

    published = PublishedCounts(555, 48562, "Van Horn et al., CVPR 2015")
    how_to_get: ClassVar[str] = (
        "Accept the terms at https://dl.allaboutbirds.org/nabirds, and unpack the archive so that "
        "its images.txt is DATASET_ROOT/nabirds/images.txt. A copy in class folders, without "
        "images.txt, is read by --config_dataset folders."
    )

    folder_stems: ClassVar[tuple[str, ...]] = ("nabirds",)

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        """List all images; see `ImageFiles.find`."""
        return read_bird_lists(cls.locate(root, NEEDED, "nabirds", ""))
