"""Build the host's split manager, unchanged, and add the unlabeled pool."""

import copy
from collections.abc import Mapping
from typing import Any

from powerful_benchmarker.factories import SplitManagerFactory

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.lookup import check_arguments
from slade_plugin.data.leakage import LeakageSettings
from slade_plugin.data.split_managers.unlabeled_pool_split_manager import UnlabeledPoolSplitManager


class SladeSplitManagerFactory(SplitManagerFactory):
    """The host's factory plus the pool's class and parameters."""

    def _create_general(
        self,
        split_manager_type: Mapping[str, Any],
        dataset: Any,
        original_dataset_params: Mapping[str, Any],
        transforms: Mapping[str, Any],
        dataset_root: str,
        unlabeled_dataset: Any = None,
        unlabeled_dataset_params: Mapping[str, Any] | None = None,
        leakage: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            labeled = super()._create_general(
                split_manager_type, dataset, original_dataset_params, transforms, dataset_root
            )
        except ValueError as error:  # from sklearn, for the host's folds
            if "number of splits" not in str(error):
                raise
            raise ConfigError(
                f"cannot split the labeled data: {error} Samples here are the non-test classes, "
                "splits the folds; expected at least two classes per fold. Add classes, or give "
                "--split_manager~APPLY~2 {num_training_partitions: 2} (config_dataset)."
            ) from error
        if unlabeled_dataset is None:
            return labeled
        params = copy.deepcopy(dict(unlabeled_dataset_params or {}))
        check_arguments(
            unlabeled_dataset, params, "unlabeled_dataset in config_dataset", ["transform", "root"]
        )
        params.setdefault("root", dataset_root)
        pools = {k: unlabeled_dataset(**params, transform=T) for k, T in transforms.items()}
        split_manager = UnlabeledPoolSplitManager(labeled, pools)
        split_manager.drop_leaks(LeakageSettings.from_config(leakage))
        return split_manager
