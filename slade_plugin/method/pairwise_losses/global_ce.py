"""Global-CE of the poster's ablation 3, as defined in ``functional.pairwise_cross_entropy``."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from slade_plugin.base.settings import Range
from slade_plugin.method.functional import PairMoments, cross_entropy_around_means
from slade_plugin.method.pairwise_losses.pairwise_loss import PairwiseLoss


@dataclass(frozen=True)
class GlobalCE(PairwiseLoss):
    """Pairwise cross entropy around the midpoint of the two running means.

    With ``gradient_mode: batch`` the midpoint has the running means' value and the full gradient of
    the batch's means.

    Source: poster, ablation 3 (the name); the definition is ours.
    """

    scale: Annotated[float, Range(0, ends="(]")] = 10.0  # steepness; ours, not tuned

    def __call__(
        self, similarity: Tensor, labels: Tensor, batch: PairMoments, running: PairMoments
    ) -> Tensor:
        """Return the cross entropy; 0 until both Gaussians have been observed."""
        return cross_entropy_around_means(similarity, labels, running, self.scale)
