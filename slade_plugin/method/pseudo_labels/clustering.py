"""k-means over the teacher's embeddings of the pool (poster, pseudo label generation; Sec. 3.2).

faiss does the clustering, on a GPU if there is one. Seed, restarts, iterations, backend and empty
clusters are part of the result, since each of them changes the pseudo labels.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import faiss
import numpy as np
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from slade_plugin.base.errors import ConfigError, DataError

# Where num_clusters is null.
_IMAGES_PER_CLUSTER = 40  # ours: about what Glyphs has
_FEWEST = 8  # ours: so many clusters stand in a batch of 32
_MOST = 400  # the poster's best k on NABirds (ablation 4)

_CHUNK = 65536  # rows assigned at once: bounds the memory of the distance table


@dataclass(frozen=True)
class ClusteringSettings:
    """Settings of k-means; `pseudo_labels` in config_general.

    Attributes:
        num_clusters: k, at least 2.
        num_iterations: Lloyd iterations a restart, at least 1.
        num_restarts: Runs from different starts, of which the best is kept; at least 1.
        min_cluster_size: Images in smaller clusters take no part in training; at least 2, since
            one image makes no positive pair.
        seed: Seed of the starts; None means the seed of the run.
    """

    num_clusters: int = 400
    num_iterations: int = 50
    num_restarts: int = 1
    min_cluster_size: int = 2
    seed: int | None = None

    def __post_init__(self) -> None:
        """Checks types and ranges.

        Raises:
            ConfigError: Naming every wrong value at once.
        """
        minimum = {"num_clusters": 2, "num_iterations": 1, "num_restarts": 1, "min_cluster_size": 2}
        problems = [
            f"pseudo_labels: {name} is {getattr(self, name)!r}; expected an integer >= {low}"
            for name, low in minimum.items()
            if not _is_integer(getattr(self, name)) or getattr(self, name) < low
        ]
        if self.seed is not None and not _is_integer(self.seed):
            problems.append(f"pseudo_labels: seed is {self.seed!r}; expected an integer or null")
        if problems:
            raise ConfigError("; ".join(problems) + ". Change it in config_general.")

    @classmethod
    def from_config(cls, config: Mapping[str, Any], pool_size: int) -> "ClusteringSettings":
        """Reads the `pseudo_labels` entry of a config; other keys of it are left alone.

        Args:
            config: The entry. `num_clusters: null` is `usual_num_clusters`.
            pool_size: N, number of images of the pool.
        """
        names = {f.name for f in fields(cls)}
        settings = {k: v for k, v in config.items() if k in names}
        if settings.get("num_clusters", 0) is None:
            settings["num_clusters"] = usual_num_clusters(pool_size)
        return cls(**settings)


@dataclass(frozen=True)
class Clustering:
    """The result of k-means over N embeddings.

    Attributes:
        cluster_ids: (N,) int64, 0 to k-1.
        report: What decides the result and what came of it, ready for JSON.
    """

    cluster_ids: np.ndarray
    report: dict[str, Any]


def usual_num_clusters(pool_size: int) -> int:
    """Gives k by the size of the pool: N / 40, from 8 to 400, but two images a cluster."""
    wanted = min(max(pool_size // _IMAGES_PER_CLUSTER, _FEWEST), _MOST)
    return max(min(wanted, pool_size // 2), 2)


def check_num_clusters(num_clusters: int, pool_size: int) -> None:
    """Checks that k fits the pool.

    Raises:
        ConfigError: If k is above the number of images.
        DataError: If the pool is empty.
    """
    if pool_size < 1:
        raise DataError(
            "the unlabeled pool is empty; expected images. Check unlabeled_dataset in "
            "config_dataset and the folder it reads."
        )
    if num_clusters > pool_size:
        raise ConfigError(
            f"pseudo_labels: num_clusters is {num_clusters}, but the unlabeled pool has "
            f"{pool_size} images; expected 2 to {pool_size}. Change it in config_general or by "
            f"--pseudo_labels {{num_clusters: {usual_num_clusters(pool_size)}}}."
        )


def cluster_embeddings(
    embeddings: np.ndarray, settings: ClusteringSettings, seed: int
) -> Clustering:
    """Clusters embeddings by k-means.

    Args:
        embeddings: (N, D) float32, finite; may be memory-mapped.
        settings: k and how to search.
        seed: Used where `settings.seed` is None.

    Returns:
        Cluster ids and a report. Equal input, settings and backend give equal ids.

    Raises:
        ConfigError: If k is above N.
        DataError: If N is 0 or a value is not finite.
    """
    check_num_clusters(settings.num_clusters, len(embeddings))
    started = time.perf_counter()
    x = np.ascontiguousarray(embeddings, dtype=np.float32)
    if not np.isfinite(x).all():
        raise DataError("an embedding of the pool is not finite; expected numbers.")
    on_gpu = faiss.get_num_gpus() > 0
    used_seed = seed if settings.seed is None else settings.seed
    kmeans = faiss.Kmeans(
        x.shape[1],
        settings.num_clusters,
        niter=settings.num_iterations,
        nredo=settings.num_restarts,
        seed=used_seed % (2**31),
        gpu=on_gpu,
        min_points_per_centroid=1,
        max_points_per_centroid=len(x),  # never cluster a subsample
    )
    kmeans.train(x)
    index: Any = kmeans.index
    cluster_ids = np.concatenate(
        [index.search(x[i : i + _CHUNK], 1)[1][:, 0] for i in range(0, len(x), _CHUNK)]
    ).astype(np.int64)
    sizes = np.bincount(cluster_ids, minlength=settings.num_clusters)
    report = {
        **asdict(settings),
        "seed": used_seed,
        "backend": f"faiss {faiss.__version__} {'GPU' if on_gpu else 'CPU'}",
        "objective": float(np.asarray(kmeans.obj)[-1]),
        "cluster_sizes": sizes.tolist(),
        "empty_clusters": int((sizes == 0).sum()),
        "clusters_below_min_size": int((sizes < settings.min_cluster_size).sum()),
        "seconds": round(time.perf_counter() - started, 3),
    }
    return Clustering(cluster_ids, report)


def compare_with_true_labels(cluster_ids: np.ndarray, true_labels: np.ndarray) -> dict[str, float]:
    """How well clusters agree with classes; only ever a measurement, never an input.

    Args:
        cluster_ids: (N,) int.
        true_labels: (N,) int; ids of classes, not comparable with cluster ids.

    Returns:
        NMI and AMI (arithmetic mean, 1 = equal up to renaming), purity (share of images whose
        class is the commonest of their cluster), and pair_precision: the share of pairs in one
        cluster that are of one class.

    Raises:
        DataError: If the lengths differ.
    """
    if len(cluster_ids) != len(true_labels):
        raise DataError(
            f"{len(cluster_ids)} cluster ids but {len(true_labels)} true labels; expected equal."
        )
    _, classes = np.unique(true_labels, return_inverse=True)
    _, clusters = np.unique(cluster_ids, return_inverse=True)
    table = np.zeros((int(clusters.max()) + 1, int(classes.max()) + 1), dtype=np.int64)
    np.add.at(table, (clusters, classes), 1)
    sizes = table.sum(axis=1)
    pairs = (sizes * (sizes - 1)).sum()
    same = (table * (table - 1)).sum()
    return {
        "NMI": float(normalized_mutual_info_score(classes, clusters)),
        "AMI": float(adjusted_mutual_info_score(classes, clusters)),
        "purity": float(table.max(axis=1).sum() / len(clusters)),
        "pair_precision": float(same / pairs) if pairs else float("nan"),
    }


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
