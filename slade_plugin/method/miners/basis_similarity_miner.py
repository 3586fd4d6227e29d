"""Pairs of D^u by basis similarity: the rung "+ Basis + Mining".

Poster, Sample mining; SLADE (arXiv 2011.10269), Eq. 7: ``T1 = mu_pos`` and ``T2 = mu_neg``.

Differs from the paper by these options: other thresholds (``method.thresholds``),
``require_agreement``, which also requires the pseudo labels to agree, and ``start``, before which
all pairs count, as without mining.
"""

import math
from typing import Annotated

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.settings import Range, checked_arguments
from slade_plugin.method.functional import (
    PairIndices,
    mine_by_similarity,
    pairs_by_label,
)
from slade_plugin.method.miners.pool_pair_miner import PoolBatch, PoolPairMiner
from slade_plugin.method.thresholds import RunningMean, Threshold

_RUNNING_MEAN = RunningMean()


class BasisSimilarityMiner(PoolPairMiner):
    """Mine positives with basis similarity >= T1 and negatives with <= T2.

    Nothing is mined, and ``mining_active`` is recorded as 0, while a threshold is unknown or
    T1 <= T2, where a pair could be both positive and negative. With ``require_agreement`` no pair
    can be both, so the thresholds may be in any order, unless both are running means:
    mu_pos <= mu_neg still mines nothing, since the similarity does not separate pairs yet.

    Before ``start`` it returns all pairs by pseudo label, like ``PseudoLabelPairMiner``, with
    ``mining_active`` 0. A student trained from scratch at first outruns the running means, and N
    stays empty.

    The signature declares the arguments with type, range and meaning.

    Raises:
        ConfigError: If a value is wrong, or if no pair could ever be mined.

    Source: poster, Sample mining; SLADE, Eq. 7.
    """

    reads_similarity = True
    mining_active: int
    require_agreement: bool
    positive_threshold: Threshold
    negative_threshold: Threshold

    def __init__(
        self,
        require_agreement: bool = False,  # also require equal (P) or different (N) pseudo labels
        positive_threshold: Threshold = _RUNNING_MEAN,  # T1
        negative_threshold: Threshold = _RUNNING_MEAN,  # T2
        start: Annotated[float, Range(0, 1, "[)")] = 0.0,  # share of the training before mining
        collect_stats: bool = True,  # whether the host records this miner
    ) -> None:
        """Check the arguments."""
        arguments = checked_arguments(
            "BasisSimilarityMiner",
            BasisSimilarityMiner.__init__,
            locals(),
            "config_loss under mining_funcs: unlabeled_tuple_miner: BasisSimilarityMiner",
        )
        if not require_agreement and _never_apart(positive_threshold, negative_threshold):
            raise ConfigError(
                f"BasisSimilarityMiner: positive_threshold is {positive_threshold} and "
                f"negative_threshold {negative_threshold}; expected the first to be larger, or "
                "nothing is ever mined. Set it in config_loss under mining_funcs."
            )
        super().__init__(collect_stats=collect_stats)
        self.__dict__.update(arguments)
        both = positive_threshold, negative_threshold
        self.reads_running_means = any(one.reads_running_mean for one in both)
        self.allows_crossed_thresholds = require_agreement and not all(
            one.reads_running_mean for one in both
        )
        self.mining_active = 0
        self.add_to_recordable_attributes(name="mining_active", is_stat=True)

    def choose(self, batch: PoolBatch) -> PairIndices:
        """Return (a1, p, a2, n), both directions of each mined pair; empty if there is none.

        Raises:
            ConfigError: If there is no feature basis and thus no similarity.
        """
        if batch.progress < self.start:
            self.mining_active = 0
            return pairs_by_label(batch.labels)
        if batch.similarity is None:
            raise ConfigError(
                "BasisSimilarityMiner was given no similarity; expected that of a feature basis. "
                "Add a basis_loss to loss_funcs (config_loss) or use PseudoLabelPairMiner."
            )
        agreeing = batch.labels if self.require_agreement else None
        mu_pos, mu_neg = batch.running_means
        thresholds = (
            self.positive_threshold(batch.similarity, agreeing, True, mu_pos),
            self.negative_threshold(batch.similarity, agreeing, False, mu_neg),
        )
        known = not any(map(math.isnan, thresholds))
        self.mining_active = int(
            known and (self.allows_crossed_thresholds or thresholds[0] > thresholds[1])
        )
        if not self.mining_active:
            thresholds = math.nan, math.nan
        return mine_by_similarity(batch.similarity, *thresholds, labels=agreeing)


def _never_apart(positive: Threshold, negative: Threshold) -> bool:
    """Whether the settings imply T1 <= T2 on every batch."""
    comparable = type(positive) is type(negative)
    if not comparable or positive.level is None or negative.level is None:
        return False
    return positive.level <= negative.level
