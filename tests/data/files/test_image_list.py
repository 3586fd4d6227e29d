import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.image_list import (
    ImageList,
    check_one_label_a_file,
    remap_labels,
)
from tests.image_lists import LABELS, NAMES, listed, on_disk


def test_keep_makes_labels_dense_and_takes_names_and_boxes_along() -> None:
    images = listed()
    part = images.keep(images.labels % 2 == 1)
    assert part.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert part.class_names == ["two", "four"]
    assert part.paths.tolist() == ["1/1.jpg", "1/2.jpg", *(f"3/{k}.jpg" for k in range(6, 10))]
    assert part.boxes is not None
    assert part.boxes[0].tolist() == [4, 5, 6, 7]
    assert part.path(0) == Path("/data/1/1.jpg")
    assert part.roles is None


def test_roles_go_along_and_count_in_the_fingerprint(tmp_path: Path) -> None:
    roles = ["train"] * 6 + ["query", "gallery"] * 2
    images = on_disk(tmp_path)
    shop = ImageList(tmp_path, images.paths, images.labels, NAMES, roles=np.array(roles))
    part = shop.keep(shop.labels >= 2)
    assert part.roles is not None
    assert part.roles.tolist() == roles[3:]
    others = [
        images,
        ImageList(tmp_path, images.paths, images.labels, NAMES, None, shop.roles[::-1]),
    ]
    assert shop.fingerprint not in [other.fingerprint for other in others]
    with pytest.raises(DataError, match=r"are \[10, 10, 3\]; expected equal"):
        listed(boxes=None, roles=np.array(roles[:3]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array(LABELS[:-1])}, r"are \[10, 9, 10\]; expected equal"),
        ({"paths": np.array(["a.jpg"] * 10)}, "9 images are listed more than once, .* a.jpg"),
        ({"labels": np.array(LABELS) + 1}, "4 different labels from 1 to 4 for 4 class names"),
        ({"class_names": [*NAMES, "five"]}, "expected labels 0 to 4, each with an image"),
        ({"paths": [], "labels": [], "class_names": [], "boxes": None}, "equal ones above 0"),
    ],
)
def test_a_list_that_does_not_fit_together_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        listed(**changes)


def test_an_empty_selection_is_refused() -> None:
    with pytest.raises(DataError, match="none of 10 images is left"):
        listed().keep(np.zeros(10))


def test_sparse_ids_become_dense_in_the_order_of_the_ids() -> None:
    labels, ids = remap_labels([817, 295, 1010, 295])
    assert labels.tolist() == [1, 0, 2, 0]
    assert labels.dtype == np.int64
    assert ids.tolist() == [295, 817, 1010]


def test_fingerprint_depends_on_content_and_not_on_the_place(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for root in (here, there):
        root.mkdir()
    images = on_disk(here)
    print_ = images.fingerprint
    assert on_disk(there).fingerprint == print_
    assert pickle.loads(pickle.dumps(images)).fingerprint == print_
    changed = [
        listed(here, class_names=["One", *NAMES[1:]]),
        listed(here, labels=np.array([1, 0, *LABELS[2:]])),
        listed(here, paths=np.array([*images.paths[:-1], "3/other.jpg"])),
        images.keep(images.labels > 0),
    ]
    (there / images.paths[3]).write_bytes(b"xyzzy")
    fingerprints = {x.fingerprint for x in [*changed, listed(there)]}
    assert len(fingerprints) == 5
    assert print_ not in fingerprints


def test_two_links_to_one_file_have_one_label(tmp_path: Path) -> None:
    images = on_disk(tmp_path)
    check_one_label_a_file(images)
    first, second = images.path(0), images.path(1)
    second.unlink()
    second.symlink_to(first)
    with pytest.raises(
        DataError, match=r"0/0\.jpg and 1/1\.jpg in .* are one file, .*'one' and 't"
    ):
        check_one_label_a_file(listed(tmp_path))
    check_one_label_a_file(listed(tmp_path, labels=np.array([0, 0, 1, 2, 2, 2, 3, 3, 3, 3])))


def test_hard_links_and_missing_files_are_no_contradiction(tmp_path: Path) -> None:
    images = on_disk(tmp_path)
    images.path(1).unlink()
    images.path(1).hardlink_to(images.path(0))
    for index in (4, 9):
        images.path(index).unlink()
    check_one_label_a_file(listed(tmp_path))


def test_the_value_range_goes_along_and_counts_in_the_fingerprint(tmp_path: Path) -> None:
    plain = on_disk(tmp_path)
    images = listed(tmp_path, value_range=(0, 4095))
    assert images.keep(images.labels == 1).value_range == (0, 4095)
    assert images.fingerprint != plain.fingerprint


def test_an_image_is_decoded_whole_or_in_its_box(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6), 4095, np.uint16)).save(tmp_path / "a.png")
    boxes = np.array([[1.0, 1, 3, 4]])
    images = ImageList(tmp_path, np.array(["a.png"]), np.array([0]), ["one"], boxes)
    images = replace(images, value_range=(0, 4095))
    assert images.decode(0).size == (6, 4)
    assert images.decode(0, crop_to_box=True).size == (2, 3)
    assert images.decode(0).getpixel((0, 0)) == (255, 255, 255)
