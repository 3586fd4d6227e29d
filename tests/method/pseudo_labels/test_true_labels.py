"""The oracle's record holds the pool's classes and says so."""

import numpy as np
import pytest

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.pseudo_labels.true_labels import SOURCES, label_source, record_true_labels


def test_classes_become_ids_from_zero_on() -> None:
    """Classes 4, 7, 30 in this order; 30 has a single image, which takes no part."""
    record = record_true_labels(np.array([7, 4, 7, 30, 4]), min_cluster_size=2)
    assert record.cluster_ids.tolist() == [1, 0, 1, 2, 0]
    assert record.cluster_ids.dtype == np.int64
    assert record.manifest == {
        "source": "true_labels",
        "num_clusters": 3,
        "min_cluster_size": 2,
        "cluster_sizes": [2, 2, 1],
    }
    pool_index, labels = record.for_training(num_classes=10)
    assert pool_index.tolist() == [0, 1, 2, 4]
    assert labels.tolist() == [11, 10, 11, 10]


def test_an_image_without_a_class_is_refused() -> None:
    """Two of them would be taken for one class."""
    with pytest.raises(DataError, match=r"a true label of the pool is -1; expected classes >= 0"):
        record_true_labels(np.array([0, -1, -1, 2]), min_cluster_size=2)


def test_a_pool_without_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="source is true_labels, but the pool has no labels"):
        record_true_labels(None, min_cluster_size=2)


def test_the_source_is_clusters_unless_said_otherwise() -> None:
    assert label_source({}) == "clusters"
    assert [label_source({"source": source}) for source in SOURCES] == ["clusters", "true_labels"]


@pytest.mark.parametrize("source", ["truth", None, 3])
def test_another_source_is_refused(source: object) -> None:
    with pytest.raises(ConfigError, match=r"source is .*; expected clusters or true_labels"):
        label_source({"source": source})
