"""All pairs of D^u by pseudo label: the rungs "Student (pseudo label)" and "+ Basis".

Poster, ablation 2. A pair loss has the same value with these pairs as without a miner; it exists so
that all rungs have the same records and differ by one config entry.
"""

from slade_plugin.method.functional import PairIndices, pairs_by_label
from slade_plugin.method.miners.pool_pair_miner import PoolBatch, PoolPairMiner


class PseudoLabelPairMiner(PoolPairMiner):
    """Return pairs with equal pseudo labels as positive, all others as negative, both directions.

    Source: poster, ablation 2, "Student (pseudo label)".
    """

    def choose(self, batch: PoolBatch) -> PairIndices:
        """Return (a1, p, a2, n), all ordered pairs of the batch; reads the labels only."""
        return pairs_by_label(batch.labels)
