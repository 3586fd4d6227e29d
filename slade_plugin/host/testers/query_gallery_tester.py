"""The host's evaluation, with queries searching a gallery if a split has both."""

from typing import Any

import numpy as np
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester

from slade_plugin.base.errors import ConfigError
from slade_plugin.data.datasets.retrieval_roles import queries_and_gallery
from slade_plugin.host.testers.slade_tester import SladeTester


class QueryGalleryTester(SladeTester):
    """`SladeTester` that searches for query images among gallery images only.

    A split with both (`data.datasets.retrieval_roles`) is evaluated from query to gallery, any
    other split, such as val, exactly as in the host. R of MAP@R and R-precision is then the number
    of gallery images of a query's class. NMI and AMI are those of the queries.

    Args:
        reference_set: "compared_to_self": both are in the same split.
        **kwargs: The host's.

    Raises:
        ConfigError: If `reference_set` is anything else.
    """

    def __init__(self, reference_set: str = "compared_to_self", **kwargs: Any) -> None:
        super().__init__(reference_set=reference_set, **kwargs)
        if reference_set != "compared_to_self":
            raise ConfigError(
                f"tester: reference_set is {reference_set!r}; expected compared_to_self, since "
                "queries and gallery are in the same split (config_eval)."
            )
        self._masks: dict[str, tuple[np.ndarray, np.ndarray] | None] = {}
        self._same_source = True

    def description_suffixes(self, base_name: str) -> str:
        """Add this class to the host's record name, since its scores are not comparable."""
        return str(GlobalEmbeddingSpaceTester.description_suffixes(self, base_name))

    def test(self, dataset_dict: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Determine the queries of each split, then test as the host does.

        Raises:
            DataError: If a split mixes the roles.
        """
        self._masks = {name: queries_and_gallery(split) for name, split in dataset_dict.items()}
        super().test(dataset_dict, *args, **kwargs)

    def set_reference_and_query(
        self, embeddings_and_labels: dict[str, tuple[np.ndarray, np.ndarray]], curr_split: str
    ) -> tuple[np.ndarray, ...]:
        """Select the queries and references of a split.

        Args:
            embeddings_and_labels: Split -> (N, D) embeddings and (N, levels) labels.
            curr_split: The split.

        Returns:
            Embeddings and labels of the queries, then of the references.
        """
        masks = self._masks[curr_split]
        self._same_source = masks is None
        if masks is None:
            found: tuple[np.ndarray, ...] = super().set_reference_and_query(
                embeddings_and_labels, curr_split
            )
            return found
        embeddings, labels = embeddings_and_labels[curr_split]
        return tuple(array[mask] for mask in masks for array in (embeddings, labels))

    def embeddings_come_from_same_source(self, embeddings_and_labels: Any) -> bool:
        """Whether the current split's references include the queries themselves."""
        return self._same_source
