from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection.checks import (
    check_all,
    check_boxes,
    check_class_names,
    check_contrast,
    check_counts,
    check_duplicates,
    check_files,
    check_hashes,
    check_shapes,
)
from slade_plugin.data.inspection.file_probe import FileProbe

GOOD = FileProbe("JPEG RGB", 12, 8)


@pytest.mark.parametrize(
    ("published", "state", "text"),
    [
        ((2, 3), "ok", "2 classes, 3 images, as published (a paper)"),
        ((2, 4), "problem", "2 classes, 3 images; published: 2 classes, 4 images (a paper)"),
        ((3, 3), "problem", "2 classes, 3 images; published: 3 classes, 3 images (a paper)"),
        (None, "ok", "2 classes, 3 images; nothing to compare with"),
    ],
)
def test_counts(
    published: tuple[int, int] | None, state: str, text: str, drawn: Callable[..., ImageList]
) -> None:
    counts = PublishedCounts(*published, "a paper") if published else None
    check = check_counts(drawn(ant=1, bee=2), counts)
    assert (check.state, check.text) == (state, text)


def test_files_that_cannot_be_read_are_named_with_the_reason(
    drawn: Callable[..., ImageList],
) -> None:
    images = drawn(ant=1, bee=2)
    probes = [GOOD, FileProbe(error="no image"), FileProbe("JPEG L", 1, 1, "cut")]
    check = check_files(images, probes, decoded=True)
    assert (check.state, check.text) == ("problem", "2 of 3 cannot be decoded")
    assert check.files == ["bee/0.jpg: no image", "bee/1.jpg: cut"]
    check = check_files(images, [GOOD] * 3, decoded=False)
    assert check.state == "ok"
    assert "by their headers (--decode" in check.text


@pytest.mark.parametrize(
    ("box", "good"),
    [
        ([1, 2, 9, 7], True),
        ([-3, -3, 40, 40], True),  # reaches out, as a few published ones do
        ([11.5, 7.5, 13, 9], True),
        ([12, 0, 15, 8], False),
        ([0, -4, 12, 0], False),
        ([5, 2, 5, 7], False),
        ([9, 7, 1, 2], False),
    ],
)
def test_boxes_lie_in_their_images(
    box: list[float], good: bool, drawn: Callable[..., ImageList]
) -> None:
    images = drawn(ant=2)
    images = replace(images, boxes=np.array([[1, 2, 9, 7], box]))
    check = check_boxes(images, [GOOD, GOOD])
    assert check is not None
    assert check.state == ("ok" if good else "problem")
    assert [file.partition(":")[0] for file in check.files] == ([] if good else ["ant/1.jpg"])
    # Without a size nothing can be said, and `check_files` names the file.
    check = check_boxes(images, [GOOD, FileProbe(error="no image")])
    assert check is not None
    assert check.state == "ok"


def test_all_checks_and_no_boxes(drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=1)
    names = [check.name for check in check_all(images, None, [GOOD], False)]
    assert names == ["counts", "files", "boxes"]
    without = replace(images, boxes=None)
    assert len(check_all(without, None, [GOOD], False)) == 2


def test_duplicates_are_a_note(drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=2, bee=3)
    groups = [["ant/0.jpg", "ant/1.jpg"], ["bee/0.jpg", "bee/1.jpg", "bee/2.jpg"]]
    check = check_duplicates(groups, images)
    assert check.state == "note"
    assert check.text == (
        "3 files are copies of another one, in 2 groups; 0 groups span several classes"
    )
    assert check.files[0] == "ant/0.jpg = ant/1.jpg"
    assert "1 groups span" in check_duplicates([["ant/0.jpg", "bee/1.jpg"]], images).text
    assert check_duplicates([], images).state == "ok"


def test_hashes_against_a_manifest(drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=1, bee=2)
    manifest = {
        "sha256": {"ant/0.jpg": "a", "bee/0.jpg": "b"},
        "fingerprint": images.fingerprint,
        "images": 3,
    }
    same = {"ant/0.jpg": "a", "bee/0.jpg": "b"}
    assert check_hashes(manifest, same, images).text == "2 of 3 files hashed, none has changed"
    check = check_hashes(manifest, {"bee/0.jpg": "c"}, images)
    assert check.state == "problem"
    assert check.files == ["ant/0.jpg: no longer listed", "bee/0.jpg: changed"]
    check = check_hashes({**manifest, "fingerprint": "x", "images": 4}, same, images)
    assert check.state == "problem"
    assert "(4 images then, 3 now)" in check.text


def test_class_names_that_look_alike_are_a_problem(drawn: Callable[..., ImageList]) -> None:
    images = replace(drawn(ant=1, bee=2), class_names=["Ant", "ant "])
    check = check_class_names(images)
    assert check is not None
    assert (check.state, check.files) == ("problem", ["'Ant' = 'ant '"])
    assert check_class_names(replace(images, class_names=["ant", "bee"])) is None


def test_long_images_and_images_of_one_color_are_noted(drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=1, bee=2)
    probes = [replace(GOOD, levels=200), FileProbe("PNG L", 12000, 1, levels=9), FileProbe()]
    shapes, contrast = check_shapes(probes, images), check_contrast(probes, images)
    assert shapes is not None
    assert (shapes.state, shapes.files) == ("note", ["bee/0.jpg: 12000 x 1"])
    assert contrast is None
    contrast = check_contrast([replace(GOOD, levels=1), *probes[:2]], images)
    assert contrast is not None
    assert contrast.files == ["ant/0.jpg: 1 of 256 levels"]
    assert "1 of 3 images are nearly one color" in contrast.text
    assert check_shapes([GOOD] * 3, images) is None
    names = [check.name for check in check_all(images, None, probes, True)]
    assert names == ["counts", "files", "boxes", "shapes"]
