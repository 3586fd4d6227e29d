"""Speed of what the plugin adds, each against the bare host or its bare parts.

Never in the test suite and never installed. Run from the repository root, see README.md here.
"""

from slade_plugin import compat

# Before any benchmark imports the host.
compat.apply()
