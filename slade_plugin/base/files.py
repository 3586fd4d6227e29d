"""Files that are either whole or absent.

A file is written under a temporary name in its own folder, flushed to the disk and renamed: a
reader, a crash or a second process never meets half a file.
"""

import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from slade_plugin.base.errors import ExperimentError

MANIFEST_HASH = "manifest_sha256"  # where a manifest holds its own hash

_HASH_CHUNK = 1 << 20


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a temporary file for writing bytes; it becomes ``path`` when the block ends well.

    If the block raises, ``path`` is left as it was and the temporary file is removed. The folder
    must exist. Within one block write nothing but this file: any ``OSError`` is reported as a
    failure to write it.

    Args:
        path: The file to create or to replace.

    Yields:
        The open temporary file.

    Raises:
        ExperimentError: If the file cannot be written (full disk, no permission, no folder).
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        # Not tempfile: it makes files that only their owner can read, and data sets are shared.
        with open(temporary, "xb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise ExperimentError(
            f"Cannot write {target}: {error.strerror or error}. Expected a writable folder with "
            "free space; free some, mend its permissions, or choose another folder "
            "(--root_experiment_folder, --dataset_root)."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def finite(content: Any) -> Any:
    """Puts None in the place of every NaN and infinity, which strict JSON does not know."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes indented JSON atomically, keys in the order given, NaN and infinity as null.

    Args:
        path: The file to create or to replace.
        content: What ``json`` can write.

    Raises:
        ExperimentError: If the file cannot be written.
    """
    text = json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_write(path) as handle:
        handle.write(text.encode("utf-8"))


def write_manifest(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Writes JSON as `write_json` does, with its own hash as `MANIFEST_HASH`.

    Args:
        path: The file to create or to replace.
        content: What ``json`` can write, without the hash.

    Raises:
        ExperimentError: If the file cannot be written.
    """
    as_read = finite(content)  # the hash is of what a reader will find
    write_json(path, {**as_read, MANIFEST_HASH: manifest_hash(as_read)})


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """The hash of everything in a manifest but the hash itself."""
    rest = {key: value for key, value in manifest.items() if key != MANIFEST_HASH}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file, in hex; reads it piece by piece."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while chunk := handle.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` survive a power cut, where the system allows it."""
    # The file is already in place and whole, so a system that cannot sync folders is no error.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
