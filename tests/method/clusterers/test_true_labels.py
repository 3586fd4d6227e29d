"""The oracle's clusters are the pool's classes."""

import numpy as np
import pytest

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.clusterers import TrueLabels, UnlabeledPool


def never() -> np.ndarray:
    raise AssertionError("the oracle needs no embeddings")


def test_classes_become_ids_from_zero_on() -> None:
    classes = np.array([7, 4, 7, 30, 4])
    clusterer = TrueLabels()
    found = clusterer.cluster(UnlabeledPool(never, classes, 0))
    assert found.cluster_ids.tolist() == [1, 0, 1, 2, 0]
    assert found.cluster_ids.dtype == np.int64
    assert found.manifest(clusterer, 5) == {
        "num_clusters": 3,
        "cluster_sizes": [2, 2, 1],
        "empty_clusters": 0,
        "noise_images": 0,
    }
    assert clusterer.stand_in(5, classes).tolist() == [1, 0, 1, 2, 0]
    assert not clusterer.reads_embeddings
    assert clusterer.settings_for(5, 0) == {}


def test_an_image_without_a_class_is_refused() -> None:
    """Two of them would be taken for one class."""
    with pytest.raises(DataError, match=r"a true label of the pool is -1; expected classes >= 0"):
        TrueLabels().check(4, np.array([0, -1, -1, 2]))


def test_a_pool_without_classes_is_refused() -> None:
    for refused in (
        lambda: TrueLabels().check(3, None),
        lambda: TrueLabels().cluster(UnlabeledPool(never, None, 0)),
    ):
        with pytest.raises(ConfigError, match="clusterer is TrueLabels, but the pool has no label"):
            refused()
