import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.downloads.extraction import extract


def packed(path: Path, *members: tarfile.TarInfo | str, mode: str = "w:gz") -> Path:
    """A tar file; a text is the path of a small file."""
    with tarfile.open(path, mode) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member)
                info.size, info.mode, info.uid = 4, 0o4666, 4242
                tar.addfile(info, io.BytesIO(b"data"))
    return path


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_one_folder_is_unpacked_with_plain_modes(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tgz", "birds/images/1/\u00e9.jpg", "birds/x.txt", "other.txt")
    folder = extract(archive, "birds", tmp_path)
    assert folder == tmp_path / "birds"
    assert (folder / "images" / "1" / "\u00e9.jpg").read_bytes() == b"data"
    found = (folder / "x.txt").stat()
    assert stat.S_IMODE(found.st_mode) == 0o644
    assert found.st_uid == os.getuid()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "birds"]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (link("birds/l", "/etc/passwd", tarfile.SYMTYPE), "birds/l, which is a link or a device"),
        (link("birds/l", "x.txt", tarfile.SYMTYPE), "birds/l, which is a link or a device"),
        (link("birds/l", "birds/x.txt", tarfile.LNKTYPE), "birds/l, which is a link or a device"),
        (link("birds/p", "", tarfile.FIFOTYPE), "birds/p, which is a link or a device"),
        ("birds/../../evil.txt", "evil.txt' would be extracted to .* outside the destination"),
        ("../evil.txt", "outside the destination"),
    ],
)
def test_what_could_leave_the_folder_is_refused(
    member: tarfile.TarInfo | str, message: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    archive = packed(tmp_path / "a.tgz", "birds/x.txt", member, "birds/y.txt")
    with pytest.raises(DataError, match=message):
        extract(archive, "birds", root)
    assert list(root.iterdir()) == []
    assert not (tmp_path / "evil.txt").exists()


def test_an_absolute_path_stays_inside(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tar", "/birds/x.txt", mode="w")
    extract(archive, "birds", tmp_path)
    assert (tmp_path / "birds" / "x.txt").is_file()


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    whole = packed(tmp_path / "a.tgz", *(f"birds/{n}.txt" for n in range(400)))
    for name, content in (
        ("short", whole.read_bytes()[:-900]),
        ("none", b"no archive at all"),
        ("empty", b""),
    ):
        broken = tmp_path / f"{name}.tgz"
        broken.write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.tgz cannot be unpacked .*whole archive"):
            extract(broken, "birds", tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_another_archive_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tgz", "cars/x.txt")
    with pytest.raises(DataError, match=r"a\.tgz holds no folder birds; is it the right archive"):
        extract(archive, "birds", tmp_path)
    assert list(tmp_path.iterdir()) == [archive]


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tgz", "birds/x.txt")
    (tmp_path / "birds").mkdir()
    with pytest.raises(DataError, match=r"birds exists already.*Move it away"):
        extract(archive, "birds", tmp_path)
    assert list((tmp_path / "birds").iterdir()) == []


def test_a_folder_that_is_absent_is_named(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tgz", "birds/x.txt")
    with pytest.raises(DataError, match=r"nowhere.*No such file"):
        extract(archive, "birds", tmp_path / "nowhere")
