"""Benchmarks of the plugin's parts against the bare host or their bare parts.

Never in the test suite and never installed. Run from the repository root, see README.md here.
"""

from slade_plugin import compat
from slade_plugin.base.machine import prepare_process

# Before any benchmark imports torch or the host.
prepare_process()
compat.apply()
