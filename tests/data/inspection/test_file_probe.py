from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection.file_probe import FileProbe, probe, probe_files


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize(
    ("mode", "suffix", "kind"),
    [("RGB", "jpg", "JPEG RGB"), ("L", "jpg", "JPEG L"), ("CMYK", "jpg", "JPEG CMYK"),
     ("P", "png", "PNG P")],
)  # fmt: skip
def test_kind_and_size(mode: str, suffix: str, kind: str, decode: bool, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new(mode, (5, 3)).save(path)
    levels = 1 if decode else None
    assert probe(path, decode) == FileProbe(kind, 5, 3, levels=levels)


def test_a_cut_file_is_found_by_decoding_only(
    drawn: Callable[..., ImageList], cut: Callable[[Path], None]
) -> None:
    path = drawn(ant=1).path(0)
    Image.effect_noise((90, 90), 50).save(path)
    cut(path)
    assert probe(path, decode=False) == FileProbe("JPEG L", 90, 90)
    found = probe(path, decode=True)
    assert (found.kind, found.width) == ("JPEG L", 90)
    assert found.error.startswith("image file is truncated")


@pytest.mark.parametrize("decode", [False, True])
def test_what_is_no_image_has_no_kind(decode: bool, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>Please log in</html>")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    found = {
        name: probe(tmp_path / f"{name}.jpg", decode)
        for name in ("page", "empty", "folder", "missing")
    }
    assert found == {
        "page": FileProbe(error="cannot identify image file"),
        "empty": FileProbe(error="cannot identify image file"),
        "folder": FileProbe(error="Is a directory"),
        "missing": FileProbe(error="No such file or directory"),
    }


def test_a_file_that_claims_to_be_huge_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 60000 60000 255 ")
    assert "decompression bomb" in probe(tmp_path / "a.pgm", decode=False).error
    (tmp_path / "b.pgm").write_bytes(b"P5 6000 6000 255 ")
    assert "expected at most 26 million" in probe(tmp_path / "b.pgm", decode=False).error


@pytest.mark.parametrize("workers", [0, 1])
def test_every_image_of_a_list(workers: int, drawn: Callable[..., ImageList]) -> None:
    images = drawn(ant=1, bee=2)
    images.path(1).unlink()
    probes = probe_files(images, True, workers)
    assert [found.error for found in probes] == ["", "No such file or directory", ""]
    assert probes[2] == FileProbe("JPEG RGB", 12, 8, levels=probes[2].levels)
    assert (probes[2].levels or 0) > 100
