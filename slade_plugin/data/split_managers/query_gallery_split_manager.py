"""Predefined train, query and gallery images, with val cut from train by class."""

import logging
from typing import Any

import numpy as np
from powerful_benchmarker.split_managers import ClassDisjointSplitManager

from slade_plugin.base.errors import DataError
from slade_plugin.data.datasets.retrieval_roles import GALLERY, QUERY, TRAIN, roles_of

logger = logging.getLogger(__name__)


class QueryGallerySplitManager(ClassDisjointSplitManager):
    """The host's class-disjoint folds, within the data set's own training classes.

    Test is every query and gallery image, in all split schemes; `QueryGalleryTester` tells them
    apart. Train and val are the folds of the other classes.

    Args:
        num_training_partitions: Number of folds; val is one of them.
        num_training_sets: How many of the folds are trained, each with its own val.
        shuffle: Whether the classes are shuffled before they are cut; in the order of their labels
            otherwise.
        random_seed: Of the shuffling.
        hierarchy_level: As in the host.
        data_and_label_getter_keys: As in the host.
        labels_attr_name: As in the host.
    """

    def __init__(
        self,
        num_training_partitions: int,
        num_training_sets: int,
        shuffle: bool = False,
        random_seed: int | None = None,
        hierarchy_level: int = 0,
        data_and_label_getter_keys: list[str] | None = None,
        labels_attr_name: str = "labels",
    ) -> None:
        super().__init__(
            num_training_partitions,
            num_training_sets,
            # What the host turns its list of classes by; the data set names the test.
            test_size=0,
            test_start_idx=0,
            shuffle=shuffle,
            random_seed=random_seed,
            hierarchy_level=hierarchy_level,
            data_and_label_getter_keys=data_and_label_getter_keys,
            labels_attr_name=labels_attr_name,
        )

    def get_trainval_and_test(self, dataset: Any, input_list: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the classes of training images, and those of query and gallery.

        Args:
            dataset: The labeled data set, with `roles`.
            input_list: All its classes; the host's argument, not needed.

        Returns:
            Two sorted arrays of labels.

        Raises:
            DataError: If the data set has no roles, lacks one, or has a class in train and test.
        """
        roles = roles_of(dataset)
        name = type(dataset).__name__
        if roles is None:
            raise DataError(
                f"{name} has no roles; QueryGallerySplitManager expected a data set that names "
                "train, query and gallery images, such as InShop. Change split_manager or dataset "
                "(config_dataset)."
            )
        labels = self.get_labels(dataset=dataset)
        train, query, gallery = (np.unique(labels[roles == r]) for r in (TRAIN, QUERY, GALLERY))
        for role, classes in ((TRAIN, train), (QUERY, query), (GALLERY, gallery)):
            if not len(classes):
                raise DataError(f"{name} has no {role} images; expected some.")
        test = np.union1d(query, gallery)
        shared = np.intersect1d(train, test)
        if len(shared):
            raise DataError(
                f"{name}: {len(shared)} classes have training images and query or gallery images, "
                f"for example label {shared[0]}; expected none, since retrieval is tested on "
                "classes that were never seen."
            )
        lone = np.setdiff1d(query, gallery)
        if len(lone):
            logger.warning(
                "%s: %d of %d query classes have no gallery image (for example label %s); the "
                "benchmarker leaves such queries out of every score",
                *(name, len(lone), len(query), lone[0]),
            )
        return train, test

    def get_test_set_name(self) -> str:
        """Return the part of the split schemes' names for test."""
        return "QueryGallery"
