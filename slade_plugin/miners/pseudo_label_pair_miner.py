"""All pairs of D^u by pseudo label: the rungs "Student (pseudo label)" and "+ Basis".

Poster, ablation 2. A pair loss given these pairs is the same loss given none: the miner is there
so that all rungs have the same records and differ by one config entry.
"""

from pytorch_metric_learning.miners.base_miner import BaseTupleMiner
from torch import Tensor

from slade_plugin.functional import PairIndices, pairs_by_label
from slade_plugin.miners.pair_precision_records import PairPrecisionRecords
from slade_plugin.miners.pool_batch import check_pool_batch


class PseudoLabelPairMiner(PairPrecisionRecords, BaseTupleMiner):
    """Positive where the pseudo labels are equal, negative elsewhere; both directions.

    Args:
        record_precision: whether the share of right pairs is recorded (with true labels only).
        collect_stats: whether the host records this miner at all.

    Raises:
        ConfigError: if ``record_precision`` is not a bool.

    Source: poster, ablation 2, "Student (pseudo label)".
    """

    def __init__(self, record_precision: bool = True, collect_stats: bool = True) -> None:
        """Create the record columns."""
        super().__init__(record_precision=record_precision, collect_stats=collect_stats)

    def mine(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor
    ) -> PairIndices:
        """Return (a1, p, a2, n), all ordered pairs of the batch.

        Args:
            embeddings: (N, ...), only its length and device matter.
            labels: (N,) pseudo labels, num_classes + cluster id.
            ref_emb: ``embeddings`` itself.
            ref_labels: ``labels`` itself.

        Raises:
            DataError: if a label is negative.
            ConfigError: if ``ref_emb`` is another batch.
        """
        check_pool_batch(type(self).__name__, embeddings, labels, ref_emb)
        return pairs_by_label(labels)
