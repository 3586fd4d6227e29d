"""Read the data of an experiment again, to record its hash and the classes of each split."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powerful_benchmarker.factories import SplitManagerFactory

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.plugins import plugin_names
from slade_plugin.experiments.results.found import Experiment, first_key
from slade_plugin.host.registry import register_plugins
from slade_plugin.method.pseudo_labels.record import pool_fingerprint
from slade_plugin.runner import SladeRunner

# split scheme -> split -> number of classes and images, hash of the sorted class ids
Classes = dict[str, dict[str, dict[str, Any]]]


class DataSplits:
    """The labeled data of some experiments; each data set is read once.

    Args:
        dataset_root: Root of the data.
    """

    def __init__(self, dataset_root: Path) -> None:
        self.dataset_root = dataset_root
        self.runner = SladeRunner()
        self._read: dict[str, Any] = {}

    def hashes(self, experiment: Experiment) -> dict[str, str]:
        """Return the hashes of an experiment's data: those of its training, and of today's files.

        Raises:
            ExperimentError: If the data cannot be read, or have changed since the training.
        """
        known = dict(experiment.data)
        found = pool_fingerprint(self._dataset(experiment))
        if known.get("labeled", found) != found:
            raise ExperimentError(
                f"the data of {experiment.folder} have changed: the hash of the labeled images was "
                f"{known['labeled'][:12]} and is now {found[:12]}; expected --dataset_root with "
                "the data it was trained on."
            )
        return {**known, "labeled": found}

    def classes(self, experiment: Experiment) -> Classes:
        """Return the classes of each split, as the experiment's split manager draws them."""
        factory = SplitManagerFactory(getter=self.runner.pytorch_getter)
        manager = factory.get_split_manager(experiment.config["split_manager"])
        dataset = self._dataset(experiment)
        manager.create_split_schemes({"eval": dict.fromkeys(manager.split_names, dataset)})
        schemes = manager.split_scheme_holder.split_schemes
        return {
            scheme: {
                split: _describe(manager.get_label_set(dataset=part), len(part))
                for split, part in by_transform["eval"].items()
            }
            for scheme, by_transform in schemes.items()
        }

    def _dataset(self, experiment: Experiment) -> Any:
        entry = experiment.config["dataset"]
        key = json.dumps(entry, sort_keys=True, default=str)
        if key not in self._read:
            register_plugins(self.runner, plugin_names(experiment.config.get("plugins")))
            cls, params = self.runner.pytorch_getter.get(
                "dataset", yaml_dict=entry, return_uninitialized=True
            )
            given: Mapping[str, Any] = {"root": str(self.dataset_root), **params}
            try:
                self._read[key] = cls(transform=None, download=False, **given)
            except Exception as error:
                raise ExperimentError(
                    f"the data of {experiment.folder} cannot be read: {first_key(entry)} in "
                    f"{self.dataset_root}: {error}; expected --dataset_root with the data it was "
                    "trained on."
                ) from error
        return self._read[key]


def _describe(labels: Any, images: int) -> dict[str, Any]:
    text = json.dumps(sorted(map(int, labels)))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"classes": len(labels), "images": images, "sha256": digest}
