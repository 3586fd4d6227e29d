"""Base class of the feature basis's pairwise losses: a choice with settings and one call."""

import re
from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from slade_plugin.base.settings import Settings
from slade_plugin.method.functional import PairMoments


class PairwiseLoss(Settings, ABC):
    """A term over the pairs of D^u by basis similarity; subclasses are frozen dataclasses."""

    place: ClassVar[str] = (
        "config_loss under loss_funcs: basis_loss: FeatureBasisLoss: pairwise_loss"
    )

    @property
    def term(self) -> str:
        """Name of its record column: the class name in snake case."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    @abstractmethod
    def __call__(
        self, similarity: Tensor, labels: Tensor, batch: PairMoments, running: PairMoments
    ) -> Tensor:
        """Return the loss, a scalar; 0 with zero gradient before any pair was seen.

        A loss of the running statistics keeps its value in a batch without pairs, with zero
        gradient; a sign without pairs in the batch gets no gradient.

        Args:
            similarity: (M, M) basis similarity of D^u, larger = closer. Gradients flow.
            labels: (M,) pseudo labels.
            batch: Means and variances of this batch's pairs; None for a sign without pairs.
            running: The running ones after this batch, with the gradient of ``gradient_mode``; None
                for a sign never observed.
        """
