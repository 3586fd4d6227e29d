"""Base class of clusterers: a choice with settings that assigns a cluster id to each pool image."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from slade_plugin.base.errors import DataError
from slade_plugin.base.settings import Settings

NOISE = -1

# Assumptions while the number of clusters is unknown.
_IMAGES_PER_CLUSTER = 40  # ours: about as in Glyphs
_FEWEST = 8  # ours: a batch of 32 has this many clusters
_MOST = 400  # the poster's best k on NABirds (ablation 4)


_CHUNK = 65536


def chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield views of few enough rows to bound memory."""
    yield from (rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK))


@dataclass(frozen=True)
class UnlabeledPool:
    """Input of a clusterer.

    Attributes:
        embed: Computes the embeddings; called once, and only if they are needed.
        true_labels: (N,) classes of the pool; None if unknown. Only for `TrueLabels`.
        seed: Seed of the run.
    """

    embed: Callable[[], np.ndarray]
    true_labels: np.ndarray | None
    seed: int

    @cached_property
    def embeddings(self) -> np.ndarray:
        """The teacher's embeddings, (N, D) float32; may be memory-mapped.

        Raises:
            DataError: If a value is not finite.
        """
        embeddings = np.ascontiguousarray(self.embed(), dtype=np.float32)
        if not all(np.isfinite(chunk).all() for chunk in chunks(embeddings)):
            raise DataError("an embedding of the pool is not finite; expected finite numbers.")
        return embeddings


@dataclass(frozen=True)
class Clustering:
    """Result of a clusterer.

    Attributes:
        cluster_ids: (N,) int, 0 to k - 1, or -1 for noise: images in no cluster.
        details: Further entries of the manifest, ready for JSON.
        num_clusters: k, if some clusters may be empty; None to infer it from the ids.
    """

    cluster_ids: np.ndarray
    details: Mapping[str, Any] = field(default_factory=dict)
    num_clusters: int | None = None

    def manifest(self, clusterer: "Clusterer", pool_size: int) -> dict[str, Any]:
        """Return the manifest entries that follow from the ids, and the details.

        Raises:
            DataError: If the ids are not one integer >= -1 per image, or form fewer than two
                clusters.
        """
        ids, name = np.asarray(self.cluster_ids), type(clusterer).__name__
        if ids.shape != (pool_size,) or not np.issubdtype(ids.dtype, np.integer):
            raise DataError(
                f"{name} returned cluster ids of shape {ids.shape} and type {ids.dtype}; expected "
                f"({pool_size},) integers, one for each image of the pool."
            )
        found = np.unique(ids[ids != NOISE])
        if len(found) < 2 or found[0] < 0:
            raise DataError(
                f"{name} found {len(found)} cluster(s) among {pool_size} images"
                f"{f', ids from {found[0]}' if len(found) else ''}; expected at least 2, with ids "
                f"from 0 and {NOISE} for noise. Change its settings: {clusterer.place}."
            )
        sizes = np.bincount(ids[ids != NOISE], minlength=self.num_clusters or 0)
        return {
            "num_clusters": len(sizes),
            "cluster_sizes": sizes.tolist(),
            "empty_clusters": int((sizes == 0).sum()),
            "noise_images": int((ids == NOISE).sum()),
            **self.details,
        }


class Clusterer(Settings, ABC):
    """Base of the choices that cluster the pool; subclasses are frozen dataclasses.

    Attributes:
        reads_embeddings: Whether it needs a teacher.
    """

    place: ClassVar[str] = "config_general under pseudo_labels: clusterer"
    reads_embeddings: ClassVar[bool] = True

    @abstractmethod
    def cluster(self, pool: UnlabeledPool) -> Clustering:
        """Assign a cluster id to each pool image. Equal pool and settings give equal ids."""

    def settings_for(self, pool_size: int, seed: int) -> dict[str, Any]:
        """Return the settings as used on a pool, for its manifest.

        Args:
            pool_size: N, number of images.
            seed: Seed of the run.
        """
        return self.settings()

    def check(self, pool_size: int, true_labels: np.ndarray | None) -> None:
        """Check, before training, that the pool can be clustered.

        Args:
            pool_size: N, number of images.
            true_labels: (N,) classes of the pool; None if unknown.

        Raises:
            ConfigError: If the settings do not fit the pool.
            DataError: If the pool is empty or its labels cannot be used.
        """
        if pool_size < 1:
            raise DataError(
                "the unlabeled pool is empty; expected images. Check unlabeled_dataset in "
                "config_dataset and the folder it reads."
            )

    def stand_in(self, pool_size: int, true_labels: np.ndarray | None) -> np.ndarray:
        """Return stand-in ids to try a student's parts before clustering.

        Args:
            pool_size: N, number of images.
            true_labels: (N,) classes of the pool; None if unknown.
        """
        return np.arange(pool_size) % usual_num_clusters(pool_size)

    def describe(self, pool_size: int) -> str:
        """Return a short description for the terminal."""
        return f"clusters found by {type(self).__name__}"


def usual_num_clusters(pool_size: int) -> int:
    """Return k for a pool size: N / 40, from 8 to 400, but at least two images per cluster."""
    wanted = min(max(pool_size // _IMAGES_PER_CLUSTER, _FEWEST), _MOST)
    return max(min(wanted, pool_size // 2), 2)
