import os
from pathlib import Path

import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.locating import find_file, find_folder, prefix_of

NEEDED = ["images", ("list.txt", "list.csv")]


def make(folder: Path, *files: str) -> Path:
    (folder / "images").mkdir(parents=True)
    for file in files:
        (folder / file).touch()
    return folder


def find(root: Path) -> Path:
    return find_folder("Birds", root, NEEDED, ["birds", ""], ["birds", "bird9"], "Ask for them.")


@pytest.mark.parametrize(
    "place",
    [
        "birds",
        "birds/birds",
        "",
        "Birds_v2",
        "BIRD-9000/data",
        "birds_from_x/versions/1",
        "archive/Birds",
        "archive/Birds/Birds",
    ],
)
def test_copies_differ_in_their_folders(place: str, tmp_path: Path) -> None:
    made = make(tmp_path / place, "list.csv")
    assert find(tmp_path) == made


def test_the_usual_place_comes_first_and_a_part_is_passed_over(tmp_path: Path) -> None:
    make(tmp_path / "birds_a")
    usual = make(tmp_path / "birds", "list.txt")
    make(tmp_path / "Birds_other", "list.txt")
    assert find(tmp_path) == usual


def test_other_data_sets_are_not_taken(tmp_path: Path) -> None:
    make(tmp_path / "fish", "list.txt")
    make(tmp_path / "archive", "list.txt")
    with pytest.raises(DataError, match=r"Birds: images, list\.txt or list\.csv not found; .*Ask"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("birds.zip", r"birds\.zip is not unpacked: unpack it where it is\."),
        ("archive.zip", r"archive\.zip is not unpacked"),
        ("birds/images.tar.gz", r"images\.tar\.gz is not unpacked"),
        ("birds/images/part.7z", r"part\.7z is not unpacked"),
        ("birds/data/train-00000.parquet", r"train-00000\.parquet is a table .* Copies in circul"),
    ],
)
def test_an_archive_in_the_place_of_the_files_is_named(
    file: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    with pytest.raises(DataError, match=message):
        find(tmp_path)


def test_a_broken_link_is_named(tmp_path: Path) -> None:
    os.symlink("/mnt/gone", tmp_path / "birds")
    with pytest.raises(DataError, match=r"birds is a link to /mnt/gone, which is missing"):
        find(tmp_path)


def test_a_file_at_the_least_depth(tmp_path: Path) -> None:
    for path in ("a/b/notes (1).mat", "z/notes.mat", "other.mat"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert find_file(tmp_path, "notes*.mat") == tmp_path / "z" / "notes.mat"
    assert find_file(tmp_path, "none*.mat") is None


def test_the_folder_that_holds_an_image(tmp_path: Path) -> None:
    (tmp_path / "img" / "img" / "x").mkdir(parents=True)
    (tmp_path / "img" / "img" / "x" / "1.jpg").touch()
    prefixes = ["none/", "img/", "img/img/"]
    assert prefix_of(tmp_path, prefixes, ["x/1.jpg"]) == "img/img/"
    assert prefix_of(tmp_path, prefixes, ["y/1.jpg"]) == "img/"
    assert prefix_of(tmp_path, prefixes[:1], ["y/1.jpg"]) == "none/"
    assert prefix_of(tmp_path, prefixes, []) == "img/"
