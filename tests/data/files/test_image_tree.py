import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.base.warning import warn_once
from slade_plugin.data.files.image_tree import (
    UNLABELED,
    check_exists,
    find_images,
    read_class_folders,
    read_image_tree,
)


@pytest.fixture(autouse=True)
def warnings_come_again() -> None:
    warn_once.cache_clear()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes; the images are empty files, since nothing here opens one."""
    make(tmp_path / "photos", "cup/2.jpg", "cup/deep/er/1.PNG", "Pot/1.jpeg", "Pot/10.webp")
    return tmp_path / "photos"


@pytest.fixture
def readable_by_others() -> Iterator[Path]:
    """A folder that another user may enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def make(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_a_folder_is_a_class(photos: Path) -> None:
    images = read_class_folders(photos)
    assert images.root == photos
    assert images.class_names == ["Pot", "cup"]  # by code points, on every machine
    assert images.paths.tolist() == ["Pot/1.jpeg", "Pot/10.webp", "cup/2.jpg", "cup/deep/er/1.PNG"]
    assert images.labels.tolist() == [0, 0, 1, 1]


def test_any_tree_has_no_labels(photos: Path) -> None:
    make(photos, "beside.bmp")
    images = read_image_tree(photos)
    assert len(images) == 5
    assert images.class_names == [UNLABELED]
    assert set(images.labels.tolist()) == {0}


def test_what_other_systems_leave_is_left_out(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = find_images(photos)
    make(photos, "cup/._2.jpg", ".thumbnails/1.jpg", "__MACOSX/cup/2.jpg", "Pot/.DS_Store")
    assert find_images(photos) == before
    assert caplog.text == ""


def test_files_left_out_by_their_ending_are_counted(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(photos, "cup/1.heic", "cup/2.HEIC", "notes.txt", "README")
    for _ in range(2):  # the host builds a data set many times
        assert len(find_images(photos).paths) == 4
    (warning,) = caplog.messages
    assert warning == (
        f"{photos}: files left out, since their ending is not that of an image: 4 (2 .heic, "
        "1 .txt, 1 without ending)."
    )


def test_links_are_followed_but_not_in_a_circle(photos: Path, tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "3.jpg")
    (photos / "mug").symlink_to(tmp_path / "elsewhere")
    (photos / "cup" / "again").symlink_to(photos)
    assert [p for p in find_images(photos).paths if p.startswith("mug")] == ["mug/3.jpg"]
    assert len(find_images(photos).paths) == 5


def test_names_in_any_script(photos: Path) -> None:
    make(photos, "café/ö 1.jpg", "茶/二.jpg", unicodedata.normalize("NFD", "é/1.jpg"))
    images = read_class_folders(photos)
    assert images.class_names == ["Pot", "café", "cup", "e\u0301", "茶"]
    assert all(images.path(i).is_file() for i in range(len(images)))


def test_a_name_that_is_not_utf8(photos: Path) -> None:
    (photos / "cup" / os.fsdecode(b"\xff.jpg")).touch()
    with pytest.raises(DataError, match=r"not UTF-8: b'cup/\\xff\.jpg'; expected UTF-8"):
        find_images(photos)


def test_a_folder_that_may_not_be_read(readable_by_others: Path) -> None:
    make(readable_by_others, "cup/1.jpg", "locked/1.jpg")
    locked = readable_by_others / "locked"
    locked.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:  # for whom nothing is locked
        os.seteuid(65534)
    try:
        with pytest.raises(DataError) as caught:
            find_images(readable_by_others)
        with pytest.raises(DataError) as inside:
            check_exists(locked / "1.jpg", "--labeled")
    finally:
        if is_root:
            os.seteuid(0)
        locked.chmod(0o700)
    assert f"{locked} cannot be read: Permission denied" in str(caught.value)
    assert "Fix its permissions" in str(caught.value)
    assert "1.jpg cannot be read: Permission denied" in str(inside.value)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ["notes.txt"],
            r"photos holds no images; expected one folder per class, such as .*CSV file",
        ),
        (["1.jpg", "2.jpg"], "photos holds 2 images but no folders; expected one folder per class"),
        (["in/cup/1.jpg", "in/pot/1.jpg"], r"one class only, 'in'; .*give \S*photos/in\."),
        (["train/cup/1.jpg", "Test/1.jpg"], r"are Test, train, which looks like splits .*Test/1"),
        (["train/cup/1.jpg", "test/cup/1.jpg"], "images of one class only, 'cup'"),
    ],
)
def test_what_is_no_folder_a_class(paths: list[str], message: str, tmp_path: Path) -> None:
    make(tmp_path / "photos", *paths)
    with pytest.raises(DataError, match=message):
        read_class_folders(tmp_path / "photos")


def test_odd_things_beside_the_classes_are_named(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(photos, "3.jpg", "4.jpg")
    (photos / "vase").mkdir()
    assert len(read_class_folders(photos)) == 4
    beside, empty = caplog.messages
    assert beside.endswith("lie beside the class folders: 2, for example 3.jpg.")
    assert empty.endswith("ignored as classes: 1, for example vase.")


def test_an_empty_class_is_named_in_folders_of_splits_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "train/cup/1.jpg", "train/pot/1.jpg", "train/vase/1.gif", "test/cup/2.jpg")
    (tmp_path / "test" / "pot").mkdir()  # it has images in the other split
    assert read_class_folders(tmp_path).class_names == ["cup", "pot"]
    assert caplog.messages[-1].endswith("ignored as classes: 1, for example train/vase.")


