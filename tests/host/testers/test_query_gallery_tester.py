"""Where a split has queries and gallery the first search the second; elsewhere it is the host's."""

from typing import Any

import numpy as np
import pytest
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.logging_presets import HookContainer
from torch.utils.data import Dataset, Subset

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.host.accuracy_calculators import RecallAtKCalculator
from slade_plugin.host.testers import QueryGalleryTester


class Shop(Dataset[Any]):
    """Points of 20 items in random order: items 0 to 7 train, the others query and gallery."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.labels = rng.permutation(np.repeat(np.arange(20), rng.integers(4, 12, 20)))
        noise = rng.normal(size=(len(self.labels), 5))
        self.points = torch.tensor(rng.normal(size=(20, 5))[self.labels] + noise).float()
        self.roles = np.where(self.labels < 8, "train", "gallery")
        for item in range(8, 20):
            self.roles[np.flatnonzero(self.labels == item)[:2]] = "query"

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"data": self.points[index], "label": int(self.labels[index])}

    def split(self, *roles: str) -> Subset[Any]:
        return Subset(self, np.flatnonzero(np.isin(self.roles, roles)).tolist())


def item_getter(batch: dict[str, Any]) -> tuple[Any, Any]:
    return batch["data"], batch["label"]


def make(cls: type, calculator: Any = None, **settings: Any) -> Any:
    return cls(
        dataloader_num_workers=0,
        data_and_label_getter=item_getter,
        accuracy_calculator=calculator or AccuracyCalculator(),
        **settings,
    )


def accuracies(tester: Any, splits: dict[str, Any]) -> dict[str, Any]:
    tester.test(splits, 4, pml_cf.Identity(), pml_cf.Identity())
    return {name: dict(found) for name, found in tester.all_accuracies.items()}


def splits_of(shop: Shop) -> dict[str, Any]:
    return {"val": shop.split("train"), "test": shop.split("query", "gallery")}


def slow_scores(shop: Shop) -> dict[str, float]:
    """Every query against every gallery image by cosine, from the definitions."""
    points = shop.points.numpy().astype(float)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    gallery = np.flatnonzero(shop.roles == "gallery")
    rows = []
    for i in np.flatnonzero(shop.roles == "query"):
        ranked = gallery[np.argsort(-points[gallery] @ points[i], kind="stable")]
        right = shop.labels[ranked] == shop.labels[i]
        r = int(right.sum())  # the number of gallery images of the class
        precision_at = np.cumsum(right)[:r] / np.arange(1, r + 1)
        recalls = [float(right[:k].any()) for k in (1, 10, 20, 30, 40)]
        rows.append(
            [*recalls, float((precision_at * right[:r]).sum() / r), float(right[:r].mean())]
        )
    names = [f"recall_at_{k}" for k in (1, 10, 20, 30, 40)]
    names += ["mean_average_precision_at_r", "r_precision"]
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))


@pytest.mark.parametrize("batch_size", [7, 256])
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_a_slow_computation(seed: int, batch_size: int) -> None:
    shop = Shop(seed)
    tester = make(QueryGalleryTester, RecallAtKCalculator(), batch_size=batch_size)
    found = accuracies(tester, splits_of(shop))["test"]
    expected = slow_scores(shop)
    for name, value in expected.items():
        assert found[f"{name}_level0"] == pytest.approx(value, abs=1e-9), name
    assert 0.1 < expected["mean_average_precision_at_r"] < expected["recall_at_1"] < 1


@pytest.mark.parametrize("settings", [{}, {"normalize_embeddings": False}, {"pca": 3}])
def test_other_splits_are_the_hosts_bit_for_bit(settings: dict[str, Any]) -> None:
    """In the same call as a split of queries and gallery, whichever comes first."""
    shop = Shop(5)
    splits = splits_of(shop)
    host = accuracies(make(GlobalEmbeddingSpaceTester, **settings), splits)
    for order in (("val", "test"), ("test", "val")):
        found = accuracies(
            make(QueryGalleryTester, **settings), {name: splits[name] for name in order}
        )
        assert found["val"] == host["val"]
        for metric, value in found["test"].items():
            assert metric == "epoch" or value != host["test"][metric]


def test_data_without_roles_are_the_hosts_bit_for_bit(blobs: Any) -> None:
    splits = {"val": blobs(noise=2.0), "test": blobs(noise=2.5, seed=1)}
    host = accuracies(make(GlobalEmbeddingSpaceTester), splits)
    assert accuracies(make(QueryGalleryTester), splits) == host
    assert 0 < host["val"]["mean_average_precision_at_r_level0"] < 1


def test_a_gallery_image_never_answers_for_a_query_it_equals() -> None:
    """Each query has its twin as another item's gallery image: all against all would hide it."""
    shop = Shop(0)
    queries = np.flatnonzero(shop.roles == "query")
    gallery = np.flatnonzero(shop.roles == "gallery")
    for i in queries:
        other = next(j for j in gallery if shop.labels[j] != shop.labels[i])
        gallery = gallery[gallery != other]
        shop.points[other] = shop.points[i]
    found = accuracies(make(QueryGalleryTester), splits_of(shop))["test"]
    assert found["precision_at_1_level0"] == 0


def test_its_records_have_a_name_of_their_own() -> None:
    hooks = HookContainer(None)
    name = hooks.record_group_name(make(QueryGalleryTester), "test")
    host = hooks.record_group_name(make(GlobalEmbeddingSpaceTester), "test")
    assert name == host.replace("GlobalEmbeddingSpaceTester", "QueryGalleryTester") != host


def test_a_split_that_mixes_the_roles_is_refused() -> None:
    shop = Shop(0)
    with pytest.raises(DataError, match="roles gallery, query, train"):
        accuracies(make(QueryGalleryTester), {"test": shop})


@pytest.mark.parametrize("reference_set", ["compared_to_sets_combined", "compared_to_training_set"])
def test_another_reference_set_is_refused(reference_set: str) -> None:
    with pytest.raises(ConfigError, match=f"'{reference_set}'; expected compared_to_self"):
        make(QueryGalleryTester, reference_set=reference_set)
