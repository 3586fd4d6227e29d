"""Queries and gallery of data sets that fix them, such as In-shop.

In-shop names every image train, query or gallery; a class of the test has images of both roles. A
data set states this by an attribute `roles`, an array of (N,) names.
"""

from typing import Any

import numpy as np
from powerful_benchmarker.utils.dataset_utils import get_underlying_dataset

from slade_plugin.base.errors import DataError

TRAIN, QUERY, GALLERY = ROLES = ("train", "query", "gallery")


def roles_of(dataset: Any) -> np.ndarray | None:
    """Return the role of each image of a data set, or of a subset of one.

    Args:
        dataset: N images; the host's splits are torch's `Subset`s.

    Returns:
        (N,) names out of `ROLES`; None if the data set has no `roles`.

    Raises:
        DataError: If there is a role of another name.
    """
    roles = getattr(get_underlying_dataset(dataset), "roles", None)
    if roles is None:
        return None
    roles = np.asarray(roles)
    unknown = np.setdiff1d(roles, ROLES)
    if len(unknown):
        raise DataError(
            f"{type(get_underlying_dataset(dataset)).__name__}: roles holds {str(unknown[0])!r}; "
            f"expected {', '.join(ROLES)}."
        )
    return roles[dataset.indices] if hasattr(dataset, "indices") else roles


def queries_and_gallery(dataset: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the queries and the gallery of a split.

    Args:
        dataset: A split of N images.

    Returns:
        Two (N,) masks, queries and gallery; None if every image is searched for among all others,
        as in a data set without roles or in a split of training images.

    Raises:
        DataError: If the split mixes training images with others, or lacks queries or gallery.
    """
    roles = roles_of(dataset)
    if roles is None or (roles == TRAIN).all():
        return None
    found = set(roles.tolist())
    if found != {QUERY, GALLERY}:
        raise DataError(
            f"a split holds images with the roles {', '.join(sorted(found))}; expected query and "
            "gallery, or train alone: results of another protocol could not be compared. Use "
            "QueryGallerySplitManager (split_manager in config_dataset)."
        )
    return roles == QUERY, roles == GALLERY
