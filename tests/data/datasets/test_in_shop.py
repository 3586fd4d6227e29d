import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.datasets.in_shop import InShop
from slade_plugin.data.split_managers import QueryGallerySplitManager
from tests.clothes_trees import (
    GALLERY,
    LONE_ITEM,
    PER_TRAIN_ITEM,
    QUERIES,
    TEST_ITEMS,
    TRAIN_ITEMS,
    in_shop,
)

PARTITION = "list_eval_partition.txt"
IMAGES = len(TRAIN_ITEMS) * PER_TRAIN_ITEM + len(TEST_ITEMS) * (QUERIES + GALLERY)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    root = tmp_path_factory.mktemp("root")
    in_shop(root / "in_shop")
    return root


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    return Path(shutil.copytree(original / "in_shop", tmp_path / "in_shop"))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_items_and_roles_are_those_of_the_file(original: Path) -> None:
    shop = InShop(original, np.asarray)
    items = sorted([*TRAIN_ITEMS, *TEST_ITEMS, LONE_ITEM])
    assert shop.class_names == [f"id_{item:08d}" for item in items]
    assert len(shop) == IMAGES + 1
    assert shop.published is not None
    assert shop.published[:2] == (7982, 52712)
    assert shop.roles is not None
    expected = {"train": (*TRAIN_ITEMS, LONE_ITEM), "query": TEST_ITEMS, "gallery": TEST_ITEMS}
    for role, of_role in expected.items():
        assert {items[k] for k in shop.labels[shop.roles == role]} == set(of_role)
    assert (shop.roles == "query").sum() == QUERIES * len(TEST_ITEMS)
    for path, label in zip(shop.image_list.paths, shop.labels, strict=True):
        assert path.startswith("Img/img/")
        assert path.split("/")[-2] == shop.class_names[label]
    assert shop[0]["data"].shape == (32, 24, 3)


@pytest.mark.parametrize("place", ["in_shop", "In-shop Clothes Retrieval Benchmark", ""])
@pytest.mark.parametrize(
    ("partition", "images"),
    [("Eval", "img"), ("Anno", "Img/img"), ("", "Img/img_highres"), ("Eval", "img_highres")],
)
def test_known_places(place: str, partition: str, images: str, tmp_path: Path) -> None:
    in_shop(tmp_path / place, partition, images)
    shop = InShop(tmp_path)
    assert shop.image_list.root == tmp_path / place
    assert shop.image_list.paths[0].startswith(f"{images}/WOMEN/Dresses/id_00000001/01_1_front")


def test_the_small_images_are_taken_where_both_are_there(data: Path) -> None:
    shutil.copytree(data / "Img" / "img", data / "img_highres")
    assert InShop(data.parent).image_list.paths[0].startswith("Img/img/")


def test_a_lone_training_image_is_left_out_and_no_test_image(original: Path) -> None:
    whole, shop = InShop(original), InShop(original, min_images_per_class=2)
    assert len(shop) == IMAGES
    assert f"id_{LONE_ITEM:08d}" not in shop.class_names
    assert shop.roles is not None
    assert whole.roles is not None
    assert shop.roles.tolist() == whole.roles[:-1].tolist()
    with pytest.raises(ConfigError, match=r"is 3; expected 1 or 2, .* query and gallery images"):
        InShop(original, min_images_per_class=3)


def test_it_is_split_as_the_file_says(original: Path) -> None:
    shop: Any = InShop(original, min_images_per_class=2)
    manager = QueryGallerySplitManager(num_training_partitions=4, num_training_sets=4)
    manager.create_split_schemes({"eval": dict.fromkeys(("train", "val", "test"), shop)})
    for name in manager.split_scheme_names:
        manager.set_curr_split_scheme(name)
        splits = {n: np.array(s.indices) for n, s in manager.get_dataset_dict("eval").items()}
        assert sorted(splits["test"]) == np.flatnonzero(shop.roles != "train").tolist()
        assert set(shop.roles[np.r_[splits["train"], splits["val"]]]) == {"train"}
        assert len(np.unique(shop.labels[splits["val"]])) == len(TRAIN_ITEMS) / 4
        assert sum(map(len, splits.values())) == IMAGES


