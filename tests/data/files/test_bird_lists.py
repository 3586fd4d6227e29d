from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.bird_lists import read_bird_lists


@pytest.fixture
def folder(tmp_path: Path, make_birds: Callable[..., Path]) -> Path:
    return make_birds(tmp_path, classes=2, images=2) / "cub2011" / "CUB_200_2011"


def test_rows_are_joined_by_id_and_sorted_by_class_and_path(folder: Path) -> None:
    for name in ("images", "image_class_labels", "bounding_boxes"):
        path = folder / f"{name}.txt"
        shuffled = np.random.default_rng(len(name)).permutation(path.read_text().splitlines())
        path.write_text("\n".join(shuffled))
    images = read_bird_lists(folder)
    assert images.class_names == ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    assert images.labels.tolist() == [0, 0, 1, 1]
    stem = "images/001.Black_footed_Albatross/Black_Footed_Albatross_000"
    assert images.paths[:2].tolist() == [f"{stem}1_796110.jpg", f"{stem}2_796111.jpg"]
    # Ids 2 and 1; x, y, width, height became corners.
    assert images.boxes is not None
    assert images.boxes[:2].tolist() == [[2, 3, 13, 11], [2, 3, 12, 11]]


def test_boxes_may_be_absent(folder: Path) -> None:
    (folder / "bounding_boxes.txt").unlink()
    assert read_bird_lists(folder).boxes is None


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("images", "2 001.", "1 001.", r"images\.txt: 1 ids occur more than once, .* '1'"),
        ("images", "3 002.", "002.", r"images\.txt, line 3: 1 columns in '002\.Laysan"),
        ("image_class_labels", "4 2\n", "", r"labels\.txt has no row for 1 of 4 ids, .* '4'"),
        ("image_class_labels", "4 2", "4 two", r"labels\.txt holds something .*'two'"),
        ("classes", "2 002.Laysan_Albatross", "", r"classes\.txt has no row for 1 of 2 ids"),
        ("bounding_boxes", "1 2.0 3.0 10.0 8.0", "1 2.0 3.0 10.0", "bounding_boxes"),
        ("bounding_boxes", "1 2.0 3.0", "1 2.0 x", r"boxes\.txt holds something .*'x'"),
    ],
)
def test_damaged_lists_are_named(folder: Path, name: str, old: str, new: str, message: str) -> None:
    path = folder / f"{name}.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_bird_lists(folder)
