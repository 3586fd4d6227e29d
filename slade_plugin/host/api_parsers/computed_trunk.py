"""Apply the config's entry `compute` to trunks, for training and evaluation alike.

A trunk is changed in place: its class gets a subclass and its weights stay where they are, so the
keys of a checkpoint do not depend on the entry. An attribute `forward` of the object would not do:
the replicas of `DataParallel` would all call the original's.
"""

from typing import Any

import torch
from torch import Tensor, nn

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.compute_settings import ComputeSettings


class _Computed:
    """Forward pass around that of the trunk's own class."""

    compute: ComputeSettings

    def forward(self, images: Tensor) -> Tensor:
        if self.compute.channels_last and images.dim() == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        is_reduced = self.compute.precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=is_reduced):
            features: Tensor = super().forward(images)  # type: ignore[misc]
        return features.float() if is_reduced else features


def computed(trunk: nn.Module, settings: ComputeSettings) -> nn.Module:
    """Apply the settings to a trunk.

    Args:
        trunk: Takes images; changed in place.
        settings: Where they are the defaults, nothing is changed.

    Returns:
        The trunk, with the same names in its state dict.
    """
    if settings == ComputeSettings():
        return trunk
    cls = type(trunk)
    own = {"__doc__": cls.__doc__, "compute": settings}
    trunk.__class__ = type(cls.__name__, (_Computed, cls), own)
    if settings.channels_last:
        trunk.to(memory_format=torch.channels_last)
    if settings.compile:
        # All trunks of a process share one cache, whose limit the trunks of a few split schemes
        # would reach; torch then stops compiling.
        torch.compiler.reset()
        trunk.compile(backend="inductor" if settings.compile is True else settings.compile)
    return trunk


def compute_trunks(parser: Any) -> None:
    """Make the parser's model factory apply the config's settings to its trunks.

    Args:
        parser: An API parser of the host or ours; its factory object is changed, not the class.

    Raises:
        ConfigError: If the trunk is to be compiled and there are several GPUs.
    """
    settings = ComputeSettings.from_config(getattr(parser.args, "compute", None))
    if settings == ComputeSettings():
        return
    devices = torch.cuda.device_count()
    if settings.compile and devices > 1:
        raise ConfigError(
            f"compute: compile is {settings.compile!r}, but this process sees {devices} GPUs, over "
            "which the benchmarker splits each batch (DataParallel), and a compiled trunk cannot "
            "be copied to the others; expected compile: false (config_general), or one GPU "
            "(CUDA_VISIBLE_DEVICES=0)."
        )
    factory = parser.factories["model"]
    create = factory.create

    def create_computed(*args: Any, **kwargs: Any) -> Any:
        model = create(*args, **kwargs)
        return computed(model, settings) if kwargs.get("subset") == "trunk" else model

    factory.create = create_computed
