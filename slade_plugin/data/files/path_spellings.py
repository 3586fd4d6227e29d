"""Find the file meant by a path from another system."""

import os
import re
import unicodedata
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class PathFinder:
    """Find files below one folder.

    Args:
        folder: Where relative paths count from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._listed: dict[str, dict[str, list[str]]] = {}

    def find(self, path: str) -> str | None:
        """Return the spelling under which a listed file exists.

        A path that exists as written stays. Otherwise backslashes may separate folders, ~ stand
        for the home, it may be a URL of a file or hold %20, and case and Unicode forms may differ
        from those on the disk, if exactly one file fits.

        Returns:
            The path, normalized; None if no file or several fit.
        """
        slashes = path.replace("\\", "/")
        home, url = os.path.expanduser(slashes), unquote(slashes.removeprefix("file://"))
        for spelling in dict.fromkeys((path, slashes, home, url)):
            normal = os.path.normpath(spelling)
            if os.path.lexists(os.path.join(self._folder, normal)):
                return normal
            found = self._find_parts(normal)
            if found is not None:
                return found
        return None

    def _find_parts(self, path: str) -> str | None:
        """Find the one path that differs only in case or Unicode form, folder by folder."""
        start = "/" if path.startswith("/") else ""
        place, found = start or self._folder, []
        for part in path.removeprefix("/").split("/"):
            fitting = [part] if part == ".." else self._names(place).get(_key(part), [])
            if part in fitting:
                fitting = [part]
            if len(fitting) != 1:
                return None
            found += fitting
            place = os.path.join(place, fitting[0])
        return start + "/".join(found)

    def _names(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._listed:
            names = self._listed[folder] = {}
            with suppress(OSError):
                for name in os.listdir(folder):
                    names.setdefault(_key(name), []).append(name)
        return self._listed[folder]


def why_not_found(path: str) -> str:
    """Explain why a path cannot mean a file here; "" if no reason is known."""
    if _DRIVE.match(path):
        return " (a path of a Windows drive: write it relative to the list)"
    if "://" in path:
        return " (an address, not a path)"
    return ""


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold()).strip()
