import hashlib
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import (
    MANIFEST_HASH,
    atomic_write,
    finite,
    manifest_hash,
    sha256_of_file,
    write_json,
    write_manifest,
)


def refuse(*args: Any, **kwargs: Any) -> None:
    raise OSError(28, "No space left on device")


def test_writes_the_content(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.bin") as handle:
        handle.write(b"one")
        handle.write(b"two")
    assert (tmp_path / "a.bin").read_bytes() == b"onetwo"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_the_file_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with atomic_write(path) as handle:
        handle.write(b"half")
        handle.flush()
        assert not path.exists()
    assert path.exists()


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_failure_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, broken, refuse)
    with (
        pytest.raises(ExperimentError, match=r"a\.bin: No space left on device"),
        atomic_write(path) as handle,
    ):
        handle.write(b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.bin"]


def test_an_error_of_the_caller_passes_through_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError), atomic_write(tmp_path / "a.bin") as handle:
        handle.writelines([b"half", None])  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ExperimentError, match=r"nowhere.*No such file"),
        atomic_write(tmp_path / "nowhere" / "a.bin"),
    ):
        pass


def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    """A data set folder is often shared, so not the 0600 of ``tempfile``."""
    old_mask = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "a.bin") as handle:
            handle.write(b"x")
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o644


def test_json_is_strict(tmp_path: Path) -> None:
    """NaN and infinity are no JSON: other readers refuse the whole file."""
    nested = {"a": [1.0, math.nan, {"b": -math.inf}], "c": (math.inf, True, "NaN", None)}
    write_json(tmp_path / "a.json", nested)

    def refuse_constant(name: str) -> None:
        raise AssertionError(name)

    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse_constant)
    assert content == {"a": [1.0, None, {"b": None}], "c": [None, True, "NaN", None]}
    assert math.isnan(nested["a"][1])  # type: ignore[arg-type]
    assert finite(0.5) == 0.5


def test_a_manifest_holds_the_hash_of_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_manifest(path, {"b": math.nan, "a": (1, 2)})
    manifest = json.loads(path.read_text())
    assert list(manifest) == ["b", "a", MANIFEST_HASH]
    # Keys in order, as text: the hash does not depend on how the file is laid out.
    expected = hashlib.sha256(b'{"a": [1, 2], "b": null}').hexdigest()
    assert manifest[MANIFEST_HASH] == manifest_hash(manifest) == expected
    assert manifest_hash({**manifest, "a": [1, 3]}) != expected


def test_json_round_trip_keeps_order_and_letters(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"z": [1, 2.5], "a": "Ω"})
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == {"z": [1, 2.5], "a": "Ω"}
    assert text.index('"z"') < text.index('"a"')
    assert "Ω" in text


def test_what_json_cannot_write_touches_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_sha256_of_a_file_longer_than_one_piece(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000  # 1.28 MB, the pieces are 1 MiB
    (tmp_path / "a.bin").write_bytes(content)
    assert sha256_of_file(tmp_path / "a.bin") == hashlib.sha256(content).hexdigest()
