from typing import Any

import numpy as np
import pytest

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.clusterers import HDBSCAN, UnlabeledPool


def test_finds_the_blobs_and_leaves_outliers_out(blobs: Any) -> None:
    """Eight blobs, without being told so, and five images far from all of them."""
    pool = blobs(subset="unlabeled")
    far = 50.0 * np.eye(8, dtype=np.float32)[:5]
    x = np.concatenate([pool.points.numpy(), far])
    clusterer = HDBSCAN()
    found = clusterer.cluster(UnlabeledPool(lambda: x, None, 0))
    assert found.cluster_ids[-5:].tolist() == [-1] * 5
    clustered = found.cluster_ids[: len(pool.labels)]
    assert len(set(zip(clustered.tolist(), pool.labels.tolist(), strict=True))) == 8
    manifest = found.manifest(clusterer, len(x))
    assert (manifest["num_clusters"], manifest["noise_images"]) == (8, 5)
    assert manifest["cluster_sizes"] == [12] * 8
    assert manifest["backend"].startswith("scikit-learn ")


def test_equal_input_gives_equal_ids_whatever_the_seed(blobs: Any) -> None:
    x = blobs(subset="unlabeled", noise=1.0).points.numpy()
    ids = [
        HDBSCAN(min_cluster_size=3).cluster(UnlabeledPool(lambda: x, None, s)).cluster_ids
        for s in (0, 1)
    ]
    np.testing.assert_array_equal(*ids)


def test_leaves_give_at_least_as_many_clusters(blobs: Any) -> None:
    x = blobs(subset="unlabeled", noise=0.6).points.numpy()
    pool = UnlabeledPool(lambda: x, None, 0)
    counts = [
        HDBSCAN(2, cluster_selection_method=method).cluster(pool).cluster_ids.max() + 1  # type: ignore[arg-type]
        for method in ("eom", "leaf")
    ]
    assert counts[0] < counts[1]


def test_one_cloud_has_no_clusters_to_learn_from() -> None:
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    clusterer = HDBSCAN(min_cluster_size=20)
    found = clusterer.cluster(UnlabeledPool(lambda: x, None, 0))
    with pytest.raises(DataError, match=r"HDBSCAN found 0 cluster\(s\) among 60 images"):
        found.manifest(clusterer, 60)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_cluster_size": 7}, "min_cluster_size is 7, which needs 14 images, but .* has 12"),
        ({"min_samples": 13}, "min_samples is 13, which needs 13 images, but"),
    ],
)
def test_a_pool_that_is_too_small_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HDBSCAN(**settings).check(12, None)  # type: ignore[arg-type]
    HDBSCAN(min_cluster_size=6, min_samples=12).check(12, None)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"min_cluster_size is 1; .*one of eom, leaf"):
        HDBSCAN(1, cluster_selection_method="all")  # type: ignore[arg-type]
