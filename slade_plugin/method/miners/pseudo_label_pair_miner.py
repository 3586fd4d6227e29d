"""All pairs of D^u by pseudo label: the rungs "Student (pseudo label)" and "+ Basis".

Poster, ablation 2. A pair loss given these pairs is the same loss given none: the miner is there
so that all rungs have the same records and differ by one config entry.
"""

from torch import Tensor

from slade_plugin.method.functional import PairIndices, pairs_by_label
from slade_plugin.method.miners.pool_pair_miner import PoolPairMiner


class PseudoLabelPairMiner(PoolPairMiner):
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

    def mine_pairs(self, embeddings: Tensor, labels: Tensor) -> PairIndices:
        """Return (a1, p, a2, n), all ordered pairs of the batch; ``embeddings`` are not read."""
        return pairs_by_label(labels)
