"""k-means over the teacher's embeddings of the pool (poster, pseudo label generation; Sec. 3.2).

Clustered by faiss, on a GPU if available. Seed, restarts, iterations and backend are recorded,
since each affects the pseudo labels.
"""

import time
from dataclasses import dataclass
from typing import Annotated, Any

import faiss
import numpy as np

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.settings import Range
from slade_plugin.method.clusterers.clusterer import (
    Clusterer,
    Clustering,
    UnlabeledPool,
    chunks,
    usual_num_clusters,
)


@dataclass(frozen=True)
class KMeans(Clusterer):
    """k-means by faiss; an empty cluster keeps its id.

    Source: poster, pseudo label generation; ablation 4 varies k.
    """

    num_clusters: Annotated[int | None, Range(2)] = 400  # k; null: from the pool size
    num_iterations: Annotated[int, Range(1)] = 50  # of Lloyd's algorithm, for each restart
    num_restarts: Annotated[int, Range(1)] = 1  # the best of this many starts is kept
    seed: Annotated[int | None, Range()] = None  # of the starts; null: the seed of the run

    def cluster(self, pool: UnlabeledPool) -> Clustering:
        """Cluster the embeddings.

        Raises:
            ConfigError: If k is above N.
            DataError: If N is 0 or a value is not finite.
        """
        x = pool.embeddings
        self.check(len(x), None)
        started = time.perf_counter()
        used = self.settings_for(len(x), pool.seed)
        on_gpu = faiss.get_num_gpus() > 0
        kmeans = faiss.Kmeans(
            x.shape[1],
            used["num_clusters"],
            niter=self.num_iterations,
            nredo=self.num_restarts,
            seed=used["seed"] % (2**31),
            gpu=on_gpu,
            min_points_per_centroid=1,
            max_points_per_centroid=len(x),  # never cluster a subsample
        )
        kmeans.train(x)
        index: Any = kmeans.index
        cluster_ids = np.concatenate(
            [index.search(chunk, 1)[1][:, 0] for chunk in chunks(x)]
        ).astype(np.int64)
        details = {
            "backend": f"faiss {faiss.__version__} {'GPU' if on_gpu else 'CPU'}",
            "objective": float(np.asarray(kmeans.obj)[-1]),
            "seconds": round(time.perf_counter() - started, 3),
        }
        return Clustering(cluster_ids, details, used["num_clusters"])

    def settings_for(self, pool_size: int, seed: int) -> dict[str, Any]:
        """Return the settings with k and the seed filled in."""
        used_seed = seed if self.seed is None else self.seed
        return {**self.settings(), "num_clusters": self._k(pool_size), "seed": used_seed}

    def check(self, pool_size: int, true_labels: np.ndarray | None) -> None:
        """Check that k fits the pool."""
        super().check(pool_size, true_labels)
        if self._k(pool_size) > pool_size:
            raise ConfigError(
                f"KMeans: num_clusters is {self._k(pool_size)}, but the unlabeled pool has "
                f"{pool_size} images; expected 2 to {pool_size}. Set it in config_general or with "
                "--pseudo_labels {clusterer: {KMeans: {num_clusters: "
                f"{usual_num_clusters(pool_size)}}}}}}}."
            )

    def stand_in(self, pool_size: int, true_labels: np.ndarray | None) -> np.ndarray:
        """Return k clusters of roughly equal size."""
        return np.arange(pool_size) % self._k(pool_size)

    def describe(self, pool_size: int) -> str:
        """Return the number of clusters."""
        return f"{self._k(pool_size)} clusters"

    def _k(self, pool_size: int) -> int:
        return usual_num_clusters(pool_size) if self.num_clusters is None else self.num_clusters
