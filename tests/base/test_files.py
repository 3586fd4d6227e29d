import errno
import hashlib
import json
import math
import os
import re
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import slade_plugin
from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import (
    MANIFEST_HASH,
    atomic_folder,
    atomic_write,
    checked_write,
    disk_error,
    finite,
    manifest_hash,
    sha256_of_file,
    write_json,
    write_manifest,
    write_text,
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


@pytest.mark.parametrize("text", ["", "Ω\n", "a\r\nb\n"])
def test_text_is_written_as_it_is(text: str, tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_bytes() == text.encode("utf-8")


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


# ---- full disks ---------------------------------------------------------------------------------

NOISE = np.random.default_rng(0).integers(0, 255, (120, 1000), np.uint8)  # 120 kB


def write_zip(file: Any) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for number, row in enumerate(NOISE):
            archive.writestr(str(number), row.tobytes())


# Each turns an error of the disk into something else, or writes in a way of its own.
WRITERS: dict[str, Callable[[Any], object]] = {
    "bytes": lambda file: file.write(NOISE.tobytes()),
    "pieces": lambda file: [file.write(row.tobytes()) for row in NOISE],
    "numpy": lambda file: np.save(file, NOISE),
    "torch": lambda file: torch.save({"a": torch.from_numpy(NOISE), "b": [1] * 9}, file),
    "many tensors": lambda file: torch.save([torch.from_numpy(row.copy()) for row in NOISE], file),
    "picture": lambda file: Image.fromarray(NOISE).save(file, format="PNG"),
    "zip": write_zip,
}


@pytest.mark.parametrize("name", WRITERS)
def test_on_a_full_disk_the_old_file_stays_and_no_other(name: str, small_disk: Any) -> None:
    path = small_disk.folder / "a.bin"
    path.write_bytes(b"old")
    for room in (0, 1000, 4096, 10_000, 65_536, 90_000, 119_000):
        small_disk.leave(room)
        with (
            pytest.raises(ExperimentError, match=r"a\.bin: (No space left|File too large)"),
            atomic_write(path) as file,
        ):
            WRITERS[name](file)
        assert path.read_bytes() == b"old"
        assert small_disk.temporary_files() == []
    small_disk.free()
    with atomic_write(path) as file:
        WRITERS[name](file)
    assert path.stat().st_size >= NOISE.size


def test_a_small_array_is_not_lost_in_a_buffer(small_disk: Any) -> None:
    """NumPy's own way to write a file forgets what it cannot flush at the end."""
    small_disk.leave(0)
    with pytest.raises(ExperimentError), atomic_write(small_disk.folder / "a.npy") as file:
        np.save(file, np.arange(20))
    assert not (small_disk.folder / "a.npy").exists()


def write_folder(target: Path) -> None:
    with atomic_folder(target) as folder:
        (folder / "a").write_bytes(b"small")
        (folder / "b").write_bytes(NOISE.tobytes())


def test_a_folder_is_whole_or_absent(small_disk: Any) -> None:
    small_disk.leave(20_000)
    target = small_disk.folder / "new" / "record"
    with pytest.raises(ExperimentError, match=r"Cannot write .*record: .*another folder\.$"):
        write_folder(target)
    assert not target.exists()
    assert small_disk.temporary_files() == []
    small_disk.free()
    write_folder(target)
    assert [p.name for p in target.parent.iterdir()] == ["record"]
    with pytest.raises(ExperimentError, match="record"):
        write_folder(target)
    assert sorted(p.name for p in target.iterdir()) == ["a", "b"]


def test_a_wrapped_error_of_the_disk_is_raised_itself(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def write(data: bytes) -> int:
        raise full

    def save() -> None:
        with checked_write(tmp_path / "a") as stream:
            stream.handle = type("Full", (), {"write": staticmethod(write)})()
            try:
                stream.write(b"x")
            except OSError:
                raise RuntimeError("unexpected pos") from None

    with pytest.raises(OSError, match="No space") as caught:
        save()
    assert caught.value is full
    with pytest.raises(RuntimeError, match="a bug"), checked_write(tmp_path / "a"):
        raise RuntimeError("a bug")


def chained(error: Exception, last: Exception, explicit: bool) -> Exception:
    try:
        try:
            raise error
        except Exception as first:
            if explicit:
                raise last from first
            raise last  # noqa: B904 - what the host does
    except Exception as found:  # noqa: BLE001 - that is what is made here
        return found


@pytest.mark.parametrize("explicit", [True, False])
def test_a_full_disk_is_found_behind_other_errors(explicit: bool) -> None:
    full = OSError(errno.EDQUOT, "Disk quota exceeded", "a/b")
    error = chained(full, chained(full, ValueError(), explicit), explicit)
    assert disk_error(error) == "a/b: Disk quota exceeded"
    database = sqlite3.OperationalError("database or disk is full")
    hidden = chained(database, sqlite3.OperationalError("duplicate column name: [a]"), explicit)
    assert disk_error(hidden) == "database or disk is full"


def test_an_error_that_was_handled_long_before_is_not_to_blame() -> None:
    handled = PermissionError(errno.EACCES, "Permission denied", "a")
    assert disk_error(handled) == "a: Permission denied"
    assert disk_error(chained(handled, KeyError("a bug"), explicit=False)) is None
    assert disk_error(OSError(errno.ENOENT, "No such file")) is None
    assert disk_error(RuntimeError("CUDA out of memory")) is None


# Who writes without `atomic_write`, and why nothing is left half.
OWN_WRITERS = {
    "base/files.py": "is the writer",
    "base/locks.py": "a lock has no content to lose",
    "data/files/image_cache.py": "appends, checks what is there, and goes on behind it",
    "data/downloads/fetching.py": "appends to a .part file that the next call resumes",
    "experiments/studies/execution.py": "a lock and a log",
    "commands/show_config.py": "a temporary file that it reads at once",
    "retrieval/vectors.py": "appends under a lock, and goes on behind what is there",
}
_WRITES = re.compile(
    r"""open\([^()]*,\s*"[wax+b]*[wax+][wax+b]*"|\.open\("[wax]|\.write_text\(|write_bytes\("""
    r"""|\.to_csv\(|\.touch\("""
)


def test_every_other_module_writes_through_the_one_writer() -> None:
    package = Path(slade_plugin.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if _WRITES.search(path.read_text(encoding="utf-8"))
    }
    assert found == set(OWN_WRITERS)
