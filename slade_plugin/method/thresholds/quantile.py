"""A threshold that adapts to the similarities of each batch."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from slade_plugin.base.settings import Range
from slade_plugin.method.functional import pair_quantile
from slade_plugin.method.thresholds.threshold import Threshold


@dataclass(frozen=True)
class Quantile(Threshold):
    """The q-quantile of the batch's similarities. Not in the paper.

    As T1 it selects a share of 1 - q of the pairs, as T2 a share of q: of all unordered pairs of
    the batch or, if labels must agree, of those with equal (T1) or different (T2) pseudo labels.
    """

    q: Annotated[float, Range(0, 1)]

    @property
    def level(self) -> float:
        """The share."""
        return self.q

    def __call__(
        self, similarity: Tensor, labels: Tensor | None, is_positive: bool, running_mean: float
    ) -> float:
        """Return the quantile; NaN if there is no such pair."""
        return pair_quantile(similarity, self.q, labels, is_positive)
