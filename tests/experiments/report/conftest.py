"""A split of eight images in two dimensions, small enough to rank by hand."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import Dataset

from slade_plugin.experiments.report.embedded_split import EmbeddedSplit

ANGLES = [0, 4, 40, 90, 2, 50, 95, 180]  # degrees: where the embeddings lie on the circle
LABELS = [0, 0, 0, 0, 1, 1, 1, 2]  # the last image has nobody of its class


class Plates(Dataset[dict[str, Any]]):
    """Plain coloured pictures with named classes; a transform gives what it gives."""

    class_names = ("owl", "<tit> & co", "wren")

    def __init__(self, labels: list[int], side: int = 20) -> None:
        self.labels, self.side, self.transform = labels, side, None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = Image.new("RGB", (self.side, self.side // 2), (10 * index, 0, 0))
        data = image if self.transform is None else self.transform(image)
        return {"data": data, "label": self.labels[index]}


@pytest.fixture
def make_split() -> Any:
    def make(
        angles: list[float] = ANGLES, labels: list[int] = LABELS, side: int = 20
    ) -> EmbeddedSplit:
        turned = np.deg2rad(angles)
        points = np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)
        everything = np.ones(len(labels), dtype=bool)
        dataset = Plates(labels, side)
        return EmbeddedSplit(points, np.array(labels), everything, everything, dataset, "scheme")

    return make
