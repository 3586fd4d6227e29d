"""Test is what the data set says; train and val are the host's class-disjoint folds of the rest."""

import logging
from typing import Any

import numpy as np
import pytest
from powerful_benchmarker.split_managers import ClassDisjointSplitManager

from slade_plugin.base.errors import DataError
from slade_plugin.data.split_managers import QueryGallerySplitManager
from slade_plugin.data.split_managers.unlabeled_pool_split_manager import UnlabeledPoolSplitManager

SPLITS = ("train", "val", "test")
TRAIN_CLASSES = [0, 2, 3, 5, 7]  # between those of the test, as item ids are in In-shop


class RoleBlobs:
    """Blobs of 8 classes; in a test class every third image is a query."""

    def __init__(self, blobs: Any, train_classes: list[int] = TRAIN_CLASSES) -> None:
        self.data = blobs(per_class=6)
        self.labels = self.data.labels
        self.roles = np.where(np.arange(len(self.labels)) % 3 == 0, "query", "gallery")
        self.roles[np.isin(self.labels, train_classes)] = "train"

    def __len__(self) -> int:
        return len(self.labels)


def split(data: Any, **settings: Any) -> Any:
    manager = QueryGallerySplitManager(
        **{"num_training_partitions": 5, "num_training_sets": 2, **settings}
    )
    manager.create_split_schemes({t: dict.fromkeys(SPLITS, data) for t in ("train", "eval")})
    return manager


def indices(manager: Any, split_name: str) -> list[list[int]]:
    found = []
    for name in manager.split_scheme_names:
        manager.set_curr_split_scheme(name)
        both = [manager.get_dataset(t, split_name).indices for t in ("train", "eval")]
        assert list(both[0]) == list(both[1])
        found.append([int(i) for i in both[0]])
    return found


def test_test_is_every_query_and_gallery_image_of_every_scheme(blobs: Any) -> None:
    data = RoleBlobs(blobs)
    expected = np.flatnonzero(data.roles != "train").tolist()
    assert indices(split(data), "test") == [expected, expected]


def test_val_is_cut_from_train_by_class(blobs: Any) -> None:
    """Five training classes in five folds: the first two schemes take classes 0 and 2 for val."""
    data = RoleBlobs(blobs)
    manager = split(data)
    for train, val, left_out in zip(
        indices(manager, "train"), indices(manager, "val"), (0, 2), strict=True
    ):
        assert set(data.labels[val].tolist()) == {left_out}
        assert set(data.labels[train].tolist()) == set(TRAIN_CLASSES) - {left_out}
        assert sorted(train + val) == np.flatnonzero(data.roles == "train").tolist()


def test_the_folds_are_those_of_the_host_on_the_training_classes(blobs: Any) -> None:
    """The host's manager with the test classes cut off at the end gives the same train and val."""
    data = RoleBlobs(blobs, train_classes=[0, 1, 2, 3])
    host = ClassDisjointSplitManager(
        num_training_partitions=3, num_training_sets=3, test_size=0.5, test_start_idx=0.5,
    )  # fmt: skip
    host.create_split_schemes({t: dict.fromkeys(SPLITS, data) for t in ("train", "eval")})
    ours = split(data, num_training_partitions=3, num_training_sets=3)
    for name in SPLITS:
        assert indices(ours, name) == indices(host, name)


def test_shuffled_folds_are_fixed_by_the_seed(blobs: Any) -> None:
    data = RoleBlobs(blobs)
    plain = indices(split(data), "val")
    shuffled = [
        indices(split(data, shuffle=True, random_seed=seed), "val") for seed in (1, 1, 2, 3)
    ]
    assert shuffled[0] == shuffled[1]
    assert any(other != plain for other in shuffled)
    assert indices(split(data, shuffle=True, random_seed=1), "test") == indices(split(data), "test")


def test_scheme_names(blobs: Any) -> None:
    assert split(RoleBlobs(blobs)).split_scheme_names == [
        "QueryGallery_Partitions5_0",
        "QueryGallery_Partitions5_1",
    ]


def test_a_pool_goes_beside_it(blobs: Any) -> None:
    data = RoleBlobs(blobs)
    pool = blobs(subset="unlabeled")
    ours = UnlabeledPoolSplitManager(split(data), {"train": pool, "eval": pool})
    for name in SPLITS:
        assert indices(ours, name) == indices(split(data), name)
    assert ours.get_unlabeled_dataset("eval") is pool


def test_data_without_roles_are_refused(blobs: Any) -> None:
    with pytest.raises(DataError, match="Blobs has no roles; QueryGallerySplitManager expected"):
        split(blobs())


@pytest.mark.parametrize("missing", ["train", "query", "gallery"])
def test_a_missing_role_is_named(missing: str, blobs: Any) -> None:
    data = RoleBlobs(blobs)
    data.roles[data.roles == missing] = "query" if missing == "gallery" else "gallery"
    with pytest.raises(DataError, match=f"RoleBlobs has no {missing} images"):
        split(data)


def test_a_class_in_train_and_test_is_refused(blobs: Any) -> None:
    data = RoleBlobs(blobs)
    data.roles[0] = "query"
    with pytest.raises(DataError, match=r"1 classes have training images .* example label 0;"):
        split(data)


def test_queries_without_gallery_are_told(blobs: Any, caplog: pytest.LogCaptureFixture) -> None:
    data = RoleBlobs(blobs)
    data.roles[data.labels == 4] = "query"
    with caplog.at_level(logging.WARNING, "slade_plugin"):
        split(data)
    assert "1 of 3 query classes have no gallery image (for example label 4)" in caplog.text
