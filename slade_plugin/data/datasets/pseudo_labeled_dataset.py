"""The unlabeled pool under the pseudo labels of a teacher."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Subset

from slade_plugin.base.errors import DataError

IMAGE, LABEL, POOL_INDEX = "data", "label", "pool_index"


class PseudoLabeledDataset(Dataset[dict[str, Any]]):
    """Images of the pool used for training, each with its pseudo label.

    Args:
        pool: The unlabeled data set; items are dicts with an entry "data". Its own labels, if it
            has any, are never read here.
        pool_index: (M,) which images of the pool take part.
        pseudo_labels: (M,) their pseudo labels, already shifted past the real classes.

    Raises:
        DataError: If the lengths differ, an index lies outside the pool or a label is negative.
    """

    def __init__(self, pool: Any, pool_index: np.ndarray, pseudo_labels: np.ndarray) -> None:
        if len(pool_index) != len(pseudo_labels):
            raise DataError(
                f"{len(pool_index)} images of the pool but {len(pseudo_labels)} pseudo labels; "
                "expected one label per image. Delete the pseudo-label record and rerun."
            )
        if len(pool_index) and not 0 <= pool_index.min() <= pool_index.max() < len(pool):
            raise DataError(
                f"pool indices reach from {pool_index.min()} to {pool_index.max()}, but the pool "
                f"has {len(pool)} images; the pseudo labels belong to another pool."
            )
        if len(pseudo_labels) and pseudo_labels.min() < 0:
            raise DataError(
                f"a pseudo label is {pseudo_labels.min()}; expected ids >= 0. A negative id would "
                "make unrelated images a positive pair."
            )
        self.pool = pool
        self.pool_index = pool_index.astype(np.int64)
        self.labels = pseudo_labels.astype(np.int64)

    def __len__(self) -> int:
        """Return the number of images used."""
        return len(self.pool_index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return {"data": image, "label": pseudo label, "pool_index": place in the whole pool}."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return the items of a batch, which torch's data loader requests together."""
        places = self.pool_index[np.asarray(indices)].tolist()
        labels = self.labels[np.asarray(indices)].tolist()
        pool = Subset(self.pool, places).__getitems__(list(range(len(places))))
        return [
            {IMAGE: item[IMAGE], LABEL: label, POOL_INDEX: place}
            for item, label, place in zip(pool, labels, places, strict=True)
        ]
