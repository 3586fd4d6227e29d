"""A trunk of torchvision with weights from torchvision, a file or an address.

The host builds torchvision's models by their own names (``resnet50``) and can give them
torchvision's own weights only. This one also takes files, among them the public SwAV ResNet-50.
"""

from collections.abc import Sequence
from typing import ClassVar

import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest
from slade_plugin.method.models.weight_files import LoadedWeights, load_weights

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TorchvisionTrunk(nn.Module):
    """An architecture of torchvision that ends in a linear layer ``fc``, such as resnet50.

    The host reads ``fc.in_features`` as the trunk's output size and replaces ``fc`` by the
    identity; it reads ``mean`` and ``std`` to build the image transforms.

    Args:
        architecture: Name in torchvision.models.
        weights: None starts from random numbers; a name of torchvision's weights for this
            architecture (IMAGENET1K_V1), a local path, or an address. `weight_files` says what a
            file may hold.
        sha256: Refuse another file; None takes any.
        mean: Of each channel of an image with values 0 to 1, as the weights expect it.
        std: The same.
        pooling: avg, as torchvision has it, or max: what makes one number of each feature map.
        layer_norm: Normalise the features of an image, without parameters.

    Attributes:
        loaded_weights: What was loaded; None without weights.

    Raises:
        ConfigError: If there is no such architecture, weights, file or pooling.
        CheckpointError: If the file does not fill the trunk.
    """

    input_space: ClassVar[str] = "RGB"
    input_range: ClassVar[list[float]] = [0, 1]

    def __init__(
        self,
        architecture: str,
        weights: str | None = None,
        sha256: str | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        pooling: str = "avg",
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        names = torchvision.models.list_models(module=torchvision.models)
        if architecture not in names:
            raise ConfigError(
                f"torchvision has no architecture {architecture!r}{nearest(architecture, names)}; "
                "expected a name such as resnet50 (config_models)."
            )
        self.body = torchvision.models.get_model(architecture, weights=None)
        fc = getattr(self.body, "fc", None)
        if not isinstance(fc, nn.Linear):
            raise ConfigError(
                f"torchvision's {architecture} does not end in a linear layer fc; expected one "
                "that does, such as resnet50, or TimmTrunk in config_models."
            )
        poolable = isinstance(getattr(self.body, "avgpool", None), nn.AdaptiveAvgPool2d)
        if pooling not in ("avg", "max") or (pooling == "max" and not poolable):
            raise ConfigError(
                f"pooling is {pooling!r} for {architecture}; expected avg, or max where "
                "torchvision's ends in an average pooling, as resnet50 does (config_models)."
            )
        if pooling == "max":
            self.body.avgpool = nn.AdaptiveMaxPool2d(1)
        self.layer_norm = layer_norm
        # Moved, not made anew: then it draws as many random numbers as torchvision's own model.
        self.fc: nn.Module = fc
        self.body.fc = nn.Identity()
        self.mean, self.std = list(mean), list(std)
        self.loaded_weights: LoadedWeights | None = None
        if weights is not None:
            known = {w.name: w.url for w in torchvision.models.get_model_weights(architecture)}
            self.loaded_weights = load_weights(self.body, known.get(weights, weights), sha256)

    def forward(self, images: Tensor) -> Tensor:
        """Returns (N, ``fc.in_features``) once ``fc`` is the identity.

        Args:
            images: (N, 3, H, W), normalised.
        """
        features = self.body(images)
        if self.layer_norm:
            features = F.layer_norm(features, features.shape[1:])
        return self.fc(features)
