import shutil
from collections.abc import Callable

from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection.duplicates import find_duplicates


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
