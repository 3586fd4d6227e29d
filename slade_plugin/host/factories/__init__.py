"""The host's factories with their broken paths fixed, one class per file.

For a config that works with the host's factory, each builds the same objects.
"""

from slade_plugin.host.factories.slade_loss_factory import SladeLossFactory
from slade_plugin.host.factories.slade_miner_factory import SladeMinerFactory
from slade_plugin.host.factories.slade_optimizer_factory import SladeOptimizerFactory
from slade_plugin.host.factories.slade_split_manager_factory import SladeSplitManagerFactory

__all__ = [
    "SladeLossFactory",
    "SladeMinerFactory",
    "SladeOptimizerFactory",
    "SladeSplitManagerFactory",
]
