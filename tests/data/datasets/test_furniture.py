"""What is special to Furniture; the rest: test_stored_images.py, test_furniture_building.py."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import ToTensor

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.datasets import Furniture
from slade_plugin.data.datasets.furniture import folder_of, stem_of
from slade_plugin.data.datasets.stored_images import store

CLASSES = {
    "labeled": [{"name": "Scopia/bed", "images": 2}, {"name": "Scopia/oven", "images": 2}],
    "unlabeled": [{"name": "KatorLegaz/sofa", "images": 2}],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = folder_of(tmp_path)
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    store("Furniture", folder, stem_of(2, 32), images, {}, CLASSES)
    return tmp_path


def test_the_host_s_form(root: Path) -> None:
    dataset = Furniture(str(root), transform=None, download=True, views=2, size=32)
    assert dataset.class_names == ["Scopia/bed", "Scopia/oven"]
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    item = dataset[2]
    assert isinstance(item["data"], Image.Image)
    assert (item["data"].mode, item["data"].size, item["label"]) == ("RGB", (32, 32), 1)
    np.testing.assert_array_equal(np.asarray(item["data"]), dataset.images[2])
    pool = Furniture(root, ToTensor(), subset="unlabeled", views=2, size=32)
    assert pool[0]["data"].shape == (3, 32, 32)


def test_missing_images_are_answered_with_the_commands_that_build_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"v1_12_views_96_px\.json does not exist") as caught:
        Furniture(tmp_path)
    for words in ("apt-get download", "pip install", f"--dataset_root {tmp_path} --views 12"):
        assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"subset": "pool"}, "Furniture: subset is 'pool'"),
        ({"views": 1}, r"views is 1; expected an integer >= 2"),
        ({"size": "96"}, "size is '96'; expected an integer >= 32"),
    ],
)
def test_a_wrong_option_is_named_even_before_the_images_are_built(
    wrong: dict[str, object], text: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=text):
        Furniture(tmp_path, **wrong)  # type: ignore[arg-type]


def test_a_damaged_file_is_found(root: Path) -> None:
    (path,) = folder_of(root).glob("*.npy")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"Furniture: .* damaged .*slade-bench build furniture"):
        Furniture(root, views=2, size=32)
