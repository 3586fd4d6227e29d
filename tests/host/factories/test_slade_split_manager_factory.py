import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from powerful_benchmarker.factories import SplitManagerFactory
from powerful_benchmarker.split_managers import ClassDisjointSplitManager

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.split_managers.unlabeled_pool_split_manager import UnlabeledPoolSplitManager
from slade_plugin.host.factories import SladeSplitManagerFactory

FOLDS = {
    "test_size": 0.5,
    "test_start_idx": 0.5,
    "num_training_partitions": 2,
    "num_training_sets": 2,
}
SPEC = {"ClassDisjointSplitManager": FOLDS}


@pytest.fixture
def host_kwargs(blobs: Any) -> dict[str, Any]:
    return {
        "dataset": blobs,
        "original_dataset_params": {"per_class": 4},
        "transforms": {"train": object(), "eval": object()},
        "dataset_root": "data",
    }


def indices(manager: Any) -> list[list[int]]:
    return [list(split.indices) for split in manager.split_scheme_holder.filter()]


def test_without_a_pool_it_is_the_hosts_manager(
    full_getter: Any, host_kwargs: dict[str, Any]
) -> None:
    host = SplitManagerFactory(getter=full_getter).create(SPEC, kwargs=host_kwargs)
    ours = SladeSplitManagerFactory(getter=full_getter).create(SPEC, kwargs=host_kwargs)
    assert type(ours) is type(host) is ClassDisjointSplitManager
    assert indices(ours) == indices(host)


def test_with_a_pool_the_splits_are_the_hosts(
    full_getter: Any, host_kwargs: dict[str, Any], blobs: Any
) -> None:
    host = SplitManagerFactory(getter=full_getter).create(SPEC, kwargs=host_kwargs)
    pool = {
        "unlabeled_dataset": blobs,
        "unlabeled_dataset_params": {"subset": "unlabeled", "per_class": 3},
    }
    before = copy.deepcopy(pool["unlabeled_dataset_params"])
    ours = SladeSplitManagerFactory(getter=full_getter).create(SPEC, kwargs=host_kwargs | pool)
    assert isinstance(ours, UnlabeledPoolSplitManager)
    assert len(indices(host)) == 2 * 2 * 3
    assert indices(ours) == indices(host)
    assert ours.split_scheme_names == host.split_scheme_names
    assert len(ours.get_unlabeled_dataset("train")) == 8 * 3
    for name, transform in host_kwargs["transforms"].items():
        assert ours.get_unlabeled_dataset(name).transform is transform
        assert ours.get_dataset(name, "val").dataset.transform is transform
    assert pool["unlabeled_dataset_params"] == before


def test_the_pool_takes_the_hosts_root_unless_it_has_its_own(
    full_getter: Any, host_kwargs: dict[str, Any], blobs: Any
) -> None:
    class Rooted(blobs):
        def __init__(self, root: str, transform: Any = None) -> None:
            super().__init__(transform=transform, subset="unlabeled")
            self.root = root

    factory = SladeSplitManagerFactory(getter=full_getter)
    for params, root in (({}, "data"), ({"root": "elsewhere"}, "elsewhere")):
        pool = {"unlabeled_dataset": Rooted, "unlabeled_dataset_params": params}
        ours = factory.create(SPEC, kwargs=host_kwargs | pool)
        assert ours.get_unlabeled_dataset("eval").root == root


def test_a_wrong_argument_of_the_pool_is_named(
    full_getter: Any, host_kwargs: dict[str, Any], blobs: Any
) -> None:
    pool = {"unlabeled_dataset": blobs, "unlabeled_dataset_params": {"subsett": "unlabeled"}}
    with pytest.raises(ConfigError, match=r"unlabeled_dataset.*'subsett'.*did you mean 'subset'"):
        SladeSplitManagerFactory(getter=full_getter).create(SPEC, kwargs=host_kwargs | pool)


def test_an_overlap_the_host_does_not_see_is_refused(
    full_getter: Any, host_kwargs: dict[str, Any], blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under `python -O`, where the host's own checks are gone."""

    def everything(self: Any, dataset: Any, labels: Any) -> list[int]:
        return list(range(len(dataset)))

    monkeypatch.setattr(ClassDisjointSplitManager, "split_assertions", lambda self: None)
    monkeypatch.setattr(ClassDisjointSplitManager, "convert_to_subset_idx", everything)
    pool = {"unlabeled_dataset": blobs, "unlabeled_dataset_params": {"subset": "unlabeled"}}
    with pytest.raises(DataError, match="images are in train and in val"):
        SladeSplitManagerFactory(getter=full_getter).create(SPEC, kwargs=host_kwargs | pool)


class Numbered(ImageFiles):
    """Eight classes of two images; their files are under root."""

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        paths = sorted(path.name for path in root.glob("*.png"))
        labels = np.arange(len(paths)) // 2
        return ImageList(root, np.array(paths), labels, [f"class {k}" for k in range(8)])


@pytest.fixture
def two_folders(tmp_path: Path) -> Path:
    """Image 5 of the pool is image 9 of the labeled ones, a val or test image in any case."""
    for folder in ("labeled", "pool"):
        (tmp_path / folder).mkdir()
        for k in range(16):
            Image.new("RGB", (4, 4), (k, len(folder), 0)).save(tmp_path / folder / f"{k:02}.png")
    shared = (tmp_path / "labeled" / "09.png").read_bytes()
    (tmp_path / "pool" / "05.png").write_bytes(shared)
    return tmp_path


def numbered(getter: Any, folder: Path, leakage: Any) -> Any:
    kwargs = {
        "dataset": Numbered,
        "original_dataset_params": {"root": str(folder / "labeled")},
        "transforms": {"train": None, "eval": np.asarray},
        "dataset_root": "",
        "unlabeled_dataset": Numbered,
        "unlabeled_dataset_params": {"root": str(folder / "pool")},
        "leakage": leakage,
    }
    return SladeSplitManagerFactory(getter=getter).create(SPEC, kwargs=kwargs)


def test_what_is_evaluated_on_is_left_out_of_the_pool(full_getter: Any, two_folders: Path) -> None:
    ours = numbered(full_getter, two_folders, None)
    assert [e["image"] for e in ours.leakage.content["dropped"]] == ["05.png"]
    for transform in ("train", "eval"):
        pool = ours.get_unlabeled_dataset(transform)
        assert "05.png" not in pool.image_list.paths
        assert len(pool) == 15
        assert len(ours.get_dataset(transform, "test").dataset) == 16
    assert np.asarray(ours.get_unlabeled_dataset("eval")[5]["data"])[0, 0].tolist() == [6, 4, 0]
    whole = Numbered(two_folders / "pool")
    assert ours.get_unlabeled_dataset("eval").fingerprint != whole.fingerprint


def test_the_pool_stays_whole_if_the_config_says_so(full_getter: Any, two_folders: Path) -> None:
    ours = numbered(full_getter, two_folders, {"drop_identical": False})
    assert len(ours.get_unlabeled_dataset("train")) == 16


def test_splits_are_not_touched_by_what_is_dropped(full_getter: Any, two_folders: Path) -> None:
    with_drop, without = (
        numbered(full_getter, two_folders, {"drop_identical": drop}) for drop in (True, False)
    )
    assert indices(with_drop) == indices(without)
