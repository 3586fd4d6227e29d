"""Add an unlabeled pool to the splits of any split manager of the host.

The host's split manager has done all the splitting; this one only stands in front of it, adds the
pool and checks with errors what the host checks with ``assert``.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from powerful_benchmarker.split_managers import BaseSplitManager

from slade_plugin.base.errors import DataError
from slade_plugin.data.leakage import LeakageReport, LeakageSettings, find_leaks

logger = logging.getLogger(__name__)


class UnlabeledPoolSplitManager(BaseSplitManager):
    """Train, val and test exactly as `helper_split_manager` makes them, and a pool.

    Args:
        helper_split_manager: Any split manager of the host, with its split schemes.
        pools: The unlabeled data set once per transform type, e.g. {"train": ..., "eval": ...}.

    Raises:
        DataError: If two splits of one scheme share an image.
    """

    def __init__(self, helper_split_manager: Any, pools: Mapping[str, Any]) -> None:
        super().__init__(
            hierarchy_level=getattr(helper_split_manager, "hierarchy_level", 0),
            labels_attr_name=getattr(helper_split_manager, "labels_attr_name", "labels"),
            label_set_attr_name=getattr(helper_split_manager, "label_set_attr_name", None),
        )
        self.helper_split_manager = helper_split_manager
        self.pools = dict(pools)
        self.leakage: LeakageReport | None = None
        for name in ("split_names", "data_and_label_getter"):
            if hasattr(helper_split_manager, name):
                setattr(self, name, getattr(helper_split_manager, name))
        self.split_scheme_holder = helper_split_manager.split_scheme_holder
        self._check_disjoint()

    def _check_disjoint(self) -> None:
        """Check with an error what the host checks with ``assert``.

        Splits that are whole data sets of equal content are only warned of: the host's
        `PredefinedSplitManager` makes such of any one data set.

        Raises:
            DataError: If two splits of one scheme share an image.
        """
        for scheme_name, scheme in self.split_scheme_holder.split_schemes.items():
            for transform_type, splits in scheme.items():
                whole = [v.fingerprint for v in splits.values() if hasattr(v, "fingerprint")]
                if len(set(whole)) < len(whole):
                    logger.warning(
                        "split scheme %s (%s): some of %s are the same images, so val and test "
                        "scores do not measure generalization",
                        *(scheme_name, transform_type, ", ".join(splits)),
                    )
                indices = {k: v.indices for k, v in splits.items() if hasattr(v, "indices")}
                names = list(indices)
                for i, first in enumerate(names):
                    for second in names[i + 1 :]:
                        shared = np.intersect1d(indices[first], indices[second])
                        if len(shared):
                            raise DataError(
                                f"split scheme {scheme_name} ({transform_type}): {len(shared)} "
                                f"images are in {first} and in {second}, for example number "
                                f"{shared[0]}; expected none. Check split_manager in "
                                "config_dataset."
                            )

    def drop_leaks(self, settings: LeakageSettings) -> None:
        """Remove images from the pool that any split scheme evaluates on; see `leakage`.

        Args:
            settings: What to look for.

        Raises:
            DataError: If no image of the pool would be left, or a file cannot be read.
        """
        pool = next(iter(self.pools.values()))
        self.leakage = find_leaks(self.split_scheme_holder.split_schemes, pool, settings)
        if self.leakage is None:
            return
        logger.info("%s", self.leakage)
        if not self.leakage.kept.all():
            self.pools = {k: pool.keep(self.leakage.kept) for k, pool in self.pools.items()}

    def check_labeled_classes(self) -> None:
        """Check that every labeled training class can form a positive pair.

        Raises:
            DataError: If a training class of any split scheme has a single image.
        """
        for scheme_name, scheme in self.split_scheme_holder.split_schemes.items():
            labels = self.helper_split_manager.get_labels(dataset=scheme["train"]["train"])
            classes, counts = np.unique(labels, return_counts=True)
            lone = classes[counts < 2]
            if len(lone):
                raise DataError(
                    f"{len(lone)} of {len(classes)} training classes of split scheme {scheme_name} "
                    f"have one image (for example label {lone[0]}); expected at least 2, since one "
                    "image makes no positive pair. Remove these classes from the labeled data set "
                    "(config_dataset)."
                )

    def get_unlabeled_dataset(self, transform_type: str) -> Any:
        """Return the whole pool under one transform ("train" or "eval")."""
        return self.pools[transform_type]

    def get_split_scheme_name(self, partition: int) -> str:
        """Return the host's name of one split scheme."""
        return self.helper_split_manager.get_split_scheme_name(partition)

    @property
    def collate_fn(self) -> Any:
        """The host's function that collates a batch."""
        return self.helper_split_manager.collate_fn
