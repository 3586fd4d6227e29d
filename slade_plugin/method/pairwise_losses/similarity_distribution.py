"""L_SD, the similarity distribution loss (SLADE, arXiv 2011.10269, Eq. 5)."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from slade_plugin.base.settings import Range
from slade_plugin.method.functional import PairMoments, similarity_distribution_loss
from slade_plugin.method.pairwise_losses.pairwise_loss import PairwiseLoss


@dataclass(frozen=True)
class SimilarityDistribution(PairwiseLoss):
    """Push the two running Gaussians apart and make them narrow.

    While only one Gaussian has been observed, only its variance counts. A batch without pairs has
    the value of the running statistics and zero gradient; a sign without pairs gets no gradient.

    Source: SLADE, Eq. 5. No public source states the two values; 0.5 and 1.0 are in common use.
    """

    margin: Annotated[float, Range(0, 2)] = 0.5  # m: cosines are at most 2 apart
    variance_weight: Annotated[float, Range(0)] = 1.0  # lambda_v

    def __call__(
        self, similarity: Tensor, labels: Tensor, batch: PairMoments, running: PairMoments
    ) -> Tensor:
        """Return ``max(mu_neg - mu_pos + margin, 0) + variance_weight * (var_pos + var_neg)``."""
        positive, negative = running
        if positive is not None and negative is not None:
            return similarity_distribution_loss(
                positive.mean,
                negative.mean,
                positive.variance,
                negative.variance,
                margin=self.margin,
                variance_weight=self.variance_weight,
            )
        seen = positive if positive is not None else negative
        if seen is None:  # one row, before any pair was seen
            return similarity[:0].sum()
        return self.variance_weight * seen.variance
