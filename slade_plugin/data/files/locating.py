"""Locate the files of a data set, since copies differ in their folders.

Kaggle doubles folders (``cars_train/cars_train``) and names what it packs ``archive``; mirrors
rename the outermost folder. A copy that cannot be read is named with the step that fixes it.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from slade_plugin.base.errors import DataError

Needed = Sequence[str | tuple[str, ...]]
"""Files or folders that must be there, relative to one folder; of a tuple at least one."""

_DEPTH = 3  # folders below a data set's own in which its files are looked for
_PACKED = ("zip", "tar", "tgz", "gz", "bz2", "xz", "rar", "7z", "z01", "001")
_TABLES = ("parquet", "arrow", "tfrecord")
_FROM_KAGGLE = "archive"


def find_folder(
    name: str,
    root: Path,
    needed: Needed,
    folders: Sequence[str],
    stems: Sequence[str],
    how_to_get: str,
) -> Path:
    """Find the first folder with everything needed.

    Args:
        name: Of the data set.
        root: The host's ``dataset_root``.
        needed: What the folder must hold.
        folders: Where it may be, relative to the root, most usual first; "" is the root. A doubled
            folder (``data/data``) is found as well.
        stems: Beginnings of other folder names, in lower-case letters and digits; "nabirds" finds
            ``NABirds_v1``. Below such a folder any name will do.
        how_to_get: Sentences for the message.

    Raises:
        DataError: If there is none; names what is missing, every place searched, and
            archives that are not unpacked.
    """
    places = []
    for folder in folders:
        place = root / folder
        places += [place, place / place.name]
    others = [place for place in _similar(root, stems) if place not in places]
    for place in [*places, *others]:
        if not _missing(place, needed):
            return place
    best = min([*places, *others], key=lambda place: len(_missing(place, needed)))
    missing = _missing(best, needed)
    partly = ", ".join(missing) + (f" in {best}" if len(missing) < len(needed) else "")
    raise DataError(
        f"{name}: {partly} not found; looked in {'; '.join(map(str, places))} (folders that may "
        f"not be read look empty). {_what_lies_there(root, [*places, *others], stems)}{how_to_get} "
        "If the files are elsewhere, change dataset_root (--dataset_root)."
    )


def find_file(folder: Path, pattern: str) -> Path | None:
    """Find the shallowest file below a folder whose name fits a pattern."""
    for depth in range(_DEPTH + 1):
        for path in sorted(folder.glob("*/" * depth + pattern)):
            if path.is_file():
                return path
    return None


def prefix_of(folder: Path, prefixes: Sequence[str], paths: Sequence[str]) -> str:
    """Return the first of several folders that holds the images, else the first that exists.

    Args:
        folder: The data set's.
        prefixes: Folders relative to it, each with "/" at its end, or "".
        paths: Of the images, relative to the wanted folder; the first one is looked for.
    """
    for prefix in prefixes:
        if paths and (folder / prefix / paths[0]).exists():
            return prefix
    return next((prefix for prefix in prefixes if (folder / prefix).exists()), prefixes[0])


def _missing(place: Path, needed: Needed) -> list[str]:
    alternatives = [(n,) if isinstance(n, str) else n for n in needed]
    return [
        " or ".join(names)
        for names in alternatives
        if not any(os.path.exists(place / name) for name in names)
    ]


def _similar(root: Path, stems: Sequence[str]) -> Iterator[Path]:
    """List folders below the root whose name begins with a stem, and two levels below each."""
    first = _folders(root)
    first += [inner for place in first if place.name == _FROM_KAGGLE for inner in _folders(place)]
    for place in first:
        if _begins_with(place.name, stems):
            second = _folders(place)
            yield from [place, *second, *(third for s in second for third in _folders(s))]


def _begins_with(name: str, stems: Sequence[str]) -> bool:
    return "".join(c for c in name.lower() if c.isalnum()).startswith(tuple(stems))


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(place) if entry.is_dir())
    except OSError:
        return []


def _what_lies_there(root: Path, places: Sequence[Path], stems: Sequence[str]) -> str:
    """Describe a broken link, an archive or a table found instead of the files."""
    for place in [*places, *(path for path in _entries(root) if _begins_with(path.name, stems))]:
        if os.path.islink(place) and not os.path.exists(place):
            return f"{place} is a link to {os.readlink(place)}, which is missing: restore it. "
    candidates = [path for path in _entries(root) if _begins_with(path.name, (*stems, "archive"))]
    for place in places:
        if place != root:
            entries = _entries(place)
            candidates += [*entries, *(inner for path in entries for inner in _entries(path)[:50])]
    for path in candidates:
        ending = path.suffix.lower().removeprefix(".")
        if ending in _PACKED and os.path.isfile(path):
            return f"{path} is not unpacked: unpack it where it is. "
        if ending in _TABLES and os.path.isfile(path):
            return (
                f"{path} is a table with images in it, as Hugging Face exports them: save them as "
                "files, one folder per class, and read them with --config_dataset folders (docs/"
                "data.md, Copies in circulation). "
            )
    return ""


def _entries(place: Path) -> list[Path]:
    try:
        return sorted(place.iterdir())
    except OSError:
        return []
