"""Testers on the host's base classes."""

from slade_plugin.testers.query_gallery_tester import QueryGalleryTester
from slade_plugin.testers.slade_tester import SladeTester

__all__ = ["QueryGalleryTester", "SladeTester"]
