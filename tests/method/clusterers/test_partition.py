from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.clusterers import KMeans, Ward
from slade_plugin.method.clusterers.partition import Partition

every = pytest.mark.parametrize("kind", [KMeans, Ward])


@every
@pytest.mark.parametrize(
    ("pool_size", "k"),
    [(1, 2), (4, 2), (10, 5), (16, 8), (300, 8), (400, 10), (15_072, 376), (48_562, 400)],
)
def test_k_by_the_size_of_the_pool(kind: type[Partition], pool_size: int, k: int) -> None:
    clusterer = kind(num_clusters=None)
    assert clusterer.settings_for(pool_size, 0)["num_clusters"] == k
    assert clusterer.describe(pool_size) == f"{k} clusters"
    assert clusterer.stand_in(pool_size, None).tolist() == [i % k for i in range(pool_size)]


@every
def test_more_clusters_than_images_are_refused(kind: type[Partition]) -> None:
    message = rf"{kind.__name__}: num_clusters is 33, but .* has 32 images; expected 2 to 32\. .*"
    with pytest.raises(ConfigError, match=rf"{message}{kind.__name__}: {{num_clusters: 8}}"):
        kind(num_clusters=33).check(32, None)
    kind(num_clusters=32).check(32, None)


@every
def test_an_empty_pool_is_refused(kind: type[Partition]) -> None:
    with pytest.raises(DataError, match="pool is empty"):
        kind(num_clusters=2).check(0, None)


@every
@pytest.mark.parametrize("k", [1, 0, -3, 2.0, "8", True])
def test_fewer_than_two_clusters_or_no_integer_are_refused(kind: type[Partition], k: Any) -> None:
    with pytest.raises(ConfigError, match=r"num_clusters is .*; expected an integer >= 2 or null"):
        kind(num_clusters=k)
