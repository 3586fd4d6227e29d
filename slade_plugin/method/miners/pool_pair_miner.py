"""Base class of miners of D^u: one call with the whole batch, and its records.

The host treats two images with label -1 as a positive pair, like any equal labels.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from pytorch_metric_learning.miners.base_miner import BaseTupleMiner
from torch import Tensor

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.functional import PairIndices

_PRECISION = ["positive_precision", "negative_precision"]
_RECALL = ["positive_recall", "negative_recall"]


class PoolBatch(NamedTuple):
    """Input of a miner of D^u.

    Attributes:
        labels: (M,) pseudo labels, num_classes + cluster id.
        similarity: (M, M) basis similarity, larger = closer, detached; None without a basis.
        running_means: (mu_pos, mu_neg) of the feature basis; NaN if not yet observed.
        progress: Finished share of the training's steps, in [0, 1).
    """

    labels: Tensor
    similarity: Tensor | None = None
    running_means: tuple[float, float] = (math.nan, math.nan)
    progress: float = 0.0


class PoolPairMiner(BaseTupleMiner, ABC):
    """Base of the miners of D^u; a subclass chooses the pairs in ``choose``.

    The trainer calls ``mine_pool`` and, if the pool's classes are known, records the precision and
    recall of the pairs in the miner's table. It must be the `unlabeled_tuple_miner`.

    Attributes:
        reads_similarity: Whether it needs a feature basis.
        reads_running_means: Whether it mines nothing before the running means are known.
        start: Share of the training before it begins to choose.
        positive_precision: Share of the mined positive pairs that are of one class; NaN if unknown.
        negative_precision: Share of the mined negative pairs that are of two classes.
        positive_recall: Share of the batch's same-class pairs that were mined as positive.
        negative_recall: Share of the batch's different-class pairs that were mined as negative.

    Args:
        collect_stats: Whether the host records this miner.
    """

    reads_similarity: ClassVar[bool] = False
    reads_running_means: bool = False
    start: float = 0.0

    def __init__(self, collect_stats: bool = True) -> None:
        """Create the record columns."""
        super().__init__(collect_stats=collect_stats)
        self.add_to_recordable_attributes(list_of_names=_PRECISION + _RECALL, is_stat=True)
        self.record_precision()

    def mine_pool(self, batch: PoolBatch) -> PairIndices:
        """Mine one batch and record the counts.

        Returns:
            (a1, p, a2, n), both directions of each pair; empty if there is none.

        Raises:
            DataError: If a pseudo label is negative.
        """
        self.reset_stats()
        if (batch.labels < 0).any():
            raise DataError(
                f"{type(self).__name__} was given the pseudo label {int(batch.labels.min())}; "
                "expected num_classes + cluster id, >= 0. An image without a pseudo label must not "
                "be in the batch: two of them would form a positive pair."
            )
        with torch.no_grad():
            pairs = self.choose(batch)
        self.output_assertion(pairs)
        return pairs

    def mine(self, *_: Tensor) -> PairIndices:
        """Refuse a call by the host, which knows neither the basis nor the running means.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"{type(self).__name__} selects pairs of D^u; put it under mining_funcs: "
            "unlabeled_tuple_miner (config_loss)."
        )

    @abstractmethod
    def choose(self, batch: PoolBatch) -> PairIndices:
        """Return (a1, p, a2, n), both directions of each pair; empty if there is none."""

    def reset_stats(self) -> None:
        """Reset for a new batch: the host's counts become 0, the shares NaN."""
        super().reset_stats()
        self.record_precision()

    def record_precision(
        self,
        precision: tuple[float, float] = (math.nan, math.nan),
        recall: tuple[float, float] = (math.nan, math.nan),
    ) -> None:
        """Set the record columns, positive pairs first; called by the trainer."""
        values: dict[str, Any] = dict(zip(_PRECISION + _RECALL, precision + recall, strict=True))
        self.__dict__.update(values)
