"""What can be known of a pool is refused before a teacher is trained."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from slade_plugin.base.errors import ConfigError, DataError, PseudoLabelError
from slade_plugin.stages.pool_check import check_clusters, check_distinct, check_pool


@pytest.fixture
def checked(
    tmp_path: Path, experiment_args: Callable[..., Namespace], make_parser: Callable[..., Any]
) -> Callable[..., Any]:
    """Checks the pool of a student whose config has some other entries."""

    def run(**changes: Any) -> Any:
        parser = make_parser(experiment_args(tmp_path / "student", **changes))
        parser.transforms = parser.get_transforms()
        parser.split_manager = parser.get_split_manager()
        parser.split_manager.set_curr_split_scheme(parser.split_manager.split_scheme_names[0])
        check_pool(parser, parser.stand_in_pseudo_labels())
        return parser

    return run


def test_a_pool_that_fits_passes(checked: Callable[..., Any]) -> None:
    """The sampler can then draw a batch from it."""
    parser = checked()
    labels = parser.get_pseudo_labeled_dataset().labels
    assert {*parser.get_unlabeled_sampler()} <= {*range(len(labels))}


def test_the_sampler_is_built(checked: Callable[..., Any]) -> None:
    sampler = {"MPerClassSampler": {"m": 3, "batch_size": 32}}
    with pytest.raises(ConfigError, match=r"unlabeled_sampler \(config_loss\) cannot be built: m"):
        checked(unlabeled_sampler=sampler)


@pytest.mark.parametrize("is_cached", [False, True], ids=["files", "cache"])
def test_a_pool_of_identical_images(
    is_cached: bool, checked: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "pool").mkdir()
    for number in range(60):
        Image.new("RGB", (20, 20), "red").save(tmp_path / "pool" / f"{number}.png")
    pool: dict[str, Any] = {"path": str(tmp_path / "pool"), "labeled": False}
    if is_cached:
        pool["cache"] = {"short_side": 16, "folder": str(tmp_path / "cache")}
    with pytest.raises(DataError, match=r"60 images, but only 1 distinct ones, and num_clusters"):
        checked(unlabeled_dataset={"FolderImages": pool})


def test_two_classes_of_an_oracle_can_be_trained_on(checked: Callable[..., Any]) -> None:
    settings = {"clusterer": {"TrueLabels": {}}, "min_cluster_size": 10**6}
    with pytest.raises(PseudoLabelError, match="fewer than two clusters have 1000000"):
        checked(pseudo_labels=settings)


@pytest.mark.parametrize(("pool", "clusters", "least", "fits"), [
    (10, 5, 2, True), (10, 8, 2, True), (10, 9, 2, False), (10, 10, 2, False), (10, 2, 5, True),
    (10, 2, 6, False),
])  # fmt: skip
def test_two_clusters_must_be_large_enough(
    pool: int, clusters: int, least: int, fits: bool
) -> None:
    """With 8 clusters of 10 images, 6 singles leave two of 2."""
    if fits:
        check_clusters(pool, clusters, least)
    else:
        with pytest.raises(DataError, match=f"so no two clusters could hold {least} images"):
            check_clusters(pool, clusters, least)


def test_advice_helps() -> None:
    check_distinct(60, 8, 8)
    with pytest.raises(DataError, match=r"only 7 distinct .*or give .*num_clusters: 3\}\}\}\."):
        check_distinct(60, 7, 8)
    with pytest.raises(DataError, match=r"only 2 distinct ones.*\(--unlabeled\)\.$"):
        check_distinct(60, 2, 8)