def test_a_pool_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no images; expected .* ending \.jpg.*\.webp\.$"):
        read_image_tree(tmp_path)


def test_a_path_that_leads_nowhere(photos: Path) -> None:
    check_exists(photos, "--labeled")
    with pytest.raises(DataError) as caught:
        check_exists(photos.parent / "photo" / "cup", "--labeled")
    assert str(caught.value) == (
        f"there is no {photos.parent}/photo/cup: {photos.parent} holds no photo (did you mean "
        "'photos'?); expected a folder or a file (--labeled)."
    )
    with pytest.raises(DataError, match=r"expected a folder or a file\.$"):
        check_exists(photos / "no")


def test_broken_links_are_named(photos: Path) -> None:
    (photos / "mug").symlink_to("../store/mug")
    with pytest.raises(
        DataError, match=r"holds 1 broken links, for example mug to \.\./store/mug;"
    ):
        read_class_folders(photos)
    with pytest.raises(DataError, match="a class left out"):
        read_image_tree(photos)
    (photos / "mug").unlink()
    (photos / "cup" / "deep" / "more").symlink_to("more")  # a link to itself
    with pytest.raises(DataError, match="cup/deep/more to more"):
        read_class_folders(photos)
    (photos / "cup" / "deep" / "more").rename(photos / "cup" / ".hidden")
    assert len(read_class_folders(photos)) == 4


def test_a_broken_link_to_an_image_stays_in_the_list(photos: Path) -> None:
    (photos / "cup" / "3.jpg").symlink_to("../store/3.jpg")
    assert read_class_folders(photos).sizes.tolist().count(-1) == 1


def test_one_folder_under_two_names_is_refused(photos: Path, tmp_path: Path) -> None:
    make(tmp_path / "store", "mug/1.jpg")
    for name in ("mug", "Apple"):
        (photos / name).symlink_to(tmp_path / "store" / "mug")
    message = rf"Apple and mug in {photos} are one folder, {tmp_path}/store/mug, under two names"
    with pytest.raises(DataError, match=message):
        read_class_folders(photos)
    (photos / "mug").unlink()
    (photos / "Pot" / "cups").symlink_to(photos / "cup")
    with pytest.raises(DataError, match=r"Pot/cups and cup in .* are one folder"):
        read_class_folders(photos)


def test_a_class_inside_another_is_refused_even_if_none_is_left(photos: Path) -> None:
    (photos / "Pot" / "more").symlink_to("../cup")
    with pytest.raises(DataError, match=r"Pot/more and cup in .* are one folder, .*two names"):
        read_class_folders(photos)


def test_a_folder_twice_in_a_class_or_a_pool_is_read_once(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "cup" / "deep too").symlink_to(photos / "cup" / "deep")
    (photos / "all").symlink_to(photos)
    for read in (read_class_folders, read_image_tree):
        warn_once.cache_clear()
        caplog.clear()
        assert len(read(photos)) == 4
        (warning,) = caplog.messages
        assert (
            "read once, since links lead to them again: 2, for example all, which is .." in warning
        )


def test_links_to_one_image_in_two_classes_are_refused(photos: Path) -> None:
    (photos / "Pot" / "2.jpg").symlink_to("../cup/2.jpg")
    with pytest.raises(DataError, match=r"Pot/2\.jpg and cup/2\.jpg in .* are one file"):
        read_class_folders(photos)
    assert len(read_image_tree(photos)) == 5


def test_a_path_that_is_a_broken_link(photos: Path) -> None:
    (photos.parent / "link").symlink_to("gone")
    with pytest.raises(
        DataError, match=r"/link is a link to gone, which is missing; .*\(--labeled"
    ):
        check_exists(photos.parent / "link" / "cup", "--labeled")


def test_classes_may_lie_in_folders_of_splits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "train/cup/1.jpg", "train/pot/1.jpg", "Test/cup/2.jpg", "Test/mug/a/1.jpg")
    images = read_class_folders(tmp_path)
    assert images.class_names == ["cup", "mug", "pot"]
    assert dict(zip(images.paths.tolist(), images.labels.tolist(), strict=True)) == {
        "Test/cup/2.jpg": 0, "Test/mug/a/1.jpg": 1, "train/cup/1.jpg": 0, "train/pot/1.jpg": 2,
    }  # fmt: skip
    (warning,) = caplog.messages
    assert "Test, train are read as splits" in warning


def test_spellings_of_a_class_are_merged_if_asked_for(photos: Path) -> None:
    make(photos, "CUP/1.jpg", "pot /1.jpg", "pot /2.jpg", "pot /3.jpg")
    assert read_class_folders(photos).class_names == ["CUP", "Pot", "cup", "pot "]
    merged = read_class_folders(photos, merge_spellings=True)
    assert merged.class_names == ["cup", "pot "]
    assert np.bincount(merged.labels).tolist() == [3, 5]
