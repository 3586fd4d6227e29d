"""Base of student, pseudo labels and SwAV: labeled images and an unlabeled pool."""

from abc import ABC
from typing import Any

import numpy as np
from powerful_benchmarker.api_parsers import BaseAPIParser

from slade_plugin.base.errors import ConfigError
from slade_plugin.config import lookup
from slade_plugin.host.factories.slade_split_manager_factory import SladeSplitManagerFactory
from slade_plugin.method.clusterers import Clusterer
from slade_plugin.method.pseudo_labels.settings import PseudoLabelSettings


def pool_config(args: Any) -> dict[str, Any]:
    """Return the config's entry for the pool.

    Raises:
        ConfigError: If there is none.
    """
    config: dict[str, Any] | None = getattr(args, "unlabeled_dataset", None)
    if not config:
        raise ConfigError(
            "there is no unlabeled_dataset; expected one in config_dataset, for example "
            "unlabeled_dataset: {Glyphs: {subset: unlabeled}}."
        )
    return config


class APIWithPool(BaseAPIParser, ABC):
    """The host's API parser plus the data set of `unlabeled_dataset`."""

    def required_compatible_factories(self) -> dict[str, Any]:
        """Require our factory for a split manager with a pool."""
        return {"split_manager": SladeSplitManagerFactory(getter=self.pytorch_getter)}

    def default_kwargs_split_manager(self) -> dict[str, Any]:
        """Return the host's entries and the pool's class with its parameters."""
        pool_class, pool_params = self.pytorch_getter.get(
            "dataset", yaml_dict=pool_config(self.args), return_uninitialized=True
        )
        return {
            **super().default_kwargs_split_manager(),
            "unlabeled_dataset": lambda: pool_class,
            "unlabeled_dataset_params": lambda: pool_params,
            "leakage": lambda: getattr(self.args, "leakage", None),
        }

    def get_true_labels(self) -> np.ndarray | None:
        """Return the pool's true labels if known, for metrics and the oracle.

        Labels that are all equal, as those of unlabeled `FolderImages`, count as unknown.
        """
        labels = getattr(self.split_manager.get_unlabeled_dataset("train"), "labels", None)
        return None if labels is None or len(np.unique(labels)) < 2 else np.asarray(labels)

    @property
    def pseudo_label_settings(self) -> PseudoLabelSettings:
        """The config entry `pseudo_labels`."""
        return PseudoLabelSettings.from_config(self.args.pseudo_labels)

    def get_clusterer(self) -> Clusterer:
        """Build the clusterer of the config."""
        spec, where = self.pseudo_label_settings.clusterer, "pseudo_labels.clusterer"
        clusterer: Clusterer = lookup.build(self.pytorch_getter, "clusterer", spec, where)
        return clusterer
