"""Conv-4, the standard small trunk of few-shot learning.

Four blocks of 3x3 convolution (64 channels), batch norm, ReLU and 2x2 max pooling, as in Vinyals et
al., "Matching Networks for One Shot Learning" (2016), and Snell et al., "Prototypical Networks"
(2017). Not part of SLADE: a trunk that trains from scratch on a CPU in minutes. It differs from
those papers only in the input, by default one gray channel of 32 x 32 (``Glyphs``).
"""

from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from slade_plugin.base.errors import DataError
from slade_plugin.base.settings import Range, checked_arguments

BLOCKS = 4


class conv4(nn.Module):
    """Four convolution blocks, then the linear layer ``fc``.

    Lowercase so that its name in YAML matches those of torchvision's trunks.

    The host reads ``fc.in_features`` as the trunk's output size and replaces ``fc`` by the
    identity; it reads ``mean``, ``std``, ``input_space`` and ``input_range`` to build the image
    transforms.

    Args:
        in_channels: Channels of the images; 1 = gray.
        hidden_size: Channels of every block, or of each of the four, as in 64, 64, 128, 128
            (Gidaris and Komodakis, "Dynamic Few-Shot Visual Learning without Forgetting", 2018).
        image_size: Height and width of the images after the transforms; at least 16, since each
            block halves it.
        num_classes: Outputs of ``fc``; unused once the host has replaced it.

    Raises:
        ConfigError: If an argument is out of range.
    """

    mean: list[float]
    std: list[float]
    input_space: ClassVar[str | None] = None
    input_range: ClassVar[list[float]] = [0, 1]

    def __init__(
        self,
        in_channels: Annotated[int, Range(1)] = 1,
        hidden_size: int | list[int] = 64,
        image_size: Annotated[int, Range(2**BLOCKS)] = 32,
        num_classes: Annotated[int, Range(1)] = 64,
    ) -> None:
        """Build the layers with torch's own initialization."""
        super().__init__()
        sizes = hidden_size if isinstance(hidden_size, list) else [hidden_size] * BLOCKS
        fit = len(sizes) == BLOCKS and all(isinstance(n, int) and n >= 1 for n in sizes)
        checked_arguments(
            "conv4",
            conv4.__init__,
            locals(),
            "config_models under models: trunk: conv4",
            problems=()
            if fit
            else [
                f"hidden_size is {hidden_size!r}; expected one integer >= 1, or {BLOCKS} of them."
            ],
        )
        self.input_shape = (in_channels, image_size, image_size)
        # Measured on Glyphs, both subsets together: 0.500 and 0.317.
        self.mean = [0.5] * in_channels
        self.std = [0.32] * in_channels
        self.blocks = nn.Sequential(
            *(_block(before, size) for before, size in pairwise([in_channels, *sizes]))
        )
        self.fc: nn.Module = nn.Linear(sizes[-1] * (image_size // 2**BLOCKS) ** 2, num_classes)
        # Channels last: equal up to rounding, 1.6 to 1.8 times as fast on a CPU.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, num_classes), or (N, ``fc.in_features``) once ``fc`` is the identity.

        Args:
            images: (N, in_channels, image_size, image_size), float, normalized.

        Raises:
            DataError: If the images have another shape.
        """
        if images.dim() != 4 or images.shape[1:] != self.input_shape:
            raise DataError(
                f"conv4 got images of shape {tuple(images.shape)}; expected "
                f"(N, {', '.join(map(str, self.input_shape))}). Change in_channels or image_size "
                "under models: trunk: conv4 in config_models, or the image transforms."
            )
        return self.fc(torch.flatten(self.blocks(images), start_dim=1))


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return one block; it halves height and width, rounding down."""
    return nn.Sequential(
        # No bias: the batch norm right after it has one.
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        # The reverse order gives the same numbers and gradients, bit for bit, from four times as
        # many values.
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
    )
