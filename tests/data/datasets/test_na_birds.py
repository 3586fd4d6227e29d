import shutil
from pathlib import Path

import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets import NABirds


def test_sparse_ids_names_and_both_subsets(birds_root: Path) -> None:
    dataset = NABirds(birds_root)
    assert len(dataset) == 32
    assert sorted(set(dataset.labels)) == list(range(8))
    assert dataset.class_names[:2] == ["Rüppell's Warbler", "Bird 360 (Female/juvenile)"]
    for path, label in zip(dataset.image_list.paths, dataset.labels, strict=True):
        assert path.startswith(f"images/{295 + 65 * label:04d}/")
        assert "/._" not in path
    assert all(item["data"].mode == "RGB" for item in dataset)


def test_its_names_are_a_filter(birds_root: Path) -> None:
    dataset = NABirds(birds_root, excluded_classes=["Rüppell's Warbler"])
    assert len(dataset.class_names) == 7


def test_a_doubled_folder_is_found(birds_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nabirds" / "nabirds"
    shutil.copytree(birds_root / "nabirds", folder)
    assert NABirds(tmp_path).image_list.root == folder
    assert NABirds(tmp_path).fingerprint == NABirds(birds_root).fingerprint


def test_an_absent_data_set_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"NABirds: images\.txt, .*dl\.allaboutbirds\.org/nabirds"):
        NABirds(tmp_path)


@pytest.mark.parametrize("place", ["NABirds", "archive/nabirds", "nabirds-v1/nabirds"])
def test_other_copies_are_found(place: str, birds_root: Path, tmp_path: Path) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(birds_root / "nabirds", tmp_path / place)
    assert len(NABirds(tmp_path)) == len(NABirds(birds_root))
