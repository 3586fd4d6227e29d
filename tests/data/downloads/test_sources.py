import hashlib
import re
import tarfile
from pathlib import Path

import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.commands.data import image_data_sets
from slade_plugin.data.downloads import fetching
from slade_plugin.data.downloads.fetching import Archive
from slade_plugin.data.downloads.sources import ARCHIVES, download


@pytest.fixture
def birds(tmp_path: Path) -> Archive:
    """An archive that is in its place below "root" already, so that no server is asked."""
    (tmp_path / "root" / "place").mkdir(parents=True)
    (tmp_path / "images.txt").write_text("1 a.jpg")
    path = tmp_path / "root" / "place" / "birds.tgz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tmp_path / "images.txt", "birds/images.txt")
        tar.add(tmp_path / "images.txt", "beside.txt")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Archive("http://127.0.0.1:9/", "birds.tgz", len(content), digest, "place", "birds")


def test_the_archives_are_of_data_sets_there_are() -> None:
    assert set(ARCHIVES) <= set(image_data_sets())
    for archive in ARCHIVES.values():
        assert archive.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", archive.sha256)


def test_an_archive_becomes_its_folder(birds: Archive, tmp_path: Path) -> None:
    folder = download(birds, tmp_path / "root")
    assert folder == tmp_path / "root" / "place" / "birds"
    assert (folder / "images.txt").read_text() == "1 a.jpg"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["birds", "birds.tgz"]


def test_a_folder_that_is_there_is_left_alone(birds: Archive, tmp_path: Path) -> None:
    (tmp_path / "root" / "place" / "birds").mkdir()
    with pytest.raises(DataError, match=r"birds exists already, but does not hold the whole"):
        download(birds, tmp_path / "root")
    assert not list((tmp_path / "root" / "place" / "birds").iterdir())


def test_the_root_is_made_or_named(
    birds: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_PAUSE_S", 0)
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/ cannot be read"):
        download(birds, tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "place").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/place cannot be made: Not a directory"):
        download(birds, tmp_path / "file")
