from pathlib import Path

import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.base.warning import warn_once
from slade_plugin.data.files.image_table import read_labeled_table, read_path_list
from slade_plugin.data.files.image_tree import UNLABELED

NAMES = ["1.jpg", "2.jpg", "sub/3.jpg", "a, b.jpg", "ö.jpg"]


@pytest.fixture(autouse=True)
def warnings_come_again() -> None:
    warn_once.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images are empty files, since nothing here opens one."""
    (tmp_path / "sub").mkdir()
    for name in NAMES:
        (tmp_path / name).touch()
    return tmp_path


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_bytes(text.encode("utf-8"))
    return folder / name


@pytest.mark.parametrize(
    "text",
    [
        "path,label\n1.jpg,pot\n2.jpg,cup\n./sub/3.jpg,pot\n",
        "1.jpg,pot\n2.jpg,cup\nsub/3.jpg,pot",
        "\ufeffPath;Label\r\n1.jpg;pot\r\n\r\n 2.jpg ; cup\r\nsub//3.jpg;pot\r\n",
        "1.jpg\tpot\n2.jpg\tcup\nsub/3.jpg\tpot\n",
    ],
    ids=["header", "no header", "spreadsheet", "tabs"],
)
def test_path_and_label(text: str, folder: Path) -> None:
    images = read_labeled_table(write(folder, text))
    assert images.root == folder
    assert images.paths.tolist() == ["1.jpg", "2.jpg", "sub/3.jpg"]
    assert images.class_names == ["cup", "pot"]
    assert images.labels.tolist() == [1, 0, 1]


def test_quotes_and_any_script(folder: Path) -> None:
    images = read_labeled_table(write(folder, '"a, b.jpg","tea, green"\nö.jpg,茶\n'))
    assert images.paths.tolist() == ["a, b.jpg", "ö.jpg"]
    assert images.class_names == ["tea, green", "茶"]


def test_images_may_be_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = write(tmp_path_factory.mktemp("lists"), f"{folder}/1.jpg,pot\n{folder}/2.jpg,cup\n")
    images = read_labeled_table(file)
    assert images.path(0) == folder / "1.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.jpg,pot\n2.jpg,cup,3\n", r"labels\.csv: line 2: 2\.jpg,cup,3 \(columns: 3\); expected "
         "two columns, path and label; a comma inside needs quotes"),
        ("1.jpg\n2.jpg\n", r"line 1: 1\.jpg \(columns: 1\); line 2: 2\.jpg \(columns: 1\); exp"),
        ("1.jpg,pot\n2.jpg, \n", r"line 2: 2\.jpg,  \(empty label\)"),
        ("1.jpg,pot\n2.jpg,cup\n./1.jpg,cup\n",
         r"1\.jpg is 'pot' in line 1 and 'cup' in line 3; expected one label an image"),
        ("1.jpg,pot\n2.jpg,pot\n", "names 2 images of 1 classes; expected rows of path,label"),
        ("\n", "names 0 images of 0 classes"),
        ("file,class\n1.jpg,pot\n", r"1 of 2 listed images are not there: line 1: file; expected "
         r"images that exist: relative paths count from /.*, and a header, if there is one, is"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong(text: str, message: str, folder: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_labeled_table(write(folder, text))


def test_the_first_problems_are_named_and_the_others_counted(folder: Path) -> None:
    rows = "".join(f"no{i}.jpg,{i}\n" for i in range(9))
    with pytest.raises(DataError) as caught:
        read_labeled_table(write(folder, rows))
    assert "line 3: no2.jpg; and 6 more; expected" in str(caught.value)
    assert "no3.jpg" not in str(caught.value)


def test_a_line_said_twice_counts_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = read_labeled_table(write(folder, "1.jpg,pot\n2.jpg,cup\n./1.jpg,pot\n"))
    assert len(images) == 2
    assert "labels.csv: lines left out, since they repeat an image: 1." in caplog.text


@pytest.mark.parametrize("read", [read_labeled_table, read_path_list])
def test_a_file_that_is_no_text(read: object, folder: Path) -> None:
    (folder / "photos.zip").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(DataError, match=r"zip is not UTF-8 text \(byte 4\).*Unpack an arch"):
        read(folder / "photos.zip")  # type: ignore[operator]


def test_a_list_of_paths(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = f"\ufeffsub/3.jpg\r\n\r\na, b.jpg\n{folder}/1.jpg\n./sub/3.jpg\n"
    images = read_path_list(write(folder, text, "pool.txt"))
    assert images.paths.tolist() == ["sub/3.jpg", "a, b.jpg", f"{folder}/1.jpg"]
    assert images.class_names == [UNLABELED]
    assert images.path(2) == folder / "1.jpg"
    assert "pool.txt: lines left out, since they repeat an image: 1." in caplog.text


def test_a_list_that_is_wrong(folder: Path) -> None:
    with pytest.raises(DataError, match=r"pool\.txt has no images"):
        read_path_list(write(folder, "\n", "pool.txt"))
    with pytest.raises(DataError, match=r"1 of 2 listed images are not there: line 3: no\.jpg"):
        read_path_list(write(folder, "1.jpg\n\nno.jpg\n", "pool.txt"))


def test_100_000_lines(folder: Path) -> None:
    """The one image under many names, so that not each needs a file."""
    names = [f"sub{'/.' * (i % 7)}/x{i}.jpg" for i in range(100_000)]
    file = write(folder, "".join(f"{name},{i % 500}\n" for i, name in enumerate(names)))
    with pytest.raises(DataError) as caught:
        read_labeled_table(file)
    assert "100000 of 100000 listed images are not there" in str(caught.value)
    assert len(str(caught.value)) < 500
