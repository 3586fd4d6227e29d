"""Filters of a list of images: missing files, classes by name or by size."""

import os
import unicodedata
from collections.abc import Collection

import numpy as np

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.base.suggestions import nearest
from slade_plugin.base.warning import warn_once
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.files.text_files import lines_of, read_text


def drop_missing(images: ImageList) -> tuple[ImageList, list[str]]:
    """Leave out images whose file is missing.

    Returns:
        The rest, and the paths that were left out.

    Raises:
        DataError: If no file exists.
    """
    there = images.sizes >= 0
    if there.all():
        return images, []
    if not there.any():
        raise DataError(
            f"none of the {len(images)} listed images is there, for example {images.path(0)}; "
            "expected them where the lists say. Unpack them there, or change dataset_root."
        )
    return images.keep(there), images.paths[~there].tolist()


def check_files_exist(name: str, images: ImageList) -> None:
    """Check that every listed file exists.

    Raises:
        DataError: If one is missing, cannot be reached or is a broken link; the first is named.
    """
    missing = np.flatnonzero(images.sizes < 0)
    if not len(missing):
        return
    first = images.path(int(missing[0]))
    remedy = "Unpack it again, or fix the permissions of its folders."
    if first.exists():
        remedy = "It is not a regular file. Move it away."
    elif os.path.islink(first):
        remedy = f"It is a link to {os.readlink(first)}: restore that file, or remove the link."
    raise DataError(
        f"{name}: {len(missing)} of {len(images)} listed images are missing or cannot be reached, "
        f"for example {first}. {remedy}"
    )


def drop_classes(images: ImageList, names: Collection[str]) -> ImageList:
    """Leave out whole classes by name; Unicode forms do not matter.

    Raises:
        ConfigError: If no class has a name; the nearest one is named.
        DataError: If nothing is left.
    """
    known = [_composed(name) for name in images.class_names]
    excluded = {_composed(name): name for name in names}
    unknown = [name for form, name in excluded.items() if form not in set(known)]
    if unknown:
        raise ConfigError(
            f"{len(unknown)} of {len(names)} excluded classes are not in {images.root}: "
            f"{unknown[0]!r}{nearest(unknown[0], images.class_names)}; expected names as in "
            "class_names. Change excluded_classes in config_dataset."
        )
    keep = np.array([form not in excluded for form in known])
    return images.keep(keep[images.labels])


def drop_small_classes(images: ImageList, min_images: int) -> ImageList:
    """Leave out classes of fewer than ``min_images`` images.

    Raises:
        DataError: If nothing is left.
    """
    sizes = np.bincount(images.labels)
    return images.keep(sizes[images.labels] >= min_images)


def drop_and_name_small_classes(name: str, images: ImageList, min_images: int) -> ImageList:
    """Leave out small classes and report it once per process.

    Args:
        name: Of the data set.
        images: The whole list.
        min_images: Minimum number of images of a class.

    Raises:
        DataError: If nothing is left.
    """
    small = np.flatnonzero(np.bincount(images.labels) < min_images)
    if not len(small):
        return images
    warn_once(
        f"{name}: {len(small)} of {len(images.class_names)} classes have fewer than "
        f"{min_images} images and are left out, for example {images.class_names[small[0]]!r} "
        "(min_images_per_class in config_dataset)."
    )
    return drop_small_classes(images, min_images)


def drop_small_classes_to_match(
    images: ImageList, classes: int, number_of_images: int
) -> tuple[ImageList, int]:
    """Leave out small classes so that the rest is closest to the published counts.

    Closest means the smallest sum of the two relative differences; ties take the lowest.

    Args:
        images: The whole list.
        classes: Published number of classes.
        number_of_images: Published number of images.

    Returns:
        The rest, and the minimum number of images of a class.
    """
    sizes = np.sort(np.bincount(images.labels))
    # A class stays from a threshold of 1 up to its size: only sizes + 1 change anything.
    thresholds = np.unique([1, *(sizes[:-1] + 1)])
    thresholds = thresholds[thresholds <= sizes[-1]]
    first = np.searchsorted(sizes, thresholds)
    left_classes = len(sizes) - first
    left_images = sizes.sum() - np.concatenate([[0], np.cumsum(sizes)])[first]
    difference = (
        abs(left_classes - classes) / classes
        + abs(left_images - number_of_images) / number_of_images
    )
    best = int(np.argmin(difference))
    threshold = int(thresholds[best])
    warn_once(
        f"{images.root}: classes of at least {threshold} images: {left_classes[best]} classes, "
        f"{left_images[best]} images; published: {classes} classes, {number_of_images} images, by "
        "a rule that is not published."
    )
    return drop_small_classes(images, threshold), threshold


def names_from_file(path: str | os.PathLike[str]) -> list[str]:
    """Read names, one per line; empty lines are skipped.

    Raises:
        ConfigError: If the file cannot be read.
    """
    try:
        text = read_text(path, "a list of names, or a text file with one name per line")
    except DataError as error:
        raise ConfigError(f"excluded_classes: {error} Change it in config_dataset.") from error
    return [name for _, name in lines_of(text)]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
