import logging
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from powerful_benchmarker.split_managers import ClassDisjointSplitManager
from torch.utils.data import DataLoader
from torchvision.transforms import ToTensor

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.method.pseudo_labels.record import pool_fingerprint

SIZES = {"ant": 1, "bee": 3, "cat": 4}  # images of each class


class Squares(ImageFiles):
    """Class k's image i has the colour (k, i, 0)."""

    published = PublishedCounts(3, 8, "the file SIZES")
    matched = PublishedCounts(2, 7, "a paper")
    how_to_get = "Draw them."

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        folder = cls.locate(root, ["names.txt", "images"], "squares", "")
        names = (folder / "names.txt").read_text().split()
        paths = [f"images/{name}_{i}.png" for name in names for i in range(SIZES[name])]
        labels = np.repeat(np.arange(len(names)), [SIZES[name] for name in names])
        boxes = np.tile([0.0, 0, 3, 2], (len(paths), 1))
        return ImageList(folder, np.array(paths), labels, names, boxes)


class NoBoxes(Squares):
    published = matched = None

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        images = super().find(root)
        return ImageList(images.root, images.paths, images.labels, images.class_names)


def draw(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "names.txt").write_text(" ".join(SIZES))
    for label, (name, number) in enumerate(SIZES.items()):
        for i in range(number):
            image = Image.new("RGB", (6, 4), (label, i, 0))
            image.save(folder / "images" / f"{name}_{i}.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    path = tmp_path_factory.mktemp("datasets")
    draw(path / "squares")
    return path


@pytest.fixture
def own_root(tmp_path: Path) -> Path:
    draw(tmp_path / "squares")
    return tmp_path


def break_file(root: Path, name: str) -> None:
    path = root / "squares" / "images" / f"{name}.png"
    path.write_bytes(path.read_bytes()[:30])


def test_items_are_in_the_host_s_form(root: Path) -> None:
    dataset = Squares(str(root), transform=ToTensor(), download=False)
    assert len(dataset) == 8
    assert dataset.class_names == list(SIZES)
    assert dataset.labels.tolist() == [0, 1, 1, 1, 2, 2, 2, 2]
    items = list(dataset)
    assert [item["label"] for item in items] == dataset.labels.tolist()
    assert items[6]["data"].shape == (3, 4, 6)
    np.testing.assert_allclose(items[6]["data"][:, 0, 0] * 255, [2, 2, 0])
    assert dataset[-1]["label"] == 2
    plain = Squares(root)[3]["data"]
    assert plain.getpixel((5, 3)) == (1, 2, 0)


def test_the_host_splits_it(root: Path) -> None:
    manager = ClassDisjointSplitManager(
        **{"test_size": 0.3, "test_start_idx": 0.5, "num_training_partitions": 2},
        **{"num_training_sets": 1, "data_and_label_getter_keys": ["data", "label"]},
    )
    manager.create_split_schemes({"eval": {k: Squares(root) for k in ("train", "val", "test")}})
    (scheme,) = manager.split_scheme_holder.split_schemes.values()
    splits = {k: set(v.indices) for k, v in scheme["eval"].items()}
    assert set().union(*splits.values()) == set(range(8))
    assert sum(map(len, splits.values())) == 8


def test_box_and_fingerprint(root: Path) -> None:
    whole, cut = Squares(root), Squares(root, crop_to_bounding_box=True)
    assert cut[0]["data"].size == (3, 2)
    assert pool_fingerprint(whole) == whole.fingerprint == whole.image_list.fingerprint
    assert len({whole.fingerprint, cut.fingerprint, NoBoxes(root).fingerprint}) == 2
    with pytest.raises(ConfigError, match="NoBoxes: crop_to_bounding_box is true"):
        NoBoxes(root, crop_to_bounding_box=True)


def test_filters(root: Path, tmp_path: Path) -> None:
    assert Squares(root, min_images_per_class=4).class_names == ["cat"]
    assert Squares(root, min_images_per_class="match").class_names == ["bee", "cat"]
    assert Squares(root, excluded_classes=["bee"]).labels.tolist() == [0, 1, 1, 1, 1]
    (tmp_path / "names.txt").write_text("ant\ncat\n")
    assert Squares(root, excluded_classes=str(tmp_path / "names.txt")).class_names == ["bee"]


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (NoBoxes, {"min_images_per_class": "match"}, "expected an integer >= 1 "),
        (Squares, {"min_images_per_class": "mtach"}, "'mtach'; expected an integer >= 1 or match"),
        (Squares, {"min_images_per_class": 0}, "min_images_per_class is 0"),
        (Squares, {"max_unreadable": -1}, "max_unreadable is -1; expected an integer >= 0"),
        (Squares, {"crop_to_bounding_box": "no"}, "crop_to_bounding_box is 'no'; expected true"),
        (Squares, {"excluded_classes": ["caat"]}, "'caat' .did you mean 'cat'"),
    ],
)
def test_wrong_options_are_refused(
    root: Path, cls: type[Squares], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        cls(root, **options)


@pytest.mark.parametrize("place", ["squares", "squares/squares", ""])
def test_known_places_are_found(tmp_path: Path, place: str) -> None:
    draw(tmp_path / place)
    assert Squares(tmp_path).image_list.root == tmp_path / place


def test_an_absent_data_set_says_what_is_missing_and_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        Squares(tmp_path / "nowhere")
    message = str(error.value)
    assert message.startswith("Squares: names.txt, images not found; looked in ")
    assert f"{tmp_path}/nowhere/squares; {tmp_path}/nowhere/squares/squares; " in message
    assert "Draw them. If the files are elsewhere, change dataset_root" in message
    (tmp_path / "squares").mkdir()
    (tmp_path / "squares" / "names.txt").touch()
    with pytest.raises(DataError, match=rf"Squares: images in {tmp_path}/squares not found"):
        Squares(tmp_path)


def test_a_folder_that_cannot_be_entered_is_named(own_root: Path) -> None:
    """The permissions do not bind root, so root gives up its rights meanwhile."""
    own_root.chmod(0)
    rights = os.geteuid()
    try:
        os.seteuid(rights or 65534)
        with pytest.raises(DataError, match=rf"looked in {own_root}/squares; .*may not be read"):
            Squares(own_root)
    finally:
        os.seteuid(rights)
        own_root.chmod(0o700)


def test_listed_files_that_are_missing_are_refused(own_root: Path) -> None:
    (own_root / "squares" / "images" / "cat_2.png").unlink()
    with pytest.raises(DataError, match=r"1 of 8 listed images are missing .*images/cat_2\.png"):
        Squares(own_root)
    assert len(Squares(own_root, excluded_classes=["cat"])) == 4


def test_counts_are_compared_with_the_published_ones(
    own_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "slade_plugin"):
        Squares(own_root)
        assert f"8 images of 3 classes in {own_root}/squares, as published" in caplog.text
        (own_root / "squares" / "names.txt").write_text("bee cat")
        Squares(own_root, min_images_per_class=2)
    assert "7 images of 2 classes" in caplog.text
    assert "published are 8 images of 3 classes (the file SIZES)" in caplog.text


def test_instances_share_one_list(root: Path) -> None:
    first, second = Squares(root), Squares(root, transform=ToTensor())
    assert first.image_list is second.image_list
    assert Squares(root, min_images_per_class=2).image_list is not first.image_list


class TestUnreadable:
    def test_none_may_be_skipped_by_default(self, own_root: Path) -> None:
        break_file(own_root, "bee_1")
        dataset = Squares(own_root)
        assert dataset[1]["label"] == 1
        with pytest.raises(DataError, match=r"bee_1\.png cannot be decoded: .*max_unreadable is 0"):
            dataset[2]

    def test_the_next_readable_image_of_the_class_stands_in(
        self, own_root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in ("bee_1", "bee_2", "cat_0"):
            break_file(own_root, name)
        dataset = Squares(own_root, max_unreadable=2)
        for _ in range(2):
            for index in (2, 3):
                item = dataset[index]
                assert item["label"] == 1
                assert item["data"].getpixel((0, 0)) == (1, 0, 0)
        named = [record.getMessage() for record in caplog.records]
        assert ["bee_1.png" in named[0], "bee_2.png" in named[1], len(named)] == [True, True, 2]
        with pytest.raises(DataError, match=r"cat_0\.png .*is 2, .*bee_1\.png, images/bee_2\.png"):
            dataset[4]

    def test_a_class_without_a_readable_image_is_refused(self, own_root: Path) -> None:
        break_file(own_root, "ant_0")
        with pytest.raises(DataError, match="no image of class 'ant' can be decoded"):
            Squares(own_root, max_unreadable=5)[0]

    def test_workers_say_the_same(self, own_root: Path) -> None:
        break_file(own_root, "bee_1")
        allowed, refused = (
            DataLoader(Squares(own_root, transform=ToTensor(), max_unreadable=n), num_workers=1)
            for n in (1, 0)
        )
        assert [int(batch["label"]) for batch in allowed] == [0, 1, 1, 1, 2, 2, 2, 2]
        with pytest.raises(DataError, match=r"bee_1\.png cannot be decoded"):
            list(refused)


def test_a_cache_takes_the_place_of_decoding(
    own_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # waiting for the disk is all it takes
    cached = Squares(own_root, cache={"short_side": 16})
    break_file(own_root, "cat_3")
    assert cached[-1]["data"].getpixel((0, 0)) == (2, 3, 0)
    with pytest.raises(DataError, match="cannot be decoded"):
        cached.decode(7)


def test_a_pickled_data_set_is_the_data_set(root: Path) -> None:
    dataset = Squares(root)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.fingerprint == dataset.fingerprint
    assert copy[5]["data"] == dataset[5]["data"]


def test_a_part_of_a_data_set_has_its_images_and_dense_labels(root: Path) -> None:
    whole = Squares(root, crop_to_bounding_box=True)
    part = whole.keep(whole.labels != 1)
    assert type(part) is Squares
    assert part.class_names == ["ant", "cat"]
    assert part.labels.tolist() == [0, 1, 1, 1, 1]
    assert [part[i]["data"].getpixel((0, 0)) for i in (0, 4)] == [(0, 0, 0), (2, 3, 0)]
    assert part[4]["data"].size == (3, 2)
    assert len(whole) == 8
    assert part.fingerprint != whole.fingerprint
    with pytest.raises(DataError, match="none of 8 images is left"):
        whole.keep(np.zeros(8))


def test_a_part_stands_in_and_counts_for_itself(own_root: Path) -> None:
    """An image that was left out must not come back as the stand-in of another."""
    break_file(own_root, "cat_1")
    whole = Squares(own_root, max_unreadable=1)
    assert whole[5]["data"].getpixel((0, 0)) == (2, 2, 0)
    part = whole.keep(np.arange(8) != 6)  # cat_2, which stood in
    assert part[5]["data"].getpixel((0, 0)) == (2, 3, 0)
    assert len(part._unreadable) == 1
