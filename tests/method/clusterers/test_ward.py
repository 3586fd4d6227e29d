import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.clusterers import KMeans, UnlabeledPool, Ward
from slade_plugin.method.pseudo_labels.agreement import compare_with_true_labels


def noise(n: int, dim: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def cluster(x: np.ndarray, clusterer: Ward | KMeans, seed: int = 0) -> np.ndarray:
    return clusterer.cluster(UnlabeledPool(lambda: x, None, seed)).cluster_ids


def sum_of_squares(x: np.ndarray, ids: np.ndarray) -> float:
    """Squared distances to the mean of the own cluster."""
    parts = [x[ids == k] for k in np.unique(ids)]
    return sum(float(((part - part.mean(axis=0)) ** 2).sum()) for part in parts)


def merged_step_by_step(x: np.ndarray, k: int) -> set[frozenset[int]]:
    """Ward's rule as a slow loop: join the two clusters that raise the sum of squares least."""
    clusters = [[i] for i in range(len(x))]

    def rise(pair: tuple[list[int], list[int]]) -> float:
        both, *each = (sum_of_squares(x[c], np.zeros(len(c))) for c in (pair[0] + pair[1], *pair))
        return both - sum(each)

    while len(clusters) > k:
        a, b = min(itertools.combinations(clusters, 2), key=rise)
        clusters = [c for c in clusters if c not in (a, b)] + [a + b]
    return {frozenset(c) for c in clusters}


def groups(ids: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(ids == k).tolist()) for k in np.unique(ids)}


@pytest.mark.parametrize("seed", range(3))
def test_all_images_as_neighbors_give_ward_s_own_merges(seed: int) -> None:
    x = noise(24, seed=seed)
    found = groups(cluster(x, Ward(num_clusters=6, num_neighbors=23)))
    assert found == merged_step_by_step(x, 6)


def test_four_points_by_hand() -> None:
    """On a line at 0, 1, 3, 4.5: joining 0, 1 costs 1/2, then 3, 4.5 costs 9/8."""
    x = np.array([[0], [1], [3], [4.5]], dtype=np.float32)
    assert groups(cluster(x, Ward(2, num_neighbors=2))) == {frozenset({0, 1}), frozenset({2, 3})}
    assert groups(cluster(x, Ward(3, num_neighbors=1))) == {
        frozenset({0, 1}),
        frozenset({2}),
        frozenset({3}),
    }


def test_separable_blobs_are_the_true_classes_up_to_renaming(blobs: Any) -> None:
    """Without links between them; k-means from one start merges some."""
    pool = blobs(subset="unlabeled")
    ids = cluster(pool.points.numpy(), Ward(num_clusters=8, num_neighbors=3))
    agreement = compare_with_true_labels(ids, pool.labels)
    assert agreement == pytest.approx(dict.fromkeys(agreement, 1.0), abs=1e-12)


def test_small_clusters_are_found_better_than_from_random_starts() -> None:
    """40 classes of 6 images: a start of k-means leaves some of them without a center."""
    centers = noise(40, dim=16, seed=1)
    x = np.repeat(centers, 6, axis=0) + 0.5 * noise(240, dim=16)
    ward = sum_of_squares(x, cluster(x, Ward(40)))
    means = [sum_of_squares(x, cluster(x, KMeans(40), seed)) for seed in range(5)]
    assert ward < min(means)


def test_groups_without_a_link_are_joined_without_a_warning() -> None:
    x = np.concatenate([noise(12), noise(12) + 100, noise(12) - 100])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids = cluster(x, Ward(num_clusters=2, num_neighbors=2))
    assert sorted(np.bincount(ids)) == [12, 24]


def test_ids_depend_on_nothing_but_the_embeddings(tmp_path: Path) -> None:
    """Neither on the seed of the run nor on where they lie."""
    x = noise(100)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    first = cluster(x, Ward(12))
    np.testing.assert_array_equal(first, cluster(x, Ward(12), seed=7))
    np.testing.assert_array_equal(first, cluster(mapped, Ward(12)))


def test_what_decides_the_result_is_on_record() -> None:
    clusterer, x = Ward(num_clusters=None, num_neighbors=5), noise(400)
    assert clusterer.settings_for(400, 1) == {"num_clusters": 10, "num_neighbors": 5}
    result = clusterer.cluster(UnlabeledPool(lambda: x, None, 0))
    manifest = json.loads(json.dumps(result.manifest(clusterer, 400)))
    assert (manifest["num_clusters"], manifest["noise_images"]) == (10, 0)
    assert manifest["backend"].startswith("scikit-learn ")


def test_what_does_not_fit_the_pool_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"num_neighbors is 12, but .* 12 images; expected 1 to"):
        Ward(num_clusters=2, num_neighbors=12).check(12, None)
    x = noise(30)
    x[7, 2] = np.nan
    with pytest.raises(DataError, match="not finite"):
        cluster(x, Ward(num_clusters=3))
