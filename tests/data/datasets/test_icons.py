"""What is special to Icons; test_stored_images.py and test_icon_building.py have the rest."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import ToTensor

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.datasets import Icons
from slade_plugin.data.datasets.icons import STEM, folder_of
from slade_plugin.data.datasets.stored_images import store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = folder_of(tmp_path)
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32), dtype=np.uint8)
    classes = {
        "labeled": [{"name": "anchor", "images": 2}, {"name": "bell", "images": 1}],
        "unlabeled": [{"name": "cake", "images": 4}],
    }
    store("Icons", folder, STEM, images, {}, classes)
    return tmp_path


def test_the_host_s_form(root: Path) -> None:
    dataset = Icons(str(root), transform=None, download=True)
    assert dataset.class_names == ["anchor", "bell"]
    assert dataset.labels.tolist() == [0, 0, 1]
    item = dataset[2]
    assert isinstance(item["data"], Image.Image)
    assert (item["data"].mode, item["data"].size, item["label"]) == ("L", (32, 32), 1)
    assert Icons(root, transform=ToTensor(), subset="unlabeled")[0]["data"].shape == (1, 32, 32)


def test_missing_images_are_answered_with_the_commands_that_build_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"v1\.json does not exist") as caught:
        Icons(tmp_path)
    for command in ("npm pack", "tar xzf", "pip install", f"--dataset_root {tmp_path}"):
        assert command in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_subset_is_named_even_before_the_images_are_built(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Icons: subset is 'pool'"):
        Icons(tmp_path, subset="pool")


def test_a_damaged_file_is_found(root: Path) -> None:
    (path,) = folder_of(root).glob("*.npy")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"Icons: .* damaged .*Delete .* and build them again"):
        Icons(root)
