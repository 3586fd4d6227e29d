"""Pairs of D^u by basis similarity: the rung "+ Basis + Mining".

Poster, Sample mining; SLADE (arXiv 2011.10269), Eq. 7: ``T1 = mu_pos`` and ``T2 = mu_neg``.

Differs from the paper, each by a named option: fixed thresholds instead of the running means,
and ``require_agreement``, which asks the pseudo label to agree with the similarity.
"""

import math
from numbers import Real

from pytorch_metric_learning.miners.base_miner import BaseTupleMiner
from torch import Tensor

from slade_plugin.errors import ConfigError
from slade_plugin.functional import (
    PairIndices,
    mine_by_similarity,
    pairwise_cosine,
    thresholds_apart,
)
from slade_plugin.miners.pair_precision_records import PairPrecisionRecords
from slade_plugin.miners.pool_batch import check_pool_batch

RUNNING_MEAN = "running_mean"


class BasisSimilarityMiner(PairPrecisionRecords, BaseTupleMiner):
    """Positive where the basis similarity is >= T1, negative where it is <= T2.

    While T1 <= T2 (or a running mean is not known yet) nothing is mined and ``mining_active`` is
    recorded as 0.

    Args:
        require_agreement: whether a positive pair must share its pseudo label and a negative
            pair must not, besides the similarity.
        positive_threshold: T1: "running_mean" for mu_pos, or a cosine in [-1, 1].
        negative_threshold: T2: "running_mean" for mu_neg, or a cosine in [-1, 1].
        record_precision: whether the share of right pairs is recorded (with true labels only).
        collect_stats: whether the host records this miner at all.

    Raises:
        ConfigError: if a value is none of these, or if no similarity could be mined.

    Source: poster, Sample mining; SLADE, Eq. 7.
    """

    mining_active: int

    def __init__(
        self,
        require_agreement: bool = False,
        positive_threshold: str | float = RUNNING_MEAN,
        negative_threshold: str | float = RUNNING_MEAN,
        record_precision: bool = True,
        collect_stats: bool = True,
    ) -> None:
        """Check the configuration; the running means are unknown until they are set."""
        _check_configuration(require_agreement, positive_threshold, negative_threshold)
        super().__init__(record_precision=record_precision, collect_stats=collect_stats)
        self.require_agreement = require_agreement
        self.positive_threshold = positive_threshold
        self.negative_threshold = negative_threshold
        self.set_running_means(math.nan, math.nan)
        self.mining_active = 0
        self.add_to_recordable_attributes(name="mining_active", is_stat=True)

    def set_running_means(self, mu_pos: float, mu_neg: float) -> None:
        """Tell the miner the means of the two Gaussians; call it before each forward call.

        Args:
            mu_pos: running mean similarity of the positive pairs; NaN if not yet observed.
            mu_neg: of the negative pairs; NaN if not yet observed.
        """
        self.mu_pos = float(mu_pos)
        self.mu_neg = float(mu_neg)

    def thresholds(self) -> tuple[float, float]:
        """Return (T1, T2) as the next forward call will use them; NaN if not known yet."""
        first, second = self.positive_threshold, self.negative_threshold
        return (
            self.mu_pos if isinstance(first, str) else float(first),
            self.mu_neg if isinstance(second, str) else float(second),
        )

    def mine(
        self, embeddings: Tensor, labels: Tensor, ref_emb: Tensor, ref_labels: Tensor
    ) -> PairIndices:
        """Return (a1, p, a2, n), both directions of each mined pair; empty if there is none.

        Args:
            embeddings: (N, c) responses of the basis, centred already where that is wanted
                (``FeatureBasisLoss.centered_responses``), not the embeddings of the model.
            labels: (N,) pseudo labels, num_classes + cluster id.
            ref_emb: ``embeddings`` itself.
            ref_labels: ``labels`` itself.

        Raises:
            DataError: if a label is negative.
            ConfigError: if ``ref_emb`` is another batch.
        """
        check_pool_batch(type(self).__name__, embeddings, labels, ref_emb)
        thresholds = self.thresholds()
        self.mining_active = int(thresholds_apart(*thresholds))
        return mine_by_similarity(
            pairwise_cosine(embeddings),
            *thresholds,
            labels=labels if self.require_agreement else None,
        )


def _is_threshold(value: object) -> bool:
    if isinstance(value, str):
        return value == RUNNING_MEAN
    return isinstance(value, Real) and not isinstance(value, bool) and -1 <= float(value) <= 1


def _check_configuration(
    require_agreement: object, positive_threshold: object, negative_threshold: object
) -> None:
    problems = []
    if not isinstance(require_agreement, bool):
        problems.append(f"require_agreement is {require_agreement!r}; expected True or False.")
    named = {"positive_threshold": positive_threshold, "negative_threshold": negative_threshold}
    problems += [
        f"{key} is {value!r}; expected {RUNNING_MEAN} or a number in [-1, 1]."
        for key, value in named.items()
        if not _is_threshold(value)
    ]
    if (
        not problems
        and isinstance(positive_threshold, Real)
        and isinstance(negative_threshold, Real)
        and not thresholds_apart(float(positive_threshold), float(negative_threshold))
    ):
        problems.append(
            f"positive_threshold is {positive_threshold} and negative_threshold "
            f"{negative_threshold}; expected the first to be larger, or nothing is ever mined."
        )
    if problems:
        raise ConfigError(
            "BasisSimilarityMiner: "
            + " ".join(problems)
            + " Set it in config_loss under mining_funcs: unlabeled_tuple_miner: "
            "BasisSimilarityMiner."
        )
