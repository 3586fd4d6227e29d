from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets.pseudo_labeled_dataset import (
    IMAGE,
    LABEL,
    POOL_INDEX,
    PseudoLabeledDataset,
)


class Pool:
    """Five images; asking for a true label is an error."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, Any]:
        class Item(dict[str, Any]):
            def __missing__(self, key: str) -> Any:
                raise AssertionError(f"{key} of the pool was read")

        return Item({"data": torch.full((1, 2, 2), float(index))})

    @property
    def labels(self) -> np.ndarray:
        raise AssertionError("the pool's labels were read")


def test_items_have_the_image_the_pseudo_label_and_the_place_in_the_pool() -> None:
    dataset = PseudoLabeledDataset(Pool(), np.array([4, 1]), np.array([12, 10]))
    assert len(dataset) == 2
    item = dataset[0]
    assert (item[LABEL], item[POOL_INDEX]) == (12, 4)
    assert torch.equal(item[IMAGE], torch.full((1, 2, 2), 4.0))
    assert dataset.labels.tolist() == [12, 10]


def test_a_loader_makes_batches_of_integers() -> None:
    dataset = PseudoLabeledDataset(Pool(), np.array([4, 1, 0]), np.array([12, 10, 12]))
    batch = next(iter(DataLoader(dataset, batch_size=3)))
    assert batch[LABEL].tolist() == [12, 10, 12]
    assert batch[POOL_INDEX].tolist() == [4, 1, 0]
    assert batch[LABEL].dtype == batch[POOL_INDEX].dtype == torch.int64
    assert batch[IMAGE].shape == (3, 1, 2, 2)


def test_a_pool_that_makes_batches_is_asked_for_them() -> None:
    class Batches(Pool):
        def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
            asked.append(indices)
            return [self[index] for index in indices]

    asked: list[list[int]] = []
    dataset = PseudoLabeledDataset(Batches(), np.array([4, 1, 0]), np.array([12, 10, 12]))
    (batch,) = DataLoader(dataset, batch_size=3)
    assert asked == [[4, 1, 0]]
    assert batch[IMAGE][:, 0, 0, 0].tolist() == [4, 1, 0]
    with pytest.raises(IndexError):
        dataset[3]


def test_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="2 images of the pool but 1 pseudo labels"):
        PseudoLabeledDataset(Pool(), np.array([0, 1]), np.array([3]))


@pytest.mark.parametrize("places", [[0, 5], [-1, 0]])
def test_places_outside_the_pool_are_refused(places: list[int]) -> None:
    with pytest.raises(DataError, match="the pool has 5 images"):
        PseudoLabeledDataset(Pool(), np.array(places), np.array([3, 3]))


def test_trap_09_a_negative_pseudo_label_is_refused() -> None:
    with pytest.raises(DataError, match="a pseudo label is -1"):
        PseudoLabeledDataset(Pool(), np.array([0, 1]), np.array([3, -1]))
