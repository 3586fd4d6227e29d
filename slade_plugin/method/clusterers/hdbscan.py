"""Density-based clustering, which finds the number of clusters and drops outliers.

Campello, Moulavi, Sander, "Density-Based Clustering Based on Hierarchical Density Estimates"
(PAKDD 2013), by scikit-learn. Not in the paper.
"""

import time
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import sklearn
from sklearn import cluster

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.settings import Range
from slade_plugin.method.clusterers.clusterer import Clusterer, Clustering, UnlabeledPool


@dataclass(frozen=True)
class HDBSCAN(Clusterer):
    """scikit-learn's HDBSCAN on Euclidean distances; images in no cluster are noise.

    Not in the paper. Time is quadratic in the pool size: use at most a few tens of thousands of
    images.
    """

    min_cluster_size: Annotated[int, Range(2)] = 5  # minimum images per cluster
    min_samples: Annotated[int | None, Range(1)] = None  # density; null: min_cluster_size
    cluster_selection_method: Literal["eom", "leaf"] = "eom"  # leaf: more and smaller clusters

    def cluster(self, pool: UnlabeledPool) -> Clustering:
        """Cluster the embeddings; -1 marks noise."""
        x = pool.embeddings
        self.check(len(x), None)
        started = time.perf_counter()
        found = cluster.HDBSCAN(**self.settings(), copy=True).fit(x)
        details = {
            "backend": f"scikit-learn {sklearn.__version__}",
            "seconds": round(time.perf_counter() - started, 3),
        }
        return Clustering(found.labels_.astype(np.int64), details)

    def check(self, pool_size: int, true_labels: np.ndarray | None) -> None:
        """Check that the pool is large enough for two clusters and the density's neighbors."""
        super().check(pool_size, true_labels)
        for name, needed in {
            "min_cluster_size": 2 * self.min_cluster_size,
            "min_samples": self.min_samples or 0,
        }.items():
            if needed > pool_size:
                raise ConfigError(
                    f"HDBSCAN: {name} is {getattr(self, name)}, which needs {needed} images, but "
                    f"the unlabeled pool has {pool_size}; lower it. Set it in {self.place}."
                )
