import unicodedata
from pathlib import Path
from typing import Literal

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
        ("1.jpg,pot\n2.jpg, \n", r"line 2: 2\.jpg, \(empty label\)"),
        ("1.jpg,pot\n2.jpg,cup\n./1.jpg,cup\n",
         r"1\.jpg is 'pot' in line 1 and 'cup' in line 3; expected one label per image"),
        ("1.jpg,pot\n2.jpg,pot\n", "names 2 images of 1 classes; expected rows of path,label"),
        ("\n", "names 0 images of 0 classes"),
        ("1.jpg,pot\nsub,cup\n", r"1 of 2 listed .*line 2: sub \(not a regular file\)"),
        ("files,kinds\n1.jpg,pot\n", r"1 of 2 listed images are not there: line 1: files; expected "
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
    (folder / "zip.txt").write_bytes(b"PK\xff")
    with pytest.raises(DataError, match=r"one path per line\. Unpack"):
        read_path_list(folder / "zip.txt")
    with pytest.raises(DataError, match=r"pool\.txt has no images"):
        read_path_list(write(folder, "\n", "pool.txt"))
    with pytest.raises(DataError, match=r"1 of 2 listed images are not there: line 3: no\.jpg"):
        read_path_list(write(folder, "1.jpg\n\nno.jpg\n", "pool.txt"))


@pytest.mark.slow
def test_100_000_lines(folder: Path) -> None:
    """The one image under many names, so that not each needs a file."""
    names = [f"sub{'/.' * (i % 7)}/x{i}.jpg" for i in range(100_000)]
    file = write(folder, "".join(f"{name},{i % 500}\n" for i, name in enumerate(names)))
    with pytest.raises(DataError) as caught:
        read_labeled_table(file)
    assert "100000 of 100000 listed images are not there" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "text",
    [
        "SUB\\3.JPG;pot\r\n2.jpg;cup\r\n",
        "sep=;\r\npath;label\r\nsub/3.jpg;pot\r\n2.jpg;cup\r\n",
        "\ufeffpath;label;;\r\nsub/3.jpg;pot;;\r\n2.jpg;cup;;\r\n",
        ",file_name,class\n0,sub/3.jpg,pot\n1,2.jpg,cup\n",
        "Label|split|Image Path\npot|train|sub/3.jpg\ncup|test|2.jpg\n",
        "sub/3.jpg,pot\r2.jpg,cup\r",
        "sub/3.jpg,pot|big\n2.jpg,cup|big\n",
    ],
    ids=[
        "Windows",
        "Excel",
        "BOM and empty cells",
        "pandas",
        "bars",
        "old Mac",
        "a bar in a label",
    ],
)
def test_tables_of_other_systems(text: str, folder: Path) -> None:
    images = read_labeled_table(write(folder, text))
    assert images.paths.tolist() == ["sub/3.jpg", "2.jpg"]
    assert [name[:3] for name in images.class_names] == ["cup", "pot"]
    assert images.labels.tolist() == [1, 0]


def test_excel_s_unicode_text(folder: Path) -> None:
    file = folder / "labels.txt"
    file.write_bytes("path\tlabel\r\nö.jpg\t茶\r\n1.jpg\tpot\r\n".encode("utf-16"))
    assert read_labeled_table(file).class_names == ["pot", "茶"]


def test_line_separators_inside_a_field(folder: Path) -> None:
    """U+2028, a vertical tab and a quoted line break are part of a label."""
    images = read_labeled_table(write(folder, '1.jpg,"a\u2028b"\n2.jpg,"a\x0bb"\nö.jpg,"a\nb"\n'))
    assert sorted(images.class_names) == ["a\nb", "a\x0bb", "a\u2028b"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_paths_of_another_unicode_form(form: Literal["NFC", "NFD"], folder: Path) -> None:
    other = "NFD" if form == "NFC" else "NFC"
    (folder / "ö.jpg").rename(folder / unicodedata.normalize(other, "ö.jpg"))
    listed = unicodedata.normalize(form, "ö.jpg")
    images = read_labeled_table(write(folder, f"{listed},pot\n1.jpg,cup\n"))
    assert images.path(0).is_file()
    assert read_path_list(write(folder, listed, "pool.txt")).path(0).is_file()


def test_reasons_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"a\.jpg \(a path of a Windows drive: write it relative"):
        read_labeled_table(write(folder, "C:\\x\\a.jpg,pot\n1.jpg,cup\n"))
    with pytest.raises(DataError, match=r"line 1: .*expected a table whose quotes are closed"):
        read_labeled_table(write(folder, '1.jpg,"' + "x" * 140_000))
    with pytest.raises(
        DataError, match=r"line 2: a,1\.jpg \(columns: 2\); expected 3 columns, as t"
    ):
        read_labeled_table(write(folder, "id,path,label\na,1.jpg\n"))


def test_a_list_of_paths_from_other_systems(folder: Path) -> None:
    text = 'sep\\x\r\n"a, b.jpg"\rSUB\\3.jpg;\r\n'.replace("sep\\x", ".\\1.jpg")
    images = read_path_list(write(folder, text, "pool.csv"))
    assert images.paths.tolist() == ["1.jpg", "a, b.jpg", "sub/3.jpg"]


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\r\npath;label\r\nsub/3.jpg;pot\r\n1.jpg;cup\r\n",
        "sep=;\r\nsub/3.jpg;\r\n1.jpg;\r\n",
        ';;\r\npath;label;\r\nsub/3.jpg;pot;\r\n"";"";\r\n1.jpg;cup;\r\n',
        " ; \r\nsub/3.jpg\r\n1.jpg\r\n",
    ],
)
def test_a_list_of_paths_from_excel(text: str, folder: Path) -> None:
    images = read_path_list(write(folder, text, "pool.csv"))
    assert images.paths.tolist() == ["sub/3.jpg", "1.jpg"]


def test_a_table_is_a_list_of_its_paths(folder: Path) -> None:
    file = write(folder, 'label,path\npot,sub/3.jpg\ncup,"a, b.jpg"\n')
    assert read_path_list(file).paths.tolist() == ["sub/3.jpg", "a, b.jpg"]


def test_spellings_of_a_label_are_merged_if_asked_for(folder: Path) -> None:
    text = "1.jpg,7\n2.jpg,7.0\nsub/3.jpg,8\nSUB/3.jpg,8.0\n"
    with pytest.raises(DataError, match=r"'8' in line 3 and '8\.0' in line 4"):
        read_labeled_table(write(folder, text))
    images = read_labeled_table(write(folder, text), merge_spellings=True)
    assert images.class_names == ["7", "8"]
    assert images.labels.tolist() == [0, 0, 1]


def test_links_to_one_image_have_one_label(folder: Path) -> None:
    (folder / "again.jpg").symlink_to("1.jpg")
    with pytest.raises(DataError, match=r"are one file, .*1\.jpg, with the labels"):
        read_labeled_table(write(folder, "1.jpg,pot\nagain.jpg,cup\n"))
