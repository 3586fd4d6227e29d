"""Ward's hierarchical clustering: k-means' objective, minimized by merging images step by step.

Ward, "Hierarchical Grouping to Optimize an Objective Function" (JASA 1963), by scikit-learn. Not in
the paper.
"""

import time
import warnings
from dataclasses import dataclass
from typing import Annotated

import faiss
import numpy as np
import scipy.sparse
import sklearn
from sklearn import cluster

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.settings import Range
from slade_plugin.method.clusterers.clusterer import Clustering, UnlabeledPool, chunks
from slade_plugin.method.clusterers.partition import Partition


@dataclass(frozen=True)
class Ward(Partition):
    """Ward's clustering, merging only clusters that hold near neighbors of one another.

    Better than k-means where clusters are to be small: random starts of k-means leave some classes
    without a center. Time grows with N^2 (the neighbors), memory with 16 N D bytes: use at most a
    few hundred thousand images. The seed of the run has no influence.
    """

    num_neighbors: Annotated[int, Range(1)] = 10  # nearest images that an image may join

    def cluster(self, pool: UnlabeledPool) -> Clustering:
        """Cluster the embeddings.

        Raises:
            ConfigError: If k or the number of neighbors does not fit N.
            DataError: If N is 0 or a value is not finite.
        """
        x = pool.embeddings
        self.check(len(x), None)
        started = time.perf_counter()
        with warnings.catch_warnings():
            # Of groups without a link between them; scikit-learn then links their nearest images.
            warnings.filterwarnings("ignore", "the number of connected components")
            found = cluster.AgglomerativeClustering(
                self.k(len(x)), connectivity=self._neighbors(x), linkage="ward"
            ).fit(x)
        details = {
            "backend": f"scikit-learn {sklearn.__version__}, faiss {faiss.__version__} CPU",
            "seconds": round(time.perf_counter() - started, 3),
        }
        return Clustering(found.labels_.astype(np.int64), details, self.k(len(x)))

    def check(self, pool_size: int, true_labels: np.ndarray | None) -> None:
        """Check that k and the number of neighbors fit the pool."""
        super().check(pool_size, true_labels)
        if self.num_neighbors >= pool_size:
            raise ConfigError(
                f"Ward: num_neighbors is {self.num_neighbors}, but the unlabeled pool has "
                f"{pool_size} images; expected 1 to {pool_size - 1}. Set it in {self.place}."
            )

    def _neighbors(self, x: np.ndarray) -> scipy.sparse.csr_matrix:
        """Return the (N, N) graph that links each image to its nearest ones."""
        index = faiss.IndexFlatL2(x.shape[1])
        index.add(x)
        columns = np.concatenate([index.search(c, self.num_neighbors + 1)[1] for c in chunks(x)])
        rows = np.repeat(np.arange(len(x)), columns.shape[1])
        links = np.ones(columns.size, dtype=np.int8)
        return scipy.sparse.csr_matrix((links, (rows, columns.ravel())), shape=(len(x), len(x)))
