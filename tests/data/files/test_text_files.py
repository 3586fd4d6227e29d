from pathlib import Path

import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.text_files import lines_of, read_text

TEXT = "pots/é.jpg\r\n茶\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_can_be_told(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(TEXT.encode(encoding))
    assert read_text(tmp_path / "list", "text") == TEXT


def test_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes("é\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"list is not UTF-8 text \(byte 0\); expected names\."):
        read_text(tmp_path / "list", "names")
    (tmp_path / "wide").write_bytes("cups\n".encode("utf-16-le"))
    with pytest.raises(DataError, match=r"wide holds null characters, as UTF-16 without"):
        read_text(tmp_path / "wide", "names")
    with pytest.raises(DataError, match=r"none cannot be read: No such file .*expected names"):
        read_text(tmp_path / "none", "names")


def test_lines_of_any_system() -> None:
    assert lines_of("a\r\n\r\n b \rc\nd\u2028e") == [(1, "a"), (3, "b"), (4, "c"), (5, "d\u2028e")]
