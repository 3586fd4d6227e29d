"""Download one archive over HTTP: resumable, checked by its hash, whole or absent."""

import http.client
import logging
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from slade_plugin.base.errors import DataError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.base.locks import lock_file

logger = logging.getLogger(__name__)

_ATTEMPTS = 5  # in a row that bring nothing new
_PAUSE_S = 2.0
_TIMEOUT_S = 60
_CHUNK = 1 << 18
_TRY_AGAIN = (408, 429)  # the 4xx codes that ask for a retry


@dataclass(frozen=True)
class Archive:
    """A file that its source lets a program download.

    Attributes:
        url: Where it is.
        file_name: Its name on disk.
        size: In bytes.
        sha256: Of the whole file, in hex.
        place: The folder below ``dataset_root`` to keep and unpack it in.
        folder: The one folder in it to unpack; the rest is left out.
    """

    url: str
    file_name: str
    size: int
    sha256: str
    place: str
    folder: str


def fetch(archive: Archive, root: Path) -> Path:
    """Download an archive to ``root / archive.file_name``, or check the existing one.

    What has arrived is kept in ``<file_name>.part``, and the next call resumes there; from a source
    that cannot do so it is read from the beginning. The file gets its name after its hash was
    checked.

    Args:
        archive: What to fetch.
        root: An existing folder.

    Returns:
        The path of the archive, whole and with the right hash.

    Raises:
        DataError: If the source cannot be read, has another file, or the disk is full.
    """
    target = root / archive.file_name
    part = target.with_name(f"{target.name}.part")
    if target.exists():
        _check(archive, target, "delete it to fetch it again")
        return target
    with _writing(part), open(part, "ab") as handle:
        if not lock_file(handle, part):
            raise DataError(
                f"{part} is being written by another process; wait until it has finished."
            )
        _receive_all(archive, handle, root)
        try:
            _check(archive, part, "it was deleted, so that the same command starts again")
        except DataError:
            part.unlink()
            raise
        part.replace(target)
    return target


def _receive_all(archive: Archive, handle: BinaryIO, root: Path) -> None:
    if handle.tell() > archive.size:
        _empty(handle)
    _check_space(archive, root, handle.tell())
    bar = tqdm(total=archive.size, desc=archive.file_name, unit="B", unit_scale=True, disable=None)
    failures = 0
    with bar:
        while handle.tell() < archive.size:
            before = handle.tell()
            reason, is_final = _receive(archive, handle, bar)
            handle.flush()
            failures = 0 if handle.tell() > before else failures + 1
            if is_final or failures == _ATTEMPTS:
                raise DataError(
                    f"{archive.url} cannot be read: {reason}. Got {handle.tell()} of "
                    f"{archive.size} bytes, kept in {root}; the same command resumes there. Or "
                    f"download it in another way to {root / archive.file_name}; the same command "
                    "then checks and unpacks it."
                )
            if reason:
                logger.info("%s: %s; trying again", archive.url, reason)
                time.sleep(_PAUSE_S)


def _receive(archive: Archive, handle: BinaryIO, bar: Any) -> tuple[str, bool]:
    """Append the data of one request, even if it breaks off.

    Returns:
        Why it ended early ("" if it did not), and whether retrying is pointless.
    """
    start = handle.tell()
    request = urllib.request.Request(
        archive.url, headers={"Range": f"bytes={start}-"} if start else {}
    )
    try:
        reply = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        return str(error), error.code < 500 and error.code not in _TRY_AGAIN
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__, False
    with reply:
        if reply.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0  # the source does not know ranges and sends all of it
        offered = reply.headers["Content-Length"]
        if offered is not None and start + int(offered) != archive.size:
            return f"it offers {start + int(offered)} bytes, another file or a page", True
        if start == 0 and handle.tell():
            _empty(handle)
        bar.n = start
        while True:
            try:
                chunk = reply.read(min(_CHUNK, archive.size - handle.tell()))
            except (OSError, http.client.HTTPException) as error:
                return str(error) or type(error).__name__, False
            if not chunk:
                break
            handle.write(chunk)  # outside the try: an error of the disk is not one of the source
            bar.update(len(chunk))
    return "" if handle.tell() == archive.size else "the connection ended early", False


def _empty(handle: BinaryIO) -> None:
    handle.truncate(0)
    handle.seek(0)


def _check(archive: Archive, path: Path, what_next: str) -> None:
    found = sha256_of_file(path)
    if found != archive.sha256:
        raise DataError(
            f"{path} ({path.stat().st_size} bytes) has SHA-256 {found}; expected {archive.sha256} "
            f"({archive.size} bytes): it is damaged or another file; {what_next}."
        )


def _check_space(archive: Archive, root: Path, present: int) -> None:
    """Check that the disk has room for the rest of the archive and its content."""
    needed = 2 * archive.size - present  # images hardly compress
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DataError(
            f"{root} has {free / 1e9:.1f} GB free; expected {needed / 1e9:.1f} GB, for the rest of "
            f"{archive.file_name} and what it holds. Free some, or choose another folder."
        )


@contextmanager
def _writing(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"Cannot write {part}: {error.strerror or error}. Expected a writable folder with free "
            "space. Fix this, then rerun the same command to resume."
        ) from error
