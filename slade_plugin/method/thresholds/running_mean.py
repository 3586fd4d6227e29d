"""The paper's threshold (SLADE, arXiv 2011.10269, Eq. 7)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from slade_plugin.method.thresholds.threshold import Threshold


@dataclass(frozen=True)
class RunningMean(Threshold):
    """The running mean of the feature basis: T1 = mu_pos, T2 = mu_neg.

    Source: SLADE, Eq. 7.
    """

    reads_running_mean: ClassVar[bool] = True

    def __call__(
        self, similarity: Tensor, labels: Tensor | None, is_positive: bool, running_mean: float
    ) -> float:
        """Return the running mean."""
        return running_mean
