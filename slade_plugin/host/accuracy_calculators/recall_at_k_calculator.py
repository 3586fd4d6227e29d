"""Recall at k in addition to the host's metrics.

Recall at k, as reported in retrieval papers, is the share of queries with at least one image of
their class among the k nearest. At k = 1 it is the host's precision_at_1.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from pytorch_metric_learning.utils import stat_utils
from pytorch_metric_learning.utils.accuracy_calculator import (
    AccuracyCalculator,
    maybe_get_avg_of_avgs,
)

from slade_plugin.base.errors import ConfigError


class RecallAtKCalculator(AccuracyCalculator):
    """The host's calculator with the metrics `recall_at_<k>`.

    The host's own metrics stay the same bit for bit. As in the host, queries whose class has no
    other image among the references are excluded from every metric.

    Args:
        ks: Numbers of neighbors, each >= 1; those of the In-shop benchmark by default (Liu et al.,
            DeepFashion, CVPR 2016). A k above the number of references uses all of them.
        **kwargs: The host's: include, exclude, avg_of_avgs, k.

    Raises:
        ConfigError: If `ks` is not a list of distinct integers >= 1.
    """

    def __init__(self, ks: Sequence[int] = (1, 10, 20, 30, 40), **kwargs: Any) -> None:
        integers = isinstance(ks, list | tuple) and all(type(k) is int and k > 0 for k in ks)
        if not integers or not ks or len(set(ks)) < len(ks):
            raise ConfigError(
                f"accuracy_calculator: ks is {ks!r}; expected distinct integers >= 1, "
                "such as [1, 10, 20, 30, 40] (config_eval)."
            )
        self.ks = tuple(ks)
        for k in self.ks:  # the host finds its metrics by this prefix
            setattr(self, f"calculate_recall_at_{k}", partial(self._recall_at, k))
        super().__init__(**kwargs)

    def requires_knn(self) -> list[str]:
        """List the metrics that need nearest neighbors."""
        return [*super().requires_knn(), *(f"recall_at_{k}" for k in self.ks)]

    def _get_accuracy(
        self, function_dict: dict[str, Callable[..., float]], **kwargs: Any
    ) -> dict[str, float]:
        """Add recall at k, with a separate search if the largest k exceeds the host's.

        The host's neighbors are left unchanged: more columns could change the last bit of a sum.
        """
        if any(f"recall_at_{k}" in function_dict for k in self.ks):
            kwargs["ranks_of_first_match"] = self._ranks_of_first_match(**kwargs)
        accuracies: dict[str, float] = super()._get_accuracy(function_dict, **kwargs)
        return accuracies

    def _ranks_of_first_match(
        self,
        query: np.ndarray,
        reference: np.ndarray,
        query_labels: np.ndarray,
        reference_labels: np.ndarray,
        embeddings_come_from_same_source: bool,
        not_lone_query_mask: np.ndarray,
        knn_labels: np.ndarray,
        **kwargs: Any,
    ) -> np.ndarray:
        """Find the rank, from 0, of the nearest reference of each query's class.

        Returns:
            (M,) ranks without lone queries; the number of neighbors or more if none matches.
        """
        others = len(reference) - bool(embeddings_come_from_same_source)
        most = min(max(self.ks), others)  # beyond that the search returns invalid neighbors
        if knn_labels.shape[1] < most:
            indices, _ = stat_utils.get_knn(
                reference, query, most, embeddings_come_from_same_source
            )
            knn_labels = reference_labels[indices]
        matches = (knn_labels == query_labels[:, None])[not_lone_query_mask, :most]
        return np.where(matches.any(axis=1), matches.argmax(axis=1), max(self.ks))

    def _recall_at(
        self,
        k: int,
        *,
        ranks_of_first_match: np.ndarray,
        query_labels: np.ndarray,
        not_lone_query_mask: np.ndarray,
        **kwargs: Any,
    ) -> float:
        if not len(ranks_of_first_match):
            return 0
        labels = query_labels[not_lone_query_mask]
        hits = ranks_of_first_match < k
        return float(maybe_get_avg_of_avgs(hits, labels[:, None], self.avg_of_avgs))
