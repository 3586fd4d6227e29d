import unicodedata
from pathlib import Path

import pytest

from slade_plugin.data.files.path_spellings import PathFinder, why_not_found

NFD = unicodedata.normalize("NFD", "pötte/é 1.JPG")
NFC = unicodedata.normalize("NFC", NFD)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in (NFD, "cups/1.jpg", "cups/Two.jpg", "cups/two.jpg", r"odd\name.jpg"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("cups/1.jpg", "cups/1.jpg"),
        ("./cups//1.jpg", "cups/1.jpg"),
        (r"cups\1.jpg", "cups/1.jpg"),
        (r".\Cups\1.JPG", "cups/1.jpg"),
        (NFC, NFD),
        (NFC.upper(), NFD),
        (r"odd\name.jpg", r"odd\name.jpg"),
        ("cups/Two.jpg", "cups/Two.jpg"),
        ("cups/TWO.jpg", None),  # two files fit
        ("cups/3.jpg", None),
        ("none/1.jpg", None),
        (r"C:\photos\1.jpg", None),
    ],
)
def test_the_file_that_is_meant(listed: str, found: str | None, folder: Path) -> None:
    assert PathFinder(folder).find(listed) == found


def test_absolute_paths_and_paths_upwards(folder: Path) -> None:
    assert PathFinder(folder / "cups").find("../Cups/1.jpg") == "../cups/1.jpg"
    assert PathFinder(Path("/nowhere")).find(f"{folder}/CUPS/1.jpg") == f"{folder}/cups/1.jpg"


def test_addresses_and_the_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "cups" / "100% a.jpg").touch()
    find = PathFinder(folder).find
    assert find("cups/100%25%20a.jpg") == find("cups/100% a.jpg") == "cups/100% a.jpg"
    assert find("~/cups/1.jpg") == f"{folder}/cups/1.jpg"
    assert find(f"file://{folder}/cups/100%25%20a.jpg") == f"{folder}/cups/100% a.jpg"
    assert find("https://example.org/cups/1.jpg") is None


def test_reasons() -> None:
    assert "Windows drive" in why_not_found(r"C:\photos\1.jpg")
    assert "Windows drive" in why_not_found(r"\\server\photos\1.jpg")
    assert "an address" in why_not_found("https://example.org/1.jpg")
    assert why_not_found("photos/1.jpg") == ""
