import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection.hash_manifest import (
    UNREADABLE,
    find_duplicates,
    hash_files,
    read_hashes,
    sample,
    write_hashes,
)


def test_a_sample_is_the_same_each_time_and_spread_out(drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=9, bee=9)
    found = sample(images, 6)
    assert found.tolist() == sample(images, 6).tolist() == sorted(set(found.tolist()))
    assert {0, 1} == set(images.labels[found])
    assert sample(images, 99).tolist() == list(range(18))


def test_hashes_by_path(drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=1, bee=2)
    images.path(2).unlink()
    expected = hashlib.sha256(images.path(0).read_bytes()).hexdigest()
    found = hash_files(images, [0, 2], 0)
    assert found == {"ant/0.jpg": expected, "bee/1.jpg": UNREADABLE}


def test_a_manifest_is_read_as_it_was_written(
    drawn: Callable[..., ImageList], tmp_path: Path
) -> None:
    images = drawn(ant=1, bee=2)
    path = tmp_path / "m.json"
    hashes = {"ant/0.jpg": "0a", "bee/1.jpg": UNREADABLE}
    assert write_hashes(path, "Ants", images, hashes) == 1
    manifest = read_hashes(path, "Ants")
    assert manifest["sha256"] == {"ant/0.jpg": "0a"}
    assert (manifest["images"], manifest["fingerprint"]) == (3, images.fingerprint)


def test_what_is_no_manifest_of_this_data_set_is_refused(
    drawn: Callable[..., ImageList], tmp_path: Path
) -> None:
    path = tmp_path / "m.json"
    write_hashes(path, "Ants", drawn(ant=1), {"ant/0.jpg": "0a"})
    with pytest.raises(DataError, match=r"m\.json is of the data set 'Ants'; expected .*'Bees'"):
        read_hashes(path, "Bees")
    text = path.read_text()
    path.write_text(text.replace('"0a"', '"0b"'))
    with pytest.raises(DataError, match=r"m\.json is damaged; expected a whole manifest"):
        read_hashes(path, "Ants")
    for wrong in (text[:-9], "[]", json.dumps({"a": 1}), "\xff"):
        path.write_text(wrong, encoding="latin-1")
        with pytest.raises(DataError, match=r"m\.json is not a manifest of hashes \("):
            read_hashes(path, "Ants")


def test_groups_of_equal_files(drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=2, bee=3, cat=2)
    assert find_duplicates(images, 0) == []
    shutil.copy(images.path(0), images.path(3))
    shutil.copy(images.path(0), images.path(6))
    shutil.copy(images.path(4), images.path(1))
    again = ImageList(images.root, images.paths, images.labels, images.class_names)
    assert find_duplicates(again, 0) == [
        ["ant/0.jpg", "bee/1.jpg", "cat/1.jpg"],
        ["ant/1.jpg", "bee/2.jpg"],
    ]


def test_only_files_of_equal_size_are_read_and_only_equal_ones_reported(
    drawn: Callable[..., ImageList],
) -> None:
    images = drawn(ant=3, bee=2)
    for index, content in enumerate((b"one", b"two", b"four", b"", b"")):
        images.path(index).write_bytes(content)
    assert find_duplicates(images, 0) == []


def test_missing_files_are_no_duplicates(drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=3)
    for index in range(2):
        images.path(index).unlink()
    assert find_duplicates(images, 0) == []
