"""``CUB200Files``: CUB-200-2011, read from where it was unpacked."""

from pathlib import Path
from typing import Any, ClassVar

from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.bird_lists import NEEDED, read_bird_lists
from slade_plugin.data.files.image_list import ImageList


class CUB200Files(ImageFiles):
    """Caltech-UCSD Birds-200-2011: 200 bird species.

    Labels, class order and image order are those of the host's CUB200. Options and attributes:
    `ImageFiles`. Looked for in ``root/cub2011/CUB_200_2011`` (the host's place),
    ``root/CUB_200_2011`` and ``root`` itself.
    """

    published = PublishedCounts(200, 11788, "Wah et al., CNS-TR-2011-001")
    how_to_get: ClassVar[str] = (
        "Unpack CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158 in "
        "DATASET_ROOT/cub2011. A copy in class folders, without images.txt, is read by "
        "--config_dataset folders."
    )

    folder_stems: ClassVar[tuple[str, ...]] = ("cub", "caltech")

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        """List all images; see `ImageFiles.find`."""
        return read_bird_lists(
            cls.locate(root, NEEDED, "cub2011/CUB_200_2011", "CUB_200_2011", "cub2011", "")
        )
