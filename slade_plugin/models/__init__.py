"""Models the plugin adds to the host's: one class a file."""

from slade_plugin.models.conv4 import conv4

__all__ = ["conv4"]
