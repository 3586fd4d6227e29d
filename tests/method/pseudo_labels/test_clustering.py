import json
import math
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from pytorch_metric_learning.samplers import MPerClassSampler

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.pseudo_labels.clustering import (
    ClusteringSettings,
    check_num_clusters,
    cluster_embeddings,
    compare_with_true_labels,
)
from slade_plugin.method.pseudo_labels.record import PseudoLabels


def noise(n: int, dim: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def sum_of_squares(x: np.ndarray, cluster_ids: np.ndarray) -> float:
    """Squared distances to the mean of the own cluster, what k-means makes small."""
    return sum(
        float(((x[cluster_ids == k] - x[cluster_ids == k].mean(axis=0)) ** 2).sum())
        for k in np.unique(cluster_ids)
    )


# ---- k-means ------------------------------------------------------------------------------------


def test_separable_blobs_are_the_true_classes_up_to_renaming(blobs: Any) -> None:
    pool = blobs(subset="unlabeled")
    result = cluster_embeddings(
        pool.points.numpy(), ClusteringSettings(num_clusters=8, num_restarts=5), seed=0
    )
    pairs = set(zip(result.cluster_ids.tolist(), pool.labels.tolist(), strict=True))
    assert len(pairs) == 8
    agreement = compare_with_true_labels(result.cluster_ids, pool.labels)
    assert agreement == pytest.approx(dict.fromkeys(agreement, 1.0), abs=1e-12)


def test_equal_seeds_give_equal_ids_and_the_run_seed_is_only_a_default() -> None:
    x = noise(200)
    settings = ClusteringSettings(num_clusters=12, num_iterations=3)
    first = cluster_embeddings(x, settings, seed=5)
    np.testing.assert_array_equal(
        first.cluster_ids, cluster_embeddings(x, settings, seed=5).cluster_ids
    )
    other = cluster_embeddings(x, settings, seed=6)
    assert not np.array_equal(first.cluster_ids, other.cluster_ids)
    own = ClusteringSettings(num_clusters=12, num_iterations=3, seed=5)
    np.testing.assert_array_equal(first.cluster_ids, cluster_embeddings(x, own, seed=6).cluster_ids)


def test_a_seed_beyond_faiss_is_taken() -> None:
    result = cluster_embeddings(noise(20), ClusteringSettings(num_clusters=2), seed=2**32 - 1)
    assert result.report["seed"] == 2**32 - 1


def test_every_image_goes_to_the_nearest_centre_of_its_cluster() -> None:
    """At convergence a point is nowhere nearer to the mean of another cluster."""
    x = noise(150, dim=2)
    result = cluster_embeddings(x, ClusteringSettings(num_clusters=5, num_iterations=200), seed=0)
    means = np.stack([x[result.cluster_ids == k].mean(axis=0) for k in range(5)])
    distances = ((x[:, None] - means[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), result.cluster_ids)


def test_the_objective_is_the_sum_of_squares_of_all_images() -> None:
    """faiss alone takes 256 images a centroid: 512 of these 900, and a smaller sum."""
    x = noise(900, dim=2)
    result = cluster_embeddings(x, ClusteringSettings(num_clusters=2, num_iterations=100), seed=0)
    assert result.report["objective"] == pytest.approx(
        sum_of_squares(x, result.cluster_ids), rel=1e-4
    )


def test_more_iterations_make_the_sum_smaller() -> None:
    x = noise(400, dim=2)
    objectives = [
        cluster_embeddings(
            x, ClusteringSettings(num_clusters=20, num_iterations=iterations), seed=0
        ).report["objective"]
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
            settings = ClusteringSettings(num_clusters=8, num_restarts=restarts)
            result = cluster_embeddings(x, settings, seed)
            found.append(result.report["objective"])
            assert found[-1] == pytest.approx(sum_of_squares(x, result.cluster_ids), rel=1e-3)
    true = sum_of_squares(x, pool.labels)
    assert objectives[10] == pytest.approx([true] * 5, rel=1e-3)
    assert max(objectives[1]) > 2 * true


def test_memory_mapped_embeddings_give_the_same_ids(tmp_path: Path) -> None:
    x = noise(100)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    settings = ClusteringSettings(num_clusters=7)
    np.testing.assert_array_equal(
        cluster_embeddings(mapped, settings, 0).cluster_ids,
        cluster_embeddings(x, settings, 0).cluster_ids,
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(value: float) -> None:
    x = noise(30)
    x[7, 2] = value
    with pytest.raises(DataError, match="not finite"):
        cluster_embeddings(x, ClusteringSettings(num_clusters=3), seed=0)


# ---- trap 11 ------------------------------------------------------------------------------------


def test_trap_11_what_decides_the_result_is_in_the_report() -> None:
    settings = ClusteringSettings(num_clusters=6, num_iterations=9, num_restarts=2)
    result = cluster_embeddings(noise(60), settings, seed=17)
    report = json.loads(json.dumps(result.report))
    assert report["seed"] == 17
    assert report["num_clusters"] == 6
    assert report["num_iterations"] == 9
    assert report["num_restarts"] == 2
    assert report["min_cluster_size"] == 2
    gpu = "GPU" if faiss.get_num_gpus() else "CPU"
    assert report["backend"] == f"faiss {faiss.__version__} {gpu}"
    assert report["cluster_sizes"] == np.bincount(result.cluster_ids, minlength=6).tolist()
    assert sum(report["cluster_sizes"]) == 60


def test_trap_11_empty_clusters_are_counted_and_do_not_break_the_sampler() -> None:
    """Three different images, ten of each, cannot fill eight clusters."""
    x = np.repeat(noise(3, seed=1), 10, axis=0)
    result = cluster_embeddings(x, ClusteringSettings(num_clusters=8), seed=0)
    sizes = np.bincount(result.cluster_ids, minlength=8)
    assert result.report["empty_clusters"] == (sizes == 0).sum() >= 5
    assert result.report["clusters_below_min_size"] == (sizes < 2).sum()
    check_sampler(result.cluster_ids, result.report)


def test_trap_11_single_images_take_no_part_when_k_is_close_to_the_pool() -> None:
    """20 images and two copies in 20 clusters: the copies share theirs, the others are alone."""
    x = noise(20)
    x = np.concatenate([x, x[:2]])
    settings = ClusteringSettings(num_clusters=20, num_restarts=3)
    result = cluster_embeddings(x, settings, seed=0)
    assert result.report["clusters_below_min_size"] >= 17
    labels = check_sampler(result.cluster_ids, result.report)
    assert len(labels) < len(x)


def check_sampler(cluster_ids: np.ndarray, report: dict[str, Any]) -> np.ndarray:
    """Draws from what takes part: every batch of m holds m images of one pseudo label."""
    keep, labels = PseudoLabels(cluster_ids, report).for_training(num_classes=100)
    assert np.unique(labels, return_counts=True)[1].min() >= 2
    drawn = list(MPerClassSampler(labels, m=4, length_before_new_iter=200))
    assert len(drawn) >= 200 - 200 % (4 * len(np.unique(labels)))
    assert {len(set(labels[drawn[i : i + 4]])) for i in range(0, len(drawn), 4)} == {1}
    assert max(drawn) < len(keep)
    assert set(labels[drawn]) == set(labels)
    return labels


def test_k_equal_to_the_pool_is_taken() -> None:
    result = cluster_embeddings(noise(12), ClusteringSettings(num_clusters=12), seed=0)
    assert result.report["clusters_below_min_size"] == 12
    assert sorted(result.cluster_ids) == list(range(12))


# ---- settings -----------------------------------------------------------------------------------


def test_more_clusters_than_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"num_clusters is 13, but .* 12 images; expected 2 to"):
        cluster_embeddings(noise(12), ClusteringSettings(num_clusters=13), seed=0)


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(DataError, match="pool is empty"):
        check_num_clusters(2, 0)


@pytest.mark.parametrize("k", [1, 0, -3, 2.0, "8", True, None])
def test_fewer_than_two_clusters_or_no_integer_are_refused(k: Any) -> None:
    with pytest.raises(ConfigError, match=r"num_clusters is .*; expected an integer >= 2"):
        ClusteringSettings(num_clusters=k)


def test_everything_wrong_is_named_at_once() -> None:
    wrong = {"num_iterations": 0, "num_restarts": 0, "min_cluster_size": 1, "seed": "x"}
    with pytest.raises(ConfigError) as caught:
        ClusteringSettings(**wrong)
    assert [name for name in wrong if f"{name} is" not in str(caught.value)] == []


def test_settings_are_read_from_a_config_that_holds_more() -> None:
    config = {"folder": "somewhere", "num_clusters": 9, "seed": 4}
    settings = ClusteringSettings.from_config(config, 100)
    assert settings == ClusteringSettings(num_clusters=9, seed=4)


@pytest.mark.parametrize(
    ("pool_size", "k"),
    [(1, 2), (4, 2), (10, 5), (16, 8), (300, 8), (400, 10), (15_072, 376), (48_562, 400)],
)
def test_k_by_the_size_of_the_pool(pool_size: int, k: int) -> None:
    settings = ClusteringSettings.from_config({"num_clusters": None}, pool_size)
    assert settings.num_clusters == k


# ---- agreement ----------------------------------------------------------------------------------


def test_agreement_by_hand() -> None:
    """Clusters (rows) and classes (columns) 3 1 / 0 4.

    purity (3 + 4) / 8. Ordered pairs in a cluster: 12 + 12, of one class 3*2 + 4*3.
    MI = 3/8 ln 2 + 1/8 ln 2/5 + 4/8 ln 8/5, H(clusters) = ln 2, H(classes) of 3/8 and 5/8.
    """
    clusters = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    classes = np.array([7, 7, 7, 9, 9, 9, 9, 9])
    found = compare_with_true_labels(clusters, classes)
    assert found["purity"] == 7 / 8
    assert found["pair_precision"] == 18 / 24
    mi = 3 / 8 * math.log(2) + 1 / 8 * math.log(2 / 5) + 1 / 2 * math.log(8 / 5)
    h_classes = -3 / 8 * math.log(3 / 8) - 5 / 8 * math.log(5 / 8)
    assert found["NMI"] == pytest.approx(mi / ((math.log(2) + h_classes) / 2), abs=1e-12)


def test_adjusted_agreement_by_hand() -> None:
    """Table 1 1 / 1 1: MI = 0, expected MI = 4 * 1/6 * 1/2 ln 2 = ln 2 / 3, both entropies ln 2.

    AMI = (0 - ln 2 / 3) / (ln 2 - ln 2 / 3) = -1/2.
    """
    found = compare_with_true_labels(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    assert found["AMI"] == pytest.approx(-0.5, abs=1e-12)
    assert found["NMI"] == pytest.approx(0.0, abs=1e-12)
    assert (found["purity"], found["pair_precision"]) == (0.5, 0.0)


def test_trap_09_ids_are_not_compared_as_numbers() -> None:
    """Other names for the same clusters and classes change nothing, with gaps in the ids too."""
    clusters, classes = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1])
    renamed = compare_with_true_labels(np.array([40, 3, 7])[clusters], np.array([9, 2])[classes])
    assert renamed == pytest.approx(compare_with_true_labels(clusters, classes), abs=1e-12)


def test_shuffled_labels_agree_by_chance(blobs: Any) -> None:
    """8 classes of 50: of two images in a cluster about one in eight pairs is of one class."""
    labels = blobs(per_class=50).labels
    shuffled = np.random.default_rng(0).permutation(labels)
    found = compare_with_true_labels(labels, shuffled)
    assert abs(found["AMI"]) < 0.02
    assert found["pair_precision"] == pytest.approx(1 / 8, abs=0.02)
    assert found["purity"] < 0.3


def test_clusters_of_one_image_have_no_pair_precision() -> None:
    found = compare_with_true_labels(np.array([0, 1, 2]), np.array([0, 0, 1]))
    assert math.isnan(found["pair_precision"])
    assert found["purity"] == 1


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="3 cluster ids but 2 true labels"):
        compare_with_true_labels(np.array([0, 1, 2]), np.array([0, 0]))
