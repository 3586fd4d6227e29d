"""Miners of pairs of D^u on the host's base class, around ``slade_plugin.method.functional``."""

from slade_plugin.method.miners.basis_similarity_miner import BasisSimilarityMiner
from slade_plugin.method.miners.pool_pair_miner import PoolBatch, PoolPairMiner
from slade_plugin.method.miners.pseudo_label_pair_miner import PseudoLabelPairMiner

__all__ = ["BasisSimilarityMiner", "PoolBatch", "PoolPairMiner", "PseudoLabelPairMiner"]
