"""Split managers on the host's base classes."""

from slade_plugin.data.split_managers.query_gallery_split_manager import QueryGallerySplitManager

__all__ = ["QueryGallerySplitManager"]
