from pathlib import Path

import numpy as np
import pytest

from slade_plugin.data.files import distinct_files
from slade_plugin.data.files.distinct_files import count_distinct_files, equal_sized
from slade_plugin.data.files.image_list import ImageList


def listed(root: Path, *contents: bytes) -> ImageList:
    for number, content in enumerate(contents):
        (root / f"{number}.png").write_bytes(content)
    paths = np.array([f"{number}.png" for number in range(len(contents))])
    return ImageList(root, paths, np.zeros(len(contents), int), ["one"])


def test_only_files_of_equal_size_can_be_equal(tmp_path: Path) -> None:
    images = listed(tmp_path, b"one", b"two", b"four", b"", b"")
    assert equal_sized(images).tolist() == [0, 1]


def test_equal_contents_count_once(tmp_path: Path) -> None:
    images = listed(tmp_path, b"one", b"two", b"one", b"four", b"two")
    assert count_distinct_files(images, 10) == 3
    assert count_distinct_files(listed(tmp_path, *[b"same"] * 5), 10) == 1


def test_no_more_files_are_read_than_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    original = distinct_files.sha256_of_file
    monkeypatch.setattr(
        distinct_files, "sha256_of_file", lambda path: (read.append(path), original(path))[1]
    )
    images = listed(tmp_path, *(f"{number:03}".encode() for number in range(50)))
    assert count_distinct_files(images, 4) == 4
    assert len(read) == 4


def test_a_file_that_cannot_be_read_is_left_to_others(tmp_path: Path) -> None:
    images = listed(tmp_path, b"one", b"two")
    assert images.sizes.tolist() == [3, 3]
    images.path(0).unlink()
    assert count_distinct_files(images, 5) == 2
