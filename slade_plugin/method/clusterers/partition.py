"""Base class of clusterers that take the number of clusters as a setting."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.settings import Range
from slade_plugin.method.clusterers.clusterer import Clusterer, usual_num_clusters


@dataclass(frozen=True)
class Partition(Clusterer):
    """Base of the clusterers that put every image into one of k clusters."""

    num_clusters: Annotated[int | None, Range(2)] = 400  # k; null: from the pool size

    def k(self, pool_size: int) -> int:
        """Return the number of clusters for a pool of N images."""
        return usual_num_clusters(pool_size) if self.num_clusters is None else self.num_clusters

    def settings_for(self, pool_size: int, seed: int) -> dict[str, Any]:
        """Return the settings with k filled in."""
        return {**self.settings(), "num_clusters": self.k(pool_size)}

    def check(self, pool_size: int, true_labels: np.ndarray | None) -> None:
        """Check that k fits the pool."""
        super().check(pool_size, true_labels)
        if self.k(pool_size) > pool_size:
            name = type(self).__name__
            raise ConfigError(
                f"{name}: num_clusters is {self.k(pool_size)}, but the unlabeled pool has "
                f"{pool_size} images; expected 2 to {pool_size}. Set it in config_general or with "
                f"--pseudo_labels {{clusterer: {{{name}: {{num_clusters: "
                f"{usual_num_clusters(pool_size)}}}}}}}."
            )

    def stand_in(self, pool_size: int, true_labels: np.ndarray | None) -> np.ndarray:
        """Return k clusters of roughly equal size."""
        return np.arange(pool_size) % self.k(pool_size)

    def describe(self, pool_size: int) -> str:
        """Return the number of clusters."""
        return f"{self.k(pool_size)} clusters"
