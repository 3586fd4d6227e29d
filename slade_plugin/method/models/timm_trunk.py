"""A trunk of timm (PyTorch Image Models), by name.

timm is an optional dependency: ``pip install slade-plugin[timm]``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest
from slade_plugin.method.models.weight_files import (
    LoadedWeights,
    are_skipped,
    load_weights,
    loaded_by_library,
)

PRETRAINED = "pretrained"


class TimmTrunk(nn.Module):
    """Any timm model without its classifier.

    The host reads ``fc.in_features`` as the trunk's output size and replaces ``fc`` by the
    identity; it reads ``mean`` and ``std`` to build the image transforms.

    Args:
        architecture: Name in timm, with or without a tag (resnet50, resnet50.a1_in1k).
        weights: None for random initialization; "pretrained" for timm's own, downloaded on first
            use; else a local path or a URL (see `weight_files` for the formats).
        sha256: Expected hash of the file; None accepts any. Not for timm's own weights.
        mean: Mean of each channel of an image with values 0 to 1; None for that of timm's weights.
        std: Standard deviation, likewise.
        options: Further arguments of timm.create_model, such as {in_chans: 1}.

    Attributes:
        loaded_weights: The loaded weights; None without weights.

    Raises:
        ConfigError: If timm is not installed, has no such model or cannot build it.
        CheckpointError: If the file does not fill the trunk.
    """

    input_space: ClassVar[str] = "RGB"
    input_range: ClassVar[list[float]] = [0, 1]

    def __init__(
        self,
        architecture: str,
        weights: str | None = None,
        sha256: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        try:
            import timm
        except ImportError as error:
            raise ConfigError(
                f"TimmTrunk needs timm, which is not installed ({error}); expected "
                "`pip install slade-plugin[timm]`, or another trunk in config_models."
            ) from error
        if not timm.is_model(architecture):
            names = timm.list_models()
            raise ConfigError(
                f"timm has no model {architecture!r}{nearest(architecture, names)}; expected a "
                "name of timm.list_models() (config_models)."
            )
        if sha256 is not None and weights in (None, PRETRAINED):
            raise ConfigError(
                f"TimmTrunk: sha256 is {sha256!r}, but weights is {weights!r}; expected a file to "
                "compare it with, or no sha256 (config_models)."
            )
        own = weights == PRETRAINED and not are_skipped()
        try:
            body: Any = timm.create_model(
                architecture, pretrained=own, num_classes=0, **(options or {})
            )
        except Exception as error:
            raise ConfigError(
                f"timm cannot build {architecture} with weights {weights!r} and options "
                f"{dict(options or {})}: {error}. Without network access, give a local file as "
                "weights in config_models."
            ) from error
        self.body = body
        self.fc: nn.Module = nn.Linear(getattr(body, "head_hidden_size", body.num_features), 1)
        expected = body.pretrained_cfg
        self.mean = list(mean if mean is not None else expected["mean"])
        self.std = list(std if std is not None else expected["std"])
        channels = (options or {}).get("in_chans", 3)
        if not len(self.mean) == len(self.std) == channels:
            raise ConfigError(
                f"TimmTrunk: mean is {self.mean} and std is {self.std}; expected {channels} "
                "numbers each, one per channel (config_models)."
            )
        self.loaded_weights: LoadedWeights | None = None
        if own:
            name = ".".join(filter(None, (expected["architecture"], expected.get("tag"))))
            self.loaded_weights = loaded_by_library(self.body, f"timm, {name}")
        elif weights not in (None, PRETRAINED):
            self.loaded_weights = load_weights(self.body, weights, sha256)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, ``fc.in_features``) once ``fc`` is the identity.

        Args:
            images: (N, C, H, W), normalized.
        """
        return self.fc(self.body(images))
