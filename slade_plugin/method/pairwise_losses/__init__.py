"""Losses over the pairs of D^u by basis similarity: L_SD and its alternatives in ablation 3."""

from slade_plugin.method.pairwise_losses.global_ce import GlobalCE
from slade_plugin.method.pairwise_losses.local_ce import LocalCE
from slade_plugin.method.pairwise_losses.pairwise_loss import PairwiseLoss
from slade_plugin.method.pairwise_losses.similarity_distribution import SimilarityDistribution

__all__ = ["GlobalCE", "LocalCE", "PairwiseLoss", "SimilarityDistribution"]
