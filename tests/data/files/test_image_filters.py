import logging
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.files.image_filters import (
    check_files_exist,
    drop_classes,
    drop_missing,
    drop_small_classes,
    drop_small_classes_to_match,
    names_from_file,
)
from slade_plugin.data.files.image_list import ImageList
from tests.image_lists import NAMES, listed, on_disk


def test_missing_files_are_left_out_and_named(tmp_path: Path) -> None:
    images = on_disk(tmp_path)
    assert drop_missing(images) == (images, [])
    assert images.sizes.tolist() == list(range(10))
    (tmp_path / "0/0.jpg").unlink()
    (tmp_path / "2/3.jpg").unlink()
    rest, missing = drop_missing(listed(tmp_path))
    assert missing == ["0/0.jpg", "2/3.jpg"]
    assert rest.class_names == NAMES[1:]
    assert rest.sizes.tolist() == [1, 2, 4, 5, 6, 7, 8, 9]


def test_what_is_no_regular_file_is_named(tmp_path: Path) -> None:
    """Reading a pipe would wait for ever."""
    os.mkfifo(tmp_path / "a.png")
    images = ImageList(tmp_path, np.array(["a.png"]), np.array([0]), ["a"])
    with pytest.raises(DataError, match=r"a\.png. It is not a regular file. Move it away"):
        check_files_exist("Own", images)


def test_small_and_named_classes_are_left_out() -> None:
    assert drop_small_classes(listed(), 3).class_names == ["three", "four"]
    assert drop_classes(listed(), ["four", "one"]).class_names == ["two", "three"]
    with pytest.raises(DataError, match="none of 10 images is left"):
        drop_small_classes(listed(), 5)
    with pytest.raises(
        ConfigError, match=r"1 of 2 excluded classes .*'fuor' \(did you mean 'four'"
    ):
        drop_classes(listed(), ["one", "fuor"])


@pytest.mark.parametrize(
    ("classes", "images", "threshold"),
    [(4, 10, 1), (3, 9, 2), (2, 7, 3), (1, 4, 4), (1, 1, 4), (100, 1000, 1), (2, 8, 3)],
)
def test_the_threshold_nearest_to_published_counts_is_taken_and_said(
    classes: int, images: int, threshold: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "slade_plugin"):
        rest, chosen = drop_small_classes_to_match(listed(), classes, images)
    assert chosen == threshold
    assert rest.paths.tolist() == drop_small_classes(listed(), threshold).paths.tolist()
    assert f"at least {threshold} images: {len(rest.class_names)} classes" in caplog.text


def test_names_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffAigle\u00e9\r\n\n two words \n".encode())
    assert names_from_file(path) == ["Aigle\u00e9", "two words"]
    with pytest.raises(ConfigError, match=r"excluded_classes: .*other\.txt cannot be read"):
        names_from_file(tmp_path / "other.txt")


def test_a_hundred_thousand_images_are_no_effort(tmp_path: Path) -> None:
    """Fails by running for minutes if a step is quadratic."""
    count = 100_000
    labels = np.arange(count) // 10
    paths = np.char.add(np.char.add(labels.astype(str), "/"), np.arange(count).astype(str))
    images = ImageList(tmp_path, paths, labels, [f"class {k}" for k in range(count // 10)])
    assert len(drop_classes(images, images.class_names[:5000])) == count // 2
    assert drop_small_classes_to_match(images, 1, 1)[1] == 1


def test_names_of_another_unicode_form_are_the_same(tmp_path: Path) -> None:
    names = ["caf\u00e9", "two", "three", "four"]
    for name in names[:1]:
        decomposed = unicodedata.normalize("NFD", name)
        assert drop_classes(listed(class_names=names), [decomposed]).class_names == names[1:]
        (tmp_path / "names.txt").write_bytes(f"{decomposed}\r\n".encode("utf-16"))
        assert names_from_file(tmp_path / "names.txt") == [decomposed]
