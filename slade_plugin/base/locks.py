"""One process at a time in a folder.

The kernel holds the lock (``flock`` on a file in the folder) for as long as the process lives, so
one that was killed leaves no lock behind, only a file that says nothing any more. On network file
systems the server has to support locks; where there are none, a warning says so and work goes on.
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
    """Give up the parent's locks in a forked child, such as a worker of a data loader.

    A lock ends when the last copy of its descriptor is closed, and a worker may outlive its parent.
    """
    for handle in _held.values():
        handle.close()
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def locked(folder: str | os.PathLike[str], what: str = "experiment") -> Iterator[None]:
    """Hold a folder, and all folders in it, for this process.

    A folder inside one that this process holds is held already. The folder is made if it is
    missing; if nothing was written to it, it is removed again.

    Args:
        folder: Where the block writes.
        what: What the folder is, for the message.

    Raises:
        ExperimentError: If another process holds the folder, one around it or one in it; or if the
            folder cannot be written.
    """
    place = Path(folder).resolve()
    if any(held in (place, *place.parents) for held in _held):
        yield
        return
    made = _make(place)
    try:
        handle = _acquire(place, what)
        try:
            # Only now: of two processes that come at once at least one sees the other.
            for other in _around_and_inside(place):
                _probe(other, place, what)
            yield
        finally:
            _release(place, handle)
    finally:
        for path in made:
            with suppress(OSError):  # it is no longer empty
                path.rmdir()


def _make(place: Path) -> list[Path]:
    """Makes a folder; returns what was made, the innermost first."""
    missing = [path for path in (place, *place.parents) if not path.exists()]
    existing = next(path for path in (place, *place.parents) if path.exists())
    try:
        if not os.access(existing, os.W_OK):
            raise PermissionError
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f": {error.strerror}" if error.strerror else ""
        raise ExperimentError(
            f"{existing} is not a folder that can be written{reason}; expected one for {place}. "
            "Change --root_experiment_folder."
        ) from error
    return missing


def _acquire(place: Path, what: str) -> io.BufferedRandom:
    """Locks the file of a folder and writes down who holds it."""
    path = place / LOCK_FILE
    tries = _TRIES
    try:
        while True:
            handle = open(path, "a+b")
            if not _lock(handle, path):
                tries -= 1
                if tries == 0:
                    with handle:
                        raise _refusal(handle, place, place, what)
            elif _is_file_of(handle, path):
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
            handle.raw.close()  # without another try to write
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
            (place / LOCK_FILE).unlink()  # while it is held, so nobody else's
        handle.close()


def _lock(handle: BinaryIO, path: Path, shared: bool = False) -> bool:
    """Whether the lock was given; without support for locks always, with a warning."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        logger.warning(
            "%s cannot be locked (%s): a second process in this folder would not be noticed.",
            *(path, error.strerror or error),
        )
    return True


def _is_file_of(handle: BinaryIO, path: Path) -> bool:
    """Whether a path still leads to an open file."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle.fileno()), os.stat(path))
    return False


def _around_and_inside(place: Path) -> list[Path]:
    around = [path for path in place.parents if (path / LOCK_FILE).is_file()]
    return [*around, *(path.parent for path in place.rglob(LOCK_FILE) if path.parent != place)]


def _probe(other: Path, place: Path, what: str) -> None:
    """Checks that no process holds another folder, without holding it."""
    for left in reversed(range(_TRIES)):
        try:
            handle = open(other / LOCK_FILE, "rb")
        except OSError:
            return  # given back a moment ago, or not ours to read
        with handle:
            if _lock(handle, other / LOCK_FILE, shared=True):
                return
            if left == 0:
                raise _refusal(handle, other, place, what)
        time.sleep(_PAUSE_S)


def _holder() -> str:
    """This process, as its lock file names it."""
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
        who = "another process, which has not written its name yet"
    where = "" if held == place else f" through {held}"
    return ExperimentError(
        f"the {what} folder {place} is in use{where} by {who}; expected one process at a time. "
        "Wait until it has finished, stop it, or choose another name."
    )
