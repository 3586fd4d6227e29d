"""Images found in a tree of folders, with or without one folder a class.

    photos/<class>/any/depth/image.jpg      labeled: the first folder is the class
    more_photos/any/depth/image.jpg         unlabeled

Names that begin with a dot (``._image.jpg`` of macOS, ``.thumbnails/``), ``__MACOSX`` and files
that are no images by their ending are left out; links are followed.
"""

import os
from collections import Counter
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from slade_plugin.base.errors import DataError
from slade_plugin.base.suggestions import nearest
from slade_plugin.base.warning import warn_once
from slade_plugin.data.files.image_list import ImageList, remap_labels

UNLABELED = "unlabeled"  # the only class name of a list without labels

_SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}


def read_class_folders(root: Path) -> ImageList:
    """Lists the images of a tree with one folder a class.

    Args:
        root: The folder that holds the class folders.

    Returns:
        Classes in the order of their names' code points; images in that of their paths.

    Raises:
        DataError: If the tree cannot be read or does not hold two class folders with images.
    """
    found = find_images(root)
    paths = [path for path in found if "/" in path]
    beside = [path for path in found if "/" not in path]
    labels, names = remap_labels([path.split("/")[0] for path in paths])
    classes = names.tolist()
    expected = (
        f"expected one folder a class, such as {root / 'CLASS' / 'image.jpg'}, or a CSV file of "
        "path,label (--labeled)."
    )
    if not classes:
        what = f"{len(beside)} images but no folders" if beside else "no images"
        raise DataError(f"{root} holds {what}; {expected}")
    if len(classes) == 1:
        raise DataError(
            f"{root} holds images of one class only, {classes[0]!r}; {expected} If the class "
            f"folders lie one level deeper, give {root / classes[0]}."
        )
    if {name.lower() for name in classes} <= _SPLIT_NAMES:
        raise DataError(
            f"the folders of {root} are {', '.join(classes)}, which looks like splits and not like "
            f"classes; {expected} Give one of them, such as {root / classes[0]}: the benchmark "
            "makes its own splits."
        )
    if beside:
        warn_once(
            f"{root}: images left out, since they lie beside the class folders: {len(beside)}, for "
            f"example {beside[0]}."
        )
    empty = sorted(
        entry.name
        for entry in os.scandir(root)
        if entry.is_dir() and not _is_hidden(entry.name) and entry.name not in set(classes)
    )
    if empty:
        warn_once(
            f"{root}: folders that are no class, since they hold no images: {len(empty)}, for "
            f"example {empty[0]}."
        )
    return ImageList(root, np.array(paths), labels, classes)


def read_image_tree(root: Path) -> ImageList:
    """Lists all images below a folder, without labels.

    Returns:
        Images in the order of their paths, all with label 0.

    Raises:
        DataError: If the tree cannot be read or holds no image.
    """
    return without_labels(root, find_images(root), root)


def without_labels(root: Path, paths: list[str], source: Path) -> ImageList:
    """A list whose images are all of one nameless class.

    Args:
        root: Where relative paths count from.
        paths: Of the images.
        source: The folder or file that named them, for the message.

    Raises:
        DataError: If there is no image.
    """
    if not paths:
        raise DataError(
            f"{source} has no images; expected some with the ending {', '.join(IMG_EXTENSIONS)} "
            "(--unlabeled)."
        )
    return ImageList(root, np.array(paths), np.zeros(len(paths), np.int64), [UNLABELED])


def find_images(root: Path) -> list[str]:
    """Paths of all images below a folder, relative to it, with "/", sorted by code points.

    Raises:
        DataError: If a folder cannot be read or a name is not UTF-8.
    """
    found: list[str] = []
    others: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in seen:  # a link back to a folder above or beside
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        relative = Path(folder).relative_to(root)
        for name in files:
            if _is_hidden(name):
                continue
            if not name.lower().endswith(IMG_EXTENSIONS):
                others[Path(name).suffix.lower() or "without ending"] += 1
                continue
            found.append(_check_utf8((relative / name).as_posix(), root))
    if others:
        commonest = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:5]
        kinds = ", ".join(f"{number} {kind}" for kind, number in commonest)
        warn_once(
            f"{root}: files left out, since they are no images by their ending: {others.total()} "
            f"({kinds})."
        )
    return sorted(found)


def check_exists(path: Path, flag: str) -> None:
    """Checks that a path given by the user leads somewhere.

    Args:
        path: A folder or a file.
        flag: The flag it was given by.

    Raises:
        DataError: If there is nothing, with the nearest name that exists.
    """
    try:
        path.stat()
    except FileNotFoundError as error:
        existing = path
        while not existing.is_dir():
            existing = existing.parent
        missing = path.relative_to(existing).parts[0]
        hint = nearest(missing, os.listdir(existing))
        raise DataError(
            f"there is no {path}: {existing} holds no {missing}{hint}; expected a folder or a file "
            f"({flag})."
        ) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}; expected a folder or a file that may be "
            f"read ({flag})."
        ) from error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _check_utf8(path: str, root: Path) -> str:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{root} holds a name that is not UTF-8: {os.fsencode(path)!r}; expected UTF-8. Rename "
            "it, for example with convmv."
        ) from error
    return path


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename} cannot be read: {error.strerror}; expected a folder that may be read, "
        "since images left out in silence would change every score. Mend its permissions or move "
        "it away."
    ) from error
