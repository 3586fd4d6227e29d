from pathlib import Path

import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.list_files import look_up, read_mapping, read_rows


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "images.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_only_the_first_separators_separate(tmp_path: Path) -> None:
    path = written(tmp_path, "1 Black-footed Albatross\n\n2 Aigle b\u00e9\u2028pervier (Mâle)\n")
    assert read_rows(path, "class_id name") == [
        ["1", "Black-footed Albatross"],
        ["2", "Aigle b\u00e9\u2028pervier (Mâle)"],
    ]


def test_marks_of_other_systems_do_no_harm(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff1 a\r\n2 b\r\n3 c")
    assert read_mapping(path, "image_id path") == {"1": "a", "2": "b", "3": "c"}


def test_runs_of_spaces_tabs_and_a_header(tmp_path: Path) -> None:
    path = written(tmp_path, "2\nimage_name item_id\nimg/a.jpg     id_1  \nimg/b.jpg\tid_2\n")
    rows = read_rows(path, "image_name item_id", separator=None, skip=2)
    assert rows == [["img/a.jpg", "id_1"], ["img/b.jpg", "id_2"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 a\n2\n", r"images\.txt, line 2: 1 columns in '2'; expected 2 \(image_id, path\)"),
        (b"1 \xff\n", r"images\.txt cannot be read: .*utf-8.*; expected UTF-8 text"),
        ("1 a\n2 b\n1 c\n", "1 ids occur more than once, for example '1'; expected each image_id"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(
    tmp_path: Path, content: bytes | str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_mapping(written(tmp_path, content), "image_id path")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.txt cannot be read: .*No such file"):
        read_rows(tmp_path / "nothing.txt", "image_id path")


def test_every_id_is_looked_up() -> None:
    assert look_up({"1": "a", "2": "b"}, ["2", "1"], "labels.txt") == ["b", "a"]
    with pytest.raises(DataError, match=r"labels\.txt has no row for 1 of 2 ids, .* '3'"):
        look_up({"1": "a"}, ["1", "3"], "labels.txt")
