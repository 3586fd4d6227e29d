"""Models that the plugin adds to the host's, one class per file."""

from slade_plugin.method.models.conv4 import conv4
from slade_plugin.method.models.timm_trunk import TimmTrunk
from slade_plugin.method.models.torchvision_trunk import TorchvisionTrunk

__all__ = ["TimmTrunk", "TorchvisionTrunk", "conv4"]
