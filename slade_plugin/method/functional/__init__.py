"""Equations of SLADE as pure functions of tensors; torch only.

Nothing here depends on the host, so the math can be tested and used without it.
"""

from slade_plugin.method.functional.basis_cross_entropy import basis_cross_entropy
from slade_plugin.method.functional.basis_similarity import basis_responses, pairwise_cosine
from slade_plugin.method.functional.pair_gaussians import (
    Moments,
    PairMoments,
    corrected_momentum,
    pair_moments,
    running_update,
    running_with_gradient,
    similarities_by_label,
)
from slade_plugin.method.functional.pair_mining import (
    PairIndices,
    mine_by_similarity,
    pair_precision,
    pair_quantile,
    pair_recall,
    pairs_by_label,
)
from slade_plugin.method.functional.pairwise_cross_entropy import (
    cross_entropy_around_means,
    pairwise_cross_entropy,
)
from slade_plugin.method.functional.precision import at_least_float32
from slade_plugin.method.functional.similarity_distribution import similarity_distribution_loss

__all__ = [
    "Moments",
    "PairIndices",
    "PairMoments",
    "at_least_float32",
    "basis_cross_entropy",
    "basis_responses",
    "corrected_momentum",
    "cross_entropy_around_means",
    "mine_by_similarity",
    "pair_moments",
    "pair_precision",
    "pair_quantile",
    "pair_recall",
    "pairs_by_label",
    "pairwise_cosine",
    "pairwise_cross_entropy",
    "running_update",
    "running_with_gradient",
    "similarities_by_label",
    "similarity_distribution_loss",
]
