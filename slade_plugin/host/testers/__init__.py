"""Testers on the host's base classes."""

from slade_plugin.host.testers.query_gallery_tester import QueryGalleryTester
from slade_plugin.host.testers.slade_tester import SladeTester

__all__ = ["QueryGalleryTester", "SladeTester"]
