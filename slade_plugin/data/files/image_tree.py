"""Images found in a tree of folders, with or without one folder per class.

    photos/<class>/any/depth/image.jpg          labeled: the first folder is the class
    photos/train/<class>/any/depth/image.jpg    or the second, if the first are splits
    more_photos/any/depth/image.jpg             unlabeled

Names that begin with a dot (``._image.jpg`` of macOS, ``.thumbnails/``), ``__MACOSX`` and files
without the ending of an image are left out. Links are followed; a folder that is reached twice is
read once.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from slade_plugin.base.errors import DataError
from slade_plugin.base.suggestions import nearest
from slade_plugin.base.warning import warn_once
from slade_plugin.data.files.class_spellings import merge_names
from slade_plugin.data.files.image_list import ImageList, check_one_label_a_file, remap_labels

UNLABELED = "unlabeled"  # the only class name of a list without labels

_SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}


class ImageTree(NamedTuple):
    """Contents of a folder tree.

    Attributes:
        paths: Of the images, relative, with "/", sorted by code points.
        repeats: Folders that are left out, since they were reached before, each with where.
    """

    paths: list[str]
    repeats: list[tuple[str, str]]


def read_class_folders(
    root: Path, merge_spellings: bool = False, least_classes: int = 2
) -> ImageList:
    """List the images of a tree with one folder per class.

    Args:
        root: The folder that holds the class folders, or folders of splits that hold them.
        merge_spellings: Make one class of names that `spelling_key` finds equal.
        least_classes: The smallest valid number of classes, 1 or 2.

    Returns:
        Classes in the order of their names' code points; images in that of their paths.

    Raises:
        DataError: If the tree cannot be read, a link is broken, one folder is two classes, or there
            are too few class folders with images.
    """
    tree = find_images(root)
    level = _class_level(root, tree.paths)
    paths = [path for path in tree.paths if path.count("/") > level]
    beside = [path for path in tree.paths if path.count("/") <= level]
    names = [path.split("/")[level] for path in paths]
    labels, classes = remap_labels(merge_names(names) if merge_spellings else names)
    expected = (
        f"expected one folder per class, such as {root / 'CLASS' / 'image.jpg'}, or a CSV file of "
        "path,label (--labeled)."
    )
    if not names:
        what = f"{len(beside)} images but no folders" if beside else "no images"
        raise DataError(f"{root} holds {what}; {expected}")
    _check_repeats(root, tree.repeats, level)
    if len(classes) < least_classes:
        raise DataError(
            f"{root} holds images of one class only, {names[0]!r}; {expected} If the class "
            f"folders lie one level deeper, give {root / names[0]}."
        )
    if beside:
        warn_once(
            f"{root}: images left out, since they lie beside the class folders: {len(beside)}, for "
            f"example {beside[0]}."
        )
    known = {*names, *(Path(name).name for name, _ in tree.repeats)}
    homes = _visible_folders(root) if level else [root]
    folders = {place.name: place for home in homes for place in _visible_folders(home)}
    empty = [str(folders[name].relative_to(root)) for name in sorted(folders.keys() - known)]
    if empty:
        warn_once(
            f"{root}: folders without images, ignored as classes: {len(empty)}, for "
            f"example {empty[0]}."
        )
    images = ImageList(root, np.array(paths), labels, classes.tolist())
    check_one_label_a_file(images)
    return images


def read_image_tree(root: Path) -> ImageList:
    """List all images below a folder, without labels.

    Returns:
        Images in the order of their paths, all with label 0.

    Raises:
        DataError: If the tree cannot be read or holds no image.
    """
    tree = find_images(root)
    _warn_of_repeats(root, tree.repeats)
    return without_labels(root, tree.paths, root)


def without_labels(root: Path, paths: list[str], source: Path) -> ImageList:
    """Return a list whose images all belong to one nameless class.

    Args:
        root: Where relative paths count from.
        paths: Of the images.
        source: The folder or file that named them, for the message.

    Raises:
        DataError: If there is no image.
    """
    if not paths:
        raise DataError(
            f"{source} has no images; expected some with the ending {', '.join(IMG_EXTENSIONS)}."
        )
    return ImageList(root, np.array(paths), np.zeros(len(paths), np.int64), [UNLABELED])


def find_images(root: Path) -> ImageTree:
    """Find all images below a folder.

    Raises:
        DataError: If a folder cannot be read, a link is broken or a name is not UTF-8.
    """
    found: list[str] = []
    repeats: list[tuple[str, str]] = []
    broken: list[str] = []
    others: Counter[str] = Counter()
    seen: dict[tuple[int, int], str] = {}
    for folder, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        stat = os.stat(folder)
        relative = Path(folder).relative_to(root)
        first = seen.setdefault((stat.st_dev, stat.st_ino), relative.as_posix())
        if first != relative.as_posix():  # a link back to a folder above or beside
            repeats.append((relative.as_posix(), first))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in files:
            path = (relative / name).as_posix()
            if _is_hidden(name):
                continue
            if name.lower().endswith(IMG_EXTENSIONS):
                found.append(_check_utf8(path, root))
            elif not os.path.exists(os.path.join(folder, name)):
                broken.append(path)
            else:
                others[Path(name).suffix.lower() or "without ending"] += 1
    _refuse_broken(root, sorted(broken))
    if others:
        commonest = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:5]
        kinds = ", ".join(f"{number} {kind}" for kind, number in commonest)
        warn_once(
            f"{root}: files left out, since their ending is not that of an image: "
            f"{others.total()} ({kinds})."
        )
    return ImageTree(sorted(found), repeats)


def check_exists(path: Path, flag: str = "") -> None:
    """Check that a path given by the user exists.

    Args:
        path: A folder or a file.
        flag: The flag it was given by, if any.

    Raises:
        DataError: If there is nothing, with the nearest name that exists.
    """
    given_by = f" ({flag})" if flag else ""
    try:
        path.stat()
    except FileNotFoundError as error:
        existing = path
        while not existing.is_dir():
            existing = existing.parent
        missing = path.relative_to(existing).parts[0]
        hint = nearest(missing, os.listdir(existing))
        if (existing / missing).is_symlink():
            target = os.readlink(existing / missing)
            raise DataError(
                f"{existing / missing} is a link to {target}, which is missing; expected a folder "
                f"or a file{given_by}. Restore what it leads to."
            ) from error
        raise DataError(
            f"there is no {path}: {existing} holds no {missing}{hint}; expected a folder or a "
            f"file{given_by}."
        ) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}; expected a folder or a file that may be "
            f"read{given_by}."
        ) from error


def _class_level(root: Path, paths: Sequence[str]) -> int:
    """Find the part of a path that is the class: 0, or 1 below folders named like splits."""
    splits = {path.split("/")[0] for path in paths if "/" in path}
    if not splits or not {name.lower() for name in splits} <= _SPLIT_NAMES:
        return 0
    flat = [path for path in paths if path.count("/") == 1]
    if flat:
        raise DataError(
            f"the folders of {root} are {', '.join(sorted(splits))}, which looks like splits and "
            f"not like classes, and {flat[0]} lies in no class folder; expected one folder "
            f"per class, such as {root / flat[0].split('/')[0] / 'CLASS' / 'image.jpg'}."
        )
    warn_once(
        f"{root}: {', '.join(sorted(splits))} are read as splits and the folders in them as "
        "classes, each class from all splits: the benchmark makes its own splits."
    )
    return 1


def _check_repeats(root: Path, repeats: Sequence[tuple[str, str]], level: int) -> None:
    """Refuse one folder as two classes; warn of any other that is reached twice."""
    for pair in repeats:
        classes = [name.split("/")[level : level + 1] for name in pair]
        is_circle = pair[1] == "." or pair[0].startswith(pair[1] + "/")
        if classes[0] != classes[1] and not is_circle:
            raise DataError(
                f"{pair[1]} and {pair[0]} in {root} are one folder, "
                f"{os.path.realpath(root / pair[0])}, under two names; expected one folder "
                "per class. Remove one of the links."
            )
    _warn_of_repeats(root, repeats)


def _warn_of_repeats(root: Path, repeats: Sequence[tuple[str, str]]) -> None:
    if repeats:
        again, first = repeats[0]
        warn_once(
            f"{root}: folders read once, since links lead to them again: {len(repeats)}, for "
            f"example {again}, which is {first}."
        )


def _refuse_broken(root: Path, broken: Sequence[str]) -> None:
    if broken:
        raise DataError(
            f"{root} holds {len(broken)} broken links, for example {broken[0]} to "
            f"{os.readlink(root / broken[0])}; expected links to images or folders, since a "
            "class left out would change every score. Restore the targets, or remove the links."
        )


def _visible_folders(root: Path) -> list[Path]:
    return sorted(
        Path(entry.path)
        for entry in os.scandir(root)
        if entry.is_dir() and not _is_hidden(entry.name)
    )


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
        "since images left out would change every score. Fix its permissions or move it away."
    ) from error
