"""Pairs of D^u by basis similarity: the rung "+ Basis + Mining".

Poster, Sample mining; SLADE (arXiv 2011.10269), Eq. 7: ``T1 = mu_pos`` and ``T2 = mu_neg``.

Differs from the paper, each by a named option: fixed thresholds, or quantiles of the batch, instead
of the running means, ``require_agreement``, which asks the pseudo label to agree as well, and
``start``, until when all pairs count, as without mining.
"""

import math
from collections.abc import Mapping
from numbers import Real

from torch import Tensor

from slade_plugin.base.errors import ConfigError
from slade_plugin.method.functional import (
    PairIndices,
    mine_by_similarity,
    pair_quantile,
    pairs_by_label,
    pairwise_cosine,
    thresholds_apart,
)
from slade_plugin.method.miners.pool_pair_miner import PoolPairMiner

RUNNING_MEAN, QUANTILE = "running_mean", "quantile"

Threshold = str | float | Mapping[str, float]


class BasisSimilarityMiner(PoolPairMiner):
    """Positive where the basis similarity is >= T1, negative where it is <= T2.

    Nothing is mined, and ``mining_active`` is recorded as 0, while a threshold is not known yet,
    and while T1 <= T2: there a pair could be positive and negative at once. With
    ``require_agreement`` none could, so quantiles and fixed thresholds may then lie in any order;
    mu_pos <= mu_neg still mines nothing, since the similarity does not tell pairs apart yet.

    Before ``start`` it does not choose: all pairs by pseudo label, as ``PseudoLabelPairMiner``
    gives them, with ``mining_active`` 0.

    Args:
        require_agreement: whether a positive pair must share its pseudo label and a negative
            pair must not, besides the similarity.
        positive_threshold: T1: "running_mean" for mu_pos, a cosine in [-1, 1], or
            ``{quantile: q}``: the q-quantile of the similarities of the batch, so that a share of
            1 - q of its pairs reaches it. These are the pairs that T1 chooses among: all unordered
            pairs of the batch, or with ``require_agreement`` those that share their pseudo label.
        negative_threshold: T2: "running_mean" for mu_neg, a cosine, or ``{quantile: q}``, at or
            below which a share of q lies: of all pairs of the batch, or with ``require_agreement``
            of those that do not share their pseudo label.
        start: share of the training that goes by before it mines, from 0 (at once) to below 1. A
            student that learns from scratch outruns the running means at first: N stays empty.
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
        positive_threshold: Threshold = RUNNING_MEAN,
        negative_threshold: Threshold = RUNNING_MEAN,
        start: float = 0.0,
        record_precision: bool = True,
        collect_stats: bool = True,
    ) -> None:
        """Check the configuration; the running means are unknown until they are set."""
        _check_configuration(require_agreement, positive_threshold, negative_threshold, start)
        super().__init__(record_precision=record_precision, collect_stats=collect_stats)
        self.require_agreement = require_agreement
        self.positive_threshold = positive_threshold
        self.negative_threshold = negative_threshold
        self.start = start
        self.has_started = start == 0
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

    def set_progress(self, progress: float) -> None:
        """Tell the miner where training is; call it before each forward call.

        Args:
            progress: share of the steps that are done, from 0 to below 1.
        """
        self.has_started = progress >= self.start

    @property
    def needs_running_means(self) -> bool:
        """Whether a threshold is a running mean, without which nothing is mined."""
        return RUNNING_MEAN in (self.positive_threshold, self.negative_threshold)

    @property
    def _may_cross(self) -> bool:
        """Whether T1 <= T2 is no reason to mine nothing."""
        means_only = self.positive_threshold == self.negative_threshold == RUNNING_MEAN
        return self.require_agreement and not means_only

    def thresholds(
        self, similarity: Tensor | None = None, labels: Tensor | None = None
    ) -> tuple[float, float]:
        """Return (T1, T2); NaN if not known yet.

        Args:
            similarity: (N, N) of a batch, which only quantiles depend on.
            labels: (N,) its pseudo labels, where they have to agree; else None.
        """

        def value(threshold: Threshold, running_mean: float, is_positive: bool) -> float:
            if isinstance(threshold, str):
                return running_mean
            if not isinstance(threshold, Mapping):
                return float(threshold)
            if similarity is None:
                return math.nan
            return pair_quantile(similarity, threshold[QUANTILE], labels, is_positive)

        return (
            value(self.positive_threshold, self.mu_pos, True),
            value(self.negative_threshold, self.mu_neg, False),
        )

    def mine_pairs(self, embeddings: Tensor, labels: Tensor) -> PairIndices:
        """Return (a1, p, a2, n), both directions of each mined pair; empty if there is none.

        Args:
            embeddings: (N, c) responses of the basis, centred already where that is wanted
                (``FeatureBasisLoss.centered_responses``), not the embeddings of the model.
            labels: (N,) pseudo labels.
        """
        if not self.has_started:
            self.mining_active = 0
            return pairs_by_label(labels)
        similarity = pairwise_cosine(embeddings)
        agreeing = labels if self.require_agreement else None
        thresholds = self.thresholds(similarity, agreeing)
        known = not any(map(math.isnan, thresholds))
        self.mining_active = int(known and (self._may_cross or thresholds_apart(*thresholds)))
        if not self.mining_active:
            thresholds = math.nan, math.nan
        return mine_by_similarity(similarity, *thresholds, labels=agreeing)


def _is_threshold(value: object) -> bool:
    if isinstance(value, Mapping):
        return list(value) == [QUANTILE] and _is_number(value[QUANTILE], 0)
    return value == RUNNING_MEAN or _is_number(value, -1)


def _is_number(value: object, least: float) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and least <= float(value) <= 1


def _check_configuration(
    require_agreement: object,
    positive_threshold: object,
    negative_threshold: object,
    start: object,
) -> None:
    problems = []
    if not _is_number(start, 0) or start == 1:
        problems.append(f"start is {start!r}; expected a share of the training, 0 to below 1.")
    if not isinstance(require_agreement, bool):
        problems.append(f"require_agreement is {require_agreement!r}; expected True or False.")
    named = {"positive_threshold": positive_threshold, "negative_threshold": negative_threshold}
    problems += [
        f"{key} is {value!r}; expected {RUNNING_MEAN}, a number in [-1, 1] or "
        "{quantile: q} with q in [0, 1]."
        for key, value in named.items()
        if not _is_threshold(value)
    ]
    if not problems:
        first, second = positive_threshold, negative_threshold
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            first, second = first[QUANTILE], second[QUANTILE]  # of the same pairs
        if (
            not require_agreement
            and isinstance(first, Real)
            and isinstance(second, Real)
            and not thresholds_apart(float(first), float(second))
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
