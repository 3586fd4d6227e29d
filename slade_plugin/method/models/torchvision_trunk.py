"""Any classification network of torchvision as a trunk, with weights from anywhere.

The host builds torchvision's models by their own names, but only those that end in a layer ``fc``,
and gives them torchvision's own weights only. This trunk takes every architecture, and weights from
files, among them the public SwAV ResNet-50.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest
from slade_plugin.method.models.weight_files import LoadedWeights, load_weights

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Networks that return more than one output in training, and warn of their own initialization,
# unless configured.
_ONE_OUTPUT = ("googlenet", "inception_v3")


class TorchvisionTrunk(nn.Module):
    """A classification network of torchvision without its last layer.

    A dropout right before the last layer is removed with it. The host reads ``fc.in_features`` as
    the trunk's output size and replaces ``fc`` by the identity. It reads ``mean`` and ``std`` to
    build the image transforms.

    Args:
        architecture: Name in torchvision.models, such as resnet50, squeezenet1_1 or vit_b_16.
        weights: None for random initialization. Otherwise the name of torchvision's weights for
            this architecture (IMAGENET1K_V1), a local path, or a URL; see `weight_files` for the
            formats.
        sha256: Expected hash of the file; None accepts any.
        mean: Mean of each channel of an image with values 0 to 1, as the weights expect.
        std: Standard deviation, likewise.
        pooling: avg, torchvision's own, or max: reduces each feature map to one number.
        layer_norm: Normalize the features of an image, without parameters.
        channels_last: Memory layout of the weights: faster on a CPU, the same up to rounding.
        options: Further arguments of torchvision's function, such as {image_size: 96} for a ViT.

    Attributes:
        loaded_weights: The loaded weights; None without weights.

    Raises:
        ConfigError: If there is no such architecture, weights, file, pooling or option.
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
        channels_last: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        names = torchvision.models.list_models(module=torchvision.models)
        if architecture not in names:
            raise ConfigError(
                f"torchvision has no architecture {architecture!r}{nearest(architecture, names)}; "
                "expected a name such as resnet50 (config_models)."
            )
        if sha256 is not None and weights is None:
            raise ConfigError(
                f"TorchvisionTrunk: sha256 is {sha256!r}, but weights is None; expected a file to "
                "compare it with, or no sha256 (config_models)."
            )
        known = {w.name: w.url for w in torchvision.models.get_model_weights(architecture)}
        arguments = dict(options or {})
        if architecture in _ONE_OUTPUT:
            # torchvision's own weights of these two expect images in another range.
            own = {"aux_logits": False, "init_weights": True, "transform_input": weights in known}
            arguments = own | arguments
        try:
            self.body: Any = torchvision.models.get_model(architecture, weights=None, **arguments)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"torchvision cannot build {architecture} with the options {arguments}: {error} "
                "(config_models)."
            ) from error
        if pooling == "max" and (place := _average_pooling(self.body)):
            self.body.set_submodule(place, nn.AdaptiveMaxPool2d(1))
        elif pooling != "avg":
            raise ConfigError(
                f"pooling is {pooling!r} for {architecture}; expected avg, or max where "
                "torchvision's ends in a module for average pooling, as resnet50 does "
                "(config_models)."
            )
        self.layer_norm = layer_norm
        self.fc: nn.Module = _take_last_layer(self.body)
        self.mean, self.std = list(mean), list(std)
        self.loaded_weights: LoadedWeights | None = None
        if weights is not None:
            self.loaded_weights = load_weights(self.body, known.get(weights, weights), sha256)
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, ``fc.in_features``) once ``fc`` is the identity.

        Args:
            images: (N, 3, H, W), normalized.
        """
        features = self.body(images)
        if self.layer_norm:
            features = F.layer_norm(features, features.shape[1:])
        return self.fc(features)


def _take_last_layer(body: nn.Module) -> nn.Linear:
    """Replace the layer that computes the classes by the identity, and a dropout before it.

    Args:
        body: A classification network of torchvision; its last layer with weights is this one.

    Returns:
        The layer; of one in the form of a convolution (SqueezeNet), a new linear layer of its size.
    """
    name, layer = [
        (name, module)
        for name, module in body.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ][-1]
    parent = body.get_submodule(name.rpartition(".")[0])
    if isinstance(parent, nn.Sequential):
        children = list(parent)
        before = children.index(layer) - 1
        if before >= 0 and isinstance(children[before], nn.Dropout):
            parent[before] = nn.Identity()
    body.set_submodule(name, nn.Identity())
    # Moved, not made anew: then it draws as many random numbers as torchvision's own model.
    return (
        layer if isinstance(layer, nn.Linear) else nn.Linear(layer.in_channels, layer.out_channels)
    )


def _average_pooling(body: nn.Module) -> str | None:
    """Return the name of the module that averages each whole feature map, if any."""
    for name, module in body.named_modules():
        if name.split(".")[0] in ("avgpool", "classifier") and (
            isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
        ):
            return name
    return None
