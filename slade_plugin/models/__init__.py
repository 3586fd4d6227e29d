"""Models the plugin adds to the host's: one class a file."""

from slade_plugin.models.conv4 import conv4
from slade_plugin.models.timm_trunk import TimmTrunk
from slade_plugin.models.torchvision_trunk import TorchvisionTrunk

__all__ = ["TimmTrunk", "TorchvisionTrunk", "conv4"]
