import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets.fashion200k import Fashion200k
from tests.clothes_trees import PER_POOL_ITEM, SUBCATEGORIES, fashion200k

THERE = [7 if count == 8 else count for count in PER_POOL_ITEM]
LIST = "labels/dress_train_detect_all.txt"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    root = tmp_path_factory.mktemp("root")
    fashion200k(root / "fashion200k")
    return root


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    return Path(shutil.copytree(original / "fashion200k", tmp_path / "fashion200k"))


def test_a_class_is_a_product_of_either_list(original: Path) -> None:
    pool = Fashion200k(original, np.asarray)
    assert pool.class_names == [str(51727804 + 9973 * i) for i in range(len(PER_POOL_ITEM))]
    assert np.bincount(pool.labels).tolist() == THERE
    assert pool.matched is not None
    assert pool.matched[:2] == (1045, 14635)
    for path, label in zip(pool.image_list.paths, pool.labels, strict=True):
        assert path.split("/")[3] == pool.class_names[label]
    assert {"/".join(p.split("/")[1:3]) for p in pool.image_list.paths} == {*SUBCATEGORIES.values()}
    assert pool.roles is None
    assert pool[0]["data"].shape == (32, 24, 3)


def test_missing_images_are_left_out_and_counted(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "slade_plugin"):
        pool = Fashion200k(data.parent)
    missing = sum(PER_POOL_ITEM) - sum(THERE)
    assert f"the lists name {sum(PER_POOL_ITEM)} images (the published ones 201838)" in caplog.text
    assert f"of which {missing} are missing in {data}, for example women/dresses" in caplog.text
    assert all(pool.image_list.path(i).is_file() for i in range(len(pool)))


def test_the_match_comes_near_to_the_published_counts(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = Fashion200k.matched
    assert published is not None
    monkeypatch.setattr(Fashion200k, "matched", published._replace(classes=9, images=60))
    pool = Fashion200k(original, min_images_per_class="match")
    assert (len(pool.class_names), len(pool)) == (9, 60)


def test_an_image_in_two_lists_is_one(data: Path) -> None:
    (data / "labels" / "dress_test_detect_all.txt").write_bytes((data / LIST).read_bytes())
    pool = Fashion200k(data.parent)
    assert len(pool) == sum(THERE) - THERE[1]


@pytest.mark.parametrize("place", ["fashion200k", "Fashion200k", "", "fashion200k/fashion200k"])
def test_known_places(place: str, tmp_path: Path) -> None:
    fashion200k(tmp_path / place, [2] * 10)
    assert len(Fashion200k(tmp_path)) == 20


def test_an_absent_list_is_named(data: Path) -> None:
    (data / LIST).unlink()
    with pytest.raises(
        DataError,
        match=rf"{LIST} or dress_\S+ in {data} not found; looked in {data}; .*women",
    ):
        Fashion200k(data.parent)


def test_folders_without_the_images_are_refused(data: Path) -> None:
    shutil.rmtree(data / "women")
    (data / "women").mkdir()
    with pytest.raises(DataError, match=r"none of the 69 listed images is there, .*_0\.jpeg"):
        Fashion200k(data.parent)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("women/dresses/a/1/1_0.jpeg -1.78 green\n", "line 9: 1 columns"),
        ("dresses/a/1/1_0.jpeg\t-1.78\tgreen\n", "'dresses/a/1/1_0.jpeg' names no item"),
        ("women/dresses/a/1/1_0.jpeg\t-1.78\t\xe9\n", "cannot be read: 'utf-8' codec"),
    ],
)
def test_a_damaged_list_is_refused(data: Path, line: str, message: str) -> None:
    with open(data / LIST, "a", encoding="latin-1") as file:
        file.write(line)
    with pytest.raises(DataError, match=re.escape(message)):
        Fashion200k(data.parent)


def test_empty_lists_are_refused(data: Path) -> None:
    for path in (data / "labels").iterdir():
        path.write_text("\n")
    with pytest.raises(DataError, match=r"numbers of images, labels .* are \[0, 0\]"):
        Fashion200k(data.parent)


@pytest.mark.parametrize("variant", ["lists beside women", "women in women", "archive"])
def test_other_copies_hold_the_same(variant: str, data: Path, original: Path) -> None:
    root = data.parent
    if variant == "lists beside women":
        for path in (data / "labels").iterdir():
            path.rename(data / path.name)
        (data / "labels").rmdir()
    elif variant == "women in women":
        (data / "women").rename(data / "x")
        (data / "women").mkdir()
        (data / "x").rename(data / "women" / "women")
    else:
        (root / "archive").mkdir()
        data.rename(root / "archive" / "Fashion-200k")
    found, expected = Fashion200k(root), Fashion200k(original)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.image_list.sizes.min() > 0
