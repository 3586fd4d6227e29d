from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets import CUB200Files


def test_it_equals_the_host_s_data_set(birds_root: Path) -> None:
    """The host's CUB200 is this ImageFolder, with counts that only the real one has."""
    ours = CUB200Files(birds_root)
    host = ImageFolder(birds_root / "cub2011" / "CUB_200_2011" / "images")
    assert ours.labels.tolist() == host.targets
    assert ours.class_names == host.classes
    assert [str(ours.image_list.path(k)) for k in range(len(ours))] == [p for p, _ in host.imgs]
    for item, (image, label) in zip(ours, host, strict=True):
        assert item["label"] == label
        np.testing.assert_array_equal(item["data"], image)


@pytest.mark.parametrize(
    "place",
    [
        "CUB_200_2011",
        "cub2011",
        "",
        "cub2011/CUB_200_2011/CUB_200_2011",
        "archive/CUB_200_2011",
        "cub2002011/CUB_200_2011",
        "CUB-200-2011/CUB_200_2011/CUB_200_2011",
        "caltech-ucsd-birds/data",
    ],
)
def test_other_places_are_found(
    place: str, tmp_path: Path, make_birds: Callable[..., Path]
) -> None:
    made = make_birds(tmp_path / "made", classes=2, images=1) / "cub2011" / "CUB_200_2011"
    folder = tmp_path / "root" / place
    folder.parent.mkdir(parents=True, exist_ok=True)
    made.rename(folder)
    assert CUB200Files(tmp_path / "root").image_list.root == folder


def test_boxes_cut(birds_root: Path) -> None:
    sizes = {CUB200Files(birds_root, crop_to_bounding_box=True)[k]["data"].size for k in range(9)}
    assert sizes == {(10, 8), (11, 8), (12, 8)}


def test_an_absent_data_set_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"CUB200Files: images\.txt, .*data\.caltech\.edu"):
        CUB200Files(tmp_path)


def test_a_doubled_image_folder(tmp_path: Path, make_birds: Callable[..., Path]) -> None:
    folder = make_birds(tmp_path, classes=2, images=1) / "cub2011" / "CUB_200_2011"
    (folder / "images").rename(folder / "x")
    (folder / "images").mkdir()
    (folder / "x").rename(folder / "images" / "images")
    birds = CUB200Files(tmp_path)
    assert all(path.startswith("images/images/001") for path in birds.image_list.paths[:1])
    assert birds[1]["label"] == 1
