import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import Compose, Normalize, RandomAffine, ToTensor

from slade_plugin.base.errors import DataError, ExperimentError
from slade_plugin.data.datasets.stored_images import StoredImages, check_writable, store

IMAGES = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
CLASSES = {
    "labeled": [{"name": "a", "images": 1}, {"name": "b", "images": 2}],
    "unlabeled": [{"name": "c", "images": 3}],
}


class Squares(StoredImages):
    remedy = "and draw them again"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return store("Squares", tmp_path, "v1", IMAGES, {"seed": 7}, CLASSES)


def test_what_is_stored_is_read(manifest: Path) -> None:
    labeled, pool = (Squares(manifest, None, subset) for subset in ("labeled", "unlabeled"))
    assert labeled.labels.tolist() == [0, 1, 1]
    assert labeled.class_names == ["a", "b"]
    assert pool.labels.tolist() == [0, 0, 0]
    for dataset, expected in ((labeled, IMAGES[:3]), (pool, IMAGES[3:])):
        np.testing.assert_array_equal([np.asarray(item["data"]) for item in dataset], expected)
    assert labeled.fingerprint != pool.fingerprint


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("subset", ["labeled", "unlabeled"])
def test_a_batch_is_its_items_bit_for_bit(manifest: Path, subset: str, random: bool) -> None:
    steps = [ToTensor(), Normalize([0.5], [0.32])]
    data = Squares(manifest, Compose([RandomAffine(90), *steps] if random else steps), subset)
    torch.manual_seed(3)
    batch = data.__getitems__([2, 0, -1])
    torch.manual_seed(3)
    for found, expected in zip(batch, (data[2], data[0], data[-1]), strict=True):
        assert found["label"] == expected["label"]
        assert type(found["label"]) is int
        assert torch.equal(found["data"], expected["data"])
        assert found["data"].shape == (1, 4, 4)
    with pytest.raises(IndexError):
        data.__getitems__([3])


def test_a_batch_of_color_images_is_what_its_items_are(tmp_path: Path) -> None:
    colored = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    manifest = store("Squares", tmp_path, "v1", colored, {}, CLASSES)
    steps = [ToTensor(), Normalize([0.5, 0.4, 0.3], [0.3, 0.2, 0.1])]
    data = Squares(manifest, Compose(steps), "unlabeled")
    for found, index in zip(data.__getitems__([2, 0]), (2, 0), strict=True):
        assert torch.equal(found["data"], data[index]["data"])
        assert found["data"].shape == (3, 4, 5)
    image = Squares(manifest, None, "unlabeled")[1]["data"]
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), colored[4])


def test_the_manifest_says_how_they_were_made_and_names_the_array(manifest: Path) -> None:
    content = json.loads(manifest.read_text())
    assert content["seed"] == 7
    assert sorted(path.name for path in manifest.parent.iterdir()) == [
        "v1.json",
        content["images_file"],
    ]
    assert content["images_sha256"][:12] in content["images_file"]


def test_a_damaged_file_names_the_class_and_the_remedy(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace('"seed": 7', '"seed": 8'))
    with pytest.raises(DataError, match=r"Squares: .*own hash\. Delete .* and draw them again\."):
        Squares(manifest, None, "labeled")


def test_an_unusable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Squares cannot store its images in .*file"):
        check_writable("Squares", tmp_path / "file")
    check_writable("Squares", tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder").is_dir()


def test_no_manifest_without_its_array(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="Cannot write"):
        store("Squares", tmp_path / "missing", "v1", IMAGES, {}, CLASSES)
    assert list(tmp_path.iterdir()) == []
