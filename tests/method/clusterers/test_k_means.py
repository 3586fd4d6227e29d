import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from pytorch_metric_learning.samplers import MPerClassSampler

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.clusterers import Clustering, KMeans, UnlabeledPool
from slade_plugin.method.pseudo_labels.agreement import compare_with_true_labels
from slade_plugin.method.pseudo_labels.record import PseudoLabels


def noise(n: int, dim: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def cluster(x: np.ndarray, clusterer: KMeans, seed: int) -> Clustering:
    return clusterer.cluster(UnlabeledPool(lambda: x, None, seed))


def sum_of_squares(x: np.ndarray, cluster_ids: np.ndarray) -> float:
    """Squared distances to the mean of the own cluster, what k-means makes small."""
    return sum(
        float(((x[cluster_ids == k] - x[cluster_ids == k].mean(axis=0)) ** 2).sum())
        for k in np.unique(cluster_ids)
    )


def test_separable_blobs_are_the_true_classes_up_to_renaming(blobs: Any) -> None:
    pool = blobs(subset="unlabeled")
    result = cluster(pool.points.numpy(), KMeans(num_clusters=8, num_restarts=5), seed=0)
    pairs = set(zip(result.cluster_ids.tolist(), pool.labels.tolist(), strict=True))
    assert len(pairs) == 8
    agreement = compare_with_true_labels(result.cluster_ids, pool.labels)
    assert agreement == pytest.approx(dict.fromkeys(agreement, 1.0), abs=1e-12)


def test_equal_seeds_give_equal_ids_and_the_run_seed_is_only_a_default() -> None:
    x = noise(200)
    settings = KMeans(num_clusters=12, num_iterations=3)
    first = cluster(x, settings, seed=5)
    np.testing.assert_array_equal(first.cluster_ids, cluster(x, settings, seed=5).cluster_ids)
    other = cluster(x, settings, seed=6)
    assert not np.array_equal(first.cluster_ids, other.cluster_ids)
    own = KMeans(num_clusters=12, num_iterations=3, seed=5)
    np.testing.assert_array_equal(first.cluster_ids, cluster(x, own, seed=6).cluster_ids)


def test_a_seed_beyond_faiss_is_taken() -> None:
    assert len(cluster(noise(20), KMeans(num_clusters=2), seed=2**32 - 1).cluster_ids) == 20
    assert KMeans().settings_for(20, 2**32 - 1)["seed"] == 2**32 - 1


def test_every_image_goes_to_the_nearest_centre_of_its_cluster() -> None:
    """At convergence a point is nowhere nearer to the mean of another cluster."""
    x = noise(150, dim=2)
    result = cluster(x, KMeans(num_clusters=5, num_iterations=200), seed=0)
    means = np.stack([x[result.cluster_ids == k].mean(axis=0) for k in range(5)])
    distances = ((x[:, None] - means[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), result.cluster_ids)


def test_the_objective_is_the_sum_of_squares_of_all_images() -> None:
    """faiss alone takes 256 images a centroid: 512 of these 900, and a smaller sum."""
    x = noise(900, dim=2)
    result = cluster(x, KMeans(num_clusters=2, num_iterations=100), seed=0)
    assert result.details["objective"] == pytest.approx(
        sum_of_squares(x, result.cluster_ids), rel=1e-4
    )


def test_more_iterations_make_the_sum_smaller() -> None:
    x = noise(400, dim=2)
    objectives = [
        cluster(x, KMeans(num_clusters=20, num_iterations=iterations), seed=0).details["objective"]
        for iterations in (1, 5, 100)
    ]
    assert objectives[0] > objectives[1] > objectives[2]


def test_the_best_of_several_restarts_is_kept(blobs: Any) -> None:
    """From one start k-means may merge two blobs; the best of ten starts does not."""
    pool = blobs(subset="unlabeled")
    x = pool.points.numpy()
    objectives: dict[int, list[float]] = {1: [], 10: []}
    for seed in range(5):
        for restarts, found in objectives.items():
            settings = KMeans(num_clusters=8, num_restarts=restarts)
            result = cluster(x, settings, seed)
            found.append(result.details["objective"])
            assert found[-1] == pytest.approx(sum_of_squares(x, result.cluster_ids), rel=1e-3)
    true = sum_of_squares(x, pool.labels)
    assert objectives[10] == pytest.approx([true] * 5, rel=1e-3)
    assert max(objectives[1]) > 2 * true


def test_memory_mapped_embeddings_give_the_same_ids(tmp_path: Path) -> None:
    x = noise(100)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    settings = KMeans(num_clusters=7)
    np.testing.assert_array_equal(
        cluster(mapped, settings, 0).cluster_ids,
        cluster(x, settings, 0).cluster_ids,
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(value: float) -> None:
    x = noise(30)
    x[7, 2] = value
    with pytest.raises(DataError, match="not finite"):
        cluster(x, KMeans(num_clusters=3), seed=0)


# ---- trap 11 ------------------------------------------------------------------------------------


def test_trap_11_what_decides_the_result_is_on_record() -> None:
    clusterer = KMeans(num_clusters=6, num_iterations=9, num_restarts=2)
    result = cluster(noise(60), clusterer, seed=17)
    assert json.loads(json.dumps(clusterer.settings_for(60, 17))) == {
        "num_clusters": 6, "num_iterations": 9, "num_restarts": 2, "seed": 17,
    }  # fmt: skip
    manifest = json.loads(json.dumps(result.manifest(clusterer, 60)))
    gpu = "GPU" if faiss.get_num_gpus() else "CPU"
    assert manifest["backend"] == f"faiss {faiss.__version__} {gpu}"
    assert manifest["cluster_sizes"] == np.bincount(result.cluster_ids, minlength=6).tolist()
    assert (manifest["num_clusters"], manifest["noise_images"]) == (6, 0)


def test_trap_11_empty_clusters_are_counted_and_do_not_break_the_sampler() -> None:
    """Three different images, ten of each, cannot fill eight clusters."""
    x = np.repeat(noise(3, seed=1), 10, axis=0)
    clusterer = KMeans(num_clusters=8)
    result = cluster(x, clusterer, seed=0)
    manifest = result.manifest(clusterer, 30)
    assert manifest["num_clusters"] == 8
    assert manifest["empty_clusters"] == manifest["cluster_sizes"].count(0) >= 5
    check_sampler(result.cluster_ids, manifest)


def test_trap_11_single_images_take_no_part_when_k_is_close_to_the_pool() -> None:
    """20 images and two copies in 20 clusters: the copies share theirs, the others are alone."""
    x = noise(20)
    x = np.concatenate([x, x[:2]])
    clusterer = KMeans(num_clusters=20, num_restarts=3)
    result = cluster(x, clusterer, seed=0)
    labels = check_sampler(result.cluster_ids, result.manifest(clusterer, 22))
    assert 2 * len(labels) < len(x)


def check_sampler(cluster_ids: np.ndarray, manifest: dict[str, Any]) -> np.ndarray:
    """Draws from what takes part: every batch of m holds m images of one pseudo label."""
    record = PseudoLabels(cluster_ids, {**manifest, "min_cluster_size": 2})
    keep, labels = record.for_training(num_classes=100)
    assert np.unique(labels, return_counts=True)[1].min() >= 2
    drawn = list(MPerClassSampler(labels, m=4, length_before_new_iter=200))
    assert len(drawn) >= 200 - 200 % (4 * len(np.unique(labels)))
    assert {len(set(labels[drawn[i : i + 4]])) for i in range(0, len(drawn), 4)} == {1}
    assert max(drawn) < len(keep)
    assert set(labels[drawn]) == set(labels)
    return labels


def test_k_equal_to_the_pool_is_taken() -> None:
    result = cluster(noise(12), KMeans(num_clusters=12), seed=0)
    assert sorted(result.cluster_ids) == list(range(12))


# ---- settings -----------------------------------------------------------------------------------


def test_more_clusters_than_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"num_clusters is 13, but .* 12 images; expected 2 to"):
        cluster(noise(12), KMeans(num_clusters=13), seed=0)


def test_everything_wrong_is_named_at_once() -> None:
    wrong: dict[str, Any] = {"num_iterations": 0, "num_restarts": 0, "seed": "x"}
    with pytest.raises(ConfigError, match="config_general under pseudo_labels") as caught:
        KMeans(**wrong)
    assert [name for name in wrong if f"{name} is" not in str(caught.value)] == []
