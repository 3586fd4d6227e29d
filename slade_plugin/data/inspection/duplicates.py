"""Find images of one list that are the same file, byte for byte."""

from slade_plugin.data.files.distinct_files import equal_sized
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection.hash_manifest import UNREADABLE, hash_files


def find_duplicates(images: ImageList, workers: int) -> list[list[str]]:
    """Group paths with equal content; each group is sorted, and groups are by first path.

    Raises:
        DataError: If a process dies.
    """
    groups: dict[str, list[str]] = {}
    for path, digest in hash_files(images, equal_sized(images), workers).items():
        groups.setdefault(digest, []).append(path)
    groups.pop(UNREADABLE, None)
    return sorted(sorted(paths) for paths in groups.values() if len(paths) > 1)
