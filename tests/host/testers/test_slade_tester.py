"""The tester is the host's: every metric bit for bit; a pool is embedded as val and test are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.logging_presets import HookContainer
from torch import Tensor, nn
from torch.utils.data import Dataset

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.host.testers import SladeTester

METRICS = {"AMI", "NMI", "mean_average_precision_at_r", "precision_at_1", "r_precision"}


class Points(Dataset[Any]):
    """Embeddings given as they are, with labels of one or more levels."""

    def __init__(self, points: np.ndarray, labels: np.ndarray) -> None:
        self.points = torch.as_tensor(points, dtype=torch.float32)
        self.labels = labels

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"data": self.points[index], "label": torch.as_tensor(self.labels[index])}


def noisy_points(seed: int, levels: int = 1) -> Points:
    """Classes of one to nine images that overlap, with equal points in two classes and in one."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(12), [1, 9, 2, 5, 1, 7, 3, 4, 8, 6, 2, 1])
    points = rng.normal(size=(12, 6))[labels] + 1.1 * rng.normal(size=(len(labels), 6))
    points[20:24] = points[3]
    points[1:3] = points[40]
    order = rng.permutation(len(labels))
    columns = np.stack([labels, labels // 4, labels % 2], axis=1)[:, :levels]
    return Points(points[order], columns[order] if levels > 1 else labels[order])


def item_getter(batch: dict[str, Any]) -> tuple[Any, Any]:
    return batch["data"], batch["label"]


def make(cls: type, **settings: Any) -> Any:
    defaults: dict[str, Any] = {"dataloader_num_workers": 0, "data_and_label_getter": item_getter}
    return cls(**(defaults | settings))


def accuracies(cls: type, splits: dict[str, Points], **settings: Any) -> dict[str, Any]:
    tester = make(cls, accuracy_calculator=AccuracyCalculator(), **settings)
    tester.test(splits, 4, pml_cf.Identity(), pml_cf.Identity())
    return {name: dict(found) for name, found in tester.all_accuracies.items()}


SETTINGS: dict[str, dict[str, Any]] = {
    "as configured": {},
    "not normalised": {"normalize_embeddings": False},
    "PCA": {"pca": 3},
    "PCA, not normalised": {"pca": 3, "normalize_embeddings": False},
    "trunk output": {"use_trunk_output": True},
    "with the other splits": {"reference_set": "compared_to_sets_combined"},
    "with train": {"reference_set": "compared_to_training_set"},
    "small batches": {"batch_size": 7},
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", SETTINGS)
def test_every_metric_is_the_hosts_bit_for_bit(name: str, seed: int) -> None:
    splits = {"train": noisy_points(seed), "val": noisy_points(seed + 10)}
    host = accuracies(GlobalEmbeddingSpaceTester, splits, **SETTINGS[name])
    ours = accuracies(SladeTester, splits, **SETTINGS[name])
    assert ours == host
    for split in splits:
        assert set(host[split]) == {"epoch", *(f"{metric}_level0" for metric in METRICS)}
        values = [host[split][f"{metric}_level0"] for metric in METRICS]
        assert all(0 < value < 1 for value in values), "a case that tells nothing"


@pytest.mark.parametrize("level", [0, 1, 2, [0, 2], "all"])
def test_every_metric_of_a_label_hierarchy_is_the_hosts(level: Any) -> None:
    splits = {"val": noisy_points(5, levels=3)}
    host = accuracies(GlobalEmbeddingSpaceTester, splits, label_hierarchy_level=level)
    assert accuracies(SladeTester, splits, label_hierarchy_level=level) == host
    levels = {"all": 3}.get(str(level), len(level) if isinstance(level, list) else 1)
    assert len(host["val"]) == 1 + len(METRICS) * (levels + (levels > 1))


def test_precision_at_1_by_hand() -> None:
    """On a line at 0, 1 | 3.5, 3.75 | 10 with classes a a | a b | b.

    Nearest: 0 -> 1 (a, right), 1 -> 0 (right), 3.5 -> 3.75 (wrong), 3.75 -> 3.5 (wrong),
    10 -> 3.75 (b, right): 3 of 5.
    """
    splits = {"val": Points(np.array([[0], [1], [3.5], [3.75], [10]]), np.array([0, 0, 0, 1, 1]))}
    found = accuracies(SladeTester, splits, normalize_embeddings=False)
    assert found["val"]["precision_at_1_level0"] == 3 / 5


def test_ideal_points_score_one_and_shuffled_labels_score_by_chance(blobs: Any) -> None:
    """8 classes of 25: a neighbour is of the own class by chance in 24 of 199 cases."""
    data = blobs(per_class=25)
    ideal = accuracies(SladeTester, {"val": Points(data.points.numpy(), data.labels)})["val"]
    assert {ideal[f"{metric}_level0"] for metric in METRICS - {"AMI", "NMI"}} == {1.0}
    shuffled = np.random.default_rng(0).permutation(data.labels)
    chance = accuracies(SladeTester, {"val": Points(data.points.numpy(), shuffled)})["val"]
    assert chance["precision_at_1_level0"] == pytest.approx(24 / 199, abs=0.07)
    assert chance["AMI_level0"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pca": 3},
        {"normalize_embeddings": False, "use_trunk_output": True},
        {"label_hierarchy_level": [0, 1]},
        {"accuracy_calculator": AccuracyCalculator(avg_of_avgs=True)},
    ],
)
def test_record_names_are_the_hosts(settings: dict[str, Any]) -> None:
    hooks = HookContainer(None, record_group_name_prefix="p")
    host, ours = make(GlobalEmbeddingSpaceTester, **settings), make(SladeTester, **settings)
    assert hooks.record_group_name(ours, "val") == hooks.record_group_name(host, "val")
    assert "GlobalEmbeddingSpaceTester" in hooks.record_group_name(ours, "val")


# ---- embedding a pool ---------------------------------------------------------------------------


class Pool(Points):
    """Unlabeled images: points without a label."""

    def __init__(self, points: Any) -> None:
        super().__init__(points, np.zeros(len(points)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"data": self.points[index]}


def models(tiny_trunk: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    """A trunk in training mode with moved statistics, so that a forgotten eval() would show."""
    torch.manual_seed(0)
    trunk, embedder = tiny_trunk(), nn.Linear(16, 5)
    trunk(torch.randn(64, 8))
    return trunk, nn.Sequential(embedder, nn.Dropout(0.5))


@pytest.mark.parametrize("batch_size", [1, 7, 32, 96, 500])
@pytest.mark.parametrize(
    "settings", [{}, {"normalize_embeddings": False}, {"use_trunk_output": True}]
)
def test_a_pool_is_embedded_as_the_host_embeds_images(
    batch_size: int,
    settings: dict[str, Any],
    blobs: Any,
    tiny_trunk: Callable[[], nn.Module],
    tmp_path: Path,
) -> None:
    pool = blobs(subset="unlabeled", noise=1.0)
    tester = make(SladeTester, batch_size=batch_size, **settings)
    trunk, embedder = models(tiny_trunk)
    ours = tester.embed_pool(pool, trunk, embedder, tmp_path / "pool.npy")
    assert not trunk.training
    assert not embedder.training

    host = make(GlobalEmbeddingSpaceTester, batch_size=batch_size, **settings)
    expected, _ = host.get_all_embeddings(pool, trunk, embedder)
    assert ours.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(ours, expected)


def test_a_pool_lies_on_disk_and_needs_no_labels(
    tiny_trunk: Callable[[], nn.Module], tmp_path: Path
) -> None:
    pool = Pool(torch.randn(10, 8, generator=torch.Generator().manual_seed(0)))
    array = make(SladeTester).embed_pool(pool, *models(tiny_trunk), tmp_path / "pool.npy")
    assert isinstance(array, np.memmap)
    assert array.shape == (10, 5)
    np.testing.assert_array_equal(np.load(tmp_path / "pool.npy"), array)
    np.testing.assert_allclose(np.linalg.norm(array, axis=1), 1, rtol=1e-6)


def test_no_gradient_is_kept(tmp_path: Path) -> None:
    class Watching(nn.Linear):
        grads: set[bool]

        def forward(self, x: Tensor) -> Tensor:
            self.grads = {torch.is_grad_enabled()}
            return super().forward(x)

    embedder = Watching(8, 4)
    make(SladeTester).embed_pool(Pool(torch.randn(3, 8)), nn.Identity(), embedder, tmp_path / "p")
    assert embedder.grads == {False}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("normalised", [True, False])
def test_embeddings_that_are_not_finite_are_refused(
    value: float, normalised: bool, tmp_path: Path
) -> None:
    """Not a ValueError: the host would report an accuracy of 0."""
    points = torch.ones(10, 3)
    points[6, 1] = value
    tester = make(SladeTester, batch_size=4, normalize_embeddings=normalised)
    with pytest.raises(DataError, match="pool images 4 to 7 are not finite"):
        tester.embed_pool(Pool(points), nn.Identity(), nn.Identity(), tmp_path / "pool.npy")


def test_half_precision_is_widened(tmp_path: Path) -> None:
    points = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))

    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.half()

    tester = make(SladeTester, normalize_embeddings=False)
    array = tester.embed_pool(Pool(points), nn.Identity(), Half(), tmp_path / "pool.npy")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, points.half().float().numpy())


def test_pca_is_refused_for_a_pool(tmp_path: Path) -> None:
    tester = make(SladeTester, pca=2)
    with pytest.raises(ConfigError, match="pca is 2"):
        tester.embed_pool(Pool(torch.ones(4, 3)), nn.Identity(), nn.Identity(), tmp_path / "p.npy")


def test_an_empty_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the pool gave 0 of 0 images"):
        make(SladeTester).embed_pool(
            Pool(torch.ones(0, 3)), nn.Identity(), nn.Identity(), tmp_path / "p.npy"
        )
