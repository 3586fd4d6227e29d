"""Base class of ``BasisSimilarityMiner``'s thresholds: a choice with settings and one call."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from slade_plugin.base.settings import Settings


class Threshold(Settings, ABC):
    """T1 or T2 for one batch; subclasses are frozen dataclasses.

    Attributes:
        reads_running_mean: Whether it depends on the running mean of the feature basis.
    """

    place: ClassVar[str] = (
        "config_loss under mining_funcs: unlabeled_tuple_miner: BasisSimilarityMiner"
    )
    reads_running_mean: ClassVar[bool] = False

    @property
    def level(self) -> float | None:
        """Number that orders two thresholds of one class before any batch, or None."""
        return None

    @abstractmethod
    def __call__(
        self, similarity: Tensor, labels: Tensor | None, is_positive: bool, running_mean: float
    ) -> float:
        """Return the threshold as a similarity; NaN while it is unknown.

        Args:
            similarity: (M, M) basis similarity of D^u, larger = closer, detached.
            labels: (M,) pseudo labels if they must agree with a pair's sign, else None.
            is_positive: True for T1, the lower bound of positive pairs; False for T2.
            running_mean: mu_pos for T1, mu_neg for T2; NaN if not yet observed.
        """
