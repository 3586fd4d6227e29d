"""A list of ten images in four classes, for the tests of lists and of their filters."""

from pathlib import Path
from typing import Any

import numpy as np

from slade_plugin.data.files.image_list import ImageList

# Class sizes 1, 2, 3, 4: 10 images.
LABELS = [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
NAMES = ["one", "two", "three", "four"]


def listed(root: Path = Path("/data"), **changes: Any) -> ImageList:
    content = {
        "paths": np.array([f"{label}/{k}.jpg" for k, label in enumerate(LABELS)]),
        "labels": np.array(LABELS),
        "class_names": NAMES,
        "boxes": np.arange(40.0).reshape(10, 4),
    }
    return ImageList(root, **(content | changes))


def on_disk(root: Path) -> ImageList:
    images = listed(root)
    for number, path in enumerate(images.paths):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b"x" * number)
    return images
