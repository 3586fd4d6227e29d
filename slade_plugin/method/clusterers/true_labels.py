"""The pool's true labels as pseudo labels: the oracle student, a control.

Not in the paper. The oracle's score is an upper bound on the gain from better pseudo labels.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.clusterers.clusterer import Clusterer, Clustering, UnlabeledPool


@dataclass(frozen=True)
class TrueLabels(Clusterer):
    """The pool's classes, as ids from 0 in class order. Not in the paper."""

    reads_embeddings: ClassVar[bool] = False

    def cluster(self, pool: UnlabeledPool) -> Clustering:
        """Return the classes.

        Raises:
            ConfigError: If the pool has no labels.
            DataError: If a class is negative.
        """
        return Clustering(_class_ids(pool.true_labels))

    def check(self, pool_size: int, true_labels: np.ndarray | None) -> None:
        """Check that every image has a class."""
        super().check(pool_size, true_labels)
        _class_ids(true_labels)

    def stand_in(self, pool_size: int, true_labels: np.ndarray | None) -> np.ndarray:
        """Return the classes, which are already known."""
        return _class_ids(true_labels)

    def describe(self, pool_size: int) -> str:
        """Return their description."""
        return "the true labels of the pool (oracle)"


def _class_ids(true_labels: np.ndarray | None) -> np.ndarray:
    if true_labels is None:
        raise ConfigError(
            "pseudo_labels: clusterer is TrueLabels, but the pool has no labels; expected a data "
            "set with labels as unlabeled_dataset (config_dataset), or clusterer: {KMeans: {}} "
            "(config_general)."
        )
    if len(true_labels) and true_labels.min() < 0:
        raise DataError(
            f"a true label of the pool is {true_labels.min()}; expected classes >= 0. Label every "
            "pool image, or use clusterer: {KMeans: {}} in pseudo_labels (config_general)."
        )
    return np.unique(true_labels, return_inverse=True)[1].astype(np.int64)