def test_a_query_is_never_replaced_by_a_gallery_image(data: Path) -> None:
    """It would find itself."""
    shop = InShop(data.parent, np.asarray, max_unreadable=3)
    of_item = np.flatnonzero(shop.labels == 1)
    queries = [int(i) for i in of_item if shop.roles[i] == "query"]
    shop.image_list.path(queries[0]).write_bytes(b"")
    np.testing.assert_array_equal(shop[queries[0]]["data"], shop[queries[1]]["data"])
    shop.image_list.path(queries[1]).write_bytes(b"")
    with pytest.raises(DataError, match="no image of class 'id_00000002' can be decoded"):
        shop[queries[0]]


def test_the_fingerprint_changes_with_a_role(data: Path) -> None:
    before = InShop(data.parent).fingerprint
    change(data / "Eval" / PARTITION, "query", "gallery")
    assert InShop(data.parent).fingerprint != before


def test_an_absent_data_set_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        InShop(tmp_path)
    message = str(error.value)
    assert f"Eval/{PARTITION} or Anno/{PARTITION} or {PARTITION}, Img/img or img" in message
    assert f"looked in {tmp_path}/in_shop; " in message
    assert "InShopRetrieval.html), and put Eval and Img, " in message
    in_shop(tmp_path / "in_shop")
    shutil.rmtree(tmp_path / "in_shop" / "Img")
    with pytest.raises(DataError, match=f"img_highres in {tmp_path}/in_shop not found"):
        InShop(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (f"{IMAGES + 1}\n", "52712\n", f"names {IMAGES + 1} images, and '52712' in its first"),
        ("   train", "   tain", "evaluation_status is 'tain'; expected one of train, query"),
        ("id_00000001    ", "", "line 3: 2 columns"),
        ("01_2_side.jpg ", "01_1_front.jpg", "1 images are listed more than once, for example Img"),
        ("01_2_side.jpg", "01_9_side.jpg", "1 of 69 listed images are missing"),
    ],
)
def test_a_damaged_list_is_refused(data: Path, old: str, new: str, message: str) -> None:
    change(data / "Eval" / PARTITION, old, new)
    with pytest.raises(DataError, match=re.escape(message)):
        InShop(data.parent)


@pytest.mark.parametrize("content", ["", "0\nimage_name item_id evaluation_status\n"])
def test_an_empty_list_is_refused(data: Path, content: str) -> None:
    (data / "Eval" / PARTITION).write_text(content)
    with pytest.raises(DataError, match="names 0 images"):
        InShop(data.parent)


@pytest.mark.parametrize(
    ("place", "images"),
    [
        ("In-shop_Clothes_Retrieval_Benchmark", "Img/img"),
        ("DeepFashion/In-shop Clothes Retrieval Benchmark", "Img/img"),
        ("archive/deepfashion-inshop", "img"),
        ("DeepFashion_InShop", "img_highres/img_highres"),
        ("in_shop", "Img/img/img"),
    ],
)
def test_other_copies_hold_the_same(
    place: str, images: str, original: Path, tmp_path: Path
) -> None:
    folder = tmp_path / place
    shutil.copytree(original / "in_shop", folder)
    (folder / "Img" / "img").rename(folder / "x")
    shutil.rmtree(folder / "Img")
    (folder / images).parent.mkdir(parents=True, exist_ok=True)
    (folder / "x").rename(folder / images)
    found, expected = InShop(tmp_path), InShop(original)
    assert found.image_list.paths[0].startswith(f"{images}/")
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_images_that_are_not_unpacked_are_named(data: Path) -> None:
    shutil.rmtree(data / "Img" / "img")
    (data / "Img" / "img.zip").touch()
    with pytest.raises(DataError, match=r"Img/img\.zip is not unpacked: unpack it where it is"):
        InShop(data.parent)
