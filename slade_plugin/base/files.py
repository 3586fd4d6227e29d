"""Atomic file writes and disk errors.

A file is written under a temporary name in its own folder, flushed to disk and renamed, so a
reader, a crash or a second process never sees a partial file.
"""

import errno
import hashlib
import io
import json
import math
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from slade_plugin.base.errors import ExperimentError

MANIFEST_HASH = "manifest_sha256"  # where a manifest holds its own hash

# A full disk, a quota, a limit on the size of a file.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
# The same errors as worded by torch (zip writer, shared memory) and SQLite.
_FULL_TEXTS = ("PytorchStreamWriter failed", "inline_container", "No space left on device",
               "database or disk is full", "disk I/O error")  # fmt: skip
_REFUSED_TEXTS = ("readonly database", "unable to open database file")


def disk_error(error: BaseException) -> str | None:
    """Find the disk error behind an exception, even if a library wrapped it.

    Args:
        error: Any exception. Among its causes and contexts only a full disk counts: a permission
            error there may have been handled long before.

    Returns:
        The reason, with the file if known; None if the disk is not to blame.
    """
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        first = not seen
        seen.append(link)
        if isinstance(link, OSError) and link.errno in (_REFUSED if first else _FULL):
            name = f"{link.filename}: " if link.filename else ""
            return f"{name}{link.strerror or link}"
        if isinstance(link, RuntimeError | sqlite3.DatabaseError):
            text = next(iter(str(link).splitlines()), "")
            if any(t in str(link) for t in (*_FULL_TEXTS, *(_REFUSED_TEXTS if first else ()))):
                return text
        link = link.__cause__ or link.__context__
    return None


class _Checked(io.RawIOBase):
    """A file for libraries to write to that remembers the first disk error.

    It has no descriptor: with one, NumPy writes through its own buffer and loses what that cannot
    flush without an error.
    """

    def __init__(self, handle: BinaryIO) -> None:
        super().__init__()
        self.handle = handle
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            return self.handle.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.handle.seek(offset, whence)

    def tell(self) -> int:
        return self.handle.tell()


@contextmanager
def checked_write(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a new file for writing bytes.

    Args:
        path: The file to create or to replace.

    Yields:
        The open file, with `write`, `seek` and `tell` but no descriptor.

    Raises:
        OSError: If writing fails, even if a library in the block turned that error into another.
    """
    with open(path, "wb") as handle:
        stream = _Checked(handle)
        try:
            yield stream
        except Exception as error:
            if stream.error is None or error is stream.error:
                raise
            raise stream.error from error


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a temporary file for writing bytes; it becomes ``path`` when the block succeeds.

    If the block raises, ``path`` is unchanged and the temporary file is removed. The folder must
    exist. Write only this file in the block: any ``OSError`` is reported as a failure to write it.

    Args:
        path: The file to create or to replace.

    Yields:
        The open temporary file, as `checked_write` gives it.

    Raises:
        ExperimentError: If the file cannot be written (full disk, no permission, no folder).
    """
    target = Path(path)
    temporary = _temporary(target)
    try:
        # Not tempfile, whose files only the owner can read: data sets are shared.
        with checked_write(temporary) as stream:
            yield stream
        flush_to_disk(temporary)
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _not_written(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Make a temporary folder; it becomes ``path`` if the block succeeds and is removed otherwise.

    Args:
        path: A folder that does not exist yet. Missing parents are created.

    Yields:
        The temporary folder, beside ``path``.

    Raises:
        ExperimentError: If a write fails, or ``path`` exists by now.
    """
    target = Path(path)
    temporary = _temporary(target)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.rename(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _not_written(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(target: Path) -> Path:
    # Shortened, since the name may have the maximum length already.
    return target.with_name(f".{target.name[:40]}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def _not_written(target: Path, error: OSError) -> ExperimentError:
    return ExperimentError(
        f"Cannot write {target}: {error.strerror or error}. Expected a writable folder with free "
        "space. Free some space, fix its permissions, or choose another folder."
    )


def finite(content: Any) -> Any:
    """Replace every NaN and infinity by None, since strict JSON has neither."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8 atomically, with its own line ends.

    Args:
        path: The file to create or to replace.
        text: Its content.

    Raises:
        ExperimentError: If the file cannot be written.
    """
    with atomic_write(path) as handle:
        handle.write(text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write indented JSON atomically, keys in the order given, NaN and infinity as null.

    Args:
        path: The file to create or to replace.
        content: Anything ``json`` can write.

    Raises:
        ExperimentError: If the file cannot be written.
    """
    text = json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text)


def write_manifest(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write JSON like `write_json`, with its own hash as `MANIFEST_HASH`.

    Args:
        path: The file to create or to replace.
        content: Anything ``json`` can write, without the hash.

    Raises:
        ExperimentError: If the file cannot be written.
    """
    as_read = finite(content)  # hash what a reader will find
    write_json(path, {**as_read, MANIFEST_HASH: manifest_hash(as_read)})


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """Hash everything in a manifest except the hash itself."""
    rest = {key: value for key, value in manifest.items() if key != MANIFEST_HASH}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Compute the SHA-256 of a file in hex, block by block."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def flush_to_disk(path: Path) -> None:
    """Flush a file, or the names in a folder, so that they survive a power cut."""
    folder = path.is_dir()
    if folder and os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut, if the system supports it."""
    # The file is already complete and in place, so failing to sync the folder is not an error.
    with suppress(OSError):
        flush_to_disk(folder)
