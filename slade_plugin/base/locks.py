"""One process at a time in a folder.

The kernel holds the lock (``flock`` on a file in the folder) for as long as the process lives, so
a killed process leaves no lock, only a stale file. Network file systems must support locks; where
locks are missing, the process logs a warning and continues.
"""

import fcntl
import io
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from slade_plugin.base.errors import ExperimentError

LOCK_FILE = ".lock"
_TRIES = 5  # of a lock that another process may only be probing
_PAUSE_S = 0.02

logger = logging.getLogger(__name__)

_held: dict[Path, io.BufferedRandom] = {}  # by this process, by resolved folder


def _close_in_child() -> None:
    """Release the parent's locks in a forked child, such as a data-loader worker.

    A lock ends when the last copy of its descriptor is closed, and a worker may outlive its parent.
    """
    for handle in _held.values():
        handle.close()
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def locked(folder: str | os.PathLike[str], what: str = "experiment") -> Iterator[None]:
    """Lock a folder, and all folders in it, for this process.

    A folder inside a locked one is locked already. A missing folder is created, and removed again
    if nothing was written to it.

    Args:
        folder: Where the block writes.
        what: What the folder is, for the message.

    Raises:
        ExperimentError: If another process holds the folder, a parent or a subfolder; or if the
            folder is not writable.
    """
    place = Path(folder).resolve()
    if any(held in (place, *place.parents) for held in _held):
        yield
        return
    made = _make(place)
    try:
        handle = _acquire(place, what)
        try:
            # Only now, so that of two simultaneous processes at least one sees the other.
            for other in _around_and_inside(place):
                _probe(other, place, what)
            yield
        finally:
            _release(place, handle)
    finally:
        for path in made:
            with suppress(OSError):  # not empty any more
                path.rmdir()


def _make(place: Path) -> list[Path]:
    """Create a folder and return the created ones, innermost first."""
    missing = [path for path in (place, *place.parents) if not path.exists()]
    existing = next(path for path in (place, *place.parents) if path.exists())
    try:
        if not os.access(existing, os.W_OK):
            raise PermissionError
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f": {error.strerror}" if error.strerror else ""
        raise ExperimentError(
            f"{existing} is not a writable folder{reason}; expected one for {place}. "
            "Change --root_experiment_folder."
        ) from error
    return missing


def _acquire(place: Path, what: str) -> io.BufferedRandom:
    """Lock the file of a folder and record the holder in it."""
    path = place / LOCK_FILE
    tries = _TRIES
    try:
        while True:
            handle = open(path, "a+b")
            if not lock_file(handle, path):
                tries -= 1
                if tries == 0:
                    with handle:
                        raise _refusal(handle, place, place, what)
            elif is_file_of(handle, path):
                break
            handle.close()  # its holder has just removed it, or may only be probing
            time.sleep(_PAUSE_S)
        try:
            handle.truncate(0)
            handle.write(_holder().encode())
            handle.flush()
        except OSError:
            with suppress(OSError):
                path.unlink()
            handle.raw.close()  # without retrying the write
            raise
    except OSError as error:
        raise ExperimentError(
            f"cannot write {path}: {error.strerror or error}. Expected a writable folder with "
            "free space. Free some space or fix its permissions."
        ) from error
    _held[place] = handle
    return handle


def _release(place: Path, handle: io.BufferedRandom) -> None:
    if _held.pop(place, None) is handle:  # else this is a child that gave it up
        with suppress(OSError):
            (place / LOCK_FILE).unlink()  # while held, so it is ours
        handle.close()


def lock_file(handle: BinaryIO, path: Path, shared: bool = False) -> bool:
    """Whether the lock was acquired; True, with a warning, where locks are unsupported."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        logger.warning(
            "%s cannot be locked (%s): a second process in this folder would go unnoticed.",
            *(path, error.strerror or error),
        )
    return True


def is_file_of(handle: BinaryIO, path: Path) -> bool:
    """Whether a path still points to an open file."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle.fileno()), os.stat(path))
    return False


def _around_and_inside(place: Path) -> list[Path]:
    around = [path for path in place.parents if (path / LOCK_FILE).is_file()]
    return [*around, *(path.parent for path in place.rglob(LOCK_FILE) if path.parent != place)]


def _probe(other: Path, place: Path, what: str) -> None:
    """Check that no process holds another folder, without locking it."""
    for left in reversed(range(_TRIES)):
        try:
            handle = open(other / LOCK_FILE, "rb")
        except OSError:
            return  # released a moment ago, or not readable
        with handle:
            if lock_file(handle, other / LOCK_FILE, shared=True):
                return
            if left == 0:
                raise _refusal(handle, other, place, what)
        time.sleep(_PAUSE_S)


def _holder() -> str:
    """Describe this process for its lock file."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return json.dumps(
        {
            "pid": os.getpid(),
            "host": platform.node(),
            "started": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
            "command": command,
        }
    )


def _refusal(handle: BinaryIO, held: Path, place: Path, what: str) -> ExperimentError:
    handle.seek(0)
    try:
        holder = json.loads(handle.read())
        who = (
            f"process {holder['pid']} on {holder['host']}, started {holder['started']} "
            f"({holder['command']})"
        )
    except (ValueError, LookupError, TypeError):
        who = "another process, which has not identified itself yet"
    where = "" if held == place else f" through {held}"
    return ExperimentError(
        f"the {what} folder {place} is in use{where} by {who}; expected one process at a time. "
        "Wait until it finishes, stop it, or choose another name."
    )
