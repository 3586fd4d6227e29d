"""Images and models for benchmarks, without files or downloads."""

from typing import Any

import numpy as np
import torch
from powerful_benchmarker.architectures.misc_models import MLP
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.models import resnet50

from slade_plugin.base.errors import ConfigError
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE, LABEL
from slade_plugin.method.models import conv4

TRUNKS = {"conv4": (1, 32), "resnet50": (3, 227)}  # channels; height and width
EMBEDDING_SIZE = 128
_PATTERN = 8  # side of a class's coarse pattern


class SyntheticImages(Dataset[dict[str, Any]]):
    """Images that are their class's coarse random pattern plus noise.

    Classes can be told apart, so that mining finds pairs. Images are drawn when asked for, always
    the same ones.

    Args:
        labels: (N,) class of each image, from 0.
        channels: 1 = gray.
        size: Height and width.
        seed: Another seed gives other patterns.
    """

    def __init__(self, labels: np.ndarray, channels: int, size: int, seed: int) -> None:
        self.labels = labels
        self.size = size
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        shape = (int(labels.max()) + 1, channels, _PATTERN, _PATTERN)
        self.patterns = torch.randn(shape, generator=generator)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return {"data": (channels, size, size) float32, "label": class}, the host's form."""
        label = int(self.labels[index])
        pattern = self.patterns[label].unsqueeze(0)
        image = nn.functional.interpolate(pattern, size=self.size)[0]
        generator = torch.Generator().manual_seed(self.seed + 1 + int(index))
        return {IMAGE: image + torch.randn(image.shape, generator=generator), LABEL: label}


class ImagesInMemory(Dataset[dict[str, Any]]):
    """A pool with its images in memory.

    Args:
        images: (N, C, H, W).
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return {"data": image}."""
        return {IMAGE: self.images[index]}


def make_models(trunk: str, size: int, device: torch.device) -> dict[str, nn.Module]:
    """Make trunk and embedder as the host's model factory does, with random weights.

    The host's `DataParallel` around each is left out.

    Raises:
        ConfigError: If there is no such trunk.
    """
    models: dict[str, Any] = {}
    if trunk == "conv4":
        models["trunk"] = conv4(hidden_size=64, image_size=size)
    elif trunk == "resnet50":
        models["trunk"] = resnet50(weights=None)
    else:
        raise ConfigError(f"--trunk is {trunk!r}; expected one of {', '.join(TRUNKS)}.")
    features = models["trunk"].fc.in_features
    models["trunk"].fc = nn.Identity()
    models["embedder"] = MLP([features, EMBEDDING_SIZE])
    return {name: model.to(device) for name, model in models.items()}
