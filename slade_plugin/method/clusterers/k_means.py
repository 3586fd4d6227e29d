"""k-means over the teacher's embeddings of the pool (poster, pseudo label generation; Sec. 3.2).

Clustered by faiss, on a GPU if available. Seed, restarts, iterations and backend are recorded,
since each affects the pseudo labels.
"""

import time
from dataclasses import dataclass
from typing import Annotated, Any

import faiss
import numpy as np

from slade_plugin.base.settings import Range
from slade_plugin.method.clusterers.clusterer import Clustering, UnlabeledPool, chunks
from slade_plugin.method.clusterers.partition import Partition


@dataclass(frozen=True)
class KMeans(Partition):
    """k-means by faiss; an empty cluster keeps its id.

    Source: poster, pseudo label generation; ablation 4 varies k.
    """

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
        return {**super().settings_for(pool_size, seed), "seed": used_seed}
