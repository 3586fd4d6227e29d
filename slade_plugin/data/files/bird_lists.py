"""Read the list files of CUB-200-2011 and NABirds, which share a format.

images.txt              image_id path        path is relative to images/
image_class_labels.txt  image_id class_id
classes.txt             class_id name        names may hold spaces
bounding_boxes.txt      image_id x y width height, in pixels
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.image_list import ImageList, remap_labels
from slade_plugin.data.files.list_files import look_up, read_mapping
from slade_plugin.data.files.locating import prefix_of

NEEDED = ("images.txt", "image_class_labels.txt", "classes.txt", "images")
_BOXES = "bounding_boxes.txt"


def read_bird_lists(folder: Path) -> ImageList:
    """Read the lists of one folder.

    Images are sorted by class id, then by path: the order of ``torchvision.datasets.ImageFolder``,
    and so of the host's CUB200. Classes without an image are left out. A folder without
    bounding_boxes.txt has no boxes.

    Raises:
        DataError: If a file is damaged or does not fit the others; it names the file.
    """
    files = read_mapping(folder / "images.txt", "image_id path")
    ids = list(files)
    labels_file = folder / "image_class_labels.txt"
    classes = look_up(read_mapping(labels_file, "image_id class_id"), ids, labels_file)
    labels, class_ids = remap_labels(_numbers(classes, np.int64, labels_file))
    names_file = folder / "classes.txt"
    names = look_up(read_mapping(names_file, "class_id name"), [*map(str, class_ids)], names_file)

    boxes = None
    if (folder / _BOXES).exists():
        rows = look_up(read_mapping(folder / _BOXES, "image_id box"), ids, folder / _BOXES)
        numbers = _numbers([row.split() for row in rows], np.float64, folder / _BOXES)
        if numbers.shape != (len(ids), 4):
            raise DataError(
                f"{folder / _BOXES}: boxes form an array of shape {numbers.shape}; expected 4 "
                "numbers for each image: x, y, width, height. Fetch the file again."
            )
        boxes = np.hstack([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]])

    listed = [files[image] for image in ids]
    prefix = prefix_of(folder, ["images/", "images/images/"], listed)
    paths = np.array([prefix + path for path in listed])
    order = np.lexsort([paths, labels])
    return ImageList(
        folder, paths[order], labels[order], names, None if boxes is None else boxes[order]
    )


def _numbers(texts: list[str] | list[list[str]], dtype: type, path: Path) -> npt.NDArray[np.number]:
    try:
        return np.array(texts).astype(dtype)
    except ValueError as error:
        raise DataError(
            f"{path} holds something other than numbers: {error}. Fetch the file again."
        ) from error
