from dataclasses import dataclass

import numpy as np
import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.method.clusterers import Clusterer, Clustering, UnlabeledPool


@dataclass(frozen=True)
class Given(Clusterer):
    """Ids that a test gives."""

    ids: tuple[int, ...] = ()

    def cluster(self, pool: UnlabeledPool) -> Clustering:
        return Clustering(np.array(self.ids))


def test_embeddings_are_made_once_and_only_if_asked_for() -> None:
    calls = []

    def embed() -> np.ndarray:
        calls.append(1)
        return np.zeros((3, 2))

    pool = UnlabeledPool(embed, None, 0)
    Given((0, 1, 1)).cluster(pool)
    assert calls == []
    assert pool.embeddings.dtype == np.float32
    assert pool.embeddings is pool.embeddings
    assert calls == [1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="not finite"):
        _ = UnlabeledPool(lambda: np.array([[value]]), None, 0).embeddings


def test_the_manifest_follows_from_the_ids() -> None:
    """Clusters 0 and 2 of two and one images, an empty one between, and two images of noise."""
    clusterer = Given((0, -1, 2, 0, -1))
    clustering = Clustering(np.array(clusterer.ids), {"backend": "mine"}, num_clusters=4)
    assert clustering.manifest(clusterer, 5) == {
        "num_clusters": 4,
        "cluster_sizes": [2, 0, 1, 0],
        "empty_clusters": 2,
        "noise_images": 2,
        "backend": "mine",
    }


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 1], r"Given returned cluster ids of shape \(2,\) .* expected \(3,\) integers"),
        ([0.0, 1.0, 1.0], "type float64; expected"),
        ([-1, -1, 4], r"Given found 1 cluster\(s\) among 3 images"),
        ([-2, 0, 1], "ids from -2; expected at least 2, with ids from 0 and -1 for noise"),
    ],
)
def test_ids_that_cannot_be_pseudo_labels_are_refused(ids: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Clustering(np.array(ids)).manifest(Given(), 3)


def test_defaults_of_a_clusterer_that_finds_its_number() -> None:
    clusterer = Given((3,))
    assert clusterer.reads_embeddings
    assert clusterer.settings_for(100, 7) == {"ids": (3,)}
    assert clusterer.describe(100) == "clusters found by Given"
    assert len(np.unique(clusterer.stand_in(400, None))) == 10
    with pytest.raises(DataError, match="pool is empty"):
        clusterer.check(0, None)
