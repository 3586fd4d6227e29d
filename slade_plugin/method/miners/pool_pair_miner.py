"""What all miners of D^u are: of one batch, every row with a pseudo label, with records.

The host takes two images with the label -1 for a positive pair, as it does with any equal labels.
"""

from abc import ABC, abstractmethod

from pytorch_metric_learning.miners.base_miner import BaseTupleMiner
from torch import Tensor

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.functional import PairIndices
from slade_plugin.method.miners.pair_precision_records import PairPrecisionRecords


class PoolPairMiner(PairPrecisionRecords, BaseTupleMiner, ABC):
    """A miner of pairs of D^u; a subclass says which in ``mine_pairs``."""

    def mine(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor
    ) -> PairIndices:
        """Refuse what cannot be mined, and mine the rest.

        Args:
            embeddings: (N, ...) of D^u.
            labels: (N,) pseudo labels, num_classes + cluster id.
            ref_emb: ``embeddings`` itself.
            ref_labels: ``labels`` itself.

        Raises:
            DataError: if a label is negative.
            ConfigError: if ``ref_emb`` is another batch.
        """
        name = type(self).__name__
        if ref_emb is not embeddings:
            raise ConfigError(
                f"{name} was given a second set of embeddings (ref_emb); expected none, as it "
                "mines within one batch. It cannot be the miner of CrossBatchMemory."
            )
        if (labels < 0).any():
            raise DataError(
                f"{name} was given the pseudo label {int(labels.min())}; expected num_classes + "
                "cluster id, >= 0. An image without a pseudo label must not be in the batch: two "
                "of them would be taken for a positive pair."
            )
        return self.mine_pairs(embeddings, labels)

    @abstractmethod
    def mine_pairs(self, embeddings: Tensor, labels: Tensor) -> PairIndices:
        """Return (a1, p, a2, n), both directions of each pair; empty if there is none."""
