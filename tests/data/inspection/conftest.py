from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slade_plugin.data.files.image_list import ImageList


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[..., ImageList]:
    """`drawn(ant=1, bee=3)`: JPEGs of 12 x 8 in class folders, no two equal, with boxes."""

    def draw(**numbers: int) -> ImageList:
        rng = np.random.default_rng(0)
        paths = []
        for name, number in numbers.items():
            (tmp_path / name).mkdir()
            for i in range(number):
                pixels = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / f"{i}.jpg")
                paths.append(f"{name}/{i}.jpg")
        labels = np.repeat(np.arange(len(numbers)), list(numbers.values()))
        boxes = np.tile([1.0, 2, 9, 7], (len(paths), 1))
        return ImageList(tmp_path, np.array(paths), labels, list(numbers), boxes)

    return draw


@pytest.fixture
def cut() -> Callable[[Path], None]:
    """Takes the last third of a file away."""

    def shorten(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: 2 * len(content) // 3])

    return shorten
