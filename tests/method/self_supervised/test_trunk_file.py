import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Subset

from slade_plugin.base.errors import CheckpointError, ExperimentError
from slade_plugin.method.models.weight_files import state_sha256
from slade_plugin.method.self_supervised.trunk_file import (
    load_trunk,
    save_trunk,
    train_split_sha256,
    trunk_paths,
)

SCHEME = "Test50_50_Partitions4_0"
MANIFEST = {"labeled_sha256": "abc", "settings": {"epsilon": 0.03, "views": {"crop_sizes": [32]}}}


@pytest.fixture
def saved(tmp_path: Path, tiny_trunk: Callable[[], nn.Module]) -> nn.Module:
    trunk = tiny_trunk()
    (tmp_path / SCHEME).mkdir()
    save_trunk(trunk, MANIFEST, tmp_path, SCHEME)
    return trunk


def test_what_is_saved_is_read_back(
    saved: nn.Module, tmp_path: Path, tiny_trunk: Callable[[], nn.Module]
) -> None:
    trunk_file = load_trunk(tmp_path, SCHEME, MANIFEST)
    trunk = tiny_trunk()
    trunk_file.load_into(trunk)
    assert state_sha256(trunk) == state_sha256(saved)
    assert {k: trunk_file.manifest[k] for k in MANIFEST} == MANIFEST
    assert trunk_file.manifest["split_scheme"] == SCHEME


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=f"trunk of split scheme {SCHEME} is missing"):
        load_trunk(tmp_path, SCHEME, {})


def test_weights_without_a_manifest_are_missing(saved: nn.Module, tmp_path: Path) -> None:
    """The manifest is written last, so this is what an interruption leaves."""
    trunk_paths(tmp_path, SCHEME)[1].unlink()
    with pytest.raises(ExperimentError, match="is missing"):
        load_trunk(tmp_path, SCHEME, {})


@pytest.mark.parametrize("which", [0, 1])
def test_one_changed_byte_is_noticed(which: int, saved: nn.Module, tmp_path: Path) -> None:
    path = trunk_paths(tmp_path, SCHEME)[which]
    content = path.read_bytes()
    place = content.index(b"0.03") + 3 if which else len(content) // 2
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(CheckpointError, match=r"damaged: a hash does not match.*run the SwAV"):
        load_trunk(tmp_path, SCHEME, {})


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json"])
def test_a_damaged_manifest_is_named(text: str, saved: nn.Module, tmp_path: Path) -> None:
    trunk_paths(tmp_path, SCHEME)[1].write_text(text)
    with pytest.raises(CheckpointError, match=r"manifest\.json cannot be read"):
        load_trunk(tmp_path, SCHEME, {})


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("labeled_sha256", "'abc'", "other labeled images or splits .config_dataset."),
        ("pool_sha256", "None", "another pool .unlabeled_dataset, leakage., possibly with val or"),
    ],
)
def test_the_trunk_of_other_images_is_refused(
    key: str, value: str, text: str, saved: nn.Module, tmp_path: Path
) -> None:
    message = f"made for {key} {value}; expected 'def': it was trained on {text}.*Give the folder"
    with pytest.raises(ExperimentError, match=message):
        load_trunk(tmp_path, SCHEME, {key: "def"})


def test_the_trunk_of_another_scheme_is_refused(saved: nn.Module, tmp_path: Path) -> None:
    (tmp_path / SCHEME).rename(tmp_path / "other")
    with pytest.raises(ExperimentError, match=f"made for split_scheme '{SCHEME}'"):
        load_trunk(tmp_path, "other", {})


def test_another_architecture_is_refused(saved: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="differs in architecture"):
        load_trunk(tmp_path, SCHEME, {}).load_into(nn.Linear(2, 2))


class Labeled:
    """A data set known by its class, length and labels."""

    def __init__(self, labels: list[int]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)


def split(labels: list[int], indices: list[int]) -> Any:
    train = Subset(Labeled(labels), indices)  # type: ignore[arg-type]
    return SimpleNamespace(get_dataset=lambda transform, name: {"train": train}[name])


def test_the_hash_of_the_train_split_changes_with_images_and_indices() -> None:
    hashes = {
        train_split_sha256(split(*case), "train")
        for case in [([0, 0, 1], [0, 1]), ([0, 0, 1], [0, 2]), ([0, 1, 1], [0, 1]), ([0, 0], [0])]
    }
    assert len(hashes) == 4
    tensor = split([0, 0, 1], torch.tensor([0, 1]).tolist())
    assert train_split_sha256(tensor, "train") in hashes


def test_a_split_that_is_no_subset_has_a_hash() -> None:
    whole = SimpleNamespace(get_dataset=lambda transform, name: Labeled([0, 1]))
    assert json.dumps(train_split_sha256(whole, "train"))
