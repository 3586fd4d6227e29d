"""Split managers on the host's base classes."""

from slade_plugin.data.split_managers.query_gallery_split_manager import QueryGallerySplitManager
from slade_plugin.data.split_managers.unlabeled_pool_split_manager import UnlabeledPoolSplitManager

__all__ = ["QueryGallerySplitManager", "UnlabeledPoolSplitManager"]
