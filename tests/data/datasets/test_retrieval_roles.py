"""Who searches and who is searched; a split that mixes the roles is never evaluated."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch.utils.data import Subset

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets.retrieval_roles import queries_and_gallery, roles_of

ROLES = ["train", "gallery", "query", "train", "gallery"]


def split(*indices: int) -> Any:
    return Subset(SimpleNamespace(roles=ROLES), list(indices))  # type: ignore[arg-type]


def test_roles_of_a_data_set_and_of_a_split_of_it() -> None:
    assert roles_of(SimpleNamespace(roles=ROLES)).tolist() == ROLES
    assert roles_of(split(4, 2)).tolist() == ["gallery", "query"]
    assert roles_of(SimpleNamespace(labels=[0])) is None


def test_masks_are_in_the_order_of_the_split() -> None:
    found = queries_and_gallery(split(2, 4, 1))
    assert found is not None
    np.testing.assert_array_equal(found[0], [True, False, False])
    np.testing.assert_array_equal(found[1], [False, True, True])


@pytest.mark.parametrize("data", [split(0, 3), SimpleNamespace(labels=[0]), split()])
def test_training_images_and_data_without_roles_search_each_other(data: Any) -> None:
    assert queries_and_gallery(data) is None


@pytest.mark.parametrize(
    ("indices", "found"),
    [
        ((0, 2, 4), "gallery, query, train"),
        ((0, 2), "query, train"),
        ((2,), "query"),
        ((1,), "gal"),
    ],
)
def test_a_mixed_or_half_split_is_refused(indices: tuple[int, ...], found: str) -> None:
    with pytest.raises(DataError, match=f"the roles {found}.*QueryGallerySplitManager"):
        queries_and_gallery(split(*indices))


def test_an_unknown_role_is_named() -> None:
    data = SimpleNamespace(roles=["train", "probe"])
    with pytest.raises(DataError, match="SimpleNamespace: roles holds 'probe'; expected train"):
        roles_of(data)
