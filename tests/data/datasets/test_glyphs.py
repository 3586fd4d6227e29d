import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from powerful_benchmarker.factories import SplitManagerFactory
from powerful_benchmarker.split_managers import ClassDisjointSplitManager
from torchvision.transforms import ToTensor

from slade_plugin.base.errors import ConfigError, DataError, ExperimentError
from slade_plugin.data.datasets import Glyphs, stored_images
from slade_plugin.data.rendering import glyph_classes, glyph_rendering

LETTERS = 10  # of each script: A to J, and a Cyrillic letter that looks like I


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set folder in which the small set is rendered; tests that change it take a copy."""
    path = tmp_path_factory.mktemp("datasets")
    Glyphs(path, letters_per_script=LETTERS)
    return path


@pytest.fixture
def own_root(root: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "glyphs"
    folder.mkdir()
    for path in (root / "glyphs").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return tmp_path


def small(root: Path, **options: Any) -> Glyphs:
    return Glyphs(str(root), letters_per_script=LETTERS, **options)


def file_of(root: Path, suffix: str) -> Path:
    [path] = (root / "glyphs").glob(f"*{suffix}")
    return path


@pytest.mark.parametrize("subset", ["labeled", "unlabeled"])
def test_labels_are_complete_and_in_range(root: Path, subset: str) -> None:
    dataset = small(root, subset=subset)
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.shape == (len(dataset),)
    np.testing.assert_array_equal(np.unique(dataset.labels), np.arange(len(dataset.class_names)))
    assert len(set(dataset.class_names)) == len(dataset.class_names)


@pytest.mark.parametrize("subset", ["labeled", "unlabeled"])
def test_every_class_has_at_least_24_images(root: Path, subset: str) -> None:
    assert np.bincount(small(root, subset=subset).labels).min() >= 24


def test_the_subsets_share_no_class_and_no_image(root: Path) -> None:
    labeled, pool = small(root), small(root, subset="unlabeled")
    assert all(name.startswith("LATIN") for name in labeled.class_names)
    assert not any(name.startswith("LATIN") for name in pool.class_names)
    assert "CYRILLIC CAPITAL LETTER DJE" in pool.class_names
    assert "CYRILLIC CAPITAL LETTER BYELORUSSIAN-UKRAINIAN I" not in pool.class_names
    assert len(labeled) + len(pool) == len(labeled.images)


def test_items_are_what_the_host_reads(root: Path) -> None:
    item = small(root)[5]
    assert set(item) == {"data", "label"}
    assert isinstance(item["data"], Image.Image)
    assert (item["data"].mode, item["data"].size) == ("L", (32, 32))
    assert type(item["label"]) is int


@pytest.mark.parametrize("subset", ["labeled", "unlabeled"])
def test_items_are_the_images_of_their_own_letter(root: Path, subset: str) -> None:
    """Each image is rendered anew from its class name, face and instance."""
    dataset = small(root, subset=subset)
    faces = glyph_classes.load_faces()
    manifest = json.loads(file_of(root, ".json").read_text(encoding="utf-8"))
    for label in (0, len(dataset.class_names) - 1):
        letters = manifest["classes"][subset][label]["letters"]
        drawn = glyph_classes.draw_glyphs(letters, faces)
        item = glyph_classes.GlyphClass(name="", script="", letters=letters)
        expected = glyph_rendering.render_class(item, drawn, faces, 3)
        found = [np.asarray(dataset[i]["data"]) for i in np.flatnonzero(dataset.labels == label)]
        np.testing.assert_array_equal(found, expected)


def test_the_transform_is_applied(root: Path) -> None:
    data = small(root, transform=ToTensor())[0]["data"]
    assert data.shape == (1, 32, 32)
    assert data.dtype == torch.float32


def test_indices_end_where_the_subset_ends(root: Path) -> None:
    dataset = small(root)
    last = dataset[len(dataset) - 1]
    assert dataset[-1]["label"] == last["label"]
    assert dataset[-1]["data"].tobytes() == last["data"].tobytes()
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    assert sum(1 for _ in dataset) == len(dataset)


def test_rendering_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        Glyphs(tmp_path / name, letters_per_script=3)
    for suffix in (".npy", ".json"):
        first, second = (file_of(tmp_path / name, suffix) for name in "ab")
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()


def test_the_second_instance_renders_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyph_classes, "load_faces", pytest.fail)
    assert len(small(root, subset="unlabeled", download=True)) > 0


def test_the_hash_is_checked_once_per_process_and_state_of_the_file(
    own_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Path] = []
    real = stored_images.sha256_of_file
    monkeypatch.setattr(
        stored_images, "sha256_of_file", lambda path: (checked.append(path), real(path))[1]
    )
    for _ in range(3):
        small(own_root)
    assert len(checked) == 1
    os.utime(file_of(own_root, ".npy"), (1, 1))
    small(own_root)
    assert len(checked) == 2


def test_images_are_a_read_only_map_that_is_not_pickled(root: Path) -> None:
    dataset = small(root)
    expected = dataset[3]["data"].tobytes()
    assert isinstance(dataset.images, np.memmap)
    assert not dataset.images.flags.writeable
    assert len(pickle.dumps(dataset)) < dataset.images.nbytes / 10
    assert pickle.loads(pickle.dumps(dataset))[3]["data"].tobytes() == expected
    assert isinstance(copy.deepcopy(dataset).images, np.memmap)


def test_workers_give_the_same_images(root: Path) -> None:
    dataset = small(root, transform=ToTensor())
    loaders = [
        torch.utils.data.DataLoader(dataset, batch_size=200, num_workers=workers)
        for workers in (0, 2)
    ]
    for alone, shared in zip(*loaders, strict=True):
        assert torch.equal(alone["data"], shared["data"])
        assert torch.equal(alone["label"], shared["label"])


def test_one_changed_byte_is_found(own_root: Path) -> None:
    path = file_of(own_root, ".npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"SHA-256 is .*Delete .*\.json") as caught:
        small(own_root)
    assert str(path) in str(caught.value)
    # The way out that the message names.
    file_of(own_root, ".json").unlink()
    assert len(small(own_root)) > 0


def test_a_truncated_file_is_found(own_root: Path) -> None:
    path = file_of(own_root, ".npy")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged"):
        small(own_root)


def test_a_missing_array_is_found(own_root: Path) -> None:
    file_of(own_root, ".npy").unlink()
    with pytest.raises(DataError, match="No such file"):
        small(own_root)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"manifest_sha256": 1}'])
def test_a_damaged_manifest_is_found(own_root: Path, content: str) -> None:
    file_of(own_root, ".json").write_text(content)
    with pytest.raises(DataError, match=r"\.json is damaged"):
        small(own_root)


def test_a_changed_image_count_is_found(own_root: Path) -> None:
    """It would give images the label of their neighbours."""
    path = file_of(own_root, ".json")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["classes"]["labeled"][0]["images"] -= 1
    manifest["classes"]["labeled"][1]["images"] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="does not match its own hash"):
        small(own_root)


def test_an_unusable_root_fails_before_the_rendering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glyph_classes, "load_faces", pytest.fail)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"cannot store its images in .*change dataset_root"):
        small(tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(DataError, match="no permission to write"):
        small(tmp_path)


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ExperimentError, match="No space left"):
        Glyphs(tmp_path, letters_per_script=2)
    assert list((tmp_path / "glyphs").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"subset": "train"}, "subset is 'train'; expected one of labeled, unlabeled"),
        ({"instances_per_face": 0}, "instances_per_face is 0"),
        ({"instances_per_face": True}, "instances_per_face is True; expected an integer >= 1"),
        ({"letters_per_script": 1}, "letters_per_script is 1"),
        ({"letters_per_script": "all"}, "letters_per_script is 'all'"),
    ],
)
def test_bad_options_are_named(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Glyphs(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_other_options_use_other_files(own_root: Path) -> None:
    before = len(small(own_root))
    two = Glyphs(own_root, letters_per_script=LETTERS, instances_per_face=2)
    assert len(two) == before * 2 // 3
    assert len(small(own_root)) == before
    assert len(list((own_root / "glyphs").iterdir())) == 4


class HostGetter:
    """Stands in for the host's getter, which finds classes by name."""

    def get(self, kind: str, **_: Any) -> tuple[type, dict[str, Any]]:
        assert kind == "split_manager"
        return ClassDisjointSplitManager, {
            "test_size": 0.5,
            "test_start_idx": 0.5,
            "num_training_partitions": 4,
            "num_training_sets": 2,
            "hierarchy_level": 0,
            "data_and_label_getter_keys": ["data", "label"],
        }


def test_the_host_builds_and_splits_it(root: Path) -> None:
    manager = SplitManagerFactory(getter=HostGetter())._create_general(
        split_manager_type={},
        dataset=Glyphs,
        original_dataset_params={"letters_per_script": LETTERS},
        transforms={"train": ToTensor(), "eval": ToTensor()},
        dataset_root=str(root),
    )
    assert len(manager.split_scheme_names) == 2
    for scheme in manager.split_scheme_names:
        manager.set_curr_split_scheme(scheme)
        labels = {split: manager.get_label_set("eval", split) for split in ("train", "val", "test")}
        # 10 Latin letters: the second half is test, a quarter of the first half is val.
        assert labels["test"] == set(range(5, 10))
        assert labels["train"] | labels["val"] == set(range(5))
        assert not labels["train"] & labels["val"]
        data, label = manager.data_and_label_getter(manager.get_dataset("train", "train")[0])
        assert data.shape == (1, 32, 32)
        assert label in labels["train"]
